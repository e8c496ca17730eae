"""`.msgpack`: what `flax.serialization` makes of nested dictionaries; needs the package `msgpack` and no framework.

The metadata is a branch without leaves, the text of a key: no function on trees sees it.
"""

import json
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgpack
import numpy as np

from ...errors import ParityError
from . import limits
from .contents import Advance, Arrays, Contents, Outgoing, Texts
from .tree import flatten, nest

_METADATA = "__metadata__"
_NDARRAY = 1
_SCALAR = 3
_CHUNKED = "__msgpack_chunked_array__"
_CHUNK = 1 << 30  # bytes, as in flax.serialization


def read(path: Path) -> Contents:
    """The file's arrays, each held once.

    Raises:
        ParityError: for bytes that are no such tree, one nested deeper than 64, and arrays whose bytes are not those of
            their shape.
    """
    mapped = limits.open_mapped(path)
    tree = msgpack.unpackb(
        mapped,
        ext_hook=_extension,
        object_pairs_hook=_branch,
        strict_map_key=True,
        max_array_len=limits.MAX_RANK,
        max_map_len=limits.MAX_TENSORS,
        max_str_len=limits.MAX_METADATA,
    )
    if not isinstance(tree, dict):
        raise ParityError("a .msgpack must hold a dictionary")
    metadata = _metadata(tree.pop(_METADATA, {}))
    mapped.madvise(mmap.MADV_DONTNEED)
    arrays, skipped = flatten(tree)
    return Contents(arrays, metadata, "flax", skipped)


def write(file: IO[bytes], arrays: Arrays, metadata: Texts, framework: str, advance: Advance) -> None:
    """Write the tree, its arrays a slab at a time."""
    tree = nest(arrays)
    if metadata:
        tree[_METADATA] = {json.dumps(dict(metadata)): {}}
    _write_branch(file, tree, advance)


def _branch(pairs: list[tuple[Any, Any]]) -> Any:
    branch = dict(pairs)
    if len(branch) != len(pairs):
        raise ParityError("a dictionary has a key twice")
    return _joined(branch) if _CHUNKED in branch else branch


def _extension(code: int, data: bytes) -> Any:
    if code not in (_NDARRAY, _SCALAR):
        raise ParityError(f"a .msgpack may hold arrays, got the extension type {code}")
    shape, name, buffer = msgpack.unpackb(data, max_array_len=limits.MAX_RANK, max_map_len=0, raw=False)
    shape = limits.check_shape(shape)
    dtype = limits.dtype_named(name)
    if not isinstance(buffer, bytes) or len(buffer) != limits.count_bytes(shape, dtype):
        raise ParityError(f"an array of shape {shape} and {dtype} does not have the bytes it should")
    return (np.frombuffer(buffer, dtype) if buffer else np.zeros(0, dtype)).reshape(shape)


def _joined(branch: dict[str, Any]) -> np.ndarray:
    """The array that Flax cut into pieces of a gibibyte."""
    shape = limits.check_shape([side for _, side in sorted(_indexed(branch.get("shape")))])
    pieces = [piece for _, piece in sorted(_indexed(branch.get("chunks")), key=lambda item: item[0])]
    if not pieces or not all(isinstance(piece, np.ndarray) and piece.ndim == 1 for piece in pieces):
        raise ParityError("an array in pieces must have some")
    return np.concatenate(pieces).reshape(shape)


def _indexed(branch: Any) -> list[tuple[int, Any]]:
    if not isinstance(branch, dict):
        raise ParityError("an array in pieces must have a shape and chunks")
    return [(int(key), value) for key, value in branch.items()]


def _metadata(branch: Any) -> dict[str, str]:
    if not isinstance(branch, dict) or len(branch) > 1 or any(value != {} for value in branch.values()):
        raise ParityError("the metadata must be the text of one key")
    return limits.check_metadata(json.loads(next(iter(branch), "{}")))


def _write_branch(file: IO[bytes], tree: Mapping[str, Any], advance: Advance) -> None:
    file.write(_PACKER.pack_map_header(len(tree)))
    for key, value in tree.items():
        file.write(_PACKER.pack(key))
        if isinstance(value, Outgoing):
            _write_array(file, value, advance)
        else:
            _write_branch(file, value, advance)


def _write_array(file: IO[bytes], array: Outgoing, advance: Advance) -> None:
    if array.nbytes <= _CHUNK:
        _write_head(file, array.shape, array)
        array.write(file, advance)
        return
    flat = np.ascontiguousarray(array.view).reshape(-1)
    step = _CHUNK // array.dtype.itemsize
    pieces = {
        str(i): Outgoing(flat[start : start + step], array.dtype) for i, start in enumerate(range(0, flat.size, step))
    }
    shape = {str(i): side for i, side in enumerate(array.shape)}
    file.write(_PACKER.pack_map_header(3) + _PACKER.pack(_CHUNKED) + _PACKER.pack(True))
    file.write(_PACKER.pack("shape") + _PACKER.pack(shape) + _PACKER.pack("chunks"))
    _write_branch(file, pieces, advance)


def _write_head(file: IO[bytes], shape: tuple[int, ...], array: Outgoing) -> None:
    """Everything of an array up to its bytes: an extension of (shape, name of the dtype, bytes)."""
    head = _PACKER.pack_array_header(3) + _PACKER.pack(list(shape)) + _PACKER.pack(array.dtype.name)
    head += b"\xc6" + struct.pack(">I", array.nbytes)
    file.write(b"\xc9" + struct.pack(">Ib", len(head) + array.nbytes, _NDARRAY) + head)


_PACKER = msgpack.Packer()
