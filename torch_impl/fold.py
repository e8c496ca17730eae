"""Modules for inference: batch norms inside the convolutions in front of them, ASPP without its concatenation."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from .aspp import ASPP, ConvNormReLU
from .cbam import SpatialAttention
from .checks import check_input
from .layers import BatchNorm, Sequential, children, fold_norm, mean_hw, place, relu, split_conv
from .se_aspp import SE_ASPP
from .se_resnet import Block, SEResNet

# Each convolution with the batch norm that follows it.
PAIRS = (("conv", "norm"), ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))


def fold(model: nn.Module) -> nn.Module:
    """The same function as the model in eval mode, in fewer operations; for inference alone.

    In eval mode a batch norm multiplies and adds fixed numbers, which become part of the convolution in front of it:

    gamma * (w * x + b - mean) / sqrt(var + eps) + beta = (s w) * x + s (b - mean) + beta, s = gamma / sqrt(var + eps)

    ASPP and SE_ASPP become FoldedASPP. A batch norm behind an attention, with none but a convolution's fixed numbers to
    be put into, stays.

    Args:
        model: A module of this package, or one that holds some; it is copied, and its arrays and mode stay.

    Returns:
        The copy, in eval mode. Its weights have other names and shapes, so fold after they are loaded.
    """
    folded = fold_module(deepcopy(model))
    folded.eval()
    return folded


def fold_module(module: nn.Module) -> nn.Module:
    """The module that stands in for this one: itself, changed, or a FoldedASPP."""
    for name, child in children(module):
        place(module, name, fold_module(child))
    if isinstance(module, Sequential) and len(module) == 2 and isinstance(module[1], BatchNorm):
        fold_norm(module[0], module[1])
        module[1] = Identity()
    if isinstance(module, ConvNormReLU | SpatialAttention | Block | SEResNet):
        for conv, norm in PAIRS:
            if isinstance(getattr(module, norm, None), BatchNorm) and follows(module, conv, norm):
                fold_norm(getattr(module, conv), getattr(module, norm))
                setattr(module, norm, Identity())
    return FoldedASPP(module) if isinstance(module, ASPP) else module


def follows(module: nn.Module, conv: str, norm: str) -> bool:
    """Whether nothing is computed between the two: in a block an attention may be, behind its last convolution."""
    between = getattr(module, "placement", None) == "conv" and module.se is not None
    return not (between and norm == ("bn3" if hasattr(module, "conv3") else "bn2"))


class Identity(nn.Module):
    """x itself, where a batch norm was."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class FoldedASPP(nn.Module):
    """ASPP or SE_ASPP for inference: the projection as a sum over the branches, which are never put side by side.

    project(concat(maps)) = relu(sum over i of parts[i](maps[i]) + parts[-1](pooled))

    The pooled branch adds one value for each image and channel. SE_ASPP's gate, which only needs the maps' means,
    multiplies each map before its part.

    Args:
        aspp: The module whose branches and projection are folded already; it is taken apart.

    Shape: (n, c, h, w) to (n, o, h, w).

    Raises:
        ValueError: for an input of another rank or width.
    """

    def __init__(self, aspp: ASPP) -> None:
        super().__init__()
        self.channels = aspp.channels
        self.branches = aspp.branches
        self.pool = aspp.pool
        self.se = aspp.se if isinstance(aspp, SE_ASPP) else None
        self.parts = nn.ModuleList(split_conv(aspp.project.conv, len(aspp.branches) + 1))

    def forward(self, x: Tensor) -> Tensor:
        check_input(x.shape, "nchw", self.channels)
        pooled = self.pool(mean_hw(x))  # n o 1 1
        maps = [branch(x) for branch in self.branches]  # n o h w
        scales = None
        if self.se is not None:
            means = torch.cat((*(mean_hw(y) for y in maps), pooled), 1)  # n k 1 1
            scales = self.se.scale(means).split(pooled.shape[1], 1)  # n o 1 1
            pooled = pooled * scales[-1]
        total = self.parts[-1](pooled)  # n o 1 1
        for i, y in enumerate(maps):
            total = total + self.parts[i](y if scales is None else y * scales[i])  # n o h w
        return relu(total)
