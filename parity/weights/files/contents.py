"""The contents of a file: what a reader hands over and a writer is given."""

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from ...errors import ParityError
from .transpose import transpose

SLAB = 8 << 20
_RELEASE_EVERY = 16 << 20
_TILE = 32
_SMALL = 4096  # bytes up to which a copy costs less than to look for a way without one

Advance = Callable[[int], None]


class Writable(Protocol):
    """An object that bytes can be written to: a file, a member of an archive, a digest."""

    def write(self, data: Any, /) -> Any: ...


@dataclass(frozen=True)
class Contents:
    """A file as it is: its arrays by native name, its metadata, the hint it gives about its framework.

    The arrays may be views of the mapped files, read when they are used. `skipped` names what it holds besides
    weights, `taken` the branches that they lay in.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str] = field(default_factory=dict)
    framework: str | None = None
    skipped: tuple[str, ...] = ()
    mapped: tuple[mmap.mmap, ...] = ()
    taken: tuple[str, ...] = ()

    def release(self) -> None:
        """Let go of the memory that looking at the views took; the next look reads the file again."""
        for each in self.mapped:
            each.madvise(mmap.MADV_DONTNEED)


def releasing(release: Callable[[], None], advance: Advance = lambda _: None) -> Advance:
    """`advance`, which also lets go of the source's pages now and then: they count as this process's memory."""
    held = 0

    def counted(count: int) -> None:
        nonlocal held
        held += count
        if held >= _RELEASE_EVERY:
            release()
            held = 0
        advance(count)

    return counted


@dataclass(frozen=True)
class Outgoing:
    """An array to be written: a view in any order of axes, and the dtype that it gets on the way."""

    view: np.ndarray
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.view.shape

    @property
    def nbytes(self) -> int:
        return self.view.size * self.dtype.itemsize

    def whole(self) -> np.ndarray:
        """The values as one array."""
        return _cast(self.view, self.dtype)

    def write(self, file: Writable, advance: Advance) -> None:
        """Write the values in row-major order, a slab at a time, telling `advance` how many bytes were read."""
        if self.view.nbytes <= _SMALL and self.view.dtype == self.dtype:
            file.write(self.view.tobytes())
            advance(self.view.nbytes)
            return
        view = self.view
        if (turned := transpose(view, advance)) is not None:
            view, advance = turned, lambda _: None
        for slab in slabs(view):
            # As bytes, because the buffer protocol does not know bfloat16.
            data = _cast(slab, self.dtype).reshape(-1).view(np.uint8)
            file.write(data.data)
            advance(data.nbytes)


Arrays = Mapping[str, Outgoing]
Texts = Mapping[str, str]


def outgoing(arrays: Mapping[str, np.ndarray], dtype: np.dtype | None = None) -> dict[str, Outgoing]:
    """The arrays as writers take them, those of floating point as `dtype`."""
    return {
        key: Outgoing(array, dtype if dtype is not None and is_float(array.dtype) else array.dtype)
        for key, array in arrays.items()
    }


@cache
def dtype_name(dtype: np.dtype) -> str:
    """The dtype's name, which NumPy puts together anew each time that it is asked."""
    return dtype.name


def is_float(dtype: np.dtype) -> bool:
    """Whether the dtype is of floating point; NumPy takes bfloat16 for raw bytes."""
    return dtype.kind == "f" or "float" in dtype.name


def slabs(view: np.ndarray) -> Iterator[np.ndarray]:
    """The array in contiguous pieces of at most 8 MiB, in row-major order."""
    if view.nbytes <= SLAB:
        yield _contiguous(view)
        return
    rows = SLAB // view[0].nbytes
    if rows == 0:
        for row in view:
            yield from slabs(row)
        return
    for start in range(0, len(view), rows):
        yield _contiguous(view[start : start + rows])


def _contiguous(view: np.ndarray) -> np.ndarray:
    """The array in row-major order, itself if it is already."""
    if view.flags.c_contiguous or view.ndim < 2 or min(view.shape[-2:]) < _TILE:
        return np.ascontiguousarray(view)
    copy = np.empty(view.shape, view.dtype)
    # Tile by tile, so that what one read brings into the cache is used before it leaves: five times as fast.
    for i in range(0, view.shape[-2], _TILE):
        for j in range(0, view.shape[-1], _TILE):
            copy[..., i : i + _TILE, j : j + _TILE] = view[..., i : i + _TILE, j : j + _TILE]
    return copy


def _cast(slab: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if slab.dtype == dtype:
        return slab
    with np.errstate(all="ignore"):
        cast = slab.astype(dtype)
        # To look for the largest is much quicker than to look at each; NaN and infinity are no larger or smaller.
        if max(slab.max(initial=0), -slab.min(initial=0)) <= float(ml_dtypes.finfo(dtype).max):
            return cast
        # float8_e4m3fn has no infinity: what is too large becomes NaN there.
        if np.any(lost := ~np.isfinite(cast) & np.isfinite(slab)):
            raise ParityError(f"{dtype} cannot hold {float(slab[lost][0]):g}")
    return cast
