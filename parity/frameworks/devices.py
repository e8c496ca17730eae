"""The names of devices: what `--device` may say, which device it means, and in which precisions that computes."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import ParityError
from . import COLUMNS, FRAMEWORKS, check_column

GPUS = ("cuda", "rocm", "mps", "xpu")
KINDS = ("cpu", *GPUS, "tpu")
WORDS = ("auto", "gpu", *KINDS)
PRECISIONS = ("float64", "float32", "bfloat16", "float16")


def check(wanted: str) -> str:
    """Return `wanted` if it names a device or a kind of device; raise ParityError otherwise."""
    kind, colon, index = wanted.partition(":")
    if kind not in WORDS or (colon and (not index.isdecimal() or kind in ("auto", "cpu"))):
        raise ParityError(f"--device must be one of {', '.join(WORDS)}, or such as cuda:1, got {wanted!r}")
    return wanted


def parse(values: Sequence[str], default: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read `--device` for each framework: a word for all, or `flax=gpu` for one, which counts more.

    Raises:
        ParityError: for an unknown framework or device.
    """
    chosen = dict.fromkeys(COLUMNS, "cpu") | dict(default or {})
    for value in sorted(values, key=lambda value: "=" in value):
        framework, equals, device = value.rpartition("=")
        # ONNX Runtime stays on the processor unless it is named.
        names = [check_column(framework)] if equals else FRAMEWORKS
        chosen |= dict.fromkeys(names, check(device))
    return chosen


def resolve(wanted: str, seen: Sequence[str], framework: str) -> str:
    """The device of those `seen` that `wanted` means: "auto" takes the first that is not the processor, if any.

    Raises:
        ParityError: where the framework sees none such; it says which it sees.
    """
    kind, _, index = wanted.partition(":")
    kinds = {"gpu": GPUS, "auto": (*GPUS, "tpu")}.get(kind, (kind,))
    found = [device for device in seen if device.partition(":")[0] in kinds]
    if index:
        found = [device for device in found if device.partition(":")[2] == str(int(index))]
    if kind == "auto":
        found.append("cpu")
    if not found:
        raise ParityError(f"{framework} sees no {wanted}; it sees {', '.join(seen)}")
    return found[0]


def try_precisions(multiply: Callable[..., Sequence[np.ndarray]]) -> dict[str, str]:
    """Say why the device cannot compute in a precision, by precision; empty where it can.

    A product of two numbers shows it: 1 + 2^-p differs from 1 where p fits into the precision.
    """
    return {precision: _try(multiply, precision) for precision in PRECISIONS}


def _try(multiply: Callable[..., Sequence[np.ndarray]], precision: str) -> str:
    digits = {"float64": 52, "float32": 23, "bfloat16": 7, "float16": 10}[precision]
    try:
        one = np.ones((1, 1)).astype(_dtype(precision))
        value = (np.ones((1, 1)) + 2.0**-digits).astype(_dtype(precision))
        product = multiply(value, one, one)[0]
    # Each framework has its own kinds of refusal.
    except Exception as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    if product.dtype.name != precision or float(product[0, 0]) != 1 + 2.0**-digits:
        return f"computes as {product.dtype.name} and gives {float(product[0, 0])!r} for {1 + 2.0**-digits!r}"
    return ""


def _dtype(precision: str) -> np.dtype:
    if precision == "bfloat16":
        from ml_dtypes import bfloat16

        return np.dtype(bfloat16)
    return np.dtype(precision)
