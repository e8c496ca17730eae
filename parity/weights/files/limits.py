"""The limits that every reader holds a file to before it believes a word of it, and the view of its bytes."""

import math
import mmap
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from ...errors import ParityError

MAX_HEADER = 100_000_000  # bytes of header, as in the safetensors library
MAX_NAME = 512
MAX_TENSORS = 100_000
MAX_RANK = 32
MAX_DEPTH = 64

_NAME = re.compile(f"[ -~]{{1,{MAX_NAME}}}")
_SURROGATE = re.compile("[\ud800-\udfff]")

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
    if _NAME.fullmatch(name) is None:
        check_length(name)
        raise ParityError(f"a tensor's name must be printable ASCII of 1 to {MAX_NAME} characters, got {name!a}")
    return name


def check_length(name: str) -> None:
    """Raise ParityError where a name or a part of it has more than 512 characters."""
    if len(name) > MAX_NAME:
        raise ParityError(f"a tensor's name must have at most {MAX_NAME} characters, got {len(name)}: {name[:40]!a}...")


def check_shape(shape: object) -> tuple[int, ...]:
    """Return `shape` as a tuple if it is a short sequence of integers of at least 0."""
    if not isinstance(shape, list | tuple) or len(shape) > MAX_RANK:
        raise ParityError(f"a shape must be a list of at most {MAX_RANK} sizes")
    for side in shape:
        if type(side) is not int or not 0 <= side < 1 << 63:
            raise ParityError("a shape's sizes must be integers from 0")
    return tuple(shape)


def check_metadata(metadata: object) -> dict[str, str]:
    """Return `metadata` if it maps Unicode text to Unicode text."""
    if not isinstance(metadata, Mapping):
        raise ParityError(f"metadata must map text to text, got {type(metadata).__name__}")
    for text in (each for item in metadata.items() for each in item):
        if not isinstance(text, str):
            raise ParityError("metadata must map text to text")
        if (lone := _SURROGATE.search(text)) is not None:
            around = text[max(0, lone.start() - 20) : lone.start() + 20]
            raise ParityError(f"metadata must be Unicode text; {around!a} has half of a character (a lone surrogate)")
    return dict(metadata)


def count_bytes(shape: Iterable[int], dtype: np.dtype) -> int:
    """The bytes of an array, as an integer that cannot overflow."""
    return math.prod(shape) * dtype.itemsize


def check_count(count: int, besides: int = 0) -> None:
    """Raise ParityError where a file holds more than a hundred thousand tensors, and `besides` what is none.

    One rule for every format, to read and to write, so that what is written is read.
    """
    if count > MAX_TENSORS + besides:
        raise ParityError(
            f"a file can have at most {MAX_TENSORS} tensors, got {count}: several can have more (--shard)"
        )


def dtype_named(name: object) -> np.dtype:
    """The dtype of that name; ParityError where weights cannot have it."""
    if not isinstance(name, str) or name not in DTYPES:
        raise ParityError(f"dtype must be one of {', '.join(DTYPES)}, got {str(name)[:40]!a}")
    return DTYPES[name]
