"""The results of a run: one for each check, and what they were computed with."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ..catalogue.tasks import Task
from ..page.pictures import Picture

# What a picture is of: a case, a framework, a precision and a check.
PictureKey = tuple[str, str, str, str]


class Status(StrEnum):
    """The end of a check; `differs` alone is a failure."""

    SAME = "same"
    DIFFERS = "differs"
    # Rounding alone decides these arrays in this precision.
    UNDETERMINED = "undetermined"
    # The framework says itself that it cannot compute this.
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The error of a group of arrays, its unit and its limit; and why it is no `same`, or what more."""

    error: float
    limit: float
    unit: str
    status: Status
    why: str = ""

    @classmethod
    def of(cls, error: float, limit: float, unit: str, why: str = "") -> "Verdict":
        """Same where the error is a number within the limit and nothing else is wrong."""
        same = error <= limit and not why
        return cls(error=error, limit=limit, unit=unit, status=Status.SAME if same else Status.DIFFERS, why=why)

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return self.status is not Status.DIFFERS


@dataclass(frozen=True, kw_only=True)
class Result:
    """The verdict on one check of one case in one framework, or between two."""

    case: str
    framework: str
    device: str
    dtype: str
    check: str
    error: float
    limit: float
    unit: str
    verdict: Status
    why: str

    @classmethod
    def of(cls, case: str, framework: str, device: str, task: Task, verdict: Verdict) -> "Result":
        """The verdict on a task, with where it was computed."""
        return cls(
            case=case,
            framework=framework,
            device=device,
            dtype=task.dtype,
            check=task.title,
            error=verdict.error,
            limit=verdict.limit,
            unit=verdict.unit,
            verdict=verdict.status,
            why=verdict.why,
        )

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return self.verdict is not Status.DIFFERS

    @property
    def judged(self) -> bool:
        """Whether there was something to compare."""
        return self.verdict in (Status.SAME, Status.DIFFERS)

    def as_dict(self) -> dict[str, Any]:
        """The fields and whether it passed, for JSON."""
        fields = asdict(self)
        why = fields.pop("why")
        return {**fields, "verdict": self.verdict.value, "passed": self.passed, "why": why}


@dataclass(frozen=True)
class Report:
    """All results, and what they were computed with."""

    results: list[Result]
    environment: dict[str, Any]
    # What there is to say besides: checks left out with the reason, what a worker printed.
    notes: list[str] = field(default_factory=list)
    # Two runs against each other: of two records, or of one framework again.
    more: list[Result] = field(default_factory=list)
    # Of the array that is off most in each check, where they were asked for.
    pictures: dict[PictureKey, Picture] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there are results and every one passed."""
        return bool(self.results) and all(result.passed for result in (*self.results, *self.more))
