"""What a run found: a result for each check, and what it was made with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..catalogue.entry import Entry

# By framework.
Plan = Mapping[str, Sequence[Entry]]


@dataclass(frozen=True)
class Result:
    """One check of one case in one framework: how far off it is, in which unit, and what may be."""

    case: str
    framework: str
    device: str
    dtype: str
    check: str
    error: float
    limit: float
    unit: str
    verdict: str
    passed: bool
    why: str


@dataclass(frozen=True)
class Report:
    """All results, and what they were computed with."""

    results: list[Result]
    environment: dict[str, Any]
    # What there is to say besides: checks left out with the reason, what a worker printed.
    notes: list[str] = field(default_factory=list)
    # Two runs against each other: of two records, or of one framework again.
    more: list[Result] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there are results and every one passed."""
        return bool(self.results) and all(result.passed for result in (*self.results, *self.more))
