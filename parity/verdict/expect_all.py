"""The expectations of a run, by task."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from ..catalogue.tasks import Task, list_training_tasks
from ..catalogue.training import TrainingData
from ..reference.arithmetic import UNIT_ROUNDOFF
from ..reference.functions import kind_of, kinds_of
from ..workers.precision_probe import TF32_ROUNDOFF
from .expect import Expected, adds_in_order, expect
from .expect_batch import expect_batch
from .expect_training import expect_training


class Key(NamedTuple):
    """The key of a task's expected values: its case, precision, mode, check, whether kernels add in order, and whose
    approximate functions they have: see `functions.kind_of`.
    """

    case: str
    dtype: str
    mode: str
    check: str
    in_order: bool
    functions: str

    @classmethod
    def of(cls, case: Case, task: Task, device: str = "cpu") -> "Key":
        """The key of a task of a case on a device."""
        in_order = adds_in_order(case, task.dtype, task.execution)
        return cls(case.name, task.dtype, task.mode, task.check, in_order, kind_of(device, task.dtype))


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
    devices: Collection[str] = ("cpu",),
) -> Iterator[Expectations]:
    """Yield the expected values of every task on one of `devices` or a CPU, a case at a time."""
    for case in cases:
        found = expect_case(case, drawn[case.name], dtypes, checks, roundoff, executions, devices)
        if case.name in training_data:
            found |= expect_case_training(case, training_data[case.name], dtypes, roundoff=roundoff, devices=devices)
        yield found


def expect_case(
    case: Case,
    drawn: Drawn,
    dtypes: Sequence[str],
    checks: Sequence[str],
    roundoff: Mapping[str, float] = UNIT_ROUNDOFF,
    executions: Sequence[str] = ("eager",),
    devices: Collection[str] = ("cpu",),
) -> Expectations:
    """Compute the expected values of one pass over the case."""
    dtypes = [dtype for dtype in dtypes if case.fits(dtype)]
    passes = tuple(check for check in checks if check in ("forward", "gradients"))
    found: Expectations = {}
    for dtype in dtypes:
        orders = {adds_in_order(case, dtype, execution) for execution in executions}
        for in_order, functions in product(orders, kinds(devices, dtype)):
            for mode in case.modes if passes else ():
                options: dict[str, Any] = {"roundoff": roundoff[dtype], "in_order": in_order, "functions": functions}
                for check, expected in expect(case, drawn, dtype, passes, train=mode == "train", **options).items():
                    found[Key(case.name, dtype, mode, check, in_order, functions)] = expected
            if "batch" in checks and "eval" in case.modes:
                key = Key(case.name, dtype, "eval", "batch", in_order, functions)
                found[key] = expect_batch(case, drawn, dtype, roundoff[dtype], in_order=in_order, functions=functions)
    return found


def kinds(devices: Collection[str], dtype: str) -> set[str]:
    """Whose approximate functions tasks in `dtype` may have on these devices, and on a CPU."""
    return {kind_of(kind, dtype) for kind in kinds_of(devices)}


def expect_case_training(
    case: Case,
    data: TrainingData,
    dtypes: Sequence[str],
    recipes: Sequence[str] | None = None,
    roundoff: Mapping[str, float] = UNIT_ROUNDOFF,
    devices: Collection[str] = ("cpu",),
) -> Expectations:
    """Compute the expected values of training the case; a task's mode is its recipe."""
    found: Expectations = {}
    for dtype in dtypes:
        for task in list_training_tasks(case, dtype):
            if recipes is not None and task.mode not in recipes:
                continue
            start_weights = data.start_weights[task.mode] if task.check == "steps" else None
            for kind in kinds(devices, dtype):
                found[Key.of(case, task, kind)] = expect_training(
                    case, data, task.mode, dtype, start_weights, roundoff[dtype], functions=kind
                )
    return found
