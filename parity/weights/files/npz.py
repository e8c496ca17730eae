"""`.npz`: a zip archive of `.npy` files; the metadata is the archive's comment, which NumPy passes over."""

import io
import json
import math
import re
import struct
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import ml_dtypes
import numpy as np

from ...errors import ParityError
from . import archive, limits
from .budget import Budget
from .contents import Advance, Arrays, Contents, Outgoing, Texts
from .labels import label, unlabel
from .wrappers import below, train_state

_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_LENGTHS = {b"\1\0": struct.Struct("<H"), b"\2\0": struct.Struct("<I")}  # by version
_MAX_DESCRIPTION = 10_000
# By what stands behind the byte order. NumPy writes bfloat16 as raw bytes, two to a value; nothing else that weights
# are made of is.
_NUMBERS = {dtype.str[1:]: dtype for dtype in limits.DTYPES.values() if dtype.isbuiltin == 1} | {
    "V2": np.dtype(ml_dtypes.bfloat16)
}
# Keras' axes are Flax's, and so is what these layers compute.
_KERAS = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
    "embeddings": "embedding",
}
# NumPy evaluates this text as Python; here it is what NumPy writes, in any order, and nothing else.
_FIELD = re.compile(
    r"\s*(?:'descr': *'(?P<descr>[^']{1,40})'|'fortran_order': *(?P<fortran>True|False)"
    r"|'shape': *\((?P<shape>[\dL, ]*)\)) *(?:,|(?=}))"
)


def read(path: Path, *, key: str | None = None, budget: Budget | None = None) -> Contents:
    """The archive's arrays, views of the file where they are not compressed; see `pt.read` for the arguments.

    Raises:
        ParityError: for what `archive.members` refuses, arrays of objects, a shape that is not the data's, and damage.
    """
    mapped = limits.open_mapped(path)
    budget = budget or Budget(len(mapped))
    members, comment = archive.members(mapped, budget)
    budget.tensors(len(members))
    metadata, framework = unlabel(_metadata(comment))
    arrays = {}
    for name, member in members.items():
        if not name.endswith(_SUFFIX):
            raise ParityError(f"an .npz holds .npy files, got {name}")
        data = member.read(mapped, budget)
        member.check(data)
        arrays[limits.check_name(name.removesuffix(_SUFFIX))] = _array(name, data, budget)
    # What this package writes has its label.
    is_ours = framework is not None
    found = below(arrays, (), key) if is_ours else train_state(_dotted(arrays), (), key)
    return Contents(found.arrays, metadata, framework, found.skipped, (mapped,), found.taken)


def write(file: IO[bytes], arrays: Arrays, metadata: Texts, framework: str, advance: Advance) -> None:
    """Write the arrays one after another, not compressed."""
    comment = json.dumps(label(metadata, framework)).encode()
    if len(comment) > 0xFFFF:
        raise ParityError(f"an .npz can hold 65535 bytes of metadata, got {len(comment)}")
    with ZipFile(file, "w") as target:
        target.comment = comment
        for name, array in arrays.items():
            header = _header(array)
            with archive.add(target, limits.check_name(name) + _SUFFIX, len(header) + array.nbytes) as member:
                member.write(header)
                array.write(member, advance)


def _dotted(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names with slashes, as TensorFlow, Keras and JAX programs write them, with dots; Keras' leaves as Flax's."""
    if not any("/" in name for name in arrays):
        return arrays
    is_keras = any(name.endswith(":0") or name.rpartition("/")[2] in ("gamma", "moving_mean") for name in arrays)
    dotted: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        *path, leaf = name.removesuffix(":0").split("/")
        new = ".".join((*path, _KERAS.get(leaf, leaf) if is_keras else leaf))
        if new in dotted:
            raise ParityError(f"{name} and another name both become {new}")
        dotted[new] = array
    return dotted


def _metadata(comment: bytes) -> dict[str, str]:
    """The metadata in the archive's comment; a comment of somebody else's is none."""
    if not comment.startswith(b"{"):
        return {}
    return limits.check_metadata(json.loads(comment))


def _array(name: str, data: memoryview, budget: Budget) -> np.ndarray:
    shape, fortran, dtype, start = _description(name, data)
    size = limits.count_bytes(shape, dtype)
    if len(data) - start != size:
        raise ParityError(f"{name} has {len(data) - start} bytes of data, not those of {dtype} {shape}")
    flat = np.frombuffer(data, dtype, offset=start, count=math.prod(shape)) if size else np.zeros(0, dtype)
    if not dtype.isnative:
        budget.expand(size)
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order="F" if fortran else "C")


def _description(name: str, data: memoryview) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """The shape, order and dtype that a `.npy` file begins with, and where its data begin."""
    length = _LENGTHS.get(bytes(data[6:8])) if data[:6] == _MAGIC else None
    if length is None:
        raise ParityError(f"{name} is no .npy file of version 1 or 2")
    (size,) = length.unpack_from(data, 8)
    start = 8 + length.size + size
    if size > _MAX_DESCRIPTION or start > len(data):
        raise ParityError(f"{name} has a header of {size} bytes, which cannot be")
    text = str(data[start - size : start], "latin1").strip()
    fields: dict[str, str] = {}
    position = 1
    while (found := _FIELD.match(text, position)) is not None and len(fields) < 3:
        fields.update({key: value for key, value in found.groupdict().items() if value is not None})
        position = found.end()
    if text[:1] != "{" or text[position:].strip() != "}" or len(fields) != 3:
        raise ParityError(f"{name} must have a header with a dtype of numbers, an order and a shape, got {text[:80]!a}")
    sides = [side.strip().removesuffix("L") for side in fields["shape"].split(",")]
    if not all(0 < len(side) < 20 for side in sides[:-1]) or len(sides) > limits.MAX_RANK + 1:
        raise ParityError(f"{name} has the shape {fields['shape'][:80]!a}, which cannot be")
    shape = limits.check_shape([int(side) for side in sides if side.isdigit()])
    order, number = fields["descr"][0], fields["descr"][1:]
    if order not in "<>|=" or number not in _NUMBERS:
        raise ParityError(f"{name} holds {fields['descr']!a}, not numbers")
    dtype = _NUMBERS[number]
    return shape, fields["fortran"] == "True", dtype.newbyteorder(order) if order in "<>" else dtype, start


def _header(array: Outgoing) -> bytes:
    if array.dtype.name.startswith("float8"):
        raise ParityError(f"an .npz cannot say {array.dtype}")
    head = io.BytesIO()
    descr = "|V2" if array.dtype == ml_dtypes.bfloat16 else np.lib.format.dtype_to_descr(array.dtype)
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": array.shape})
    return head.getvalue()
