"""The verdict on an image alone and among others: both against the reference, and each against the other."""

from collections.abc import Callable, Sequence

import numpy as np

from ..arrays import largest
from .expect import Expected
from .judge import Arrays, Noise, judge
from .results import Result, Status, Verdict

# Two errors that know nothing of each other add as squares do.
APART = float(np.sqrt(2))
SAME_BITS = "bit for bit the same"
# Of the checks in a line for people.
NAMES = 4


def count_same_bits(group: Sequence[Result], otherwise: str, shown: Callable[[Result], str]) -> str:
    """Count the checks in which every bit is the same, and name the first few others, as `shown`, after `otherwise`."""
    other = [result for result in group if result.why != SAME_BITS]
    more = f" and {len(other) - NAMES} more" if len(other) > NAMES else ""
    said = f"; {otherwise}: {', '.join(map(shown, other[:NAMES]))}{more}" if other else ""
    return f"{SAME_BITS} in {len(group) - len(other)} of {len(group)} checks{said}"


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
