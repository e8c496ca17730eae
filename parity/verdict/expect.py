"""The expectation of a case: the reference's arrays, and the rounding noise that each may carry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..arrays import Arrays
from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from ..reference.arithmetic import ACCUMULATORS, BLOCK, LEAST, UNIT_ROUNDOFF, Exact, Noisy, Remembering
from ..reference.evaluate import build, evaluate
from ..reference.functions import largest_errors
from .gradient_check import check_gradients
from .judge import Noise

# Enough draws of the noise: of float64's the order of magnitude will do, float32's of a single number is known within a
# fifth, and in half precision rounding opens and shuts ReLUs, which only some of the draws show.
DRAWS = {"float64": 4, "float32": 16, "float16": 64, "bfloat16": 64}
# At real sizes a draw takes seconds and has many values: the draws end where the unit of each array is this sure, as 16
# make that of a single number. From FEWEST on their spread tells.
SURE = 0.2
FEWEST = 3
# A share of an array's size: noise of more drowns it. And a share of the noise: an array of less is zero.
DOMINATED = 0.5
ZERO = 1e-6


@dataclass(frozen=True)
class Expected:
    """The true arrays of a check, the noise of each in the precision that it is computed in, and what it cannot decide.

    `undetermined` gives the reason for each array that rounding alone decides.
    """

    arrays: Arrays
    noise: dict[str, Noise]
    undetermined: dict[str, str] = field(default_factory=dict)


def expect(
    case: Case,
    drawn: Drawn,
    dtype: str,
    checks: tuple[str, ...],
    *,
    train: bool,
    roundoff: float | None = None,
    in_order: bool = False,
    functions: str = "",
) -> dict[str, Expected]:
    """Compute what the checks "forward" and "gradients" expect in `dtype`; `roundoff` is their unit if given.

    The reference runs once exactly, and several times with the rounding errors of `dtype`, always on the weights and
    the input as `dtype` holds them. For `in_order` see `Noisy`; `functions` is the kind of device whose approximate
    functions are used.

    Raises:
        ParityError: where the reference's gradients are not those of its own outputs.
    """
    model = build(case)
    drawn = drawn.rounded(dtype)

    def run(ops: Exact) -> dict[str, Arrays]:
        return evaluate(model, drawn, ops, checks, train=train)

    # In half precision rounding decides so many ReLUs that every draw shows them.
    exact = Remembering() if case.is_real_size and dtype not in ACCUMULATORS else Exact()
    expected = run(exact)
    # The formulas are those of the small cases; among 40 million ReLUs hardly a step is without a kink.
    if "gradients" in checks and not case.is_real_size:
        check_gradients(case, model, drawn, expected["gradients"], train=train)
    sure = SURE if case.is_real_size else None
    draws = case.draws or DRAWS[dtype]
    kinks = exact.kinks if isinstance(exact, Remembering) else ()
    noise = measure_noise(
        expected, dtype, run, draws, roundoff, in_order=in_order, functions=functions, sure=sure, kinks=kinks
    )
    return {
        check: Expected(expected[check], noise[check], find_noise_dominated(expected[check], noise[check], dtype))
        for check in checks
    }


def find_noise_dominated(arrays: Arrays, noise: Mapping[str, Noise], dtype: str) -> dict[str, str]:
    """The arrays of which rounding to half precision leaves nothing to compare, with the reason.

    There the errors are so large that they multiply, which a model of small ones does not tell. An array that is zero
    by construction is not among them: its noise is that of what was summed.
    """
    if dtype not in ("bfloat16", "float16"):
        return {}
    dominated = {}
    for key, array in arrays.items():
        size = float(np.sqrt(np.mean(array**2)))
        if ZERO * noise[key].rms < size < noise[key].rms / DOMINATED:
            dominated[key] = f"its rounding noise is {noise[key].rms / size:.2g} of its size"
    return dominated


def expect_forward(case: Case, weights: Arrays, x: np.ndarray, dtype: str, *, train: bool) -> Expected:
    """The output and the model's arrays after it, for weights and an input of one's own."""
    drawn = Drawn(weights, x, np.zeros((), x.dtype))
    expected = expect(case, drawn, dtype, ("forward",), train=train)["forward"]
    arrays = {key: array for key, array in expected.arrays.items() if "/" not in key}
    return Expected(arrays, expected.noise, expected.undetermined)


def measure_noise(
    expected: Mapping[str, Arrays],
    dtype: str,
    run: Callable[[Exact], Mapping[str, Arrays]],
    count: int,
    roundoff: float | None = None,
    *,
    in_order: bool = False,
    functions: str = "",
    sure: float | None = None,
    kinks: Sequence[np.ndarray] = (),
) -> dict[str, dict[str, Noise]]:
    """The noise in `dtype` of each array of `expected`, from `count` calls of `run`; from fewer once it is `sure`.

    Among millions of ReLUs rounding always decides a few, and others in each draw: one more draw turns them all.
    `kinks` is what they are given without errors.
    """
    accumulator = UNIT_ROUNDOFF[ACCUMULATORS[dtype]] if dtype in ACCUMULATORS else None
    ops = Noisy(
        roundoff or UNIT_ROUNDOFF[dtype],
        np.random.default_rng(0),
        accumulator=accumulator,
        in_order=in_order,
        least=LEAST.get(dtype, 0.0),
        functions=largest_errors(functions),
    )
    draws: list[dict[str, dict[str, Noise]]] = []
    while len(draws) < count and not (sure and len(draws) >= FEWEST and uncertainty(draws) <= sure):
        ops.next_draw()
        # No draw is held longer than its noise is measured: of a network's training that would be much.
        draws.append(noise_of(expected, run(ops)))
    if kinks:
        ops.next_draw()
        ops.kinks = iter(kinks)
        draws.append(noise_of(expected, run(ops)))
    return {
        group: {key: Noise.over([draw[group][key] for draw in draws]) for key in arrays}
        for group, arrays in expected.items()
    }


def noise_of(expected: Mapping[str, Arrays], draw: Mapping[str, Arrays]) -> dict[str, dict[str, Noise]]:
    """Measure the errors of one draw."""
    return {
        group: {key: Noise.of(draw[group][key] - value) for key, value in arrays.items()}
        for group, arrays in expected.items()
    }


def uncertainty(draws: Sequence[Mapping[str, Mapping[str, Noise]]]) -> float:
    """The largest standard uncertainty of a unit, as a share of it: half that of the mean square over the draws."""
    worst = 0.0
    for group, arrays in draws[0].items():
        for key in arrays:
            squares = np.array([draw[group][key].rms ** 2 for draw in draws])
            if squares.any():
                worst = max(worst, float(squares.std(ddof=1) / squares.mean() / np.sqrt(len(draws)) / 2))
    return worst


def adds_in_order(case: Case, dtype: str, execution: str) -> bool:
    """Whether kernels of this execution add more than a block of a channel's values one after another: see `Noisy`.

    In float64 what counts is the function, and half precision is added in float32.
    """
    n, _, h, w = case.shape
    return execution == "channels-last" and dtype == "float32" and n * h * w > BLOCK
