"""The walk of `parity run`: draw, compute in one process per framework and in the reference, judge."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import reference
from .cases import Case
from .compare import NOISE_UNITS, RELATIVE, RELATIVE_LIMIT, Verdict, judge, judge_drift
from .expect import Drawn, Expected, build, expect, output_shape
from .inputs import draw_cotangent, draw_input, draw_weights
from .job import Entry, Worker, follow, running
from .tasks import Task, is_trained, plan, plan_training
from .training import RECIPES, TRAINING_LIMIT, Lesson, draw_lesson, expect_training, synchronise
from .unsupported import is_unsupported

# By case, precision, mode and check.
Truth = dict[tuple[str, str, str, str], Expected]


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
    jobs = {
        framework: [Entry(case, plan(case, checks, dtypes, forms, framework)) for case in cases]
        for framework in frameworks
    }
    with running(jobs, drawn, lessons) as (workers, lines):
        truth: Truth = {}
        for case in cases:
            truth |= expect_case(case, drawn[case.name], dtypes, checks)
            if case.name in lessons:
                truth |= expect_lesson(case, lessons[case.name], dtypes)
            advance()
        follow(workers, lines, advance)
    results = [
        result
        for worker in workers
        for entry in jobs[worker.framework]
        for result in judge_entry(worker, entry, truth, workers)
    ]
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


def expect_lesson(case: Case, lesson: Lesson, dtypes: Sequence[str], recipes: Sequence[str] = RECIPES) -> Truth:
    """What training the case must give, by case, precision, recipe and check."""
    truth: Truth = {}
    for dtype in dtypes:
        for task in plan_training(case, dtype):
            if task.mode not in recipes:
                continue
            synced = lesson.synced[task.mode] if task.check == "steps" else None
            truth[case.name, dtype, task.mode, task.check] = expect_training(case, lesson, task.mode, dtype, synced)
    return truth


def judge_entry(worker: Worker, entry: Entry, truth: Truth, workers: Sequence[Worker]) -> list[Result]:
    """The results of an entry's tasks in the worker's framework; `workers` are all that ran."""
    torch = next((other for other in workers if other.framework == "torch"), None)
    return [
        Result(
            entry.case.name,
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
        for task in entry.tasks
        for verdict in _judge(worker, entry, task, truth[entry.case.name, task.dtype, task.mode, task.check], torch)
    ]


def _judge(worker: Worker, entry: Entry, task: Task, expected: Expected, torch: Worker | None) -> Iterator[Verdict]:
    """The verdict on what can be decided, and one on the rest where there is any."""
    if error := worker.error(entry, task):
        special = "unsupported" if is_unsupported(worker.framework, task, error) else ""
        yield Verdict(float("inf"), 0.0, RELATIVE, error, special)
        return
    computed, skipped = worker.arrays(entry, task), expected.undetermined
    decided = {key: array for key, array in computed.items() if key not in skipped}
    truth = {key: array for key, array in expected.arrays.items() if key not in skipped}
    if task.check == "training" and task.dtype != "float64":
        witness = torch.arrays(entry, task) if torch and not torch.error(entry, task) else None
        yield judge_drift(decided, truth, task.dtype, expected.noise, witness)
    else:
        limit = TRAINING_LIMIT if task.check == "training" else RELATIVE_LIMIT
        yield judge(decided, truth, task.dtype, expected.noise, limit)
    if skipped:
        names = ", ".join(sorted({key.rpartition("/")[2] for key in skipped}))
        why = f"{names}: {task.dtype} cannot decide them, {next(iter(skipped.values()))}"
        yield Verdict(float("nan"), float("nan"), NOISE_UNITS, why, "undetermined")
