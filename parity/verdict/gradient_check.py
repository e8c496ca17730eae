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
        drawn_direction = draw_direction(case, drawn, rng)
        # In the order of the gradients: that of the weights is the caller's.
        direction = {key: drawn_direction[key] for key in found}
        parts = np.array([(gradient * direction[key]).sum() for key, gradient in found.items()])
        # Every array is to have the same part in the sum, or a mistake in a small one would not show.
        share = np.sqrt(np.mean(parts**2))
        seen = np.abs(parts) > share / STRETCH
        factors = np.divide(share, np.abs(parts), out=np.ones_like(parts), where=seen)
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


def draw_direction(case: Case, drawn: Drawn, rng: np.random.Generator) -> Arrays:
    """A random direction for each leaf.

    An input's equal values move together and zeros stay, because a maximum that several values hold has no derivative
    along a direction that parts them. So do trained weights', of which those that put a gate on a kink stay too.
    """
    x = drawn.x
    split = case.input in ("normal", "offset") and x.dtype.itemsize >= 4
    weights = {key: array for key, array in drawn.weights.items() if "running_" not in key}
    direction = {"input": rng.standard_normal(x.shape) if split else np.stack([wave(image, rng) for image in x])}
    if case.weights == "trained":
        end = 0.5 / case.kwargs.get("slope", 1 / 6)
        return direction | {key: wave(array, rng) * (np.abs(array) != end) for key, array in weights.items()}
    return direction | {key: rng.standard_normal(array.shape) for key, array in weights.items()}


def wave(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same for values that are the same, zero for zero, and else another for each."""
    frequency, phase = rng.standard_normal(2)
    return array.astype(np.float64) * np.cos(frequency * array.astype(np.float64) + phase)


def loss_along(model: reference.Module, drawn: Drawn, direction: Arrays, step: float, *, train: bool) -> float:
    """sum(output * cotangent) one step from the input and the weights along `direction`."""
    moved = {key: array.astype(np.float64) for key, array in {**drawn.weights, "input": drawn.x}.items()}
    for key, way in direction.items():
        moved[key] = moved[key] + step * way
    there = Drawn(moved, moved.pop("input"), drawn.cotangent)
    output = evaluate(model, there, Exact(), ("forward",), train=train)["forward"]["output"]
    return float((output * drawn.cotangent.astype(np.float64)).sum())
