"""What a case must give: the reference's arrays, and the rounding noise that each may carry."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..catalogue.cases import Case
from ..errors import ParityError
from ..reference import modules as reference
from ..reference.arithmetic import ACCUMULATORS, UNIT_ROUNDOFF, Exact, Noisy
from .judge import Noise, unmoved

# Enough draws of the noise: of float64's the order of magnitude will do, float32's of a single number is known within a
# fifth, and in half precision rounding opens and shuts ReLUs, which only some of the draws show.
DRAWS = {"float64": 4, "float32": 16, "float16": 64, "bfloat16": 64}
# Small against every curve and large against float64's rounding. The shorter ones are for deep networks, where ten
# thousands of ReLUs leave no longer step without a kink.
STEPS = (1e-7, 1e-9, 1e-10)
WITNESS_LIMIT = 1e-5
DIRECTIONS = 8
STRETCH = 1000.0
# A share of an array's size: noise of more drowns it. And a share of the noise: an array of less is zero.
DROWNED = 0.5
ZERO = 1e-6

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Expected:
    """The true arrays of a check, the noise of each in the precision that it is computed in, and what it cannot decide.

    `undetermined` gives the reason for each array that rounding alone decides.
    """

    arrays: Arrays
    noise: dict[str, Noise]
    undetermined: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """What a case computes on: canonical weights, the input (n, c, h, w) and the cotangent of the output."""

    weights: Arrays
    x: np.ndarray
    cotangent: np.ndarray

    def rounded(self, dtype: str) -> "Drawn":
        """The same numbers as `dtype` holds them."""
        weights = {key: array.astype(dtype) for key, array in self.weights.items()}
        return Drawn(weights, self.x.astype(dtype), self.cotangent.astype(dtype))


def build(case: Case) -> reference.Module:
    """The reference's model of the case."""
    return getattr(reference, case.module)(*case.args, **case.kwargs)


def output_shape(case: Case) -> tuple[int, ...]:
    """The shape of the case's output."""
    return build(case)(np.zeros(case.shape), Exact(), train=False).shape


def expect(
    case: Case,
    drawn: Drawn,
    dtype: str,
    checks: tuple[str, ...],
    *,
    train: bool,
    roundoff: float | None = None,
    in_order: bool = False,
) -> dict[str, Expected]:
    """What the checks "forward" and "gradients" must give in `dtype`, whose unit `roundoff` is unless another is given.

    The reference runs once exactly, and several times with the rounding errors of `dtype`, always on the weights and
    the input as `dtype` holds them. For `in_order` see `Noisy`.

    Raises:
        ParityError: where the reference's gradients are not those of its own outputs.
    """
    model = build(case)
    drawn = drawn.rounded(dtype)

    def run(ops: Exact) -> dict[str, Arrays]:
        return compute(model, drawn, ops, checks, train=train)

    truth = run(Exact())
    if "gradients" in checks:
        check_witness(case, model, drawn, truth["gradients"], train=train)
    noise = measure_noise(truth, dtype, run, DRAWS[dtype], roundoff, in_order=in_order)
    return {
        check: Expected(truth[check], noise[check], find_drowned(truth[check], noise[check], dtype)) for check in checks
    }


def find_drowned(arrays: Arrays, noise: Mapping[str, Noise], dtype: str) -> dict[str, str]:
    """The arrays of which rounding to half precision leaves nothing to compare, with the reason.

    There the errors are so large that they multiply, which a model of small ones does not tell. An array that is zero
    by construction is not among them: its noise is that of what was summed.
    """
    if dtype not in ("bfloat16", "float16"):
        return {}
    drowned = {}
    for key, array in arrays.items():
        size = float(np.sqrt(np.mean(array**2)))
        if ZERO * noise[key].rms < size < noise[key].rms / DROWNED:
            drowned[key] = f"its rounding noise is {noise[key].rms / size:.2g} of its size"
    return drowned


def expect_forward(case: Case, weights: Arrays, x: np.ndarray, dtype: str, *, train: bool) -> Expected:
    """The output and the model's arrays after it, for weights and an input of one's own."""
    drawn = Drawn(weights, x, np.zeros((), x.dtype))
    expected = expect(case, drawn, dtype, ("forward",), train=train)["forward"]
    arrays = {key: array for key, array in expected.arrays.items() if "/" not in key}
    return Expected(arrays, expected.noise, expected.undetermined)


def measure_noise(
    truth: Mapping[str, Arrays],
    dtype: str,
    run: Callable[[Exact], Mapping[str, Arrays]],
    count: int,
    roundoff: float | None = None,
    *,
    in_order: bool = False,
) -> dict[str, dict[str, Noise]]:
    """The noise in `dtype` of each array of `truth`, from `count` calls of `run`."""
    accumulator = UNIT_ROUNDOFF[ACCUMULATORS[dtype]] if dtype in ACCUMULATORS else None
    ops = Noisy(roundoff or UNIT_ROUNDOFF[dtype], np.random.default_rng(0), accumulator=accumulator, in_order=in_order)
    draws = []
    for _ in range(count):
        ops.again()
        # No draw is held longer than its noise is measured: of a network's training that would be much.
        draws.append(noise_of(truth, run(ops)))
    return {
        group: {key: Noise.over([draw[group][key] for draw in draws]) for key in arrays}
        for group, arrays in truth.items()
    }


def noise_of(truth: Mapping[str, Arrays], draw: Mapping[str, Arrays]) -> dict[str, dict[str, Noise]]:
    """How far one draw is off."""
    return {
        group: {key: Noise.of(draw[group][key] - value) for key, value in arrays.items()}
        for group, arrays in truth.items()
    }


def compute(
    model: reference.Module, drawn: Drawn, ops: Exact, checks: Collection[str], *, train: bool
) -> dict[str, Arrays]:
    """What the checks give, from one pass.

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
    return found


def check_witness(case: Case, model: reference.Module, drawn: Drawn, found: Arrays, *, train: bool) -> None:
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
            if abs(difference - parts.sum()) <= WITNESS_LIMIT * max(1.0, float(np.linalg.norm(parts))):
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
    output = compute(model, there, Exact(), ("forward",), train=train)["forward"]["output"]
    return float((output * drawn.cotangent.astype(np.float64)).sum())
