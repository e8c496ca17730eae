"""The largest errors of approximate functions in float32, as the documentation of a device bounds them.

Processors give the nearest float32 of a quotient and a square root, and of an exponential nearly always. GPUs have
instructions that are off by more. Which of its ways a compiler takes is its own choice, so the largest error counts.
"""

from collections.abc import Collection, Mapping

from .arithmetic import UNIT_ROUNDOFF

# By kind of device and function: how far the result may be from the nearest float32, in units in the last place.
# CUDA: the "CUDA C++ Programming Guide", Mathematical Functions, single precision (expf 2, rsqrtf 2, logf 1; without
# -prec-div x/y 2 and 1/x 1), and the "PTX ISA", floating-point instructions (div.full.f32 2, rcp.approx.f32 1,
# rsqrt.approx.f32 2^-22.9 of the value, which is less than rsqrtf). XLA compiles our modules to ex2.approx, rcp.approx,
# rsqrt.approx and div.full: `parity lower --keep FOLDER` shows it.
ULPS: Mapping[str, Mapping[str, int]] = {
    "cuda": {"exponential": 2, "quotient": 2, "reciprocal": 1, "reciprocal root": 2, "logarithm": 1},
}


def kind_of(device: str, dtype: str = "float32") -> str:
    """The key in ULPS of a device such as cuda:1; empty where every result is taken to be the nearest number.

    Half precisions are computed in float32 and rounded, which hides such errors, and float64 is held to the function.
    """
    kind = device.partition(":")[0]
    return kind if dtype == "float32" and kind in ULPS else ""


def kinds_of(devices: Collection[str]) -> list[str]:
    """The kinds of devices as `--device` names them, where `gpu` and `auto` mean one not yet known; see `kind_of`."""
    asked = {device.partition(":")[0] for device in devices}
    return ["", *(kind for kind in ULPS if asked & {kind, "gpu", "auto"})]


def largest_errors(kind: str) -> dict[str, float]:
    """The largest relative error of each function: half a unit in the last place, and what is documented besides."""
    return {name: (1 + 2 * ulps) * UNIT_ROUNDOFF["float32"] for name, ulps in ULPS.get(kind, {}).items()}
