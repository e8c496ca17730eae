"""The reference's model of a case, and what it computes in one pass."""

from collections.abc import Collection

import numpy as np

from ..arrays import Arrays, unmoved
from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from . import modules as reference
from .arithmetic import Exact


def evaluate(
    model: reference.Module, drawn: Drawn, ops: Exact, checks: Collection[str], *, train: bool
) -> dict[str, Arrays]:
    """Compute the checks' arrays in one pass.

    "forward": the output and the model's arrays after it; the arrays given to it and those read before stay as they
    were. "gradients": those of sum(output * cotangent) with respect to the input and every parameter.
    """
    reference.set_weights(model, drawn.weights)
    before = reference.get_weights(model)
    x = drawn.x.astype(np.float64)
    leaves = {"input": x, **reference.parameters(model)}
    if "gradients" in checks:
        ops.start()
    output = model(x, ops, train=train)
    found = {}
    if "forward" in checks:
        after = {**reference.get_weights(model), **unmoved(before, "given"), **unmoved(before, "read")}
        found["forward"] = {"output": output, **after}
    if "gradients" in checks:
        found["gradients"] = ops.gradients(output, drawn.cotangent.astype(np.float64), leaves)
        # What was recorded refers to `ops`, so that it would live on until the collector of garbage comes by.
        ops.stop()
    return found


def build(case: Case) -> reference.Module:
    """The reference's model of the case."""
    return getattr(reference, case.module)(*case.args, **case.kwargs)


def output_shape(case: Case) -> tuple[int, ...]:
    """The shape of the case's output."""
    return build(case)(np.zeros(case.shape), Exact(), train=False).shape
