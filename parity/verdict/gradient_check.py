"""The check of the reference's gradients: a difference of two of its outputs along a random direction."""

import numpy as np

from ..arrays import Arrays
from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from ..errors import ParityError
from ..reference import modules as reference
from ..reference.arithmetic import Exact
from ..reference.evaluate import evaluate

# Small against every curve and large against float64's rounding. The shorter ones are for deep networks, where ten
# thousands of ReLUs leave no longer step without a kink.
STEPS = (1e-7, 1e-9, 1e-10)


GRADIENT_LIMIT = 1e-5


DIRECTIONS = 8


STRETCH = 1000.0


def check_gradients(case: Case, model: reference.Module, drawn: Drawn, found: Arrays, *, train: bool) -> None:
    """Compare the gradients with a difference of two outputs, one step either way along a random direction.

    Where a step crosses the kink of a ReLU or a maximum the difference is no derivative, so one step of STEPS along one
    direction of DIRECTIONS must agree: wrong gradients agree with none.

    Raises:
        ParityError: where they differ.
    """
    rng = np.random.default_rng(0)
    for _ in range(DIRECTIONS):
        direction = draw_direction(case, drawn.x, found, rng)
        parts = np.array([(gradient * direction[key]).sum() for key, gradient in found.items()])
        # Every array is to have the same part in the sum, or a mistake in a small one would not show.
        share = np.sqrt(np.mean(parts**2))
        factors = np.where(np.abs(parts) > share / STRETCH, share / np.maximum(np.abs(parts), share / STRETCH), 1.0)
        direction = {key: factor * way for factor, (key, way) in zip(factors, direction.items(), strict=True)}
        parts = factors * parts
        for step in STEPS:
            there, back = (loss_along(model, drawn, direction, way, train=train) for way in (step, -step))
            difference = (there - back) / (2 * step)
            if abs(difference - parts.sum()) <= GRADIENT_LIMIT * max(1.0, float(np.linalg.norm(parts))):
                return
    raise ParityError(
        f"{case.name}: the reference's gradient along a direction is {parts.sum():.9g}, "
        f"the difference of its outputs {difference:.9g}"
    )


def draw_direction(case: Case, x: np.ndarray, leaves: Arrays, rng: np.random.Generator) -> Arrays:
    """A random direction for each leaf.

    An input's equal values move together and zeros stay, because a maximum that several values hold has no derivative
    along a direction that parts them.
    """
    direction = {key: rng.standard_normal(array.shape) for key, array in leaves.items()}
    if case.input not in ("normal", "offset") or x.dtype.itemsize < 4:
        frequency, phase = rng.standard_normal((2, len(x), 1, 1, 1))
        direction["input"] = x.astype(np.float64) * np.cos(frequency * x.astype(np.float64) + phase)
    return direction


def loss_along(model: reference.Module, drawn: Drawn, direction: Arrays, step: float, *, train: bool) -> float:
    """sum(output * cotangent) one step from the input and the weights along `direction`."""
    moved = {key: array.astype(np.float64) for key, array in {**drawn.weights, "input": drawn.x}.items()}
    for key, way in direction.items():
        moved[key] = moved[key] + step * way
    there = Drawn(moved, moved.pop("input"), drawn.cotangent)
    output = evaluate(model, there, Exact(), ("forward",), train=train)["forward"]["output"]
    return float((output * drawn.cotangent.astype(np.float64)).sum())
