"""The language of rules: what one system calls an array, what another calls it, and how their axes lie.

A rule is a line `"theirs" = "ours"`. Each side is a layer's path, whose arrays all move, or an array's whole name.
Names may hold placeholders, and an array's rule may say how its axes move, in einops' notation:

    "blocks.{b}.attn" = "encoder.{b}.attention"
    "attn.in_proj_weight" = "attn.{query,key,value}.kernel : (3 h d) i -> 3 i h d, h=8"

Every rule reads from right to left too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from ...errors import ParityError
from ...frameworks.kinds import expand
from ...frameworks.patterns import names_of, rearrange

WORDS = {"linear", "max-first", "no-bias", "zero-bias", "optional"}
# A letter stands for a number; `+3` adds to it on its side, `<4` bounds it. `*` stands for anything.
_PLACEHOLDER = re.compile(r"\{([a-z])(?:([+-])(\d{1,6}))?(?:<(\d{1,6}))?\}|(\*)")
Bound = dict[str, str]


@dataclass(frozen=True)
class Rule:
    """One line: their names, ours, and the words for what else differs.

    Attributes:
        theirs: a layer's path or an array's name there; several are stacked.
        ours: the same here.
        words: what else differs, of WORDS.
        axes: the axes of their array and of ours, stacked; empty where they are the same.
        sizes: sizes of axes that the shapes do not tell.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    words: frozenset[str] = frozenset()
    axes: tuple[str, str] | tuple[()] = ()
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)

    def side(self, ours: bool) -> tuple[str, ...]:
        """The names of one side."""
        return self.ours if ours else self.theirs


def parse_rules(name: str, theirs: str, line: str) -> Iterator[Rule]:
    """The rules that a line stands for: one, or one for each name in braces where axes do not move.

    Raises:
        ParityError: for unknown words, placeholders that are not on both sides, and axes that are no pattern.
    """
    text, _, pattern = line.partition(" : ")
    # `{a, b}` may be written with spaces.
    ours, *words = re.sub(r",\s+", ",", text).split() or [""]
    if unknown := set(words) - WORDS:
        raise ParityError(f"{name}: unknown words {', '.join(sorted(unknown))}; known are {', '.join(sorted(WORDS))}")
    sides = tuple("" if side == "." else side for side in (theirs, ours))
    if not ours or _letters(sides[0]) != _letters(sides[1]):
        raise ParityError(
            f"{name}: {{i}}, other letters and * must be on both sides or on neither: {theirs!a} = {line!a}"
        )
    many, few = (expand(_bounded(side, sides)) for side in sides)
    if pattern:
        axes, sizes = _parse_pattern(name, pattern)
        for names, side in zip((many, few), axes, strict=True):
            if len(names) > 1 and not re.match(rf"\s*{len(names)}\b", side):
                raise ParityError(f"{name}: the axes of {len(names)} names must begin with {len(names)}, got {side!a}")
        yield Rule(many, few, frozenset(words), axes, sizes)
    elif len(many) == len(few):
        yield from (Rule((one,), (other,), frozenset(words)) for one, other in zip(many, few, strict=True))
    else:
        raise ParityError(f"{name}: {len(many)} names become {len(few)}: say how their axes lie, {theirs!a} = {line!a}")


def _bounded(side: str, sides: tuple[str, ...]) -> str:
    """The side with the bound that a letter has on either side."""
    bounds = {found[1]: found[4] for each in sides for found in _PLACEHOLDER.finditer(each) if found[4]}

    def bounded(found: re.Match[str]) -> str:
        letter, sign, offset, _, star = found.groups()
        return (
            "*" if star else f"{{{letter}{sign or ''}{offset or ''}{'<' + bounds[letter] if letter in bounds else ''}}}"
        )

    return _PLACEHOLDER.sub(bounded, side)


def _parse_pattern(name: str, pattern: str) -> tuple[tuple[str, str], dict[str, int]]:
    axes, *sizes = pattern.split(",")
    left, arrow, right = axes.partition("->")
    known = {}
    for size in sizes:
        letter, equals, number = size.strip().partition("=")
        if not equals or not letter.isidentifier() or not number.isdigit() or len(number) > 9:
            raise ParityError(f"{name}: a size must be written as h=8, got {size.strip()!a}")
        known[letter] = int(number)
    if not arrow:
        raise ParityError(f"{name}: axes must be written as 'o i -> i o', got {pattern!a}")
    left, right = left.strip(), right.strip()
    if lost := {each for each in names_of(left) ^ names_of(right) if known.get(each) != 1}:
        raise ParityError(
            f"{name}: {', '.join(sorted(lost))} must be on both sides of {pattern!a}: no array can be lost"
        )
    return (left, right), known


def bind(side: str, text: str) -> Bound | None:
    """Find the values of a name's placeholders in a text; None where it is another name."""
    found = _compiled(side).fullmatch(text)
    if found is None:
        return None
    bound: Bound = {}
    for index, placeholder in enumerate(_PLACEHOLDER.finditer(side)):
        letter, sign, offset, below, star = placeholder.groups()
        value = found[f"p{index}"]
        if star:
            name = f"*{sum(key.startswith('*') for key in bound)}"
        else:
            name, number = letter, int(value) - int(f"{sign or '+'}{offset or 0}")
            if number < 0 or (below and number >= int(below)):
                return None
            value = str(number)
        if bound.setdefault(name, value) != value:
            return None
    return bound


def fill(side: str, bound: Bound) -> str:
    """The name with its placeholders replaced."""
    stars = iter(range(len(bound)))

    def value(placeholder: re.Match[str]) -> str:
        letter, sign, offset, _, star = placeholder.groups()
        if star:
            return bound[f"*{next(stars)}"]
        return str(int(bound[letter]) + int(f"{sign or '+'}{offset or 0}"))

    return _PLACEHOLDER.sub(value, side)


def move(rule: Rule, arrays: list[np.ndarray], outward: bool) -> list[np.ndarray]:
    """The arrays of one side of a rule as those of the other: theirs as ours, or outward ours as theirs."""
    if not rule.axes:
        return arrays
    source, target = rule.axes[::-1] if outward else rule.axes
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ParityError(f"{', '.join(rule.side(outward))} must have one shape to be stacked, got {sorted(shapes)}")
    stacked = np.stack(arrays) if len(arrays) > 1 else arrays[0]
    moved = rearrange(stacked, source, target, rule.sizes)
    return list(moved) if len(rule.side(not outward)) > 1 else [moved]


@cache
def _compiled(side: str) -> re.Pattern[str]:
    """A name as an expression: placeholders are numbers or anything, all else is itself."""
    text, position = "", 0
    for index, placeholder in enumerate(_PLACEHOLDER.finditer(side)):
        text += re.escape(side[position : placeholder.start()])
        text += rf"(?P<p{index}>{'.*' if placeholder[5] else '[0-9]{1,6}'})"
        position = placeholder.end()
    return re.compile(text + re.escape(side[position:]))


def _letters(side: str) -> Any:
    """The placeholders that both sides must have: all but {n}, which counts."""
    found = [placeholder[1] or "*" for placeholder in _PLACEHOLDER.finditer(side)]
    return sorted(set(found) - {"n", "*"}), found.count("*")
