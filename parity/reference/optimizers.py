"""Losses and optimizers from their formulas, and the reference's training with them.

Weight decay acts on every trained array; it is added to the gradient, except in AdamW, which shrinks the weights
instead.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..arrays import Arrays
from ..catalogue.recipes import OPTIMIZERS
from ..catalogue.training import TrainingData
from . import modules as reference
from .arithmetic import Exact


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


def train(
    model: reference.Module, data: TrainingData, recipe: str, ops: Exact, start_weights: Sequence[Arrays] | None = None
) -> list[Arrays]:
    """The loss and every array after each step; with `start_weights` each step begins at those weights."""
    method, loss_name = recipe.split()
    optimizer = Optimizer(method, ops)
    reference.set_weights(model, data.weights)
    history = []
    for i, (x, target) in enumerate(zip(data.inputs, data.targets[loss_name], strict=True)):
        if start_weights is not None:
            reference.set_weights(model, start_weights[i])
        leaves = reference.parameters(model)
        ops.start()
        output = model(x.astype(np.float64), ops, train=True)
        loss = loss_of(loss_name)(ops, output, target)
        gradients = ops.gradients(loss, np.ones(loss.shape), leaves)
        ops.stop()
        arrays = reference.get_weights(model) | optimizer.update(leaves, gradients)
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
