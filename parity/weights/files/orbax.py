"""Orbax checkpoint directories: read through TensorStore after a look at every entry, written by Orbax itself."""

import json
import logging
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ParityError
from . import limits
from .budget import Budget
from .contents import Contents, Outgoing
from .tree import nest

_CHECKPOINT = "_CHECKPOINT_METADATA"
_ARRAYS = {".zarray": "zarr", "zarr.json": "zarr3"}
_VALUE = ".value"  # what Orbax puts behind the name of an nnx.Variable
MAX_ENTRIES = 100_000
_MAX_DESCRIPTION = 1 << 16  # bytes of an array's .zarray or zarr.json
# What TensorStore needs for a chunk, measured.
_CHUNK_MEMORY = 2200
_CHUNK_STEPS = 25


def read(path: Path) -> Contents:
    """The checkpoint's arrays.

    Raises:
        ParityError: for links, pipes and devices in the directory, one that holds no arrays, names that are no
            attribute paths, and arrays far larger than their files.
    """
    with _opened(path) as directory:
        return _read(directory)


@contextmanager
def _opened(path: Path) -> Iterator[Path]:
    """The directory by its descriptor: no character of its path can mean something then, and it stays this one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        by_number = Path(f"/proc/self/fd/{descriptor}")
        yield by_number if by_number.is_dir() else path.resolve()
    finally:
        os.close(descriptor)


def _read(path: Path) -> Contents:
    stored = _check_tree(path)
    if not (path / "manifest.ocdbt").is_file():
        raise ParityError("no Orbax checkpoint: it has no manifest.ocdbt")
    budget = Budget(stored)
    metadata = _metadata(path / _CHECKPOINT, budget)
    try:
        import tensorstore
    except ImportError as error:
        raise ParityError("an Orbax checkpoint needs TensorStore: pip install attention-parity[flax]") from error
    # Not as one text, which would be a URL: `%41`, `#`, `?` and `|` mean something there.
    base = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/"}}
    store = tensorstore.KvStore.open(base).result()
    keys = [key.decode("ascii") for key in store.list().result()]
    limits.check_count(len(keys))
    opened = {}
    for name, file in _names(keys):
        if len(store.read(f"{name}/{file}").result().value) > _MAX_DESCRIPTION:
            raise ParityError(f"{name} must be described in {_MAX_DESCRIPTION} bytes at most")
        driver = _ARRAYS[file]
        spec = {"driver": driver, "kvstore": {**base, "path": f"{name}/"}}
        opened[name] = tensorstore.open(spec, open=True, read=True).result()
    shapes = {name: (limits.check_shape(store.shape), store.dtype.numpy_dtype) for name, store in opened.items()}
    for _, dtype in shapes.values():
        limits.dtype_named(dtype.name)
    budget.tensors(len(shapes))
    budget.expand(sum(limits.count_bytes(*shape) for shape in shapes.values()))
    # Chunks of nothing but the fill value are not stored, and cost as much as others.
    chunks = sum(_chunks(store.shape, store.chunk_layout.read_chunk.shape) for store in opened.values())
    budget.take(_CHUNK_MEMORY * chunks)
    budget.step(_CHUNK_STEPS * chunks)
    arrays = {name: np.asarray(store.read().result()) for name, store in opened.items()}
    if arrays and all(name.endswith(_VALUE) for name in arrays):
        arrays = {name.removesuffix(_VALUE): array for name, array in arrays.items()}
    return Contents(arrays, metadata, "flax")


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


def _names(keys: list[str]) -> Iterator[tuple[str, str]]:
    """The arrays among the keys of the store, and the file that describes each."""
    for key in keys:
        name, _, last = key.rpartition("/")
        if last in _ARRAYS:
            parts = limits.check_name(name).split(".")
            if "/" in name or "" in parts:
                raise ParityError(f"an array cannot have the name {name!a}")
            yield name, last
