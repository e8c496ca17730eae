"""Training data: what a case is trained on."""

from dataclasses import dataclass, field

import numpy as np

from ..arrays import Arrays
from .cases import Case
from .recipes import STEPS


@dataclass(frozen=True)
class TrainingData:
    """A case's training data: weights to begin with, and for each step an input, and the targets of each loss.

    `start_weights` has for each recipe the weights at which its steps begin where each is judged by itself.
    """

    weights: Arrays
    inputs: list[np.ndarray]
    targets: dict[str, list[np.ndarray]]
    start_weights: dict[str, list[Arrays]] = field(default_factory=dict)


def draw_training_data(case: Case, weights: Arrays, shape: tuple[int, ...], seed: int) -> TrainingData:
    """Seeded normal inputs and targets for an output of `shape` (n, c) or (n, c, h, w), and a class for each place."""
    rng = np.random.default_rng([seed, len(case.name), *case.shape])
    inputs = [rng.standard_normal(case.shape, np.float32) for _ in range(STEPS)]
    values = [rng.standard_normal(shape, np.float32) for _ in range(STEPS)]
    classes = [rng.integers(0, shape[1], (shape[0], *shape[2:])) for _ in range(STEPS)]
    return TrainingData(weights, inputs, {"mse": values, "cross-entropy": classes})
