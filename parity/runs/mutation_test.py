"""The mutation test: every mutant of the catalogue in every framework, before the check that must see it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..catalogue.cases import Case, select
from ..catalogue.mutants import MUTANTS, Mutant
from ..catalogue.tasks import Task, WorkItem, list_tasks
from ..frameworks import TABLE
from ..verdict.expect_all import Expectations, expect_case, expect_case_training
from ..verdict.judge_all import judge_item
from ..verdict.results import Result
from ..workers.mutation import read_mutated, source_file
from ..workers.pool import follow, running
from .run import draw, draw_case_training


@dataclass(frozen=True)
class MutationResult:
    """The verdict on one implementation, with a mutant or, where `mutant` is None, without one."""

    framework: str
    mutant: Mutant | None
    result: Result

    @property
    def right(self) -> bool:
        """Whether a mutant was caught, or code without one was not."""
        return self.result.passed == (self.mutant is None)

    @property
    def distance(self) -> float:
        """The error over the limit; infinite where no number can be given to what is wrong."""
        return self.result.error / self.result.limit if self.result.limit else float("inf")


def run_mutants(
    frameworks: Sequence[str],
    image: np.ndarray,
    *,
    mutants: Sequence[Mutant] = MUTANTS,
    advance: Callable[[], None] = lambda: None,
) -> list[MutationResult]:
    """Run every mutant in every framework that can have it, and the true code before the same checks.

    Args:
        frameworks: installed ones.
        image: the photograph, (rows, columns, 3) bytes.
        mutants: the mutants.
        advance: called once for each implementation finished in a framework.

    Returns:
        For each implementation the worst result, in the order of `mutants`; those without a mutant come last.

    Raises:
        ParityError: for a mutant whose text is no longer in its file.
    """
    for mutant in mutants:
        for framework in mutant.edits:
            read_mutated(source_file(framework, mutant.file), *mutant.edits[framework])
    cases = {mutant.case: select([mutant.case])[0] for mutant in mutants}
    drawn = {name: draw(case, image, 0) for name, case in cases.items()}
    trained = {mutant.case for mutant in mutants if mutant.check == "training"}
    training_data = {name: draw_case_training(cases[name], drawn[name], 0) for name in trained}
    jobs = {framework: _items(framework, mutants) for framework in frameworks}
    with running(jobs, drawn, training_data) as (workers, lines):
        expectations: Expectations = {}
        needed = {(m.case, m.dtype, m.check) for m in mutants}
        for name, dtype, check in sorted(needed):
            if check == "training":
                recipes = {mode for m in mutants if (m.case, m.check) == (name, check) for mode in m.modes}
                expectations |= expect_case_training(cases[name], training_data[name], [dtype], sorted(recipes))
            else:
                expectations |= expect_case(cases[name], drawn[name], [dtype], [check])
        follow(workers, lines, advance)
    return [
        MutationResult(
            worker.framework,
            item.mutant,
            _worst(judge_item(worker.outcome, item, expectations, [other.outcome for other in workers])),
        )
        for worker in workers
        for item in jobs[worker.framework]
    ]


def tasks_of(mutant: Mutant, framework: str) -> list[Task]:
    """The tasks that are to see the mutant."""
    tasks = list_tasks(select([mutant.case])[0], [mutant.check], [mutant.dtype], ["eager"], TABLE[framework].abilities)
    return [task for task in tasks if not mutant.modes or task.mode in mutant.modes]


def _items(framework: str, mutants: Sequence[Mutant]) -> list[WorkItem]:
    """One item for each mutant, and one without for each case, with every task of its mutants."""
    items: list[WorkItem] = []
    true_code: dict[str, tuple[Case, dict[Task, None]]] = {}
    for mutant in mutants:
        if framework in mutant.edits:
            case, tasks = select([mutant.case])[0], tasks_of(mutant, framework)
            items.append(WorkItem(case, tasks, mutant))
            true_code.setdefault(case.name, (case, {}))[1].update(dict.fromkeys(tasks))
    return items + [WorkItem(case, list(tasks)) for case, tasks in true_code.values()]


def _worst(results: Sequence[Result]) -> Result:
    return max(results, key=lambda result: (not result.passed, result.error / (result.limit or 1)))
