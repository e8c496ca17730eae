"""`.npz`: a zip archive of `.npy` files; the metadata is the archive's comment, which NumPy passes over."""

import io
import json
import math
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import ml_dtypes
import numpy as np

from ...errors import ParityError
from . import archive, limits
from .contents import Advance, Arrays, Contents, Outgoing, Texts
from .labels import label, unlabel

_SUFFIX = ".npy"
# NumPy writes bfloat16 as raw bytes, two to a value; nothing else that weights are made of is.
_BFLOAT16 = np.dtype("V2")


def read(path: Path) -> Contents:
    """The archive's arrays, views of the file where they are not compressed.

    Raises:
        ParityError: for what `archive.members` refuses, arrays of objects, a shape that is not the data's, and damage.
    """
    mapped = limits.open_mapped(path)
    members, comment = archive.members(mapped)
    metadata, framework = unlabel(_metadata(comment))
    arrays = {}
    for name, member in members.items():
        if not name.endswith(_SUFFIX):
            raise ParityError(f"an .npz holds .npy files, got {name}")
        data = member.read(mapped)
        member.check(data)
        arrays[limits.check_name(name.removesuffix(_SUFFIX))] = _array(name, data)
    return Contents(arrays, metadata, framework, mapped=mapped)


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


def _metadata(comment: bytes) -> dict[str, str]:
    """The metadata in the archive's comment; a comment of somebody else's is none."""
    if not comment.startswith(b"{"):
        return {}
    return limits.check_metadata(json.loads(comment))


def _array(name: str, data: memoryview) -> np.ndarray:
    head = io.BytesIO(data[: 1 << 17])
    version = np.lib.format.read_magic(head)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise ParityError(f"{name} has the unknown version {version}")
    shape, fortran, dtype = reader(head)
    shape = limits.check_shape(shape)
    if dtype == _BFLOAT16:
        dtype = np.dtype(ml_dtypes.bfloat16)
    native = dtype.newbyteorder("=")
    if native.name not in limits.DTYPES:
        raise ParityError(f"{name} holds {str(dtype)[:40]}, not numbers")
    if len(data) - head.tell() != limits.count_bytes(shape, dtype):
        raise ParityError(f"{name} has {len(data) - head.tell()} bytes of data, not those of {dtype} {shape}")
    flat = np.frombuffer(data, dtype, offset=head.tell(), count=math.prod(shape)) if math.prod(shape) else np.zeros(0)
    return flat.astype(native, copy=False).reshape(shape, order="F" if fortran else "C")


def _header(array: Outgoing) -> bytes:
    if array.dtype.name.startswith("float8"):
        raise ParityError(f"an .npz cannot say {array.dtype}")
    head = io.BytesIO()
    descr = "|V2" if array.dtype == ml_dtypes.bfloat16 else np.lib.format.dtype_to_descr(array.dtype)
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": array.shape})
    return head.getvalue()
