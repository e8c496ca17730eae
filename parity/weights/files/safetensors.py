"""`.safetensors`: a JSON header and the arrays; read as a map of the file and written as a stream."""

import json
import mmap
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import ParityError
from . import limits
from .budget import Budget
from .contents import Advance, Arrays, Contents, Texts, dtype_name
from .labels import label, unlabel
from .wrappers import below

_CODES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES = {name: code for code, name in _CODES.items()}
_DTYPES = {code: limits.DTYPES[name] for code, name in _CODES.items()}
_FIELDS = {"dtype", "shape", "data_offsets"}


def read(path: Path, *, key: str | None = None, budget: Budget | None = None) -> Contents:
    """The file's arrays as views of it; see `pt.read` for the arguments.

    Raises:
        ParityError: for a header that is too long, is no JSON, names a key twice or a tensor badly, and for tensors
            that overlap, leave gaps, or do not end where the file ends.
    """
    mapped = limits.open_mapped(path)
    budget = budget or Budget(len(mapped))
    header, start = _header(mapped, budget)
    metadata, framework = unlabel(limits.check_metadata(header.pop("__metadata__", {})))
    limits.check_count(len(header))
    budget.tensors(len(header))
    entries = sorted((_entry(name, entry) for name, entry in header.items()), key=lambda entry: entry[1:3])
    position = 0
    for name, begin, end, _, _ in entries:
        if begin != position:
            raise ParityError(f"{name} begins at byte {begin} of the data, where {position} was expected")
        position = end
    if start + position != len(mapped):
        raise ParityError(f"the header tells of {position} bytes of data, but the file has {len(mapped) - start}")
    views = {
        name: np.frombuffer(mapped, dtype, count=(end - begin) // dtype.itemsize, offset=start + begin).reshape(shape)
        if end > begin
        else np.zeros(shape, dtype)
        for name, begin, end, shape, dtype in entries
    }
    found = below({name: views[name] for name in header}, (), key)
    return Contents(found.arrays, metadata, framework, found.skipped, (mapped,), found.taken)


def write(file: IO[bytes], arrays: Arrays, metadata: Texts, framework: str, advance: Advance) -> None:
    """Write the header and then each array, a slab at a time."""
    # Wide types first, so that every array begins at a multiple of its own width.
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": label(metadata, framework)}
    position = 0
    for name, array in ordered:
        end = position + array.nbytes
        header[limits.check_name(name)] = {
            "dtype": _NAMES[dtype_name(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        array.write(file, advance)


def _header(mapped: mmap.mmap, budget: Budget) -> tuple[dict[str, Any], int]:
    """The header and the position at which the data begins."""
    length = int.from_bytes(mapped[:8], "little")
    if length > limits.MAX_HEADER:
        raise ParityError(f"the header must have at most {limits.MAX_HEADER} bytes, got {length}")
    if 8 + length > len(mapped):
        raise ParityError(f"the header must end within the file of {len(mapped)} bytes, got {length} bytes of header")
    text = mapped[8 : 8 + length]
    # Before it is parsed, because a hundred megabytes of `[]` are seconds and gigabytes of lists.
    limits.check_count(text.count(b"{") - 2)
    budget.json(text)
    header = json.loads(text.decode(), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ParityError("the header must be a JSON object")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ParityError("the header names a key twice")
    return entries


def _entry(name: str, entry: Any) -> tuple[str, int, int, tuple[int, ...], np.dtype]:
    """A tensor's name, first and last byte, shape and dtype."""
    limits.check_name(name)
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise ParityError(f"{name} must be given by dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _CODES:
        raise ParityError(f"{name} must have a dtype of {', '.join(_CODES)}, got {str(entry['dtype'])[:40]!a}")
    dtype = _DTYPES[entry["dtype"]]
    shape = limits.check_shape(entry["shape"])
    offsets = limits.check_shape(entry["data_offsets"])
    if len(offsets) != 2 or offsets[1] - offsets[0] != limits.count_bytes(shape, dtype):
        raise ParityError(f"{name} of shape {shape} and dtype {dtype} cannot lie at the bytes {offsets}")
    return name, *offsets, shape, dtype
