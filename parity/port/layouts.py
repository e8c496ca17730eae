"""Enumerate the ways in which one array can be several others, from their shapes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import prod

# Weights of more axes have no heads.
_MOST = 4


@dataclass(frozen=True)
class Axes:
    """The axes of one array and of the several that it is, in the language of rules.

    Attributes:
        whole: Of the one.
        parts: Of the several, stacked; of one alone its own.
        sizes: Of axes that the shapes do not tell.
    """

    whole: str
    parts: str
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)


def layouts(whole: Sequence[int], part: Sequence[int], count: int, *, exact: bool) -> Iterator[Axes]:
    """The ways in which an array of one shape can be `count` arrays of another, the likeliest first.

    >>> [axes.whole for axes in layouts((36, 10), (10, 3, 4), 3, exact=False)]
    ['(3 h d) i', '(h 3 d) i']

    Args:
        whole: The shape of the one.
        part: The shape of each of the several.
        count: How many there are.
        exact: Whether both are known to have the same order of axes.
    """
    if not whole or len(part) > _MOST or prod(whole) != count * prod(part) or (count == 1 and len(part) <= len(whole)):
        return
    orders = [order for order in permutations(range(len(part))) if not exact or list(order) == sorted(order)]
    if len(part) > len(whole):
        # Flax's kernels have what goes out behind what comes in.
        orders.sort(key=lambda order: -order[0])
    found: list[Axes] = []
    for at in range(len(whole) if count > 1 and len(part) == len(whole) else 1):
        sides = [side // count if i == at and count > 1 else side for i, side in enumerate(whole)]
        found += [axes for order in orders for axes in _split(sides, part, order, at, count)]
    # Heads whose query, key and value lie side by side come last.
    yield from dict.fromkeys(sorted(found, key=lambda axes: f"({count}" not in axes.whole and count > 1))


def _split(sides: Sequence[int], part: Sequence[int], order: Sequence[int], at: int, count: int) -> Iterator[Axes]:
    """The whole's axes as groups of a part's, taken in that order."""
    groups: list[list[int]] = []
    rest = list(order)
    for side in sides:
        group: list[int] = []
        while rest and (not group or prod(part[axis] for axis in group) < side):
            group.append(rest.pop(0))
        if prod(part[axis] for axis in group) != side or group != sorted(group):
            return
        groups.append(group)
    if rest:
        return
    names = _names(groups, at)
    sizes = {names[axis]: part[axis] for group in groups for axis in group[:-1]}
    inside = " ".join(names[axis] for axis in range(len(part)))
    parts = f"{count} {inside}" if count > 1 else inside
    for place in (0, 1) if len(groups[at]) > 1 and count > 1 else (0,):
        yield Axes(" ".join(_written(groups, names, at, count, place)), parts, sizes)


def _names(groups: Sequence[Sequence[int]], at: int) -> dict[int, str]:
    """A name for each axis of a part: heads and what each has, what goes out and what comes in."""
    found: dict[int, str] = {}
    alone, heads = iter("ijklm"), iter("hdefg")
    for i, group in enumerate(groups):
        if len(group) == 1:
            found[group[0]] = "o" if i == at else next(alone)
        else:
            found |= {axis: next(heads) for axis in group}
    return found


def _written(
    groups: Sequence[Sequence[int]], names: Mapping[int, str], at: int, count: int, place: int
) -> Iterator[str]:
    for i, group in enumerate(groups):
        inside = [names[axis] for axis in group]
        if i == at and count > 1:
            inside.insert(place, str(count))
        yield inside[0] if len(inside) == 1 else f"({' '.join(inside)})"
