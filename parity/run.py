"""The walk of `parity run`: draw, compute in one process per framework and in the reference, judge."""

import queue
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import job, reference
from .cases import Case
from .compare import NOISE_UNITS, RELATIVE, RELATIVE_LIMIT, Verdict, judge, judge_drift
from .expect import Drawn, Expected, build, expect, output_shape
from .inputs import draw_cotangent, draw_input, draw_weights
from .tasks import Task, is_trained, plan, plan_training
from .training import TRAINING_LIMIT, Lesson, draw_lesson, expect_training, synchronise

# By case, precision, mode and check.
Truth = Mapping[tuple[str, str, str, str], Expected]


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

    @property
    def passed(self) -> bool:
        """Whether there are results and every one passed."""
        return bool(self.results) and all(result.passed for result in self.results)


def run(
    cases: Sequence[Case],
    frameworks: Sequence[str],
    dtypes: Sequence[str],
    image: np.ndarray,
    *,
    checks: Sequence[str] = ("forward",),
    forms: Sequence[str] = ("eager",),
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Compute every case in every framework and judge it against the reference.

    Args:
        cases: what to compute.
        frameworks: installed ones, each run in a process of its own at the same time.
        dtypes: precisions, of DTYPES.
        image: the photograph, (rows, columns, 3) bytes.
        checks: what is compared, of CHECKS.
        forms: how the frameworks execute, of FORMS; a framework takes no notice of the others'.
        seed: of the weights and the inputs that are drawn.
        advance: called once for each case finished in a framework or in the reference.

    Returns:
        The results by case, framework, dtype and check.
    """
    drawn = {case.name: draw(case, image, seed) for case in cases}
    lessons = {}
    if "training" in checks:
        lessons = {case.name: draw_case_lesson(case, drawn[case.name], seed) for case in cases if is_trained(case)}
    tasks = {name: [(case, plan(case, checks, dtypes, forms, name)) for case in cases] for name in frameworks}
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        job.write_arrays(folder, drawn, lessons)
        lines: job.Messages = queue.Queue()
        workers = []
        try:
            for framework in frameworks:
                job.write_job(folder, framework, tasks[framework])
                workers.append(job.start(framework, folder, len(frameworks), lines))
            truth = {}
            for case in cases:
                truth |= expect_case(case, drawn[case.name], dtypes, checks)
                if case.name in lessons:
                    truth |= expect_lesson(case, lessons[case.name], dtypes)
                advance()
            job.follow(workers, lines, advance)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
    torch = next((worker for worker in workers if worker.framework == "torch"), None)
    results = []
    for worker in workers:
        for case, todo in tasks[worker.framework]:
            for task in todo:
                expected = truth[case.name, task.dtype, task.mode, task.check]
                verdicts = _judge(worker, case, task, expected, torch)
                results += [_result(worker, case, task, verdict) for verdict in verdicts]
    order = {case.name: i for i, case in enumerate(cases)}
    results.sort(key=lambda result: order[result.case])
    versions = {key: value for worker in workers for key, value in worker.versions.items()}
    environment = {**versions, "numpy": np.__version__, "python": sys.version.split()[0], "seed": seed}
    return Report(results, environment)


def draw(case: Case, image: np.ndarray, seed: int) -> Drawn:
    """What the case computes on."""
    weights = draw_weights(case, reference.shapes(build(case)), seed)
    return Drawn(weights, draw_input(case, image, seed), draw_cotangent(case, output_shape(case), seed))


def draw_case_lesson(case: Case, drawn: Drawn, seed: int) -> Lesson:
    """What the case is trained on."""
    return synchronise(case, draw_lesson(case, drawn.weights, drawn.cotangent.shape, seed))


def expect_case(case: Case, drawn: Drawn, dtypes: Sequence[str], checks: Sequence[str]) -> Truth:
    """What the case must give in one pass, by case, precision, mode and check."""
    passes = tuple(check for check in checks if check != "training")
    return {
        (case.name, dtype, mode, check): expected
        for dtype in dtypes
        for mode in case.modes
        for check, expected in expect(case, drawn, dtype, passes, train=mode == "train").items()
    }


def expect_lesson(case: Case, lesson: Lesson, dtypes: Sequence[str]) -> Truth:
    """What training the case must give, by case, precision, recipe and check."""
    truth = {}
    for dtype in dtypes:
        for task in plan_training(case, dtype):
            synced = lesson.synced[task.mode] if task.check == "steps" else None
            truth[case.name, dtype, task.mode, task.check] = expect_training(case, lesson, task.mode, dtype, synced)
    return truth


def _judge(
    worker: job.Worker, case: Case, task: Task, expected: Expected, torch: job.Worker | None
) -> Iterator[Verdict]:
    """The verdict on what can be decided, and one on the rest where there is any."""
    if error := worker.error(case.name, task):
        yield failure(worker.framework, task.dtype, error)
        return
    computed, skipped = worker.arrays(case.name, task), expected.undetermined
    decided = {key: array for key, array in computed.items() if key not in skipped}
    truth = {key: array for key, array in expected.arrays.items() if key not in skipped}
    if task.check == "training" and task.dtype != "float64":
        witness = torch.arrays(case.name, task) if torch and not torch.error(case.name, task) else None
        yield judge_drift(decided, truth, task.dtype, expected.noise, witness)
    else:
        limit = TRAINING_LIMIT if task.check == "training" else RELATIVE_LIMIT
        yield judge(decided, truth, task.dtype, expected.noise, limit)
    if skipped:
        names = ", ".join(sorted({key.rpartition("/")[2] for key in skipped}))
        why = f"{names}: {task.dtype} cannot decide them, {next(iter(skipped.values()))}"
        yield Verdict(float("nan"), float("nan"), NOISE_UNITS, why, "undetermined")


def failure(framework: str, dtype: str, error: str) -> Verdict:
    """The verdict on a task that raised an error."""
    return Verdict(float("inf"), 0.0, RELATIVE, error)


def _result(worker: job.Worker, case: Case, task: Task, verdict: Verdict) -> Result:
    return Result(
        case.name,
        worker.framework,
        "cpu",
        task.dtype,
        task.title,
        verdict.error,
        verdict.limit,
        verdict.unit,
        verdict.word,
        verdict.word != "differs",
        verdict.why,
    )
