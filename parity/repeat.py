"""The same run again, in a new process on the same device: is every bit of every result the same?"""

from collections.abc import Iterator, Sequence

import numpy as np

from .cases import Case
from .outcome import Outcome
from .results import Plan, Result
from .tasks import Task


def compare(first: Outcome, others: Sequence[Outcome], tasks: Plan) -> Iterator[Result]:
    """A result for each task that the first run computed: how many of its arrays changed in any other run."""
    for case, todo in tasks[first.framework]:
        for task in todo:
            if not first.error(case.name, task) and not first.refusal(task.dtype):
                yield _compare(first, others, case, task)


def _compare(first: Outcome, others: Sequence[Outcome], case: Case, task: Task) -> Result:
    arrays = first.arrays(case.name, task)
    changed = sorted({name for other in others for name in unequal(arrays, other.arrays(case.name, task))})
    why = f"{', '.join(changed)}: not bit for bit the same in every run" if changed else ""
    return Result(
        case.name,
        first.name,
        first.device,
        task.dtype,
        task.title,
        float(len(changed)),
        0.0,
        f"arrays changed in {len(others) + 1} runs",
        "differs" if changed else "same",
        not changed,
        why,
    )


def unequal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> set[str]:
    """The names of arrays that are not the same in dtype, shape and every bit."""
    same = {
        name
        for name in a.keys() & b.keys()
        if a[name].dtype == b[name].dtype and a[name].shape == b[name].shape and a[name].tobytes() == b[name].tobytes()
    }
    return (a.keys() | b.keys()) - same
