"""The walk of `parity run`: draw, compute in one process per framework and in the reference, judge."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn, draw_cotangent, draw_input, draw_weights
from ..catalogue.tasks import Plan, WorkItem, list_tasks
from ..catalogue.training import TrainingData, draw_training_data
from ..frameworks import TABLE
from ..reference import modules as reference
from ..reference.evaluate import build, output_shape
from ..verdict import determinism
from ..verdict.expect_all import Expectations, expect_all, roundoffs
from ..verdict.expect_training import add_start_weights
from ..verdict.judge_all import judge_all
from ..verdict.results import Report
from ..workers import pool
from ..workers.backend import Backend
from ..workers.outcome import Outcome
from .pictures import take_all


def run(
    cases: Sequence[Case],
    frameworks: Sequence[str],
    dtypes: Sequence[str],
    image: np.ndarray,
    *,
    checks: Sequence[str] = ("forward",),
    executions: Sequence[str] = ("eager",),
    seed: int = 0,
    backends: Mapping[str, Backend] | None = None,
    timeout: float | None = None,
    runs: int = 1,
    detail: bool = False,
    compute: Callable[..., list[Outcome]] = pool.compute,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Compute every case in every framework and judge it against the reference.

    Args:
        cases: what to compute.
        frameworks: installed ones, each run in a process of its own at the same time.
        dtypes: precisions, of DTYPES.
        image: the photograph, (rows, columns, 3) bytes.
        checks: what is compared, of CHECKS.
        executions: how the frameworks execute, of EXECUTIONS; a framework takes no notice of the others'.
        seed: of the weights and the inputs that are drawn.
        backends: where frameworks compute that do not on the processor with this interpreter.
        timeout: seconds after which a process that says nothing is stopped.
        runs: how often each framework computes; every run is to give the same bits.
        detail: whether the array that is off most in each check is pictured.
        compute: `parity.workers.pool.compute`, or what computes the same elsewhere.
        advance: called once for each case finished in a framework or in the reference.

    Returns:
        The results by case, framework, dtype and check.

    Raises:
        ParityError: where a framework does not have the device, or computes in a lower precision than it is asked to.
    """
    chosen = [(backends or {}).get(name, Backend(name)) for name in frameworks]
    drawn = {case.name: draw(case, image, seed) for case in cases}
    jobs = plan_all(cases, frameworks, checks, dtypes, executions)
    training_data = draw_all_training(cases, drawn, checks, seed)
    expectations: Expectations = {}

    units = roundoffs(allow_tf32=any(backend.allow_tf32 for backend in chosen))
    devices = {backend.device for backend in chosen}

    def expect_each() -> Iterator[None]:
        for found in expect_all(cases, drawn, training_data, dtypes, checks, units, executions, devices):
            expectations.update(found)
            advance()
            yield

    arrays = pool.list_arrays(drawn, training_data)
    outcomes = compute(chosen, arrays, jobs, meanwhile=expect_each(), advance=advance, timeout=timeout)
    report = judge_all(outcomes, jobs, expectations, seed)
    if detail:
        report.pictures.update(take_all(outcomes, jobs, expectations))
    others = [compute(chosen, arrays, jobs, advance=advance, timeout=timeout) for _ in range(runs - 1)]
    for first, *again in zip(outcomes, *others, strict=True):
        report.more.extend(determinism.compare(first, again, jobs) if again else ())
    return report


def plan_all(
    cases: Sequence[Case],
    frameworks: Sequence[str],
    checks: Sequence[str],
    dtypes: Sequence[str],
    executions: Sequence[str],
) -> Plan:
    """Every framework's work items."""
    return {
        name: [WorkItem(case, list_tasks(case, checks, dtypes, executions, TABLE[name].abilities)) for case in cases]
        for name in frameworks
    }


def draw(case: Case, image: np.ndarray, seed: int) -> Drawn:
    """Draw the case's weights, input and cotangent."""
    weights = draw_weights(case, reference.shapes(build(case)), seed)
    return Drawn(weights, draw_input(case, image, seed), draw_cotangent(case, output_shape(case), seed))


def draw_all_training(
    cases: Sequence[Case], drawn: Mapping[str, Drawn], checks: Sequence[str], seed: int
) -> dict[str, TrainingData]:
    """Draw each case's training data, by case, where training is to be checked."""
    return {
        case.name: draw_case_training(case, drawn[case.name], seed)
        for case in cases
        if "training" in checks and case.recipes
    }


def draw_case_training(case: Case, drawn: Drawn, seed: int) -> TrainingData:
    """Draw the case's training data."""
    return add_start_weights(case, draw_training_data(case, drawn.weights, drawn.cotangent.shape, seed))
