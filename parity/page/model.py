"""The content of a page, whatever it was made from: findings, tables, and a tree of nodes in several views."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .pictures import Picture

# From here on an amount is of the next level; the first is the limit of honest rounding, in noise units.
LEVELS = (5.0, 1e3, 1e6, 1e9)
NAMES = ("equal", "rounding", "to 1e3", "to 1e6", "to 1e9", "more")


@dataclass(frozen=True)
class Amount:
    """The error of a node's array, in one view and way.

    Attributes:
        size: In noise units, or in roundings of the largest value where the noise is not known.
        text: The same as people read it.
        differs: Whether that is more than it may be.
        level: Its colour, a place in `NAMES`.
        more: What there is to say besides.
    """

    size: float
    text: str
    differs: bool
    level: int
    more: str = ""

    @classmethod
    def of(cls, size: float, text: str, *, differs: bool, more: str = "") -> "Amount":
        """The amount with its level; what is not a number is of the highest."""
        level = 0 if size == 0 else 1 + sum(not size <= limit for limit in LEVELS)
        return cls(size, text, differs, level, more)

    @classmethod
    def relative(cls, error: float, roundoff: float, *, differs: bool, more: str = "") -> "Amount":
        """That of an error relative to the largest value, whose noise is not known: its unit is one rounding.

        How many roundings an honest computation makes is not known either, so what does not differ is rounding.
        """
        size = error / roundoff
        return cls.of(size if differs else min(size, LEVELS[0]), f"{number(error)} rel", differs=differs, more=more)


def number(value: float) -> str:
    """A number in few digits."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}" if abs(value) < 1e4 else f"{value:.1e}"


# Amounts of a node in a view, a way each.
Amounts = tuple[Amount | None, ...]


@dataclass(frozen=True)
class View:
    """One way to look at the tree.

    Attributes:
        title: What a person chooses it by.
        pictures: Its nodes' pictures are those under this word and the way, as in "eval float64 forward".
        about: What its amounts are.
    """

    title: str
    pictures: str
    about: str


@dataclass(frozen=True)
class Table:
    """Rows under a head; the row's words of verdict are marked."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    open: bool = True


@dataclass(frozen=True)
class Node:
    """One node of the tree.

    Attributes:
        path: It tells the node from the others.
        parent: The path of the node that it lies in; None at the top.
        name: What stands in the tree.
        about: Beside the name, paler: a class, or a sentence.
        amounts: For each view, an amount for each way.
        marked: Whether this is what a person should look at first.
        lines: What is known of it, a term and its text each.
        pairs: The configurations side by side: name, the original's, the port's.
        tables: More that is known.
        pictures: By the view's word and the way.
    """

    path: str
    parent: str | None
    name: str
    about: str
    amounts: Sequence[Amounts]
    marked: bool = False
    lines: Sequence[tuple[str, str]] = ()
    pairs: Sequence[tuple[str, str, str]] = ()
    tables: Sequence[Table] = ()
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """An answer: a heading, sentences, and lines of code."""

    title: str
    text: Sequence[str] = ()
    code: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Page:
    """All of a page.

    Attributes:
        title: The heading.
        passed: Whether nothing differs.
        verdict: The verdict in a few words.
        facts: What was compared, a term and its text each.
        findings: The answers, the first first.
        tables: Of all that was judged.
        views: The ways to look at the tree.
        ways: What a view shows of each node: forward and backward.
        sides: What the two columns of pairs are called.
        tree: What the tree is of, in one word.
        nodes: Each after the one that it lies in.
        notes: What there is to say besides.
    """

    title: str
    passed: bool
    verdict: str
    facts: Sequence[tuple[str, str]]
    findings: Sequence[Finding]
    tables: Sequence[Table]
    views: Sequence[View]
    ways: tuple[str, ...]
    sides: tuple[str, str]
    tree: str
    nodes: Sequence[Node]
    notes: Sequence[str] = ()
