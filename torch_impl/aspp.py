"""Atrous Spatial Pyramid Pooling, the head of DeepLabv3."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .checks import check_fraction, check_input, check_rates, check_size
from .layers import BatchNorm, conv2d, mean_hw, relu


class ConvNormReLU(nn.Module):
    """relu(norm(conv(x))), the unit that ASPP is built of; `name` is what an error calls it."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        bias: bool,
        momentum: float,
        name: str,
    ) -> None:
        super().__init__()
        self.conv = conv2d(channels, out_channels, kernel_size, dilation=dilation, bias=bias)
        self.norm = BatchNorm(out_channels, momentum=momentum, name=f"{name}.norm")

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.norm(self.conv(x)))


class ASPP(nn.Module):
    """Atrous Spatial Pyramid Pooling: the same map seen at several scales at once.

    features(x) = [1x1(x), 3x3 at each rate (x), the 1x1 of the map's mean, everywhere]
    ASPP(x) = dropout(project(features(x)))

    Each part is convolution, batch norm, ReLU; a 3x3 kernel has padding = dilation = rate; project is 1x1. The pooled
    branch is a 1x1 map, so upsampling it is a broadcast.

    Args:
        channels: the number of channels c of the input.
        out_channels: the number of channels o of each branch and of the output.
        rates: the dilation of each 3x3 branch, in pixels; one or more.
        bias: whether the convolutions add one.
        dropout: the probability that an output value is dropped in train mode, in [0, 1).
        momentum: the batch norms' weight of the new value.

    Shape: (n, c, h, w) to (n, o, h, w).

    Raises:
        ValueError: for an argument out of range, an input of another rank or width; in train mode for a batch of 1,
            whose pooled branch has one value per channel.

    Chen, Papandreou, Schroff and Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
    https://arxiv.org/abs/1706.05587
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        rates: Sequence[int] = (6, 12, 18),
        bias: bool = False,
        dropout: float = 0.5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        channels = check_size("channels", channels)
        out_channels = check_size("out_channels", out_channels)
        dropout = check_fraction("dropout", dropout, below_one=True)
        self.channels = channels
        options: dict[str, Any] = {"bias": bias, "momentum": momentum}
        units = [ConvNormReLU(channels, out_channels, 1, name="ASPP.branches.0", **options)]
        for i, rate in enumerate(check_rates(rates), 1):
            units.append(ConvNormReLU(channels, out_channels, 3, dilation=rate, name=f"ASPP.branches.{i}", **options))
        self.branches = nn.ModuleList(units)
        self.pool = ConvNormReLU(channels, out_channels, 1, name="ASPP.pool", **options)
        self.project = ConvNormReLU((len(units) + 1) * out_channels, out_channels, 1, name="ASPP.project", **options)
        self.dropout = nn.Dropout(dropout)

    def features(self, x: Tensor) -> Tensor:
        """The branches side by side, (n, k, h, w) with k = (2 + len(rates)) * o."""
        check_input(x.shape, "nchw", self.channels)
        # First, because it is the one that refuses a batch of 1, before any other running value has moved.
        pooled = self.pool(mean_hw(x))  # n o 1 1
        maps = [branch(x) for branch in self.branches]  # n o h w
        return torch.cat((*maps, pooled.expand_as(maps[0])), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(self.features(x)))
