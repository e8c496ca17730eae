"""The walk of `parity run`: draw, compute in one process per framework and in the reference, judge."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..catalogue.cases import Case
from ..catalogue.entry import Entry
from ..catalogue.inputs import draw_cotangent, draw_input, draw_weights
from ..catalogue.tasks import Task, adds_in_order, is_trained, plan, plan_training
from ..catalogue.training import TRAINING_LIMIT, Lesson, draw_lesson, expect_training, synchronise
from ..catalogue.unsupported import is_unsupported
from ..reference import modules as reference
from ..reference.arithmetic import UNIT_ROUNDOFF
from ..verdict import determinism as repeat
from ..verdict.expect import Drawn, Expected, build, expect, output_shape
from ..verdict.judge import NOISE_UNITS, RELATIVE, RELATIVE_LIMIT, Verdict, judge, judge_drift
from ..verdict.results import Plan, Report, Result
from ..workers import pool as job
from ..workers.backend import Backend
from ..workers.outcome import Outcome
from ..workers.precision_probe import TF32_ROUNDOFF

# By case, precision, mode, check and whether kernels add in order.
Truth = dict[tuple[str, str, str, str, bool], Expected]


def run(
    cases: Sequence[Case],
    frameworks: Sequence[str],
    dtypes: Sequence[str],
    image: np.ndarray,
    *,
    checks: Sequence[str] = ("forward",),
    forms: Sequence[str] = ("eager",),
    seed: int = 0,
    backends: Mapping[str, Backend] | None = None,
    timeout: float | None = None,
    runs: int = 1,
    compute: Callable[..., list[Outcome]] = job.compute,
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
        backends: where frameworks compute that do not on the processor with this interpreter.
        timeout: seconds after which a process that says nothing is stopped.
        runs: how often each framework computes; every run is to give the same bits.
        compute: `parity.workers.pool.compute`, or what computes the same elsewhere.
        advance: called once for each case finished in a framework or in the reference.

    Returns:
        The results by case, framework, dtype and check.

    Raises:
        ParityError: where a framework does not have the device, or computes in a lower precision than it is asked to.
    """
    chosen = [(backends or {}).get(name, Backend(name)) for name in frameworks]
    drawn = {case.name: draw(case, image, seed) for case in cases}
    jobs = plan_all(cases, frameworks, checks, dtypes, forms)
    lessons = draw_lessons(cases, drawn, checks, seed)
    truth: Truth = {}

    units = roundoffs(allow_tf32=any(backend.allow_tf32 for backend in chosen))

    def expect_all() -> Iterator[None]:
        for _ in expect_everything(cases, drawn, lessons, dtypes, checks, units, truth, forms):
            advance()
            yield

    arrays = job.list_arrays(drawn, lessons)
    outcomes = compute(chosen, arrays, jobs, meanwhile=expect_all(), advance=advance, timeout=timeout)
    report = judge_all(outcomes, jobs, truth, seed)
    others = [compute(chosen, arrays, jobs, advance=advance, timeout=timeout) for _ in range(runs - 1)]
    for first, *again in zip(outcomes, *others, strict=True):
        report.more.extend(repeat.compare(first, again, jobs) if again else ())
    return report


def plan_all(
    cases: Sequence[Case], frameworks: Sequence[str], checks: Sequence[str], dtypes: Sequence[str], forms: Sequence[str]
) -> Plan:
    """Every framework's entries."""
    return {name: [Entry(case, plan(case, checks, dtypes, forms, name)) for case in cases] for name in frameworks}


def roundoffs(*, allow_tf32: bool) -> dict[str, float]:
    """The unit roundoff that each precision is judged with: float32's is TF32's where TF32 is allowed."""
    return {**UNIT_ROUNDOFF, **({"float32": TF32_ROUNDOFF} if allow_tf32 else {})}


def expect_everything(
    cases: Sequence[Case],
    drawn: Mapping[str, Drawn],
    lessons: Mapping[str, Lesson],
    dtypes: Sequence[str],
    checks: Sequence[str],
    roundoff: Mapping[str, float],
    truth: Truth,
    forms: Sequence[str] = ("eager",),
) -> Iterator[None]:
    """Put what every case must give into `truth`, a step for each case."""
    for case in cases:
        truth.update(expect_case(case, drawn[case.name], dtypes, checks, roundoff, forms))
        if case.name in lessons:
            truth.update(expect_lesson(case, lessons[case.name], dtypes, roundoff=roundoff))
        yield


def judge_all(outcomes: Sequence[Outcome], jobs: Plan, truth: Truth, seed: int) -> Report:
    """The results by case, framework, dtype and check, and what they were computed with."""
    results = [
        result
        for outcome in outcomes
        for entry in jobs[outcome.framework]
        for result in judge_entry(outcome, entry, truth, outcomes)
    ]
    order = {entry.case.name: i for todo in jobs.values() for i, entry in enumerate(todo)}
    results.sort(key=lambda result: order[result.case])
    versions = {key: value for outcome in outcomes for key, value in outcome.versions.items()}
    environment = {**versions, "numpy": np.__version__, "python": sys.version.split()[0], "seed": seed}
    if any(outcome.allow_tf32 for outcome in outcomes):
        environment["float32"] = "as TF32"
    environment["backends"] = {outcome.name: outcome.facts for outcome in outcomes}
    dtypes = dict.fromkeys(task.dtype for todo in jobs.values() for entry in todo for task in entry.tasks)
    left_out = [
        f"{dtype} left out in {outcome.name} on {outcome.device}: {outcome.refusal(dtype)}"
        for outcome in outcomes
        for dtype in dtypes
        if outcome.refusal(dtype)
    ]
    return Report(results, environment, [*left_out, *(note for outcome in outcomes for note in outcome.notes)])


def draw(case: Case, image: np.ndarray, seed: int) -> Drawn:
    """What the case computes on."""
    weights = draw_weights(case, reference.shapes(build(case)), seed)
    return Drawn(weights, draw_input(case, image, seed), draw_cotangent(case, output_shape(case), seed))


def draw_lessons(
    cases: Sequence[Case], drawn: Mapping[str, Drawn], checks: Sequence[str], seed: int
) -> dict[str, Lesson]:
    """What each case is trained on, by case, where training is to be checked."""
    return {
        case.name: draw_case_lesson(case, drawn[case.name], seed)
        for case in cases
        if "training" in checks and is_trained(case)
    }


def draw_case_lesson(case: Case, drawn: Drawn, seed: int) -> Lesson:
    """What the case is trained on."""
    return synchronise(case, draw_lesson(case, drawn.weights, drawn.cotangent.shape, seed))


def expect_case(
    case: Case,
    drawn: Drawn,
    dtypes: Sequence[str],
    checks: Sequence[str],
    roundoff: Mapping[str, float] = UNIT_ROUNDOFF,
    forms: Sequence[str] = ("eager",),
) -> Truth:
    """What the case must give in one pass."""
    passes = tuple(check for check in checks if check != "training")
    return {
        (case.name, dtype, mode, check, in_order): expected
        for dtype in dtypes
        for in_order in {adds_in_order(case, dtype, form) for form in forms}
        for mode in case.modes
        for check, expected in expect(
            case, drawn, dtype, passes, train=mode == "train", roundoff=roundoff[dtype], in_order=in_order
        ).items()
    }


def expect_lesson(
    case: Case,
    lesson: Lesson,
    dtypes: Sequence[str],
    recipes: Sequence[str] | None = None,
    roundoff: Mapping[str, float] = UNIT_ROUNDOFF,
) -> Truth:
    """What training the case must give; a task's mode is its recipe."""
    truth: Truth = {}
    for dtype in dtypes:
        for task in plan_training(case, dtype):
            if recipes is not None and task.mode not in recipes:
                continue
            synced = lesson.synced[task.mode] if task.check == "steps" else None
            truth[truth_key(case, task)] = expect_training(case, lesson, task.mode, dtype, synced, roundoff[dtype])
    return truth


def truth_key(case: Case, task: Task) -> tuple[str, str, str, str, bool]:
    """Where what the task must give is found."""
    return case.name, task.dtype, task.mode, task.check, adds_in_order(case, task.dtype, task.form)


def judge_entry(outcome: Outcome, entry: Entry, truth: Truth, outcomes: Sequence[Outcome]) -> list[Result]:
    """The results of an entry's tasks, but for those that the device leaves out; `outcomes` are of all that ran."""
    torch = next((other for other in outcomes if other.framework == "torch"), None)
    return [
        Result(
            entry.case.name,
            outcome.name,
            outcome.device,
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
        if not outcome.refusal(task.dtype)
        for verdict in _judge(outcome, entry, task, truth[truth_key(entry.case, task)], torch)
    ]


def _judge(outcome: Outcome, entry: Entry, task: Task, expected: Expected, torch: Outcome | None) -> Iterator[Verdict]:
    """The verdict on what can be decided, and one on the rest where there is any."""
    if error := outcome.error(entry, task):
        special = "unsupported" if is_unsupported(outcome.framework, task, error) else ""
        yield Verdict(float("inf"), 0.0, RELATIVE, error, special)
        return
    skipped = expected.undetermined
    verdict = _judge_arrays(outcome, entry, task, expected, torch)
    if not verdict.passed or skipped.keys() < expected.arrays.keys():
        yield verdict
    if skipped:
        names = ", ".join(sorted({key.rpartition("/")[2] for key in skipped}))
        why = f"{names}: {task.dtype} cannot decide them, {next(iter(skipped.values()))}"
        yield Verdict(float("nan"), float("nan"), NOISE_UNITS, why, "undetermined")


def _judge_arrays(outcome: Outcome, entry: Entry, task: Task, expected: Expected, torch: Outcome | None) -> Verdict:
    """The verdict on what can be decided; what cannot is to be there and finite."""
    computed, skipped = outcome.arrays(entry, task), expected.undetermined
    if task.check == "training" and task.dtype != "float64":
        witness = torch.arrays(entry, task) if torch and not torch.error(entry, task) else None
        return judge_drift(computed, expected.arrays, task.dtype, expected.noise, witness, skipped)
    limit = TRAINING_LIMIT if task.check == "training" else RELATIVE_LIMIT
    return judge(computed, expected.arrays, task.dtype, expected.noise, limit, skipped)
