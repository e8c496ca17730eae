"""The verdict on two recordings of a pass: whether they are of the same function, array by array."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log2

import numpy as np

from ..montecarlo.estimate import Estimate
from ..verdict.judge import NOISE_LIMIT, NOISE_UNITS, RELATIVE, RELATIVE_LIMIT, Noise, largest, noise_units, relative
from .report import Check, Error
from .side import Arrays

BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}

# What is compared, and the beginning of its names in a recording.
GROUPS = (
    ("outputs", "value||0|out|"),
    ("input gradients", "gradient||0|in|"),
    ("parameter gradients", "parameter|"),
    ("buffers", "buffer|"),
)


def error(computed: np.ndarray, expected: np.ndarray, noise: Noise | None, worst: str = "") -> Error:
    """Measure an array's error, relative to the largest value or to float64's own noise where that is more."""
    if not np.isfinite(computed.astype(np.float64)).all():
        return Error(float("nan"), None, worst, limit=RELATIVE_LIMIT)
    difference = computed.astype(np.float64) - expected
    if not difference.size:
        return Error(0.0, None, worst, limit=RELATIVE_LIMIT)
    ratio = relative(difference, expected, noise or Noise(0.0, 0.0), RELATIVE_LIMIT)
    units = noise_units(difference, noise) if noise else None
    return Error(ratio, units, worst, _place(difference), RELATIVE_LIMIT)


def check(
    mode: str,
    dtype: str,
    what: str,
    computed: Arrays,
    expected: Arrays,
    noise: Mapping[str, Estimate],
    faults: Mapping[str, str],
    execution: str = "eager",
) -> Check:
    """The verdict on a group of arrays; shapes, precision and what is not finite come first.

    Args:
        mode: "eval" or "train".
        dtype: The precision computed in.
        what: The group.
        computed: What the port gave.
        expected: What it must be, by the same names and in the same axes.
        noise: The noise of each array: in float64 that of float64, where it is known; in others that of `dtype`.
        faults: What is wrong with arrays that cannot be compared, by name.
        execution: "eager" or "compiled".
    """
    exact = dtype == "float64"
    unit, limit = (RELATIVE, RELATIVE_LIMIT) if exact else (NOISE_UNITS, NOISE_LIMIT)
    inf = float("inf")
    blank = Check(mode, dtype, what, 0.0, limit, unit, execution=execution)
    for name, fault in faults.items():
        return replace(blank, error=inf, why=f"{plain(name)} {fault}", worst=plain(name))
    worst = blank
    for name, truth in expected.items():
        if not truth.size:
            continue
        array = computed[name]
        if truth.dtype.kind == "f" and array.dtype.name != dtype:
            why = f"{plain(name)} is {array.dtype} in a {dtype} model"
            return replace(blank, error=inf, why=why, worst=plain(name))
        bad = ~np.isfinite(array.astype(np.float64))
        if bad.any():
            why = f"{plain(name)} holds {int(bad.sum())} NaN or infinite of {array.size} values"
            return replace(blank, error=inf, why=why, worst=plain(name), index=_place(bad))
        difference = array.astype(np.float64) - truth
        measured = noise.get(name)
        size = measured.noise if measured else Noise(0.0, 0.0)
        amount = relative(difference, truth, size, limit) if exact else noise_units(difference, size)
        if not amount <= worst.error or not worst.worst:
            words = "of the largest value" if exact else unit
            worst = replace(
                blank,
                error=amount,
                why=""
                if amount <= limit
                else f"{plain(name)} is off by {amount:.3g} {words}, at most {limit:.3g} may be",
                worst=plain(name),
                index=_place(difference),
                bits=_bits(Noise.of(difference).rms, truth, dtype),
                expected_bits=_bits(size.rms, truth, dtype) if size.rms else None,
                interval=_interval(amount, measured) if measured and not exact else None,
                draws=measured.draws if measured else 0,
            )
    return worst


def _interval(units: float, measured: Estimate) -> tuple[float, float]:
    """The least and the most that so many units may be, for the noise is known from a few draws."""
    least, most = measured.interval
    return units / most, units / least if least else float("inf")


def plain(name: str) -> str:
    """An array's name in a recording, for people."""
    kind, _, rest = name.partition("|")
    if kind in ("parameter", "buffer"):
        return rest
    path, _, direction, index = rest.split("|")
    word = {"in": "input", "out": "output"}[direction]
    return f"{path + ' ' if path else ''}{word}{'' if index == '0' else ' ' + index}"


def first_nonfinite(recording: Arrays, order: Sequence[str]) -> str:
    """The first name in order whose array is not finite, or an empty string."""
    for name in order:
        array = recording.get(name)
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            return name
    return ""


def _place(difference: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.abs(difference).argmax()), difference.shape))


def _bits(rms: float, truth: np.ndarray, dtype: str) -> float:
    """Significant bits: how often the error's root mean square goes into that of the values, as a power of two."""
    size = float(np.sqrt(np.mean(np.square(truth.astype(np.float64)))))
    most = float(BITS[dtype])
    if not rms:
        return most
    return max(0.0, min(most, log2(size / rms))) if size else 0.0


__all__ = ["GROUPS", "check", "error", "first_nonfinite", "largest", "plain"]
