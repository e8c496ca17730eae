"""The walk of `parity run`: draw, compute in one process per framework and in the reference, judge."""

import queue
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import job, reference
from .cases import Case
from .compare import RELATIVE, Verdict, judge
from .expect import Drawn, Expected, build, expect, output_shape
from .inputs import draw_cotangent, draw_input, draw_weights
from .tasks import Task, plan

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
    tasks = {name: [(case, plan(case, checks, dtypes, forms, name)) for case in cases] for name in frameworks}
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        job.write_arrays(folder, drawn)
        lines: job.Messages = queue.Queue()
        workers = []
        try:
            for framework in frameworks:
                job.write_job(folder, framework, tasks[framework])
                workers.append(job.start(framework, folder, len(frameworks), lines))
            truth = {}
            for case in cases:
                truth |= expect_case(case, drawn[case.name], dtypes, checks)
                advance()
            job.follow(workers, lines, advance)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
    results = [
        _judge(worker, case, task, truth)
        for worker in workers
        for case, todo in tasks[worker.framework]
        for task in todo
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


def expect_case(case: Case, drawn: Drawn, dtypes: Sequence[str], checks: Sequence[str]) -> Truth:
    """What the case must give, by case, precision, mode and check."""
    return {
        (case.name, dtype, mode, check): expected
        for dtype in dtypes
        for mode in case.modes
        for check, expected in expect(case, drawn, dtype, tuple(checks), train=mode == "train").items()
    }


def _judge(worker: job.Worker, case: Case, task: Task, truth: Truth) -> Result:
    if error := worker.error(case.name, task):
        verdict = Verdict(float("inf"), 0.0, RELATIVE, error)
    else:
        expected = truth[case.name, task.dtype, task.mode, task.check]
        verdict = judge(worker.arrays(case.name, task), expected.arrays, task.dtype, expected.noise)
    return Result(
        case.name,
        worker.framework,
        "cpu",
        task.dtype,
        task.title,
        **asdict(verdict),
        verdict=verdict.verdict,
        passed=verdict.passed,
    )
