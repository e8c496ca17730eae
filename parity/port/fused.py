"""Candidates for arrays that one model has as one and the other as several: query, key and value, the gates of a cell.

Names may not pair them, so structure tells what they can be: siblings, whose names differ in one part, and one array
that is as large as they are together. The order of the parts and of the axes is then decided by running the model.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain, permutations, takewhile

from ..weights.dialects.rules import Rule
from .bundles import Bundle, template
from .layouts import Axes, layouts
from .side import Arrays

# How many arrays one may stand for: key and value, query with them, four gates.
_PARTS = (4, 3, 2)
# By the first letter of what tells them apart, in the order in which PyTorch stacks them.
_ROLES = (("q", "k", "v"), ("i", "f", "gcj", "o"), ("r", "zu", "nch"), ("k", "v"), ("g", "u"))
# Of more arrays of one layer not all ways to pair them are tried.
_MOST_MATCHED = 4


@dataclass(frozen=True)
class Group:
    """Arrays of one model that may be one in the other.

    Attributes:
        names: Their keys, in the order of their roles where those are known.
        place: What they have in common, without numbers, `*` for what differs.
        shape: Their shape.
    """

    names: tuple[str, ...]
    place: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """Bundles that are decided together: those of all layers of a kind, their weights and biases.

    Attributes:
        options: For each way all its bundles, the likeliest first.
    """

    options: tuple[tuple[Bundle, ...], ...]

    @property
    def sides(self) -> tuple[set[str], set[str]]:
        """The original's keys and the port's."""
        rules = [bundle.rule for bundle in self.options[0]]
        return {key for rule in rules for key in rule.theirs}, {key for rule in rules for key in rule.ours}


def families(
    original: Arrays, port: Arrays, left: Sequence[str], right: Sequence[str], laid_out: frozenset[str] = frozenset()
) -> list[Family]:
    """Candidates among the arrays without a partner: one on one side and several on the other, or with other axes.

    Args:
        original: The original's arrays.
        port: The port's.
        left: The original's keys without a partner.
        right: The port's.
        laid_out: Keys whose axes are known to be PyTorch's.
    """
    found: list[Family] = []
    for parts in (*_PARTS, 1):
        for whole_is_ours in (False, True):
            taken = [set(chain(*(family.sides[i] for family in found))) for i in (0, 1)]
            keys = [[key for key in side if key not in gone] for side, gone in zip((left, right), taken, strict=True)]
            whole, several = (1, 0) if whole_is_ours else (0, 1)
            arrays = (original, port)
            links = _links((keys[whole], keys[several]), (arrays[whole], arrays[several]), parts, laid_out)
            found += [Family(options) for each in links if (options := tuple(_options(each, whole_is_ours)))]
    return found


@dataclass(frozen=True)
class Link:
    """Arrays, each one here and several there, in as many layers: how their axes may lie."""

    wholes: tuple[str, ...]
    groups: tuple[Group, ...]
    layouts: tuple[Axes, ...]


def _links(
    keys: tuple[list[str], list[str]], arrays: tuple[Arrays, Arrays], parts: int, laid_out: frozenset[str]
) -> Iterator[list[list[Link]]]:
    """For each kind of layer the ways to pair its arrays with the groups of another, the likeliest first."""
    wholes = _stacked(_excess(keys[0], arrays[0], keys[1], arrays[1]), arrays[0])
    groups: dict[tuple[str, tuple[int, ...]], list[Group]] = {}
    for group in _groups(_excess(keys[1], arrays[1], keys[0], arrays[0]), arrays[1], parts):
        groups.setdefault((group.place, group.shape), []).append(group)
    possible: dict[tuple[str, str], dict[str, list[Link]]] = {}
    for (name, shape), members in wholes.items():
        for (place, inner), others in groups.items():
            exact = members[0] in laid_out and others[0].names[0] in laid_out
            ways = tuple(layouts(shape, inner, parts, exact=exact))
            if ways and len(members) == len(others) and _is_bias(name) == _is_bias(place):
                link = Link(tuple(members), tuple(others), ways)
                mine = possible.setdefault((_owner(name), _owner(place)), {})
                mine.setdefault(f"{name} {shape}", []).append(link)
    used: set[str] = set()
    for pair in sorted(possible, key=lambda pair: -_alike(*pair)):
        choices = [
            [link for link in links if not used & {*link.wholes, *chain(*(group.names for group in link.groups))}]
            for links in possible[pair].values()
        ]
        matchings = list(_matchings([links for links in choices if links]))
        if matchings:
            used |= {key for link in matchings[0] for key in link.wholes}
            used |= {key for link in matchings[0] for group in link.groups for key in group.names}
            yield matchings


def _matchings(choices: list[list[Link]]) -> Iterator[list[Link]]:
    """The ways to take one of each that share no group, those of like names first."""
    if not choices:
        return
    found: list[list[Link]] = [[]]
    for links in choices[: _MOST_MATCHED * 2]:
        found = [
            [*before, link]
            for before in found
            for link in links
            if not any(set(link.groups) & set(other.groups) for other in before)
        ]
    yield from sorted(found, key=lambda links: -sum(_alike(link.wholes[0], link.groups[0].place) for link in links))


def _options(matchings: list[list[Link]], whole_is_ours: bool) -> Iterator[tuple[Bundle, ...]]:
    """All bundles of each way, which arrays, axes and order it is; the likeliest first."""
    found: list[tuple[int, int, tuple[Bundle, ...]]] = []
    for which, links in enumerate(matchings[: _MOST_MATCHED * 6]):
        parts = len(links[0].groups[0].names)
        for way in range(max(len(link.layouts) for link in links)):
            for number, order in enumerate(permutations(range(parts))):
                bundles = tuple(_bundles(links, way, order, whole_is_ours))
                found.append(((which > 0) + (way > 0) + (number > 0), len(found), bundles))
    yield from dict.fromkeys(bundles for _, _, bundles in sorted(found, key=lambda each: each[:2]))


def _bundles(links: list[Link], way: int, order: tuple[int, ...], whole_is_ours: bool) -> Iterator[Bundle]:
    for link in links:
        axes = link.layouts[min(way, len(link.layouts) - 1)]
        for whole, group in zip(link.wholes, link.groups, strict=True):
            names = tuple(group.names[i] for i in order)
            if whole_is_ours:
                yield Bundle(Rule(names, (whole,), axes=(axes.parts, axes.whole), sizes=axes.sizes))
            else:
                yield Bundle(Rule((whole,), names, axes=(axes.whole, axes.parts), sizes=axes.sizes))


def _excess(keys: Sequence[str], arrays: Arrays, others: Sequence[str], other: Arrays) -> list[str]:
    """The keys of arrays of whose shape the other side has fewer: all else may pair one to one."""
    mine, theirs = Counter(arrays[key].shape for key in keys), Counter(other[key].shape for key in others)
    return [key for key in keys if mine[arrays[key].shape] > theirs[arrays[key].shape]]


def _stacked(keys: Sequence[str], arrays: Arrays) -> dict[tuple[str, tuple[int, ...]], list[str]]:
    found: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for key in sorted(keys, key=_natural):
        found.setdefault((_plain(key), arrays[key].shape), []).append(key)
    return found


def _groups(keys: Sequence[str], arrays: Arrays, parts: int) -> Iterator[Group]:
    """The siblings among the keys: as many whose names differ in one part, and whose shapes are the same."""
    if parts == 1:
        yield from (Group((key,), _plain(key), arrays[key].shape) for key in sorted(keys, key=_natural))
        return
    siblings: dict[tuple[str, tuple[int, ...]], dict[str, str]] = {}
    for key in sorted(keys, key=_natural):
        names = key.split(".")
        for at, name in enumerate(names):
            if not name.isdigit():
                place = ".".join([*names[:at], "*", *names[at + 1 :]])
                siblings.setdefault((place, arrays[key].shape), {})[name] = key
    for (place, shape), members in siblings.items():
        for names in _sets(list(members), parts):
            yield Group(tuple(members[name] for name in names), _plain(place) + _kind(names), shape)


def _kind(names: Sequence[str]) -> str:
    """The beginning that the names of a group share: a cell has gates for its input and for its state."""
    return f" {_beginning(names)}"


def _sets(names: list[str], parts: int) -> Iterator[list[str]]:
    """Those of the names that belong together, in the order of their roles."""
    if found := _in_roles(names, parts):
        yield found
    elif len(names) == parts:
        yield names
    elif len(names) > parts and len(names) % parts == 0:
        for end in (0, -1):
            sets: dict[str, list[str]] = {}
            for name in names:
                sets.setdefault(name[end], []).append(name)
            if all(len(each) == parts for each in sets.values()):
                yield from (_in_roles(each, parts) or each for each in sets.values())
                return


def _in_roles(names: list[str], parts: int) -> list[str]:
    """The names of one set of roles, in its order; none where they are not told by their first letters."""
    head = len(_beginning(names))
    tail = len(_beginning([name[head:][::-1] for name in names]))
    letters = [name[head : len(name) - tail][:1].lower() for name in names]
    for roles in (roles for roles in _ROLES if len(roles) == parts):
        found = [
            [name for name, letter in zip(names, letters, strict=True) if letter and letter in role] for role in roles
        ]
        if all(len(each) == 1 for each in found):
            return [each[0] for each in found]
    return []


def _beginning(names: Sequence[str]) -> str:
    """The longest beginning that all names share."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def _plain(key: str) -> str:
    return re.sub(r"\d+", "#", key)


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


def _owner(place: str) -> str:
    """The layer that has the arrays, or whose children do."""
    path = place.partition(" ")[0]
    return path.partition("*")[0].rstrip(".") if "*" in path else path.rpartition(".")[0]


def _is_bias(key: str) -> bool:
    return "bias" in key.lower()


def _alike(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def describe(bundles: Sequence[Bundle]) -> str:
    """The bundles in words: the first, and how many more there are."""
    rule = bundles[0].rule
    more = f" and {len(bundles) - 1} more alike" if len(bundles) > 1 else ""
    return f"{template(rule.ours)} is {template(rule.theirs)}, {' -> '.join(rule.axes)}{more}"


__all__ = ["Family", "describe", "families"]
