"""Stochastic gradient descent with momentum, in PyTorch."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def train(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    rates: np.ndarray,
    momentum: float,
    advance: Callable[[float], None],
) -> None:
    """Take one step for each batch of images (steps, n, c, h, w), at the learning rate of that step."""
    optimizer = torch.optim.SGD(model.parameters(), momentum=momentum)
    model.train()
    for x, y, rate in zip(torch.from_numpy(images), torch.from_numpy(labels), rates, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        advance(loss.item())
