"""A probe of whether the device computes float32 products in float32: a switch that did not take is silent.

A convolution and a matrix product, forward and backward, are held against float64. The unit is the unit roundoff of
float32 times |w|*|x|, the same product of the absolute values. Honest float32 measures 0.2 to 4, TF32 over 100,
bfloat16 eight times that. The sides are multiples of 16, so that tensor cores would take the work if they may.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..frameworks import TABLE
from ..frameworks.adapter import Adapter
from ..reference.convolution import correlate, correlate_to_input, correlate_to_weight

LIMIT = 32.0
ROUNDOFF = 2.0**-24
# Where TF32 is allowed its own rounding of both factors is the most that may be.
TF32_ROUNDOFF = 2.0**-11
TF32_LIMIT = 1.0
PARTS = ("forward", "gradient of the first factor", "gradient of the second factor")

Product = Callable[[np.ndarray, np.ndarray, np.ndarray], Sequence[np.ndarray]]


def measure(adapter: Adapter, device: str) -> dict[str, float]:
    """The largest error of each operation in units of float32's roundoff, by the name of what computes it.

    Args:
        adapter: The framework's.
        device: The device's name, which tells the library's.
    """
    libraries = adapter.LIBRARIES.get(device.partition(":")[0], ("convolution", "matmul"))
    return {
        f"{library} {part}": units
        for library, product, exact, arrays in zip(
            libraries, (adapter.convolve, adapter.multiply), (_convolve, _multiply), draw(), strict=True
        )
        for part, units in zip(PARTS, _units(product, exact, arrays), strict=False)
    }


def verdict(framework: str, found: Mapping[str, float], *, allow_tf32: bool = False) -> str:
    """Say in a line what is wrong with the measurement in `framework`, or an empty string; a missing probe is wrong."""
    scale, limit = (ROUNDOFF / TF32_ROUNDOFF, TF32_LIMIT) if allow_tf32 else (1.0, LIMIT)
    worst = max(found, key=lambda name: (not found[name] * scale <= limit, found[name]), default="")
    if worst and not found[worst] * scale <= limit:
        name, _, part = worst.partition(" ")
        what = "less than TF32" if allow_tf32 else "TF32 (or lower)"
        unit = "2^-11" if allow_tf32 else "2^-24"
        return (
            f"{what} is on in {framework}: {name}; its {part} is off by {found[worst] * scale:.3g} u of |w|*|x| "
            f"where u is {unit}, at most {limit:g} may be"
        )
    # ONNX Runtime has no backward pass.
    parts = PARTS if "gradients" in TABLE[framework].abilities.checks else PARTS[:1]
    libraries = {name.partition(" ")[0] for name in found}
    if len(libraries) == 2 and found.keys() == {f"{library} {part}" for library in libraries for part in parts}:
        return ""
    return f"the arithmetic of {framework} was not measured: the {', '.join(parts)} of two products must be there"


def draw() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The factors and the cotangent of the convolution and of the matrix product, in float32."""
    rng = np.random.default_rng(0)
    shapes = [((4, 16, 16, 16), (64, 16, 3, 3), (4, 64, 16, 16)), ((128, 64), (64, 96), (128, 96))]
    return [tuple(rng.standard_normal(shape, np.float32) for shape in group) for group in shapes]  # type: ignore[misc]


def _units(product: Product, exact: Product, arrays: Sequence[np.ndarray]) -> list[float]:
    truth = exact(*(array.astype(np.float64) for array in arrays))
    bound = exact(*(np.abs(array.astype(np.float64)) for array in arrays))
    # A value that is not a number makes the largest one too. ONNX Runtime has the forward product alone.
    return [
        float(np.max(np.abs(found.astype(np.float64) - true) / (ROUNDOFF * size)))
        for found, true, size in zip(product(*arrays), truth, bound, strict=False)
    ]


def _convolve(x: np.ndarray, w: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    return [correlate(x, w, 1), correlate_to_input(cotangent, w, 1), correlate_to_weight(cotangent, x, 3, 1)]


def _multiply(a: np.ndarray, b: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    return [a @ b, cotangent @ b.T, a.T @ cotangent]
