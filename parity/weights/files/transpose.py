"""Arrays whose axes are to come in the opposite order, copied a tile at a time and by two threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

# A tile is so many values by so many: it stays in the cache of one core while its rows become columns.
_ROWS, _COLUMNS = 64, 576
# So far apart are the rows of a tile besides: a power of two between them would put all into one place of the cache.
_PAD = 16
_CHUNK = 8 << 20
_SMALL = 1 << 16
_THREADS = 2


def transpose(view: np.ndarray, advance: Callable[[int], None]) -> np.ndarray | None:
    """The values of `view` in row-major order; None where the view is not an array with its axes in opposite order.

    So is each convolution's kernel in another framework's order: (o, i, h, w) and (h, w, i, o), the space in one.

    Args:
        view: An array in any order of axes.
        advance: Told how many bytes more of the source have been read.
    """
    source = _source(view)
    if source is None:
        return None
    result = np.empty(view.shape, view.dtype)
    target = result.reshape(source.shape[::-1])  # p q r becomes r q p
    p, q, r = source.shape
    by_rows = r <= p or q == 1
    length = p if by_rows else q
    step = -(-max(1, min(length, _CHUNK * length // source.nbytes)) // _ROWS) * _ROWS
    copy = partial(_copy_rows if by_rows else _copy_middle, source, target)
    ranges = [(start, min(start + step, length)) for start in range(0, length, step)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for count in pool.map(lambda ends: copy(*ends), ranges):
            advance(count)
    return result


def _source(view: np.ndarray) -> np.ndarray | None:
    """The array of three axes, in the order of the memory, of which the view is the reverse."""
    if view.nbytes < _SMALL or view.flags.c_contiguous:
        return None
    groups: list[list[int]] = []
    for axis in reversed([axis for axis in range(view.ndim) if view.shape[axis] > 1]):
        # An axis joins the one behind it where the two are one in memory too.
        if groups and view.strides[axis] == view.strides[groups[-1][0]] * view.shape[groups[-1][0]]:
            groups[-1].insert(0, axis)
        else:
            groups.append([axis])
    rest = [axis for axis in range(view.ndim) if view.shape[axis] <= 1]
    source = view.transpose([*rest, *(axis for group in groups for axis in group)])
    if len(groups) not in (2, 3) or view.size == 0 or not source.flags.c_contiguous:
        return None
    sizes = [int(np.prod([view.shape[axis] for axis in group])) for group in groups]
    return source.reshape(sizes if len(sizes) == 3 else (sizes[0], 1, sizes[1]))


def _copy_rows(source: np.ndarray, target: np.ndarray, start: int, stop: int) -> int:
    """Copy the rows of p from `start` to `stop`; the bytes."""
    _, q, r = source.shape
    width = min(r, _COLUMNS)
    depth = max(1, min(q, _COLUMNS // width))
    padded = np.empty((_ROWS, depth * width + _PAD), source.dtype)
    turned = np.empty(depth * width * _ROWS, source.dtype)
    for rows in _ranges(start, stop, _ROWS):
        for middle in _ranges(0, q, depth):
            for columns in _ranges(0, r, width):
                block = source[rows, middle, columns]
                a, b, c = block.shape
                padded[:a, : b * c].reshape(a, b, c)[...] = block
                tile = turned[: a * b * c].reshape(b * c, a)
                tile[...] = padded[:a, : b * c].T
                target[columns, middle, rows] = tile.reshape(b, c, a).swapaxes(0, 1)
    return source[start:stop].nbytes


def _copy_middle(source: np.ndarray, target: np.ndarray, start: int, stop: int) -> int:
    """Copy those of q from `start` to `stop`, where p is small; the bytes."""
    p, _, r = source.shape
    width = min(p, _COLUMNS)
    depth = max(1, _COLUMNS // width)
    padded = np.empty((depth * width, _ROWS + _PAD), source.dtype)
    turned = np.empty(depth * width * _ROWS, source.dtype)
    for middle in _ranges(start, stop, depth):
        for rows in _ranges(0, p, width):
            for columns in _ranges(0, r, _ROWS):
                block = source[rows, middle, columns]
                a, b, c = block.shape
                padded[: a * b, :c].reshape(b, a, c)[...] = block.swapaxes(0, 1)
                tile = turned[: a * b * c].reshape(c, b, a)
                tile.reshape(c, b * a)[...] = padded[: a * b, :c].T
                target[columns, middle, rows] = tile
    return source[:, start:stop].nbytes


def _ranges(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
