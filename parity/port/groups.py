"""The groups in which two recordings are compared: outputs, gradients and buffers, by the port's names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..montecarlo.estimate import Estimate
from ..verdict.judge import Noise
from . import layers, verdict
from .report import Check
from .side import Arrays


def roots(recording: Arrays) -> Arrays:
    """The original's outputs, and what they are multiplied by."""
    names = [name for name in recording if name.startswith("value||0|out|")]
    found = {name.removeprefix("value|"): recording[name] for name in names}
    gradients = {name: recording.get(f"gradient|{name}") for name in found}
    return found | {f"cotangent|{name}": array for name, array in gradients.items() if array is not None}


def judge(
    walk: Any,
    mode: str,
    dtype: str,
    comparison: layers.Comparison,
    theirs: Arrays,
    ours: Arrays,
    noise: Mapping[str, Estimate],
    execution: str = "eager",
) -> list[Check]:
    """The verdicts of a mode and precision, a group each."""
    found = []
    for what, prefix in verdict.GROUPS:
        expected, faults = _group(walk, prefix, comparison, theirs, ours)
        if expected or faults:
            found.append(verdict.check(mode, dtype, what, ours, expected, noise, faults, execution))
    return found


def errors(walk: Any, comparison: layers.Comparison, theirs: Arrays, ours: Arrays) -> dict[str, Noise]:
    """Measure the error of each of the port's arrays."""
    found = {}
    for _, prefix in verdict.GROUPS:
        expected, _ = _group(walk, prefix, comparison, theirs, ours)
        for name, truth in expected.items():
            if truth.size and truth.dtype.kind == "f":
                found[name] = Noise.of(np.asarray(ours[name], np.float64) - truth)
    return found


def _group(
    walk: Any, prefix: str, comparison: layers.Comparison, theirs: Arrays, ours: Arrays
) -> tuple[Arrays, dict[str, str]]:
    """The expected arrays of a group, in the port's names; and what is wrong with their shapes."""
    expected: Arrays = {}
    faults: dict[str, str] = {}
    if prefix in ("parameter|", "buffer|"):
        for key, source in walk.pairing.keys.items():
            name, other = f"{prefix}{key}", f"{prefix}{source}"
            if other in theirs and name in ours:
                if ours[name].size != theirs[other].size:
                    faults[name] = f"has shape {ours[name].shape}, the original's {theirs[other].shape}"
                    continue
                expected[name] = walk.pairing.apply(key, theirs[other], ours[name].shape)
        return expected, faults
    kind, _, rest = prefix.partition("|")
    for name in (name for name in theirs if name.startswith(prefix)):
        place = name.removeprefix(f"{kind}|")
        if f"value|{place}" not in ours:
            faults[name] = "is missing: the port gives fewer outputs"
        elif place in comparison.fits:
            if name in ours:
                expected[name] = comparison.fits[place].apply(theirs[name])
            elif theirs[name].any():
                faults[name] = "has no gradient: nothing of the port's output flows back to it"
        else:
            faults[name] = comparison.faults.get(f"value|{place}", "has no partner")
    for name in ours:
        if name.startswith(f"value|{rest}") and kind == "value" and name not in theirs:
            faults[name] = "is one output more than the original's"
        if name.startswith(prefix) and kind == "gradient" and name not in theirs and ours[name].any():
            faults[name] = "has a gradient, and none in the original"
    return expected, faults
