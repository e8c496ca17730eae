"""The same array in two frameworks' orders of axes: told by shapes, and by values where several fit."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

# Beyond so many axes all orders are not tried.
_MOST = 5
_CLEARLY = 0.1


@dataclass(frozen=True)
class Alignment:
    """The way from an array of one side to the other's: its axes in another order, then perhaps another shape."""

    order: tuple[int, ...]
    shape: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The array as the other side has it."""
        return array.transpose(self.order).reshape(self.shape)

    def undo(self, array: np.ndarray, source_shape: tuple[int, ...]) -> np.ndarray:
        """An array of the other side as this one has it."""
        turned = array.reshape([source_shape[axis] for axis in self.order])
        return turned.transpose(np.argsort(self.order))


def candidates(source: tuple[int, ...], target: tuple[int, ...], moved: int) -> list[Alignment]:
    """The alignments by which an array of one shape can be one of the other, the likeliest first.

    Args:
        source: The shape of one side's array.
        target: The shape of the other's.
        moved: 1 where the source has channels second and the target last, -1 the other way, 0 where both agree.
    """
    if np.prod(source, dtype=np.int64) != np.prod(target, dtype=np.int64):
        return []
    rank = len(source)
    same = tuple(range(rank))
    orders = [same]
    if rank >= 3 and moved:
        last = (0, *range(2, rank), 1) if moved > 0 else (0, rank - 1, *range(1, rank - 1))
        # Maps have four axes or five; three are tokens more often than signals.
        orders = [last, same] if rank in (4, 5) else [same, last]
    found = [Alignment(order, target) for order in orders if tuple(source[axis] for axis in order) == target]
    if not found and rank == len(target) and rank <= _MOST:
        fits = [order for order in permutations(range(rank)) if tuple(source[axis] for axis in order) == target]
        found = [Alignment(order, target) for order in fits]
    if not found and rank != len(target):
        found = [Alignment(order, target) for order in orders]
    return found


def align(source: np.ndarray, target: np.ndarray, moved: int) -> Alignment | None:
    """The likeliest alignment, or one that brings the values much nearer; None where none fits."""
    fits = candidates(source.shape, target.shape, moved)
    if len(fits) < 2:
        return fits[0] if fits else None

    def distance(fit: Alignment) -> float:
        with np.errstate(all="ignore"):
            gap = float(np.abs(fit.apply(source).astype(np.float64) - target.astype(np.float64)).sum())
        return gap if np.isfinite(gap) else float("inf")

    # Where the sides compute different values all are far apart: another order must be much nearer.
    nearest = min(fits, key=distance)
    return nearest if distance(nearest) < _CLEARLY * distance(fits[0]) else fits[0]
