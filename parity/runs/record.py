"""The two halves of `parity run` apart: compute here and write down, judge there what was written down."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import numpy as np

from ..catalogue.cases import Case
from ..catalogue.tasks import Plan, Task, WorkItem
from ..errors import ParityError
from ..verdict.batch import APART
from ..verdict.expect import Expected
from ..verdict.expect_all import Expectations, Key, expect_all, roundoffs
from ..verdict.judge import RELATIVE, RELATIVE_LIMIT, Noise, check_structure, judge
from ..verdict.judge_all import judge_all
from ..verdict.programs import add_programs
from ..verdict.results import Report, Result, Verdict
from ..workers import pool, precision_probe
from ..workers.backend import Backend
from ..workers.outcome import Outcome
from . import record_file as records
from .pictures import take_all
from .record_file import Record
from .run import draw, draw_all_training, plan_all


def plan(cases: Sequence[Case], image: np.ndarray, seed: int, checks: Sequence[str], dtypes: Sequence[str]) -> Record:
    """Everything that a run computes on, drawn."""
    drawn = {case.name: draw(case, image, seed) for case in cases}
    return Record(list(cases), seed, list(checks), list(dtypes), records.digest(image), drawn)


def record(
    planned: Record,
    backends: Sequence[Backend],
    *,
    timeout: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Record:
    """The plan with what each backend computes of it; see `parity.workers.pool.compute` for what is raised."""
    jobs = _jobs(planned, [backend.framework for backend in backends])
    training_data = draw_all_training(planned.cases, planned.drawn, planned.checks, planned.seed)
    arrays = pool.list_arrays(planned.drawn, training_data)
    outcomes = pool.compute(backends, arrays, jobs, advance=advance, timeout=timeout)
    return replace(planned, outcomes=outcomes, made=datetime.now(UTC).isoformat(timespec="seconds"))


def compare(
    paths: Sequence[Path],
    found: Sequence[Record],
    *,
    detail: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """The verdict on every run of the records, against the reference and against each other.

    Args:
        paths: The records' files.
        found: What they hold.
        detail: Whether the array that is off most in each check is pictured.
        advance: Called once for each case that is judged.

    Raises:
        ParityError: where the records are not of the same cases, seed, checks, precisions, inputs and arithmetic, or
            hold no run, or a run whose products are in a lower precision than it says.
    """
    first = found[0]
    for path, other in zip(paths[1:], found[1:], strict=True):
        if why := records.difference(first, other):
            raise ParityError(f"{paths[0]} and {path} cannot be compared, they differ in {why}")
    outcomes = [outcome for each in found for outcome in each.outcomes]
    for path, each in zip(paths, found, strict=True):
        _check_arithmetic(path, each.outcomes)
    records.names(paths, [each.outcomes for each in found])
    jobs = _jobs(first, list(dict.fromkeys(outcome.framework for outcome in outcomes)))
    expectations: Expectations = {}
    training_data = draw_all_training(first.cases, first.drawn, first.checks, first.seed)
    units = roundoffs(allow_tf32=any(outcome.allow_tf32 for outcome in outcomes))
    devices = {outcome.device for outcome in outcomes}
    for expected in expect_all(
        first.cases, first.drawn, training_data, first.dtypes, first.checks, units, devices=devices
    ):
        expectations |= expected
        advance()
    report = judge_all(outcomes, jobs, expectations, first.seed)
    report = add_programs(report, outcomes, first.cases, first.checks, first.dtypes, expectations)
    if not report.results:
        raise ParityError(f"{paths[0]} holds nothing to judge: no case has such a check in such a precision")
    if detail:
        report.pictures.update(take_all(outcomes, jobs, expectations))
    pairs = [result for a, b in combinations(outcomes, 2) for result in _pair(a, b, jobs, expectations)]
    return replace(report, more=[*pairs, *report.more])


def _check_arithmetic(path: Path, outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        raise ParityError(f"{path} is a plan and no record: nothing was computed")
    for outcome in outcomes:
        if why := precision_probe.verdict(
            outcome.framework, outcome.facts["precision_probe"], allow_tf32=outcome.allow_tf32
        ):
            raise ParityError(f"{path}: {why}")


def _jobs(planned: Record, frameworks: Sequence[str]) -> Plan:
    return plan_all(planned.cases, frameworks, planned.checks, planned.dtypes, ("eager",))


def _pair(a: Outcome, b: Outcome, jobs: Plan, expectations: Expectations) -> Iterator[Result]:
    """The verdict on two runs, on every task that both computed and that rounding alone does not lead astray."""
    for item, other in zip(jobs[a.framework], jobs[b.framework], strict=True):
        # ONNX Runtime has fewer tasks than the others.
        for task in (task for task in item.tasks if task in other.tasks):
            if task.check in ("training", "steps") or any(
                outcome.error(item, task) or outcome.refusal(task.dtype) for outcome in (a, b)
            ):
                continue
            yield _pair_task(a, b, item, task, [expectations[Key.of(item.case, task, each.device)] for each in (a, b)])


def _pair_task(a: Outcome, b: Outcome, item: WorkItem, task: Task, both: Sequence[Expected]) -> Result:
    expected = both[0]
    # Two errors that know nothing of each other add as squares do.
    noise = {
        key: Noise(float(np.hypot(one.rms, other.rms)), float(np.hypot(one.peak, other.peak)))
        for key, one in expected.noise.items()
        for other in [both[1].noise[key]]
    }
    # What is not as the reference has it is said where each is held against it, and has no distance.
    whole = [not check_structure(each.arrays(item, task), expected.arrays, task.dtype) for each in (a, b)]
    if all(whole):
        other = {key: array.astype(np.float64) for key, array in b.arrays(item, task).items() if key in noise}
        verdict = judge(a.arrays(item, task), other, task.dtype, noise, APART * RELATIVE_LIMIT)
    else:
        verdict = Verdict.of(float("inf"), APART * RELATIVE_LIMIT, RELATIVE, "names, shapes, dtypes or NaN differ")
    return Result.of(item.name, f"{a.name} ~ {b.name}", f"{a.device} ~ {b.device}", task, verdict)
