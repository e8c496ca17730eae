"""What a case must give: the reference's arrays, and the rounding noise that each may carry."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from . import reference
from .arithmetic import UNIT_ROUNDOFF, Exact, Noisy
from .cases import Case
from .compare import Noise

# Enough draws to know the noise of a single number within a fifth.
DRAWS = 16


@dataclass(frozen=True)
class Expected:
    """The true output and arrays of a model after one forward pass, and their noise in each precision asked for."""

    arrays: dict[str, np.ndarray]
    noise: dict[str, dict[str, Noise]]


def build(case: Case) -> reference.Module:
    """The reference's model of the case."""
    return getattr(reference, case.module)(*case.args, **case.kwargs)


def expect(
    case: Case, weights: Mapping[str, np.ndarray], x: np.ndarray, *, train: bool, dtypes: tuple[str, ...] = ()
) -> Expected:
    """Run the reference once exactly, and DRAWS times with the rounding errors of each of `dtypes` but float64."""
    model = build(case)

    def run(ops: Exact) -> dict[str, np.ndarray]:
        reference.set_weights(model, weights)
        output = model(x.astype(np.float64), ops, train=train)
        return {"output": output, **reference.get_weights(model)}

    truth = run(Exact())
    noise = {}
    for dtype in dtypes:
        if dtype == "float64":
            continue
        ops = Noisy(UNIT_ROUNDOFF[dtype], np.random.default_rng(0))
        draws = [run(ops) for _ in range(DRAWS)]
        noise[dtype] = {key: Noise.of([draw[key] - value for draw in draws]) for key, value in truth.items()}
    return Expected(truth, noise)
