"""The primitives on which the frameworks disagree, made to agree."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

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
        ValueError: in train mode on one value per channel, or none.

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


class Sequential(nn.ModuleList):
    """Modules applied one after the other, each called by its number in the list."""

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x


def conv2d(
    channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """A convolution whose stride alone changes the map's size: an odd kernel, and the padding in integers.

    (n, c, h, w) to (n, o, p, q), where p = ceil(h / stride) and q = ceil(w / stride).
    """
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(channels, out_channels, kernel_size, stride, padding=padding, dilation=dilation, bias=bias)


def mean_hw(x: Tensor) -> Tensor:
    """The mean over the map, (n, c, h, w) to (n, c, 1, 1)."""
    return x.mean((2, 3), keepdim=True)


def max_hw(x: Tensor) -> Tensor:
    """The maximum over the map, (n, c, h, w) to (n, c, 1, 1), NaN if there is one.

    The gradient goes to the first of several equal places, row by row, whose index is kept from the forward pass.
    """
    if not derivative_wanted():
        return x.amax((2, 3), keepdim=True)
    if x.is_cpu:
        return F.adaptive_max_pool2d(x, 1)
    # The pool's gradient adds with atomics on a GPU; this one writes each value to its own place.
    return x.flatten(2).max(2, keepdim=True).values.unsqueeze(3)


def max_c(x: Tensor) -> Tensor:
    """The maximum across the channels, (n, c, h, w) to (n, 1, h, w), NaN if there is one.

    The gradient goes to the first of several equal channels, whose index is kept from the forward pass.
    """
    if not derivative_wanted():
        return x.amax(1, keepdim=True)
    n, _, h, w = x.shape
    # The same memory read as h * w channels of a map of c places: faster than a maximum of strided values.
    y = x.flatten(2).transpose(1, 2).unsqueeze(2)  # n h*w 1 c
    return max_hw(y).view(n, 1, h, w)


def derivative_wanted() -> bool:
    """Whether anybody may ask for a derivative, backward or forward: otherwise amax has the same values sooner."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


def max_pool(x: Tensor) -> Tensor:
    """The maximum over each 3x3 window at stride 2: (n, c, h, w) to (n, c, p, q), p = ceil(h / 2), q = ceil(w / 2).

    The gradient goes to the first of a window's equal places, row by row.
    """
    return F.max_pool2d(x, 3, 2, padding=1)


def relu(x: Tensor) -> Tensor:
    """max(x, 0), whose derivative at 0 is 0; NaN stays NaN. It may be written over x, which must be nobody else's."""
    # A view that a hook of the backward pass handed out may not be written into; a compiler cannot ask which are views.
    return F.relu(x, inplace=not (torch.compiler.is_compiling() or x._is_view()))


def apply_gate(x: Tensor, kind: str, slope: float) -> Tensor:
    """The sigmoid, or the hard sigmoid clip(slope * x + 0.5, 0, 1) with derivative slope on the closed interval."""
    if kind == "sigmoid":
        return F.sigmoid(x)
    return (slope * x + 0.5).clamp(0, 1)


def children(module: nn.Module) -> list[tuple[str | int, nn.Module]]:
    """The modules that this one holds itself, by name, or by number in a list."""
    return list(module.named_children())


def place(module: nn.Module, name: str | int, child: nn.Module) -> None:
    """Put the child where the module holds that name or number."""
    setattr(module, str(name), child)


def fold_norm(conv: nn.Conv2d, norm: BatchNorm) -> None:
    """Put an eval-mode batch norm into the convolution in front of it."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    bias = bias if conv.bias is None else bias + conv.bias * scale
    conv.weight = nn.Parameter((conv.weight * scale[:, None, None, None]).detach())
    conv.bias = nn.Parameter(bias.detach())


def split_conv(conv: nn.Conv2d, count: int) -> list[nn.Conv2d]:
    """The convolutions of `count` equal parts of the input's channels, whose sum is `conv`; the last has its bias."""
    parts = []
    for i, weight in enumerate(conv.weight.detach().chunk(count, 1), 1):
        part = conv2d(weight.shape[1], weight.shape[0], 1, bias=i == count)
        part.weight = nn.Parameter(weight.clone())
        if i == count:
            part.bias = conv.bias
        parts.append(part)
    return parts
