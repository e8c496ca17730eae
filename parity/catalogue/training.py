"""Training data and recipes: an optimizer with its hyper-parameters and a loss.

Every hyper-parameter is a number that float32 holds, because Paddle keeps the learning rate and the optimizers'
attributes as float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np

from ..arrays import Arrays
from .cases import CASES, Case

STEPS = 10

_RATES: Mapping[str, float] = {"rate": 2.0**-3, "decay": 2.0**-7}
_MOMENTS: Mapping[str, float] = {
    "rate": 2.0**-7,
    "decay": 2.0**-7,
    "beta1": 0.875,
    "beta2": 1 - 2.0**-7,
    "epsilon": 2.0**-27,
}
OPTIMIZERS: Mapping[str, Mapping[str, float]] = {
    "sgd": _RATES,
    "momentum": {**_RATES, "momentum": 0.875},
    "nesterov": {**_RATES, "momentum": 0.875},
    "adam": _MOMENTS,
    "adamw": _MOMENTS,
}
LOSSES = ("mse", "cross-entropy")
RECIPES = tuple(f"{optimizer} {loss}" for optimizer in OPTIMIZERS for loss in LOSSES)
# Some modules are trained with every recipe. Blocks and networks take turns with one each, networks not with Adam's:
# its first step is the sign of the gradient, and among ten thousand weights there is always one whose sign is rounding.
_LIGHT = [case for case in CASES if not case.heavy and case.weights == "tame" and case.shape[0] > 1]
_BLOCKS = [case.name for case in _LIGHT if case.module in ("BasicBlock", "Bottleneck")]
_NETWORKS = [case.name for case in _LIGHT if case.module == "SEResNet"]
TRAINED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("SE/normal", "CBAM/norm", "ASPP/training", "SE_ASPP/training"), RECIPES),
    **dict(zip(_BLOCKS, cycle((recipe,) for recipe in reversed(RECIPES)))),
    **dict(zip(_NETWORKS, cycle((recipe,) for recipe in RECIPES if "adam" not in recipe))),
}


@dataclass(frozen=True)
class TrainingData:
    """What a case is trained on: weights to begin with, and for each step an input, and the targets of each loss.

    `start_weights` has for each recipe the weights at which its steps begin where each is judged by itself.
    """

    weights: Arrays
    inputs: list[np.ndarray]
    targets: dict[str, list[np.ndarray]]
    start_weights: dict[str, list[Arrays]] = field(default_factory=dict)


def recipes_of(case: Case) -> tuple[str, ...]:
    """The recipes that the case is trained with: none, for most."""
    return TRAINED.get(case.name, ())


def draw_training_data(case: Case, weights: Arrays, shape: tuple[int, ...], seed: int) -> TrainingData:
    """Seeded normal inputs and targets for an output of `shape` (n, c) or (n, c, h, w), and a class for each place."""
    rng = np.random.default_rng([seed, len(case.name), *case.shape])
    inputs = [rng.standard_normal(case.shape, np.float32) for _ in range(STEPS)]
    values = [rng.standard_normal(shape, np.float32) for _ in range(STEPS)]
    classes = [rng.integers(0, shape[1], (shape[0], *shape[2:])) for _ in range(STEPS)]
    return TrainingData(weights, inputs, {"mse": values, "cross-entropy": classes})
