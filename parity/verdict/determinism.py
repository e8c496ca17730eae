"""The same run again, in a new process on the same device: is every bit of every result the same?"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..catalogue.tasks import Plan, Task, WorkItem
from ..workers.outcome import Outcome
from .results import Result, Verdict


def compare(first: Outcome, others: Sequence[Outcome], jobs: Plan) -> Iterator[Result]:
    """A result for each task that the first run computed: how many of its arrays changed in any other run."""
    for item in jobs[first.framework]:
        for task in item.tasks:
            if not first.error(item, task) and not first.refusal(task.dtype):
                yield _compare(first, others, item, task)


def _compare(first: Outcome, others: Sequence[Outcome], item: WorkItem, task: Task) -> Result:
    arrays = first.arrays(item, task)
    changed = sorted({name for other in others for name in unequal(arrays, other.arrays(item, task))})
    why = f"{', '.join(changed)}: not bit for bit the same in every run" if changed else ""
    unit = f"arrays changed in {len(others) + 1} runs"
    return Result.of(item.name, first.name, first.device, task, Verdict.of(float(len(changed)), 0.0, unit, why))


def unequal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> set[str]:
    """The names of arrays that are not the same in dtype, shape and every bit."""
    same = {
        name
        for name in a.keys() & b.keys()
        if a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
    }
    return (a.keys() | b.keys()) - same
