"""The verdict on programs: each against the reference, and the packed one against what was compiled where it ran."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ..catalogue.cases import Case
from ..catalogue.tasks import COMPILED, PROGRAMS, Task, WorkItem, list_program_tasks
from ..frameworks import TABLE
from ..workers.outcome import Outcome
from .batch import APART, SAME_BITS, count_same_bits
from .determinism import unequal
from .expect import Expected
from .expect_all import Expectations, Key
from .judge import NOISE_LIMIT, NOISE_UNITS, Noise, judge
from .judge_all import judge_item
from .results import Report, Result, Status, Verdict


def add_programs(
    report: Report,
    outcomes: Sequence[Outcome],
    cases: Sequence[Case],
    checks: Collection[str],
    dtypes: Collection[str],
    expectations: Expectations,
) -> Report:
    """The report with the verdicts on the programs that a capsule brought, where any of the outcomes ran them."""
    results, pairs = list(report.results), list(report.more)
    for outcome in outcomes:
        for item in _items(outcome, cases, checks, dtypes):
            results += judge_item(outcome, item, expectations, outcomes)
            pairs += [
                _pair(outcome, item, task, other, expectations[Key.of(item.case, task, outcome.device)])
                for task, other in _both(item)
                if not outcome.error(item, task) and not outcome.error(item, other)
            ]
    order = {case.name: i for i, case in enumerate(cases)}
    results.sort(key=lambda result: order[result.case])
    return replace(report, results=results, more=pairs)


def of_programs(result: Result) -> bool:
    """Whether a result is of a packed program against the compiled one."""
    return result.framework.endswith(f" ~ {COMPILED}")


def summarize(results: Sequence[Result]) -> list[str]:
    """A line for each framework whose packed programs ran: in how many checks they gave the compiled one's bits."""
    groups: dict[str, list[Result]] = {}
    for result in filter(of_programs, results):
        groups.setdefault(result.framework.partition(" ~ ")[0], []).append(result)
    return [
        f"{name}, executables of the capsule and compiled here: "
        + count_same_bits(
            sorted(group, key=lambda result: -result.error),
            f"apart, in {NOISE_UNITS}",
            lambda result: f"{result.case} {result.check} {result.error:.2g}",
        )
        for name, group in groups.items()
    ]


def _items(outcome: Outcome, cases: Sequence[Case], checks: Collection[str], dtypes: Collection[str]) -> list[WorkItem]:
    """The work items of an outcome's programs: those of every case, or none where it ran no program."""
    able = TABLE[outcome.framework].abilities
    items = [WorkItem(case, list_program_tasks(case, checks, dtypes, able)) for case in cases]
    ran = any(
        outcome.arrays(item, task) or (item.name, task.key) in outcome.errors for item in items for task in item.tasks
    )
    return items if ran else []


def _both(item: WorkItem) -> list[tuple[Task, Task]]:
    """The tasks of the packed program, each with that of the one that was compiled."""
    compiled, packed = ([task for task in item.tasks if task.execution == name] for name in PROGRAMS)
    return list(zip(packed, compiled, strict=True))


def _pair(outcome: Outcome, item: WorkItem, task: Task, other: Task, expected: Expected) -> Result:
    """The verdict on two programs: the same bits, or how many noise units they are apart."""
    a, b = outcome.arrays(item, task), outcome.arrays(item, other)
    limit = APART * NOISE_LIMIT
    if not (changed := unequal(a, b)):
        verdict = Verdict(error=0.0, limit=limit, unit=NOISE_UNITS, status=Status.SAME, why=SAME_BITS)
    else:
        verdict = _apart(a, b, task, expected, changed, limit)
    return Result.of(item.name, f"{outcome.name} ~ {COMPILED}", outcome.device, task, verdict)


def _apart(
    a: dict[str, np.ndarray],
    b: dict[str, np.ndarray],
    task: Task,
    expected: Expected,
    changed: Collection[str],
    limit: float,
) -> Verdict:
    # Each may be as far off as honest code may, and two such errors add as squares do.
    noise = {key: Noise(APART * each.rms, APART * each.peak) for key, each in expected.noise.items()}
    verdict = judge(a, {key: array.astype(np.float64) for key, array in b.items()}, task.dtype, noise)
    error = APART * verdict.error
    words = f"{', '.join(sorted(changed))[:80]}: not bit for bit the same, apart by {error:.3g} {NOISE_UNITS}"
    return Verdict(error=error, limit=limit, unit=NOISE_UNITS, status=verdict.status, why=words)
