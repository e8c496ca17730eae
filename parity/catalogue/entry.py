"""A case and what is to be computed of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from .cases import Case
from .mutants import Mutant
from .tasks import Task


@dataclass(frozen=True)
class Entry:
    """A case and what is to be computed of it, by an implementation with a slip or by the true one."""

    case: Case
    tasks: Sequence[Task]
    mutant: Mutant | None = None

    @property
    def name(self) -> str:
        """What its results are found by."""
        return self.case.name if self.mutant is None else f"{self.mutant.name} in {self.case.name}"
