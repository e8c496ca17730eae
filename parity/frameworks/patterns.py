"""Axes by name: a pattern says how the axes of one array are those of another, in einops' notation.

`(3 h d) i -> 3 i h d` splits the first axis in three times h times d and moves i behind the 3. Read from right to left
it is its own inverse. A name stands for one axis, a number for an axis of that size, `( )` for axes that lie in one,
`...` for any further axes, `1...` for as many of size 1, and `~` in front of a name or of `...` for an axis that runs
backwards. An axis that the other side does not have must be of size 1.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from math import prod

import numpy as np

from ..errors import ParityError

ELLIPSIS = "..."
Group = str | tuple[str, ...]
ONES = "1..."
_TOKEN = re.compile(r"\s*(\(|\)|1\.\.\.|~?\.\.\.|~?[a-zA-Z]\w*|\d{1,9})")
_MAX_TEXT = 200


@cache
def parse(axes: str) -> tuple[Group, ...]:
    """The axes of one side: a name for each axis of the array, a tuple of names for axes that lie in one.

    >>> parse("(3 h d) i")
    (('3', 'h', 'd'), 'i')

    Raises:
        ParityError: for text that is no list of axes, and for an axis that is named twice.
    """
    groups: list[Group] = []
    inside: list[str] | None = None
    text, position = axes.strip(), 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None or len(text) > _MAX_TEXT or token[1] == ("(" if inside is not None else ")"):
            raise ParityError(f"axes must be written as in '(3 h d) i', got {axes[:_MAX_TEXT]!a}")
        position = token.end()
        if token[1] == "(":
            inside = []
        elif token[1] == ")":
            groups.append(tuple(inside or ()))
            inside = None
        elif inside is None:
            groups.append(token[1])
        else:
            inside.append(token[1])
    names = [name.lstrip("~") for group in groups for name in _names(group) if name not in ("1", ONES)]
    if inside is not None or len(set(names)) != len(names):
        raise ParityError(f"axes must be named once each and brackets closed, got {axes!a}")
    return tuple(groups)


def bind(axes: str, shape: Sequence[int], known: Mapping[str, int]) -> dict[str, int] | None:
    """The size of each named axis of an array of that shape; None where the shape cannot be one of those axes.

    Where two names of one bracket are unknown, both stay so. The axes of `...` are called `...0`, `...1` and so on.

    Args:
        axes: one side of a pattern.
        shape: the shape of the array.
        known: sizes that are known already, by name.
    """
    sizes = _bind(axes, tuple(shape), tuple(known.items()))
    return None if sizes is None else dict(sizes)


# A file of a hundred thousand arrays has few shapes.
@lru_cache(1 << 12)
def _bind(axes: str, shape: tuple[int, ...], known: tuple[tuple[str, int], ...]) -> dict[str, int] | None:
    groups = parse(axes)
    further = _further(groups, len(shape), dict(known))
    if further < 0:
        return None
    sizes = dict(known)
    expanded = _expand(groups, further)
    if len(expanded) != len(shape):
        return None
    for names, side in zip(expanded, shape, strict=True):
        sizes.update({name: int(name) for name in names if name.isdigit()})
        unknown = [name for name in names if name not in sizes]
        rest = prod(sizes[name] for name in names if name in sizes)
        if side != rest if not unknown else rest == 0 or side % rest:
            return None
        if len(unknown) == 1:
            sizes[unknown[0]] = int(side) // rest
    return sizes


def rearrange(array: np.ndarray, source: str, target: str, known: Mapping[str, int] | None = None) -> np.ndarray:
    """The array with its axes, named by `source`, as `target` names them; a view wherever one can be had.

    >>> rearrange(np.zeros((24, 5)), "(3 h d) i", "3 i h d", {"h": 4}).shape
    (3, 5, 4, 2)

    Args:
        array: any array.
        source: its axes.
        target: the axes of the result.
        known: sizes that the shape does not tell.

    Raises:
        ParityError: where the shape is not one of those axes, where sizes are missing, and where an axis longer than 1
            would be lost or made.
    """
    sizes = bind(source, array.shape, known or {})
    if sizes is None:
        raise ParityError(f"an array of shape {array.shape} does not have the axes {source!r}{_told(known)}")
    further = _further(parse(source), array.ndim, sizes)
    have, want = _expand(parse(source), further), _expand(parse(target), _count(sizes) or further)
    given, wanted = [[name for names in side for name in names] for side in (have, want)]
    sizes["1"] = 1
    if missing := dict.fromkeys(name for name in (*given, *wanted) if name not in sizes):
        raise ParityError(f"the size of {', '.join(missing)} must be told to read {source!r} as {target!r}")
    pieces = array.reshape([sizes[name] for name in given])
    if turned := _turned(source, further) ^ _turned(target, further):
        pieces = pieces[tuple(slice(None, None, -1 if name in turned else 1) for name in given)]
    kept = [name for name in wanted if name in given and name != "1"]
    gone = [name for name in (*given, *wanted) if name not in kept and sizes[name] != 1]
    if gone:
        raise ParityError(f"{source!r} as {target!r} loses the axis {gone[0]} of size {sizes[gone[0]]}")
    order = [i for i, name in enumerate(given) if name not in kept] + [given.index(name) for name in kept]
    pieces = pieces.transpose(order)
    return pieces.reshape([prod(sizes[name] for name in names) for names in want])


def names_of(axes: str) -> set[str]:
    """The names of the axes of one side, without 1 and `...`."""
    names = (name for group in parse(axes) for name in _names(group))
    return {name.lstrip("~") for name in names if name != "1" and not name.endswith(ELLIPSIS)}


def _names(group: Group) -> tuple[str, ...]:
    return (group,) if isinstance(group, str) else group


def _plain(group: Group) -> Group:
    return group.lstrip("~") if isinstance(group, str) else group


def _count(sizes: Mapping[str, int]) -> int:
    """The number of axes that `...` is known to stand for."""
    return sum(name.startswith(ELLIPSIS) for name in sizes)


def _further(groups: Sequence[Group], rank: int, sizes: Mapping[str, int]) -> int:
    """The number of axes that `...` stands for in an array of that rank."""
    alone = any(_plain(group) in (ELLIPSIS, ONES) for group in groups)
    return rank - len(groups) + 1 if alone else _count(sizes) or 1


def _expand(groups: Sequence[Group], further: int) -> list[list[str]]:
    """For each axis of an array the names that lie in it, with `...` as the axes that it stands for."""
    numbered = [f"{ELLIPSIS}{i}" for i in range(further)]
    expanded: list[list[str]] = []
    for group in groups:
        if _plain(group) == ELLIPSIS:
            expanded += [[name] for name in numbered]
        elif group == ONES:
            expanded += [["1"]] * further
        else:
            names = [name.lstrip("~") for name in _names(group)]
            expanded.append([part for name in names for part in (numbered if name == ELLIPSIS else [name])])
    return expanded


def _turned(axes: str, further: int) -> set[str]:
    """The names of the axes that run backwards."""
    turned = [name.lstrip("~") for group in parse(axes) for name in _names(group) if name[0] == "~"]
    return {name for names in _expand(turned, further) for name in names}


def _told(known: Mapping[str, int] | None) -> str:
    return f" with {', '.join(f'{name} = {size}' for name, size in known.items())}" if known else ""
