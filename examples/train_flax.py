"""Stochastic gradient descent with momentum, in Flax."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx


def train(
    model: nnx.Module,
    images: np.ndarray,
    labels: np.ndarray,
    rates: np.ndarray,
    momentum: float,
    advance: Callable[[float], None],
) -> None:
    """Take one step for each batch of images (steps, n, c, h, w), at the learning rate of that step."""
    schedule = jnp.asarray(rates)
    optimizer = nnx.Optimizer(model, optax.sgd(lambda step: schedule[step], momentum), wrt=nnx.Param)
    model.train()

    def mean_loss(model: nnx.Module, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    @nnx.jit
    def step(model: nnx.Module, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
        loss, gradients = nnx.value_and_grad(mean_loss)(model, x, y)
        optimizer.update(model, gradients)
        return loss

    for x, y in zip(jnp.asarray(images.transpose(0, 1, 3, 4, 2)), jnp.asarray(labels), strict=True):
        advance(step(model, optimizer, x, y).item())
