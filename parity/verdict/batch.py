"""The verdict on an image alone and among others: both against the reference, and each against the other."""

import numpy as np

from ..arrays import largest
from .expect import Expected
from .judge import Arrays, Noise, judge
from .results import Status, Verdict

# Two errors that know nothing of each other add as squares do.
APART = float(np.sqrt(2))
SAME_BITS = "bit for bit the same"


def judge_batch(computed: Arrays, expected: Expected, dtype: str, limit: float) -> Verdict:
    """The verdict, whose reason says whether every bit is the same, or how far apart the two are.

    Args:
        computed: The outputs "alone" and "among".
        expected: What both must be.
        dtype: The precision computed in.
        limit: What float64 may be off by.
    """
    verdict = judge(computed, expected.arrays, dtype, expected.noise, limit, expected.undetermined)
    if not verdict.passed:
        return verdict
    alone, among = (computed[name].astype(np.float64) for name in ("alone", "among"))
    if not expected.undetermined:
        noise = expected.noise["alone"]
        apart = Noise(APART * noise.rms, APART * noise.peak)
        between = judge({"among": computed["among"]}, {"among": alone}, dtype, {"among": apart}, APART * limit)
        if not between.passed:
            return between
    return Verdict(
        error=verdict.error,
        limit=verdict.limit,
        unit=verdict.unit,
        status=Status.SAME,
        why=describe(alone, among, same=computed["alone"].tobytes() == computed["among"].tobytes()),
    )


def describe(alone: np.ndarray, among: np.ndarray, *, same: bool) -> str:
    """Whether every bit of the two is the same, in words."""
    if same:
        return SAME_BITS
    return f"apart by {largest(among - alone) / (largest(alone) or 1.0):.2g} of the largest value"
