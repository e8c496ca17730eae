"""The primitives on which the frameworks disagree, made to agree."""

import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_fraction, check_values_per_channel

# 1e-5 as float32 holds it: Paddle's kernel keeps epsilon as float32, so all three use that number.
EPSILON = 9.999999747378752e-06


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over (n, h, w) for each channel.

    y = gamma * (x - mean) / sqrt(var + eps) + beta, where mean and var are the batch's in train mode, var the biased
    one, and the running ones in eval mode. Train mode then moves the running values by `momentum` towards the batch's
    mean and its unbiased variance n/(n-1) * var, as PyTorch does.

    Args:
        channels: the number of channels.
        momentum: the weight of the new value, in [0, 1].
        name: what an error calls this layer.

    Shape: (n, c, h, w) to the same.

    Raises:
        ValueError: in train mode on one value per channel.

    Ioffe and Szegedy, "Batch Normalization", 2015, https://arxiv.org/abs/1502.03167
    """

    def __init__(self, channels: int, *, momentum: float = 0.1, name: str = "batch norm") -> None:
        super().__init__(channels, eps=EPSILON, momentum=check_fraction("momentum", momentum))
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            n, _, h, w = x.shape
            check_values_per_channel(x.shape, n * h * w, self.name)
        return super().forward(x)


def conv2d(
    channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    dilation: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """A convolution that keeps the map's size: an odd kernel, stride 1 and the padding in integers."""
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=bias)


def mean_hw(x: Tensor) -> Tensor:
    """The mean over the map, (n, c, h, w) to (n, c, 1, 1)."""
    return x.mean((2, 3), keepdim=True)


def apply_gate(x: Tensor, kind: str, slope: float) -> Tensor:
    """The sigmoid, or the hard sigmoid clip(slope * x + 0.5, 0, 1) with derivative slope on the closed interval."""
    if kind == "sigmoid":
        return F.sigmoid(x)
    return (slope * x + 0.5).clamp(0, 1)
