"""The probability that the suite fails a right port, and its interval, from the false alarms that were counted."""

import math

CONFIDENCE = 0.95

# Halvings of the interval in which the bound lies: its last digit is that of a float64 near 1.
_HALVINGS = 53


def upper_bound(alarms: int, samples: int, confidence: float = CONFIDENCE) -> float:
    """The largest probability of an alarm with which so few of them are still believable.

    It is the p at which at most `alarms` of `samples` come with probability 1 - confidence: the upper end of the
    one-sided interval of Clopper and Pearson (Biometrika 26, 1934), whose lower end is 0. Where none was counted that
    is 1 - (1 - confidence)^(1 / samples), at 95 % nearly 3 / samples.

    Args:
        alarms: How many of the samples were alarms.
        samples: How many there were, each independent of the others.
        confidence: How often, at least, the bound holds.

    Raises:
        ValueError: Without samples, or for a number of alarms that is not in 0 to samples.
    """
    if samples < 1 or not 0 <= alarms <= samples:
        raise ValueError(f"alarms must be 0 to samples and samples at least 1, got {alarms} of {samples}")
    if alarms == samples:
        return 1.0
    low, high = alarms / samples, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(alarms, samples, middle) > 1 - confidence else (low, middle)
    return high


def at_most(alarms: int, samples: int, p: float) -> float:
    """The probability that at most so many of the samples are alarms, each one with the probability 0 < p < 1."""
    ways = math.lgamma(samples + 1)
    return math.fsum(
        math.exp(
            ways - math.lgamma(k + 1) - math.lgamma(samples - k + 1) + k * math.log(p) + (samples - k) * math.log1p(-p)
        )
        for k in range(alarms + 1)
    )


def any_of(p: float, checks: int) -> float:
    """The probability that one of so many checks fails or more, if each does with probability p: 1 - (1 - p)^checks.

    That is for checks which fail independently; those that tend to fail together fail fewer runs.
    """
    return 1.0 if p == 1 else -math.expm1(checks * math.log1p(-p))


def describe(alarms: int, samples: int, checks: int) -> str:
    """The sentence that a calibration ends with, on one check and on a run of so many."""
    estimate, bound = alarms / samples, upper_bound(alarms, samples)
    return (
        f"a right port fails one check with probability {estimate:.2g} ({CONFIDENCE:.0%} interval 0 to {bound:.2g}), "
        f"a run of {checks} checks with {any_of(estimate, checks):.2g} (0 to {any_of(bound, checks):.2g})"
    )
