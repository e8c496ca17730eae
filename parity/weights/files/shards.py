"""A checkpoint in several files and the `*.index.json` that says which tensor is in which, as transformers has it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ParityError
from . import limits, safetensors
from .budget import Budget
from .contents import Advance, Arrays, Contents, Outgoing, Texts
from .formats import of_source
from .wrappers import below

INDEX = "model.safetensors.index.json"
MAX_SHARDS = 10_000
_NAME = "model-{:05}-of-{:05}.safetensors"
_OWN = re.compile(r"model-\d{5}-of-\d{5}\.safetensors|model\.safetensors\.index\.json")
_MAP = "weight_map"
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def read(path: Path, *, key: str | None = None) -> Contents:
    """The tensors of all files that the index names, as views of them; see `pt.read` for the arguments.

    What the files may cost is that of one file of their size.

    Raises:
        ParityError: for an index that is none or names a file that is not beside it, for a tensor that is not where the
            index says, and for what the files' own readers refuse.
    """
    budget = Budget(0)
    shards = _shards(path, budget)
    files = {name: path.with_name(name) for name in dict.fromkeys(shards.values())}
    budget.grow(sum(_size(file) for file in files.values()))
    found = {name: _read(file, budget) for name, file in files.items()}
    arrays: dict[str, np.ndarray] = {}
    for tensor, name in shards.items():
        if tensor not in found[name].arrays:
            raise ParityError(f"its index has {tensor} in {name}, which does not hold it: download both again")
        arrays[tensor] = found[name].arrays[tensor]
    besides = [each for shard in found.values() for each in (*shard.arrays, *shard.skipped) if each not in arrays]
    metadata = {text: value for shard in found.values() for text, value in shard.metadata.items()}
    frameworks = {shard.framework for shard in found.values()}
    framework = frameworks.pop() if len(frameworks) == 1 else None
    chosen = below(arrays, tuple(besides), key)
    mapped = tuple(each for shard in found.values() for each in shard.mapped)
    return Contents(chosen.arrays, metadata, framework, chosen.skipped, mapped, chosen.taken)


def write(directory: Path, arrays: Arrays, metadata: Texts, framework: str, limit: int, advance: Advance) -> None:
    """Make the directory with the shards of at most `limit` bytes, or of one tensor, and their index."""
    directory.mkdir()
    shards = list(_filled(arrays, limit))
    placed: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = _NAME.format(number, len(shards))
        with (directory / name).open("xb") as file:
            safetensors.write(file, shard, metadata if number == 1 else {}, framework, advance)
        placed.update(dict.fromkeys(shard, name))
    total = sum(array.nbytes for array in arrays.values())
    text = json.dumps({"metadata": {"total_size": total}, _MAP: placed}, indent=2)
    (directory / INDEX).write_text(text + "\n")


def check_own(directory: Path) -> None:
    """Raise ParityError unless the directory is empty or holds an index, the files that it names, and nothing else."""
    names = set()
    for entry in directory.iterdir():
        if entry.is_symlink() or not entry.is_file() or not _OWN.fullmatch(entry.name):
            raise ParityError(f"it holds {entry.name!a}, which is no shard of a checkpoint")
        names.add(entry.name)
    if names and INDEX not in names:
        raise ParityError("it holds shards without their index")
    try:
        named = set(_shards(directory / INDEX, Budget(0)).values()) if names else set()
    except json.JSONDecodeError as error:
        raise ParityError(f"its index is no JSON: {error}") from None
    if other := names - {INDEX} ^ named:
        raise ParityError(f"its index and its shards are not of one checkpoint: {min(other)!a}")


def parse_size(text: str) -> int:
    """The bytes of a size such as 2GB, 500MB or 1GiB.

    Raises:
        ParityError: for what is no size above zero.
    """
    match = re.fullmatch(r"(\d{1,15})\s*([A-Za-z]{0,3})", text.strip())
    if match is None or match[2].upper() not in _UNITS or int(match[1]) == 0:
        raise ParityError(f"a shard's size must be such as 2GB, 500MB or 1GiB, got {text!a}")
    return int(match[1]) * _UNITS[match[2].upper()]


def _filled(arrays: Arrays, limit: int) -> Iterator[dict[str, Outgoing]]:
    """The arrays in order, in groups of at most `limit` bytes and as many tensors as a file may hold."""
    shard: dict[str, Outgoing] = {}
    held = 0
    for name, array in arrays.items():
        if shard and (held + array.nbytes > limit or len(shard) >= limits.MAX_TENSORS):
            yield shard
            shard, held = {}, 0
        shard[name] = array
        held += array.nbytes
    if shard:
        yield shard


def _shards(path: Path, budget: Budget) -> Mapping[str, str]:
    """For each tensor the name of its file."""
    mapped = limits.open_mapped(path)
    if len(mapped) > limits.MAX_HEADER:
        raise ParityError(f"an index must have at most {limits.MAX_HEADER} bytes, got {len(mapped)}")
    text = mapped[:]
    budget.grow(len(text))
    budget.json(text)
    index: Any = json.loads(text)
    shards = index.get(_MAP) if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        reason = index.get("error") if isinstance(index, dict) else None
        said = f" but the message {str(reason)[:80]!a}" if reason else ""
        raise ParityError(f"JSON without a weight_map{said}: give the file of the weights or its *.index.json")
    budget.tensors(len(shards))
    for tensor, name in shards.items():
        limits.check_name(tensor)
        # Files beside the index and nowhere else.
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]{0,200}", name, re.ASCII):
            raise ParityError(f"its index must name files beside it, got {str(name)[:80]!a}")
    if not shards or len(set(shards.values())) > MAX_SHARDS:
        raise ParityError(f"an index must name from 1 to {MAX_SHARDS} files")
    return shards


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ParityError(f"its index names {path.name}, which is not beside it: download all of its files") from error


def _read(path: Path, budget: Budget) -> Contents:
    where, format_ = of_source(path)
    if format_.directory or format_.name == "shards":
        raise ParityError(f"its index names {path.name}, which is no file of weights")
    try:
        return format_.module.read(where, budget=budget)
    except ParityError as error:
        raise ParityError(f"{path.name}: {error}") from error
