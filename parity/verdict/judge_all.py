"""The results of a run: a verdict on every task of every work item."""

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from ..catalogue.tasks import Plan, Task, WorkItem
from ..catalogue.unsupported import is_unsupported
from ..workers.outcome import Outcome
from .batch import judge_batch
from .expect import Expected
from .expect_all import Expectations, Key
from .expect_training import TRAINING_LIMIT
from .judge import NOISE_UNITS, RELATIVE, RELATIVE_LIMIT, judge, judge_drift
from .results import Report, Result, Status, Verdict


def judge_all(outcomes: Sequence[Outcome], jobs: Plan, expectations: Expectations, seed: int) -> Report:
    """The results by case, framework, dtype and check, and what they were computed with."""
    results = [
        result
        for outcome in outcomes
        for item in jobs[outcome.framework]
        for result in judge_item(outcome, item, expectations, outcomes)
    ]
    order = {item.case.name: i for todo in jobs.values() for i, item in enumerate(todo)}
    results.sort(key=lambda result: order[result.case])
    versions = {key: value for outcome in outcomes for key, value in outcome.versions.items()}
    environment = {**versions, "numpy": np.__version__, "python": sys.version.split()[0], "seed": seed}
    if any(outcome.allow_tf32 for outcome in outcomes):
        environment["float32"] = "as TF32"
    environment["backends"] = {outcome.name: outcome.facts for outcome in outcomes}
    dtypes = dict.fromkeys(task.dtype for todo in jobs.values() for item in todo for task in item.tasks)
    left_out = [
        f"{dtype} left out in {outcome.name} on {outcome.device}: {outcome.refusal(dtype)}"
        for outcome in outcomes
        for dtype in dtypes
        if outcome.refusal(dtype)
    ]
    return Report(results, environment, [*left_out, *(note for outcome in outcomes for note in outcome.notes)])


def judge_item(
    outcome: Outcome, item: WorkItem, expectations: Expectations, outcomes: Sequence[Outcome]
) -> list[Result]:
    """The results of a work item's tasks, but for those that the device leaves out; `outcomes` are of all that ran."""
    torch = next((other for other in outcomes if other.framework == "torch"), None)
    return [
        Result.of(item.case.name, outcome.name, outcome.device, task, verdict)
        for task in item.tasks
        if not outcome.refusal(task.dtype)
        for verdict in _judge(outcome, item, task, expectations[Key.of(item.case, task, outcome.device)], torch)
    ]


def _judge(
    outcome: Outcome, item: WorkItem, task: Task, expected: Expected, torch: Outcome | None
) -> Iterator[Verdict]:
    """The verdict on what can be decided, and one on the rest where there is any."""
    if error := outcome.error(item, task):
        status = Status.UNSUPPORTED if is_unsupported(outcome.framework, task, error) else Status.DIFFERS
        yield Verdict(error=float("inf"), limit=0.0, unit=RELATIVE, status=status, why=error)
        return
    skipped = expected.undetermined
    verdict = _judge_arrays(outcome, item, task, expected, torch)
    if not verdict.passed or skipped.keys() < expected.arrays.keys():
        yield verdict
    if skipped:
        names = ", ".join(sorted({key.rpartition("/")[2] for key in skipped}))
        why = f"{names}: {task.dtype} cannot decide them, {next(iter(skipped.values()))}"
        nan = float("nan")
        yield Verdict(error=nan, limit=nan, unit=NOISE_UNITS, status=Status.UNDETERMINED, why=why)


def _judge_arrays(outcome: Outcome, item: WorkItem, task: Task, expected: Expected, torch: Outcome | None) -> Verdict:
    """The verdict on what can be decided; what cannot is to be there and finite."""
    computed, skipped = outcome.arrays(item, task), expected.undetermined
    if task.check == "training" and task.dtype != "float64":
        baseline = torch.arrays(item, task) if torch and not torch.error(item, task) else None
        return judge_drift(computed, expected.arrays, task.dtype, expected.noise, baseline, skipped)
    if task.check == "batch":
        return judge_batch(computed, expected, task.dtype, RELATIVE_LIMIT)
    limit = TRAINING_LIMIT if task.check == "training" else RELATIVE_LIMIT
    return judge(computed, expected.arrays, task.dtype, expected.noise, limit, skipped)
