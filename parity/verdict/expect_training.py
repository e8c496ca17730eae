"""The losses and arrays that training a case is expected to give, and the weights at which its steps begin."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..arrays import Arrays, largest
from ..catalogue.cases import Case
from ..catalogue.recipes import OPTIMIZERS
from ..catalogue.training import TrainingData
from ..reference.arithmetic import Exact
from ..reference.evaluate import build
from ..reference.optimizers import train
from .expect import DRAWS, Expected, measure_noise
from .judge import NOISE_LIMIT

# float64 after STEPS steps.
TRAINING_LIMIT = 1e-10


# A share of the learning rate. Rounding that moves a whole array of weights by more has decided its step.
DECIDED = 1 / 8


# A drift is over all arrays, so that a few draws tell its size.
DRIFT_DRAWS = 4


def add_start_weights(case: Case, data: TrainingData) -> TrainingData:
    """The data with the weights at which the reference's own steps begin."""
    return replace(data, start_weights={recipe: trajectory(case, data, recipe) for recipe in case.recipes})


def trajectory(case: Case, data: TrainingData, recipe: str) -> list[Arrays]:
    """The weights at which each step of the reference's own training begins, as float32 holds them."""
    history = train(build(case), data, recipe, Exact())
    before = [data.weights, *({key: a for key, a in step.items() if key != "loss"} for step in history[:-1])]
    return [{key: array.astype(np.float32) for key, array in step.items()} for step in before]


def expect_training(
    case: Case,
    data: TrainingData,
    recipe: str,
    dtype: str,
    start_weights: Sequence[Arrays] | None = None,
    roundoff: float | None = None,
    functions: str = "",
) -> Expected:
    """Compute the expected values of training: after the last step, or with `start_weights` after every one."""
    model = build(case)

    def run(ops: Exact) -> dict[str, Arrays]:
        return {"": flatten(train(model, data, recipe, ops, start_weights), every=start_weights is not None)}

    expected = run(Exact())
    draws = DRIFT_DRAWS if start_weights is None else DRAWS[dtype]
    noise = measure_noise(expected, dtype, run, draws, roundoff, functions=functions)[""]
    arrays = expected[""]
    undetermined = {}
    for key, array in arrays.items():
        rate = OPTIMIZERS[recipe.split()[0]]["rate"]
        if dtype == "float64" and NOISE_LIMIT * noise[key].peak > TRAINING_LIMIT * largest(array):
            undetermined[key] = f"rounding alone moves it by {noise[key].peak:.1g}"
        elif dtype != "float64" and recipe.startswith("adam") and noise[key].rms > DECIDED * rate:
            undetermined[key] = f"rounding alone moves it by {noise[key].rms / rate:.2g} of the learning rate"
    return Expected(arrays, noise, undetermined)


def flatten(history: Sequence[Arrays], *, every: bool) -> Arrays:
    """All losses, and the arrays of every step or of the last."""
    losses = np.concatenate([step["loss"] for step in history])
    if not every:
        return {**history[-1], "loss": losses}
    steps = {f"step {i}/{key}": array for i, step in enumerate(history, 1) for key, array in step.items()}
    return {"loss": losses} | {key: array for key, array in steps.items() if not key.endswith("/loss")}
