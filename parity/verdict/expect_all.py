"""The expectations of a run, by task."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from ..catalogue.tasks import Task, list_training_tasks
from ..catalogue.training import TrainingData
from ..reference.arithmetic import UNIT_ROUNDOFF
from ..workers.precision_probe import TF32_ROUNDOFF
from .expect import Expected, adds_in_order, expect
from .expect_batch import expect_batch
from .expect_training import expect_training


class Key(NamedTuple):
    """What is expected of a task is found by its case, precision, mode, check, and whether kernels add in order."""

    case: str
    dtype: str
    mode: str
    check: str
    in_order: bool

    @classmethod
    def of(cls, case: Case, task: Task) -> "Key":
        """The key of a task of a case."""
        return cls(case.name, task.dtype, task.mode, task.check, adds_in_order(case, task.dtype, task.execution))


Expectations = dict[Key, Expected]


def roundoffs(*, allow_tf32: bool) -> dict[str, float]:
    """The unit roundoff that each precision is judged with: float32's is TF32's where TF32 is allowed."""
    return {**UNIT_ROUNDOFF, **({"float32": TF32_ROUNDOFF} if allow_tf32 else {})}


def expect_all(
    cases: Sequence[Case],
    drawn: Mapping[str, Drawn],
    training_data: Mapping[str, TrainingData],
    dtypes: Sequence[str],
    checks: Sequence[str],
    roundoff: Mapping[str, float],
    executions: Sequence[str] = ("eager",),
) -> Iterator[Expectations]:
    """What every task is expected to give, a case at a time."""
    for case in cases:
        found = expect_case(case, drawn[case.name], dtypes, checks, roundoff, executions)
        if case.name in training_data:
            found |= expect_case_training(case, training_data[case.name], dtypes, roundoff=roundoff)
        yield found


def expect_case(
    case: Case,
    drawn: Drawn,
    dtypes: Sequence[str],
    checks: Sequence[str],
    roundoff: Mapping[str, float] = UNIT_ROUNDOFF,
    executions: Sequence[str] = ("eager",),
) -> Expectations:
    """What one pass over the case is expected to give."""
    passes = tuple(check for check in checks if check in ("forward", "gradients"))
    found = {
        Key(case.name, dtype, mode, check, in_order): expected
        for dtype in dtypes
        for in_order in {adds_in_order(case, dtype, execution) for execution in executions}
        for mode in (case.modes if passes else ())
        for check, expected in expect(
            case, drawn, dtype, passes, train=mode == "train", roundoff=roundoff[dtype], in_order=in_order
        ).items()
    }
    if "batch" in checks and "eval" in case.modes:
        for dtype in dtypes:
            for in_order in {adds_in_order(case, dtype, execution) for execution in executions}:
                key = Key(case.name, dtype, "eval", "batch", in_order)
                found[key] = expect_batch(case, drawn, dtype, roundoff[dtype], in_order=in_order)
    return found


def expect_case_training(
    case: Case,
    data: TrainingData,
    dtypes: Sequence[str],
    recipes: Sequence[str] | None = None,
    roundoff: Mapping[str, float] = UNIT_ROUNDOFF,
) -> Expectations:
    """What training the case is expected to give; a task's mode is its recipe."""
    found: Expectations = {}
    for dtype in dtypes:
        for task in list_training_tasks(case, dtype):
            if recipes is not None and task.mode not in recipes:
                continue
            start_weights = data.start_weights[task.mode] if task.check == "steps" else None
            found[Key.of(case, task)] = expect_training(case, data, task.mode, dtype, start_weights, roundoff[dtype])
    return found
