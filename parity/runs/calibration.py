"""The place of the limit in noise units: between the most that honest code measures and the least a mutant does."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..catalogue.cases import Case, select
from ..catalogue.mutants import MUTANTS, Mutant
from ..catalogue.tasks import WorkItem, list_tasks
from ..errors import ParityError
from ..frameworks import TABLE
from ..verdict.expect_all import Expectations, expect_case
from ..verdict.judge import NOISE_LIMIT
from ..verdict.judge_all import judge_item
from ..verdict.results import Result
from ..weights.files.atomic import write_bytes
from ..workers.pool import follow, running
from .mutation_test import tasks_of
from .run import draw

PICTURES = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Sample:
    """The measurement of one seed of a case in a framework, with a mutant or, where `mutant` is None, without one."""

    framework: str
    case: str
    seed: int
    mutant: Mutant | None
    units: float
    # What is wrong where that is beyond the limit.
    why: str


def calibrate(
    cases: Sequence[Case],
    frameworks: Sequence[str],
    checks: Sequence[str],
    image: np.ndarray,
    seeds: Sequence[int],
    *,
    dtype: str = "float32",
    advance: Callable[[], None] = lambda: None,
) -> list[Sample]:
    """Measure every case in one precision with each seed, and the mutants that only this precision shows.

    Args:
        cases: those of the true code; a mutant brings its own.
        frameworks: installed ones.
        checks: forward, gradients or both.
        image: the photograph, (rows, columns, 3) bytes.
        seeds: the numbers to draw weights and inputs from.
        dtype: float32, bfloat16 or float16; what a framework cannot do in it is left out.
        advance: called once for each case finished in a framework or in the reference.

    Returns:
        A sample for each framework, case or mutant, and seed: the worst of its checks.

    Raises:
        ParityError: where no framework could measure anything.
    """
    mutants = [mutant for mutant in MUTANTS if mutant.dtype == dtype and mutant.check in checks]
    jobs: dict[str, list[WorkItem]] = {framework: [] for framework in frameworks}
    needed: dict[str, Case] = {}
    for seed in seeds:
        copies = [_copy(case, seed) for case in cases]
        needed |= {copy.name: copy for copy in copies}
        for framework, items in jobs.items():
            items += [
                WorkItem(copy, list_tasks(copy, checks, [dtype], ["eager"], TABLE[framework].abilities))
                for copy in copies
            ]
        for mutant in mutants:
            copy = _copy(select([mutant.case])[0], seed)
            needed[copy.name] = copy
            for framework in mutant.edits.keys() & jobs.keys():
                jobs[framework].append(WorkItem(copy, tasks_of(mutant, framework), mutant))
    drawn = {name: draw(case, image, 0) for name, case in needed.items()}
    with running(jobs, drawn, {}) as (workers, lines):
        expectations: Expectations = {}
        for name, case in needed.items():
            expectations |= expect_case(case, drawn[name], [dtype], checks)
            advance()
        follow(workers, lines, advance)
    samples = [
        sample
        for worker in workers
        for item in jobs[worker.framework]
        for sample in _worst(item, judge_item(worker.outcome, item, expectations, [other.outcome for other in workers]))
    ]
    if not any(sample.mutant is None for sample in samples):
        raise ParityError(
            f"{', '.join(frameworks)} cannot compute {' and '.join(checks)} in {dtype}: nothing to measure"
        )
    return samples


def picture_format(path: Path) -> str:
    """The format that the suffix says, PNG without one.

    Raises:
        ParityError: For a suffix of no picture.
    """
    name = path.suffix.removeprefix(".").lower() or PICTURES[0]
    if name not in PICTURES:
        raise ParityError(f"a picture's name must end in one of {', '.join(PICTURES)}, got {path}")
    return name


def draw_picture(samples: Sequence[Sample], dtype: str, path: Path) -> None:
    """The distribution of the units for each framework, and of each mutant, on a logarithmic axis, with the limit."""
    from matplotlib import pyplot

    groups: dict[str, list[float]] = {}
    for sample in samples:
        name = sample.framework if sample.mutant is None else sample.mutant.name
        groups.setdefault(name, []).append(sample.units)
    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    largest = max([NOISE_LIMIT, *(sample.units for sample in samples if np.isfinite(sample.units))])
    bins = np.geomspace(0.1, 2 * largest, 120).tolist()
    for name, units in groups.items():
        axes.hist(units, bins, label=f"{name} ({min(units):.2g} to {max(units):.2g})", alpha=0.6)
    axes.axvline(NOISE_LIMIT, color="black", linestyle="--", label=f"limit {NOISE_LIMIT:g}")
    axes.set(xscale="log", xlabel=f"error in noise units, {dtype}", ylabel="samples")
    axes.legend(fontsize="small")
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120, format=picture_format(path))
    pyplot.close(figure)
    write_bytes(path, drawn.getvalue(), force=True)


def _copy(case: Case, seed: int) -> Case:
    """The case under another name, which is what its numbers are drawn from."""
    return replace(case, label=f"{case.label}#{seed}")


def _worst(item: WorkItem, results: Sequence[Result]) -> Iterator[Sample]:
    """The sample that a work item makes: none where nothing could be judged, as of the gradients of an ONNX graph."""
    judged = [result for result in results if result.judged]
    if judged:
        worst = max(judged, key=lambda result: result.error)
        case, _, seed = item.case.name.partition("#")
        yield Sample(worst.framework, case, int(seed), item.mutant, worst.error, worst.why)
