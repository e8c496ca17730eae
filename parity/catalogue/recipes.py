"""Recipes: an optimizer with its hyper-parameters, and a loss.

Every hyper-parameter is a number that float32 holds, because Paddle keeps the learning rate and the optimizers'
attributes as float32.
"""

from collections.abc import Mapping

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


# Blocks and networks take turns with one each, networks not with Adam's: its first step is the sign of the gradient,
# and among ten thousand weights there is always one whose sign is rounding.
RECIPES = tuple(f"{optimizer} {loss}" for optimizer in OPTIMIZERS for loss in LOSSES)
