"""The verdict: how far computed arrays are from the reference's, in which unit, and whether that is too far.

float64 shows that two codes are the same function: the unit is the largest error relative to the largest value, or to
the rounding noise of what was summed where that is what is left, as in a gradient that is zero by construction. Every
other precision is judged by the rounding noise that an honest computation in it must make: the unit is the error's root
mean square over the noise's, or the largest error over the largest noise, whichever is more. Neither compares with
anything that a NaN could pass.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ..arrays import largest
from .results import Verdict

RELATIVE = "relative"
NOISE_UNITS = "noise units"
DRIFTS = "drifts"

# From here on NumPy knows bfloat16 by name; a worker that computes nothing in it does without.
with suppress(ImportError):
    import ml_dtypes  # noqa: F401

# Two summation orders of the same function differ by about 1e-14 in float64, two functions by 1e-9 and more.
RELATIVE_LIMIT = 1e-11
# Honest code measures 0.3 to 3 units, the nearest mutant worth the name over 10; see docs/calibration.md.
NOISE_LIMIT = 5.0

# In units, the most that a draw of the noise may measure itself.
RAREST = 4.0

# A drift is how far rounding drives PyTorch's own training, or the reference's with noise where that is more.
DRIFT_LIMIT = 5.0

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Noise:
    """The size of an array's rounding errors: root mean square, and largest element."""

    rms: float
    peak: float

    @classmethod
    def of(cls, error: np.ndarray) -> "Noise":
        """The size of one draw of the errors."""
        return cls(float(np.sqrt(np.mean(error**2))), largest(error))

    @classmethod
    def over(cls, draws: Sequence["Noise"]) -> "Noise":
        """The size over several draws from that of each: one such as any of them is no more than RAREST times that.

        A ReLU that rounding opens in one draw of a hundred opens in honest code as rarely, and errs as far.
        """
        rms = float(np.sqrt(np.mean([draw.rms**2 for draw in draws])))
        return cls(max(rms, max(draw.rms for draw in draws) / RAREST), max(draw.peak for draw in draws))


def judge(
    computed: Arrays,
    reference: Arrays,
    dtype: str,
    noise: Mapping[str, Noise],
    relative_limit: float = RELATIVE_LIMIT,
    undetermined: Collection[str] = (),
) -> Verdict:
    """The verdict over arrays that are to hold what the reference's of the same names do.

    Args:
        computed: what a framework gave, each array in `dtype`.
        reference: the true values in float64.
        dtype: the precision computed in; float64 is judged relative to the largest value, others in noise units.
        noise: the noise that this precision must make in each array.
        relative_limit: what float64 may be off by.
        undetermined: arrays that rounding alone decides: they are to be there, of their shape, and finite.

    Returns:
        The verdict on the worst array; names, shapes, dtypes and NaN come first.
    """
    exact = dtype == "float64"
    unit, limit = (RELATIVE, relative_limit) if exact else (NOISE_UNITS, NOISE_LIMIT)
    if why := check_structure(computed, reference, dtype):
        return Verdict.of(float("inf"), limit, unit, why)
    errors = {}
    for key, expected in _determined(reference, undetermined):
        difference = computed[key].astype(np.float64) - expected
        errors[key] = (
            relative(difference, expected, noise[key], limit) if exact else noise_units(difference, noise[key])
        )
    worst, error = max(errors.items(), key=lambda item: item[1], default=("", 0.0))
    words = "of the largest value" if exact else unit
    why = "" if error <= limit else f"{worst} is off by {error:.3g} {words}, at most {limit:.3g} may be"
    return Verdict.of(error, limit, unit, why)


def judge_drift(
    computed: Arrays,
    reference: Arrays,
    dtype: str,
    noise: Mapping[str, Noise],
    baseline: Arrays | None,
    undetermined: Collection[str] = (),
) -> Verdict:
    """The verdict over arrays that rounding drives from the reference's, in drifts; `baseline` is PyTorch's own."""
    if why := check_structure(computed, reference, dtype):
        return Verdict.of(float("inf"), DRIFT_LIMIT, DRIFTS, why)
    reference = dict(_determined(reference, undetermined))
    if not reference:
        return Verdict.of(0.0, DRIFT_LIMIT, DRIFTS)
    predicted = np.mean([(noise[key].rms / (largest(expected) or 1.0)) ** 2 for key, expected in reference.items()])
    scale = max(drift(baseline, reference) if baseline else 0.0, float(np.sqrt(predicted)))
    error = _ratio(drift(computed, reference), scale)
    why = "" if error <= DRIFT_LIMIT else f"is {error:.3g} drifts from the reference, at most {DRIFT_LIMIT:.3g} may be"
    return Verdict.of(error, DRIFT_LIMIT, DRIFTS, why)


def _determined(reference: Arrays, undetermined: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    return ((key, expected) for key, expected in reference.items() if key not in undetermined)


def drift(computed: Arrays, reference: Arrays) -> float:
    """The root mean square over the arrays of each one's error relative to its largest value."""
    errors = [
        np.mean(((computed[key].astype(np.float64) - expected) / (largest(expected) or 1.0)) ** 2)
        for key, expected in reference.items()
    ]
    return float(np.sqrt(np.mean(errors)))


def relative(difference: np.ndarray, expected: np.ndarray, noise: Noise, limit: float) -> float:
    """The largest absolute difference over the largest absolute true value.

    Where float64's own noise is more than that lets through, what counts is the noise, NOISE_LIMIT of it at most.
    """
    scale = max(largest(expected), NOISE_LIMIT * noise.peak / limit)
    return _ratio(largest(difference), scale)


def noise_units(difference: np.ndarray, noise: Noise) -> float:
    """The error over the noise: by root mean square or by the largest element, whichever is more."""
    error = Noise.of(difference)
    return max(_ratio(error.rms, noise.rms), _ratio(error.peak, noise.peak))


def _ratio(error: float, scale: float) -> float:
    if error == 0:
        return 0.0
    return error / scale if scale > 0 else float("inf")


def check_structure(computed: Arrays, reference: Arrays, dtype: str) -> str:
    """Describe what is wrong with names, shapes, dtypes and NaN."""
    if missing := reference.keys() - computed.keys():
        return f"missing {', '.join(sorted(missing))}"
    if unexpected := computed.keys() - reference.keys():
        return f"unexpected {', '.join(sorted(unexpected))}"
    for key, expected in reference.items():
        array = computed[key]
        if array.shape != expected.shape:
            return f"{key} must have shape {expected.shape}, got {array.shape}"
        if array.dtype.name != dtype:
            return f"{key} must be {dtype}, got {array.dtype.name}"
        if nans := int(np.count_nonzero(~np.isfinite(array.astype(np.float64)))):
            return f"{key} holds {nans} NaN or infinite of {array.size} values"
    return ""
