"""Small pictures of two arrays that should be the same, around the element that differs most."""

from dataclasses import dataclass

import numpy as np

# Pixels of a picture's side, at most.
SIDE = 32
# Bins of a histogram for each power of ten, and how many powers there are below the largest.
PER_DECADE, DECADES = 2, 8
OF_NOISE, OF_LARGEST = "noise RMS", "of the largest value"


@dataclass(frozen=True)
class Histogram:
    """The number of elements by the size of their errors.

    Attributes:
        edges: Where bins begin and end, in `unit`; what is less than the first is in the first bin.
        counts: The elements of each bin; what is not finite is in the last.
        exact: The elements that are not off at all.
        unit: "noise RMS" or, where the noise is not known, "of the largest value".
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    exact: int
    unit: str


@dataclass(frozen=True)
class Picture:
    """Two arrays that should be the same, along two of their axes, through the element that differs most.

    Attributes:
        shape: The shape of the arrays.
        axes: The axes that go down and across; one alone where there is but one.
        step: How many elements a pixel stands for, down and across; it shows the one of them that differs most.
        index: The element that differs most.
        original: Its value in the original.
        port: Its value in the port.
        units: How far it is off, in the histogram's unit.
        histogram: The size of all differences.
        pixels: The original, the port and their absolute difference: (3, rows, columns), float32.
        name: Which array it is, for people.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    step: tuple[int, int]
    index: tuple[int, ...]
    original: float
    port: float
    units: float
    histogram: Histogram
    pixels: np.ndarray
    name: str = ""


def take(expected: np.ndarray, computed: np.ndarray, noise: float = 0.0) -> Picture | None:
    """The picture of two arrays of numbers of one shape; None where they are no such two, or empty.

    Args:
        expected: The original's array.
        computed: The port's.
        noise: The root mean square of what an honest computation is off by; 0 where that is not known.
    """
    if (
        expected.shape != computed.shape
        or not expected.size
        or {expected.dtype.kind, computed.dtype.kind} - set("fiub")
    ):
        return None
    pair = expected.astype(np.float64), computed.astype(np.float64)
    with np.errstate(all="ignore"):
        difference = np.abs(pair[1] - pair[0])
    # What is not a number is farther off than any number.
    difference = np.where(np.isfinite(difference), difference, np.inf)
    index = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    axes = tuple(sorted(int(axis) for axis in np.argsort(difference.shape, kind="stable")[-2:]))
    through = tuple(slice(None) if axis in axes else i for axis, i in enumerate(index))
    planes = np.stack([np.atleast_2d(array[through]) for array in (*pair, difference)])
    pixels, step = shrink(planes, SIDE)
    scale, unit = (noise, OF_NOISE) if noise > 0 else (_largest(pair[0]), OF_LARGEST)
    sizes = difference / (scale or 1.0)
    values = float(pair[0][index]), float(pair[1][index])
    return Picture(
        expected.shape,
        axes,
        step,
        index,
        *values,
        float(sizes[index]),
        _histogram(sizes, unit),
        pixels.astype(np.float32),
    )


def shrink(planes: np.ndarray, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The planes with `side` pixels a side at most, and how many elements a pixel stands for, down and across.

    A pixel is the element of its block where the last plane, the difference, is largest; so one wrong element of a
    million is seen.
    """
    _, rows, columns = planes.shape
    down, across = -(-rows // side), -(-columns // side)
    padded = np.pad(planes, ((0, 0), (0, -rows % down), (0, -columns % across)), constant_values=-1.0)
    blocks = padded.reshape(3, padded.shape[1] // down, down, padded.shape[2] // across, across)
    flat = blocks.transpose(0, 1, 3, 2, 4).reshape(3, blocks.shape[1], blocks.shape[3], down * across)
    worst = flat[2].argmax(-1)[None, :, :, None]
    return np.take_along_axis(flat, np.broadcast_to(worst, (3, *worst.shape[1:])), -1)[..., 0], (down, across)


def _histogram(sizes: np.ndarray, unit: str) -> Histogram:
    """The sizes in bins that grow by equal factors, up to the largest."""
    off = sizes[sizes > 0]
    exact = sizes.size - off.size
    finite = off[np.isfinite(off)]
    if not off.size:
        return Histogram((), (), exact, unit)
    powers = np.log10(finite) * PER_DECADE if finite.size else np.zeros(1)
    last = int(np.floor(powers.max())) + 1
    first = max(int(np.floor(powers.min())), last - PER_DECADE * DECADES)
    bins = np.clip(np.floor(np.log10(off) * PER_DECADE), first, last - 1).astype(np.int64) - first
    counts = np.bincount(bins, minlength=last - first)
    edges = tuple(float(f"{10 ** (power / PER_DECADE):.3g}") for power in range(first, last + 1))
    return Histogram(edges, tuple(int(count) for count in counts), exact, unit)


def _largest(array: np.ndarray) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0
