"""`.msgpack`: what `flax.serialization` makes of nested dictionaries; needs the package `msgpack` and no framework.

The metadata is a branch without leaves, the text of a key: no function on trees sees it.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgpack
import numpy as np

from ...errors import ParityError
from . import limits
from .budget import Budget
from .contents import Advance, Arrays, Contents, Outgoing, Texts, dtype_name
from .tree import flatten, nest
from .wrappers import train_state

_METADATA = "__metadata__"
_NDARRAY = 1
_SCALAR = 3
_CHUNKED = "__msgpack_chunked_array__"
_CHUNK = 1 << 30  # bytes, as in flax.serialization


def read(path: Path, *, key: str | None = None, budget: Budget | None = None) -> Contents:
    """The file's arrays, each held once; see `pt.read` for the arguments.

    Raises:
        ParityError: for bytes that are no such tree, one nested deeper than 64, and arrays whose bytes are not those of
            their shape.
    """
    mapped = limits.open_mapped(path)
    budget = budget or Budget(len(mapped))
    tree = _Reader(memoryview(mapped), budget).read()
    metadata = _metadata(tree.pop(_METADATA, {}), budget)
    found = train_state(*flatten(tree, budget), key)
    return Contents(found.arrays, metadata, "flax", found.skipped, (mapped,), found.taken)


def write(file: IO[bytes], arrays: Arrays, metadata: Texts, framework: str, advance: Advance) -> None:
    """Write the tree, its arrays a slab at a time."""
    tree = nest(arrays)
    if metadata:
        tree[_METADATA] = {json.dumps(dict(metadata)): {}}
    _write_branch(file, tree, advance)


def _heads() -> list[tuple[str, struct.Struct | None, int]]:
    """By first byte: the kind of value, the number that follows, and the number where none follows."""
    heads: list[tuple[str, struct.Struct | None, int]] = [("unknown", None, 0)] * 256
    for kind, begin, end in (("int", 0x00, 0x80), ("map", 0x80, 0x90), ("list", 0x90, 0xA0), ("text", 0xA0, 0xC0)):
        heads[begin:end] = [(kind, None, number) for number in range(end - begin)]
    heads[0xE0:] = [("int", None, number) for number in range(-32, 0)]
    for code, kind, forms in (
        (0xC4, "bytes", "BHI"),
        (0xC7, "extension", "BHI"),
        (0xCC, "int", "BHIQ"),
        (0xD0, "int", "bhiq"),
        (0xD9, "text", "BHI"),
        (0xDC, "list", "HI"),
        (0xDE, "map", "HI"),
    ):
        for i, form in enumerate(forms):
            heads[code + i] = (kind, struct.Struct(f">{form}"), 0)
    for i in range(5):
        heads[0xD4 + i] = ("extension", None, 1 << i)
    for code, size in ((0xC0, 0), (0xC2, 0), (0xC3, 0), (0xCA, 4), (0xCB, 8)):
        heads[code] = ("other", None, size)
    return heads


_HEADS = _heads()
_ENTRY = 104  # bytes of memory for a key and its place
_VALUE_STEPS = 2


class _Reader:
    """Reads the part of MessagePack that trees of arrays are written in; of all else it sees only where it ends.

    The package msgpack makes every value before anyone can ask how large it will be, and two copies of each array;
    here an array is a view of the file.
    """

    def __init__(self, data: memoryview, budget: Budget) -> None:
        self.data = data
        self.budget = budget
        self.position = 0

    def read(self) -> dict[str, Any]:
        """The tree, which must be the whole file."""
        try:
            tree = self.value(0)
        except (IndexError, struct.error):
            raise ParityError(f"is cut off: it ends at byte {len(self.data)}, within a value") from None
        if not isinstance(tree, dict):
            raise ParityError("a .msgpack must hold a dictionary")
        if self.position != len(self.data):
            raise ParityError(f"has {len(self.data) - self.position} bytes behind its end")
        return tree

    def value(self, depth: int) -> Any:
        """The next value: a dictionary, an array, an integer, or None for what is none of these."""
        kind, size = self.head()
        if kind == "map":
            return self.branch(size, depth)
        if kind == "extension":
            return self.array(size)
        if kind == "int":
            return size
        self.skip(kind, size)
        return None

    def branch(self, count: int, depth: int) -> Any:
        if depth >= limits.MAX_DEPTH:
            raise ParityError(f"its dictionaries are nested deeper than {limits.MAX_DEPTH}")
        branch: dict[str, Any] = {}
        self.budget.take(_ENTRY)
        for _ in range(count):
            self.budget.step(_VALUE_STEPS)
            key = self.text()
            if key in branch:
                raise ParityError(f"{key[:100]!a} is in a dictionary twice")
            self.budget.take(_ENTRY)
            branch[key] = self.value(depth + 1)
        return _joined(branch, self.budget) if _CHUNKED in branch else branch

    def array(self, size: int) -> np.ndarray:
        code = self.piece(1)[0]
        end = self.position + size
        if code not in (_NDARRAY, _SCALAR):
            raise ParityError(f"a .msgpack may hold arrays, got the extension type {code}")
        parts, axes = self.expect("list"), self.expect("list")
        if parts != 3 or axes > limits.MAX_RANK:
            raise ParityError("an array must be a shape, a dtype and bytes")
        shape = limits.check_shape([self.expect("int") for _ in range(axes)])
        dtype = limits.dtype_named(self.text())
        data = self.piece(self.expect("bytes"))
        if self.position != end or len(data) != limits.count_bytes(shape, dtype):
            raise ParityError(f"an array of shape {shape} and {dtype} does not have the bytes it should")
        self.budget.take(_ENTRY)
        self.budget.step(_VALUE_STEPS)
        return (np.frombuffer(data, dtype) if data else np.zeros(0, dtype)).reshape(shape)

    def head(self) -> tuple[str, int]:
        """The kind of the next value, and its number or its size."""
        kind, form, number = _HEADS[self.data[self.position]]
        self.position += 1
        if form is not None:
            (number,) = form.unpack_from(self.data, self.position)
            self.position += form.size
        elif kind == "unknown":
            raise ParityError(f"has a byte at {self.position - 1} that begins no value")
        return kind, number

    def expect(self, kind: str) -> int:
        found, number = self.head()
        if found != kind:
            raise ParityError(f"has {found} at byte {self.position}, where {kind} was expected")
        return number

    def text(self) -> str:
        size = self.expect("text")
        self.budget.take(4 * size)  # bytes of a character at most
        return str(self.piece(size), "utf-8")

    def skip(self, kind: str, size: int) -> None:
        """Pass over a value whose head is read, whatever is nested in it."""
        waiting = 0
        while True:
            self.budget.step()
            if kind in ("list", "map"):
                waiting += size if kind == "list" else 2 * size
            elif kind != "int":
                self.piece(size + (kind == "extension"))
            if not waiting:
                return
            waiting -= 1
            kind, size = self.head()

    def piece(self, size: int) -> memoryview:
        end = self.position + size
        if end > len(self.data):
            raise ParityError(f"is cut off: {size} bytes were expected at {self.position}")
        piece = self.data[self.position : end]
        self.position = end
        return piece


def _joined(branch: dict[str, Any], budget: Budget) -> np.ndarray:
    """The array that Flax cut into pieces of a gibibyte."""
    shape = limits.check_shape([side for _, side in sorted(_indexed(branch.get("shape")))])
    pieces = [piece for _, piece in sorted(_indexed(branch.get("chunks")), key=lambda item: item[0])]
    if not pieces or not all(isinstance(piece, np.ndarray) and piece.ndim == 1 for piece in pieces):
        raise ParityError("an array in pieces must have some")
    if len({piece.dtype for piece in pieces}) > 1 or sum(piece.size for piece in pieces) != math.prod(shape):
        raise ParityError(f"an array in pieces must have pieces of one dtype, which make up its shape {shape}")
    budget.expand(sum(piece.nbytes for piece in pieces))
    return np.concatenate(pieces).reshape(shape)


def _indexed(branch: Any) -> list[tuple[int, Any]]:
    if not isinstance(branch, dict):
        raise ParityError("an array in pieces must have a shape and chunks")
    if not all(len(key) < 10 and key.isdecimal() for key in branch):
        raise ParityError("the parts of an array in pieces must be numbered")
    return [(int(key), value) for key, value in branch.items()]


def _metadata(branch: Any, budget: Budget) -> dict[str, str]:
    if not isinstance(branch, dict) or len(branch) > 1 or any(value != {} for value in branch.values()):
        raise ParityError("the metadata must be the text of one key")
    text = next(iter(branch), "{}")
    budget.json(text.encode())
    return limits.check_metadata(json.loads(text))


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
    head = _PACKER.pack_array_header(3) + _PACKER.pack(list(shape)) + _PACKER.pack(dtype_name(array.dtype))
    head += b"\xc6" + struct.pack(">I", array.nbytes)
    file.write(b"\xc9" + struct.pack(">Ib", len(head) + array.nbytes, _NDARRAY) + head)


_PACKER = msgpack.Packer()
