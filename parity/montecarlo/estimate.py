"""The rounding noise of each array from several random draws, how sure it is, and how many bits it leaves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, log2

import numpy as np

from ..verdict.judge import Arrays, Noise

# Of a normal distribution, what 95 % lie within.
NORMAL_95 = 1.96
# Of the ReLUs that honest code opens or shuts by rounding, one in eight does so in none of 6 draws, one in forty in
# none of 64.
MOST_DRAWS = 64


@dataclass(frozen=True)
class Estimate:
    """The noise of an array as so many draws show it.

    Attributes:
        noise: The size of the array's errors over all draws.
        size: The root mean square of the array itself.
        draws: How many draws there were.
        freedom: The degrees of freedom of their mean square: as many independent normal errors know it as well.
    """

    noise: Noise
    size: float
    draws: int
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        """The least and the most, as a multiple of `noise`, that the true noise may be; 95 % of such intervals hold it.

        As the errors' mean square is distributed like chi squared; Wilson and Hilferty, PNAS 17 (1931).
        """
        spread = 2 / (9 * self.freedom) if self.freedom > 0 else inf
        low, high = (max(0.0, 1 - spread + way * NORMAL_95 * spread**0.5) for way in (-1, 1))
        return high**-1.5 if high else 0.0, low**-1.5 if low else inf

    @property
    def bits(self) -> float:
        """The number of significant bits of the array: log2 of its size over its noise."""
        return significant_bits(self.size, self.noise.rms)


def significant_bits(size: float, error: float) -> float:
    """The number of right bits in values of that size that err by that much; infinite where nothing errs."""
    return max(0.0, log2(size / error)) if size > 0 < error else (0.0 if error > 0 else inf)


def measure(
    truth: Arrays,
    draw: Callable[[int], Arrays],
    draws: int,
    *,
    doubt: Callable[[Mapping[str, Estimate]], bool] = lambda _: False,
    most: int = MOST_DRAWS,
) -> dict[str, Estimate]:
    """The noise of each array of `truth`.

    Args:
        truth: The arrays of a float64 run as it is.
        draw: Runs the same with the errors that a seed draws, see `torch_engine` and `jax_engine`.
        draws: How many seeds to draw, at least 2.
        doubt: Whether the noise so far finds something wrong: then the draws are doubled, because a ReLU that rounding
            opens or shuts in a few of them only may be what was found.
        most: The number of draws that ends all doubt.
    """
    if draws < 2:
        raise ValueError(f"the noise is known from 2 draws on, got {draws}")
    found: dict[str, list[Noise]] = {key: [] for key in truth}
    done = 0
    while True:
        for seed in range(done, draws):
            arrays = draw(seed)
            for key, value in truth.items():
                found[key].append(Noise.of(np.asarray(arrays[key], np.float64) - value))
        estimates = {key: estimate(value, found[key]) for key, value in truth.items()}
        if draws >= most or not doubt(estimates):
            return estimates
        done, draws = draws, min(most, 2 * draws)


def estimate(truth: np.ndarray, draws: list[Noise]) -> Estimate:
    """The noise of one array from that of each draw."""
    squares = np.array([draw.rms**2 for draw in draws])
    mean, variance = float(squares.mean()), float(squares.var(ddof=1))
    # What no draw can be surer of: every value of every draw an error of its own.
    most = float(len(draws) * truth.size)
    freedom = min(most, 2 * len(draws) * mean**2 / variance) if variance > 0 else most
    return Estimate(Noise.over(draws), float(np.sqrt(np.mean(np.square(truth)))), len(draws), freedom)


def select(estimates: Mapping[str, Estimate]) -> dict[str, Noise]:
    """The noise alone, as `compare.judge` takes it."""
    return {key: value.noise for key, value in estimates.items()}
