"""A known difference: one way in which a call of PyTorch may be otherwise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One way in which a call may be otherwise.

    Attributes:
        what: What differs, in words.
        here: What it is in this call.
        there: What it would be.
        words: Any of these stands on the line that says it.
        compute: The call made so.
    """

    what: str
    here: str
    there: str
    words: tuple[str, ...]
    compute: Callable[[], Any]


Hints = Mapping[str, Any]
Changes = Iterator[Change]


def bind(names: str, args: Sequence[Any], kwargs: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The call's arguments by name."""
    return {**defaults, **dict(zip(names.split(), args, strict=False)), **kwargs}


def per_side(value: Any, rank: int) -> tuple[int, ...]:
    """An argument of a size for each side, as PyTorch takes one for all too."""
    return (value,) * rank if isinstance(value, int) else tuple(value) * (rank if len(value) == 1 else 1)


def number(value: Any) -> str:
    """A value as people write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
