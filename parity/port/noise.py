"""A side's rounding noise: how far an honest computation of a precision must err, by Monte Carlo arithmetic."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ParityError
from ..verdict.judge import Noise
from .side import Arrays, Side


def measure(
    side: Side,
    inputs: Sequence[np.ndarray],
    unit_roundoff: float,
    train: bool,
    layers: bool,
    draws: int,
    gradients: bool,
) -> tuple[Arrays, dict[str, Any]]:
    """Root mean square and largest element of the errors of each array of `Side.run`, and the unknown operations.

    Raises:
        ParityError: where the framework's operations cannot be made to err.
    """
    if side.framework.NAME != "torch":
        raise ParityError(f"the noise of {side.framework.NAME} cannot be measured")
    from ..montecarlo.torch_engine import MonteCarlo

    options: dict[str, Any] = {"dtype": "float64", "train": train, "layers": layers, "gradients": gradients}
    exact, _ = side.run(inputs, **options)
    found: dict[str, list[Noise]] = {}
    unknown: set[str] = set()
    for seed in range(draws):
        with MonteCarlo(unit_roundoff, seed) as engine:
            noisy, _ = side.run(inputs, **options)
        unknown |= engine.unknown
        for name, array in exact.items():
            if array.dtype.kind == "f" and array.size:
                found.setdefault(name, []).append(Noise.of(noisy[name] - array))
    sizes = {name: Noise.over(each) for name, each in found.items()}
    return {name: np.array([size.rms, size.peak]) for name, size in sizes.items()}, {"unknown": sorted(unknown)}
