"""What every reader holds a file to before it believes a word of it, and how it looks at the bytes."""

import math
import mmap
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from ...errors import ParityError

MAX_HEADER = 10 << 20  # bytes of header, index or other text; a hundred thousand tensors fit
MAX_NAME = 512
MAX_TENSORS = 100_000
MAX_RANK = 32
MAX_DEPTH = 64
MAX_METADATA = 1 << 20
# A compressed or shared array may stand for more bytes than the file holds, but weights do not compress well.
MAX_EXPANSION = 20
FREE_EXPANSION = 64 << 20

DTYPES = {
    np.dtype(dtype).name: np.dtype(dtype)
    for dtype in (
        *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
        *(np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8, np.bool_),
    )
}


def open_mapped(path: Path) -> mmap.mmap:
    """The bytes of a regular file, mapped read-only.

    Raises:
        ParityError: for a path that is not there, not readable, not a regular file or empty.
    """
    try:
        # O_NONBLOCK, so that a named pipe is refused and not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ParityError(f"cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ParityError("must be a regular file")
        if status.st_size == 0:
            raise ParityError("is empty")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)


def check_name(name: object) -> str:
    """Return `name` if it can name a tensor: printable ASCII, of 1 to 512 characters."""
    if not isinstance(name, str):
        raise ParityError(f"a tensor's name must be text, got {type(name).__name__}")
    if not 1 <= len(name) <= MAX_NAME:
        raise ParityError(f"a tensor's name must have 1 to {MAX_NAME} characters, got {len(name)}")
    if not (name.isascii() and name.isprintable()):
        raise ParityError(f"a tensor's name must be printable ASCII, got {name!a}")
    return name


def check_shape(shape: object) -> tuple[int, ...]:
    """Return `shape` as a tuple if it is a short sequence of integers of at least 0."""
    if not isinstance(shape, list | tuple) or len(shape) > MAX_RANK:
        raise ParityError(f"a shape must be a list of at most {MAX_RANK} sizes")
    if not all(type(side) is int and 0 <= side < 1 << 63 for side in shape):
        raise ParityError("a shape's sizes must be integers from 0")
    return tuple(shape)


def check_metadata(metadata: object) -> dict[str, str]:
    """Return `metadata` if it maps text to text, of a mebibyte at most."""
    if not isinstance(metadata, Mapping):
        raise ParityError(f"metadata must map text to text, got {type(metadata).__name__}")
    for key, value in metadata.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise ParityError("metadata must map text to text")
    if (size := sum(len(key) + len(value) for key, value in metadata.items())) > MAX_METADATA:
        raise ParityError(f"metadata must have at most {MAX_METADATA} characters, got {size}")
    return dict(metadata)


def count_bytes(shape: Iterable[int], dtype: np.dtype) -> int:
    """The bytes of an array, as an integer that cannot overflow."""
    return math.prod(shape) * dtype.itemsize


def check_expansion(total: int, stored: int) -> None:
    """Raise ParityError where arrays of `total` bytes come out of a file of `stored`."""
    if total > stored * MAX_EXPANSION + FREE_EXPANSION:
        raise ParityError(
            f"its arrays would take {total} bytes, but the file has {stored}: more than {MAX_EXPANSION} times as many"
        )


def check_count(count: int) -> None:
    """Raise ParityError where a file says that it holds more than a hundred thousand tensors."""
    if count > MAX_TENSORS:
        raise ParityError(f"at most {MAX_TENSORS} tensors can be read, got {count}")


def dtype_named(name: object) -> np.dtype:
    """The dtype of that name; ParityError where weights cannot have it."""
    if not isinstance(name, str) or name not in DTYPES:
        raise ParityError(f"dtype must be one of {', '.join(DTYPES)}, got {str(name)[:40]!a}")
    return DTYPES[name]
