"""Training in the reference: losses and optimizers from their formulas, and what some steps must give.

Every hyper-parameter is a number that float32 holds, because Paddle keeps the learning rate and the optimizers'
attributes as float32. Weight decay acts on every trained array; it is added to the gradient, except in AdamW, which
shrinks the weights instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle

import numpy as np

from ..reference import modules as reference
from ..reference.arithmetic import Exact
from ..verdict.expect import DRAWS, Arrays, Expected, build, measure_noise
from ..verdict.judge import NOISE_LIMIT, largest
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
_LIGHT = [case for case in CASES if not case.heavy]
_BLOCKS = [case.name for case in _LIGHT if case.module in ("BasicBlock", "Bottleneck")]
_NETWORKS = [case.name for case in _LIGHT if case.module == "SEResNet"]
TRAINED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("SE/normal", "CBAM/norm", "ASPP/training", "SE_ASPP/training"), RECIPES),
    **dict(zip(_BLOCKS, cycle((recipe,) for recipe in reversed(RECIPES)))),
    **dict(zip(_NETWORKS, cycle((recipe,) for recipe in RECIPES if "adam" not in recipe))),
}

# float64 after STEPS steps.
TRAINING_LIMIT = 1e-10
# A share of the learning rate. Rounding that moves a whole array of weights by more has decided its step.
DECIDED = 1 / 8
# A drift is over all arrays, so that a few draws tell its size.
DRIFT_DRAWS = 4


@dataclass(frozen=True)
class Lesson:
    """What a case is trained on: weights to begin with, and for each step an input, and the targets of each loss.

    `synced` has for each recipe the weights at which its steps begin where each is judged by itself.
    """

    weights: Arrays
    inputs: list[np.ndarray]
    targets: dict[str, list[np.ndarray]]
    synced: dict[str, list[Arrays]] = field(default_factory=dict)


class Optimizer:
    """The optimizer of a name, with its hyper-parameters and what it remembers of each array."""

    def __init__(self, name: str, ops: Exact) -> None:
        self.name = name
        self.options = OPTIMIZERS[name]
        self.ops = ops
        self.memory: dict[str, dict[str, np.ndarray]] = {}
        self.count = 0

    def update(self, weights: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Arrays:
        """The weights after one step."""
        self.count += 1
        step = self.adam if self.name.startswith("adam") else self.sgd
        return {key: step(key, weight, gradients[key]) for key, weight in weights.items()}

    def sgd(self, key: str, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        """v = momentum * v + g + decay * w and w - rate * v; Nesterov's takes momentum * v + g + decay * w for v."""
        ops, o = self.ops, self.options
        g = ops.add(g, ops.mul(w, o["decay"]))
        if "momentum" in o:
            kept = self.memory.setdefault(key, {"v": np.zeros_like(w)})
            kept["v"] = ops.add(ops.mul(kept["v"], o["momentum"]), g)
            g = ops.add(g, ops.mul(kept["v"], o["momentum"])) if self.name == "nesterov" else kept["v"]
        return ops.sub(w, ops.mul(g, o["rate"]))

    def adam(self, key: str, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        """w - rate * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon), m and v the moving means of g and g^2."""
        ops, o = self.ops, self.options
        if self.name == "adamw":
            w = ops.mul(w, 1 - o["rate"] * o["decay"])
        else:
            g = ops.add(g, ops.mul(w, o["decay"]))
        kept = self.memory.setdefault(key, {"m": np.zeros_like(w), "v": np.zeros_like(w)})
        kept["m"] = ops.add(ops.mul(kept["m"], o["beta1"]), ops.mul(g, 1 - o["beta1"]))
        kept["v"] = ops.add(ops.mul(kept["v"], o["beta2"]), ops.mul(ops.mul(g, g), 1 - o["beta2"]))
        mean = ops.mul(kept["m"], 1 / (1 - o["beta1"] ** self.count))
        root = ops.sqrt(ops.mul(kept["v"], 1 / (1 - o["beta2"] ** self.count)))
        return ops.sub(w, ops.mul(ops.div(mean, ops.add(root, o["epsilon"])), o["rate"]))


def recipes_of(case: Case) -> tuple[str, ...]:
    """The recipes that the case is trained with: none, for most."""
    return TRAINED.get(case.name, ())


def draw_lesson(case: Case, weights: Arrays, shape: tuple[int, ...], seed: int) -> Lesson:
    """Seeded normal inputs and targets for an output of `shape` (n, c) or (n, c, h, w), and a class for each place."""
    rng = np.random.default_rng([seed, len(case.name), *case.shape])
    inputs = [rng.standard_normal(case.shape, np.float32) for _ in range(STEPS)]
    values = [rng.standard_normal(shape, np.float32) for _ in range(STEPS)]
    classes = [rng.integers(0, shape[1], (shape[0], *shape[2:])) for _ in range(STEPS)]
    return Lesson(weights, inputs, {"mse": values, "cross-entropy": classes})


def train(
    model: reference.Module, lesson: Lesson, recipe: str, ops: Exact, synced: Sequence[Arrays] | None = None
) -> list[Arrays]:
    """The loss and every array after each step; with `synced` each step begins at those weights."""
    optimizer, loss_name = recipe.split()
    tuner = Optimizer(optimizer, ops)
    reference.set_weights(model, lesson.weights)
    history = []
    for i, (x, target) in enumerate(zip(lesson.inputs, lesson.targets[loss_name], strict=True)):
        if synced is not None:
            reference.set_weights(model, synced[i])
        leaves = reference.parameters(model)
        ops.start()
        output = model(x.astype(np.float64), ops, train=True)
        loss = loss_of(loss_name)(ops, output, target)
        gradients = ops.gradients(loss, np.ones(loss.shape), leaves)
        ops.stop()
        arrays = reference.get_weights(model) | tuner.update(leaves, gradients)
        reference.set_weights(model, arrays)
        history.append({"loss": loss.ravel(), **arrays})
    return history


def loss_of(name: str) -> Callable[[Exact, np.ndarray, np.ndarray], np.ndarray]:
    """The loss of a name: from arithmetic, output and target to a map of one value."""
    return {"mse": mean_squared_error, "cross-entropy": Exact.cross_entropy}[name]


def mean_squared_error(ops: Exact, output: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The mean of (output - target)^2."""
    error = ops.sub(output, target.astype(np.float64))
    # Paddle adds all of them in order.
    return ops.mean(ops.mul(error, error), tuple(range(error.ndim)), block=error.size)


def synchronise(case: Case, lesson: Lesson) -> Lesson:
    """The lesson with the weights at which the reference's own steps begin."""
    return replace(lesson, synced={recipe: trajectory(case, lesson, recipe) for recipe in recipes_of(case)})


def trajectory(case: Case, lesson: Lesson, recipe: str) -> list[Arrays]:
    """The weights at which each step of the reference's own training begins, as float32 holds them."""
    history = train(build(case), lesson, recipe, Exact())
    before = [lesson.weights, *({key: a for key, a in step.items() if key != "loss"} for step in history[:-1])]
    return [{key: array.astype(np.float32) for key, array in step.items()} for step in before]


def expect_training(
    case: Case,
    lesson: Lesson,
    recipe: str,
    dtype: str,
    synced: Sequence[Arrays] | None = None,
    roundoff: float | None = None,
) -> Expected:
    """What training must give: after the last step, or with `synced` after every one."""
    model = build(case)

    def run(ops: Exact) -> dict[str, Arrays]:
        return {"": flatten(train(model, lesson, recipe, ops, synced), every=synced is not None)}

    truth = run(Exact())
    draws = DRIFT_DRAWS if synced is None else DRAWS[dtype]
    noise = measure_noise(truth, dtype, run, draws, roundoff)[""]
    arrays = truth[""]
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
