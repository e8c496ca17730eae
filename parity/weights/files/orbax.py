"""Orbax checkpoint directories: read by TensorStore, in a process whose memory is bounded, and written by Orbax."""

import importlib.util
import json
import logging
import math
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import ParityError
from . import limits
from .budget import SECONDS, SECONDS_PER_MIB, Budget
from .contents import Contents, Outgoing
from .tree import nest
from .wrappers import train_state

_CHECKPOINT = "_CHECKPOINT_METADATA"
_VALUE = ".value"  # what Orbax puts behind the name of an nnx.Variable
MAX_ENTRIES = 100_000
_KEYS = 4  # to a tensor: its description and its chunks
_MAX_DESCRIPTION = 1 << 16  # bytes of an array's .zarray or zarr.json
# What TensorStore needs for a chunk, measured.
_CHUNK_MEMORY = 2200
_CHUNK_STEPS = 25
# What TensorStore's threads need, whatever they read.
_THREADS_MEMORY = 48 << 20
_MAX_ANSWER = limits.MAX_HEADER
_DESCRIPTORS = Path("/proc/self/fd")
_GREEDY = "would take far more {what} than its {stored} bytes explain"

Described = tuple[tuple[int, ...], np.dtype, Any]  # an array's shape, dtype and chunk


def read(path: Path, *, key: str | None = None, budget: Budget | None = None) -> Contents:
    """The checkpoint's arrays; see `pt.read` for the arguments.

    Raises:
        ParityError: for links, pipes and devices in the directory, one that holds no arrays, names that are no
            attribute paths, and arrays far larger than their files.
    """
    with _opened(path) as directory:
        return _read(directory, key, budget)


@contextmanager
def _opened(path: Path) -> Iterator[Path]:
    """The directory by its descriptor: no character of its path can mean something then, and it stays this one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        by_number = _DESCRIPTORS / str(descriptor)
        yield by_number if by_number.is_dir() else path.resolve()
    finally:
        os.close(descriptor)


def _read(path: Path, key: str | None, given: Budget | None) -> Contents:
    stored = _check_tree(path)
    if not (path / "manifest.ocdbt").is_file():
        raise ParityError("no Orbax checkpoint: it has no manifest.ocdbt")
    budget = given or Budget(stored)
    metadata = _metadata(path / _CHECKPOINT, budget)
    with _child(path, budget) as child:
        described = _described(child.answer()["arrays"])
        _pay(described, budget)
        child.go_on()
        arrays = {name: child.array(shape, dtype) for name, (shape, dtype, _) in described.items()}
    if arrays and all(name.endswith(_VALUE) for name in arrays):
        arrays = {name.removesuffix(_VALUE): array for name, array in arrays.items()}
    found = train_state(arrays, (), key)
    return Contents(found.arrays, metadata, "flax", found.skipped, taken=found.taken)


def _described(arrays: dict[str, Any]) -> dict[str, Described]:
    for name in arrays:
        if "/" in name or "" in limits.check_name(name).split("."):
            raise ParityError(f"an array cannot have the name {name!a}")
    return {
        name: (limits.check_shape(shape), limits.dtype_named(dtype), chunk)
        for name, (shape, dtype, chunk) in arrays.items()
    }


def _pay(described: dict[str, Described], budget: Budget) -> None:
    budget.tensors(len(described))
    budget.expand(sum(limits.count_bytes(shape, dtype) for shape, dtype, _ in described.values()))
    # Chunks of nothing but the fill value are not stored, and cost as much as others.
    chunks = sum(_chunks(shape, chunk) for shape, _, chunk in described.values())
    budget.take(_CHUNK_MEMORY * chunks)
    budget.step(_CHUNK_STEPS * chunks)


@dataclass(frozen=True)
class _Child:
    """The process that reads; its answers are lines of JSON, and the bytes of arrays."""

    process: subprocess.Popen[bytes]
    stored: int

    def answer(self) -> dict[str, Any]:
        line = self._out().readline(_MAX_ANSWER)
        if not line.endswith(b"\n"):
            raise self._ended()
        answer = json.loads(line)
        if "refused" in answer:
            raise ParityError(answer["refused"])
        if "damaged" in answer:
            raise ParityError(f"is damaged: {answer['damaged']}")
        if "memory" in answer:
            raise ParityError(_GREEDY.format(what="memory", stored=self.stored))
        return answer

    def go_on(self) -> None:
        if self.process.stdin is None:
            raise AssertionError
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        array = np.empty(shape, dtype)
        data = array.reshape(-1).view(np.uint8).data
        if self.answer()["bytes"] != len(data):
            raise ParityError("is damaged: an array has not the size that it is described with")
        while data:
            count = self._out().readinto(data)  # type: ignore[attr-defined]
            if not count:
                raise self._ended()
            data = data[count:]
        return array

    def _out(self) -> IO[bytes]:
        if self.process.stdout is None:
            raise AssertionError
        return self.process.stdout

    def _ended(self) -> ParityError:
        code = self.process.wait()
        if code == -signal.SIGXCPU:
            return ParityError(_GREEDY.format(what="work", stored=self.stored))
        if code < 0:
            # Where the system gives no more memory, C++ aborts.
            greedy = _GREEDY.format(what="memory", stored=self.stored)
            return ParityError(f"TensorStore was ended by {signal.Signals(-code).name}: it {greedy}, or is damaged")
        return ParityError(
            f"TensorStore's process, {sys.executable}, ended with exit code {code} before it had read it"
        )


@contextmanager
def _child(path: Path, budget: Budget) -> Iterator[_Child]:
    """The process that reads the checkpoint, which ends with the block whatever happens there."""
    if importlib.util.find_spec("tensorstore") is None:
        raise ParityError("an Orbax checkpoint needs TensorStore: pip install attention-parity[flax]")
    options = {
        "path": str(path),
        "memory": budget.memory + _THREADS_MEMORY,
        "seconds": SECONDS + SECONDS_PER_MIB * budget.stored / (1 << 20),
        "keys": _KEYS * limits.MAX_TENSORS,
        "description": _MAX_DESCRIPTION,
    }
    # Without the script's folder among the places of modules: its neighbours have the names of libraries.
    command = [sys.executable, "-P", str(Path(__file__).with_name("orbax_child.py")), json.dumps(options)]
    descriptors = [int(path.name)] if path.parent == _DESCRIPTORS else []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=descriptors
    ) as process:
        try:
            yield _Child(process, budget.stored)
        finally:
            process.kill()


def write(directory: Path, arrays: Mapping[str, Outgoing], metadata: Mapping[str, str]) -> None:
    """Make the directory, with Orbax; the keys of lists are integers, as in NNX."""
    try:
        from orbax import checkpoint
    except ImportError as error:
        raise ParityError("an Orbax checkpoint needs Orbax: pip install attention-parity[flax]") from error
    tree = _tree({name: array.whole() for name, array in arrays.items()})
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # a full disk would be told in tracebacks there; the error below says it
    try:
        with checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(directory, tree, custom_metadata=dict(metadata))
            checkpointer.wait_until_finished()
    except Exception as error:
        # Orbax hands on what its storage says, a full disk too, as errors of many types.
        raise OSError(" ".join(str(error).split())[-200:]) from error
    finally:
        log.setLevel(level)


def _tree(arrays: Mapping[str, np.ndarray]) -> dict[Any, Any]:
    for name, array in arrays.items():
        if array.size == 0:
            raise ParityError(f"an Orbax checkpoint can hold no array without values, got {name} {array.shape}")
        if "/" in name or "" in name.split("."):
            raise ParityError(f"an Orbax checkpoint cannot hold the name {name!a}")
    return _integers(nest(arrays))


def _integers(tree: dict[str, Any]) -> dict[Any, Any]:
    key = int if all(part.isdigit() for part in tree) else str
    return {key(part): _integers(value) if isinstance(value, dict) else value for part, value in tree.items()}


def _check_tree(path: Path) -> int:
    """The bytes of all files below the directory, which must be plain files and directories."""
    stored = 0
    for count, entry in enumerate(_walk(path)):
        status = entry.stat(follow_symlinks=False)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ParityError(f"{os.fsencode(entry.name)!a} in it is a link or a device, and is not followed")
        if count >= MAX_ENTRIES:
            raise ParityError(f"it must have at most {MAX_ENTRIES} entries")
        stored += status.st_size
    return stored


def _walk(path: Path, depth: int = 0) -> Iterator[os.DirEntry[str]]:
    if depth > limits.MAX_DEPTH:
        raise ParityError(f"its directories are nested deeper than {limits.MAX_DEPTH}")
    with os.scandir(path) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), depth + 1)


def _chunks(shape: Any, chunk: Any) -> int:
    """In how many chunks an array of that shape is stored."""
    return math.prod(-(-side // max(1, size or side)) for side, size in zip(shape, chunk or shape, strict=True))


def _metadata(path: Path, budget: Budget) -> dict[str, str]:
    if not path.is_file() or path.stat().st_size > limits.MAX_HEADER:
        return {}
    text = path.read_bytes()
    budget.json(text)
    content = json.loads(text)
    custom = content.get("custom_metadata") if isinstance(content, dict) else None
    return limits.check_metadata(custom or {})
