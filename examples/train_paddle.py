"""Stochastic gradient descent with momentum, in Paddle."""

from collections.abc import Callable

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


def train(
    model: nn.Layer,
    images: np.ndarray,
    labels: np.ndarray,
    rates: np.ndarray,
    momentum: float,
    advance: Callable[[float], None],
) -> None:
    """Take one step for each batch of images (steps, n, c, h, w), at the learning rate of that step."""
    optimizer = paddle.optimizer.Momentum(momentum=momentum, parameters=model.parameters())
    model.train()
    for x, y, rate in zip(paddle.to_tensor(images), paddle.to_tensor(labels), rates, strict=True):
        optimizer.set_lr(float(rate))
        loss = F.cross_entropy(model(x), y)
        optimizer.clear_grad()
        loss.backward()
        optimizer.step()
        advance(loss.item())
