"""The primitives on which the frameworks disagree, made to agree."""

import math
from functools import cache

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from .checks import check_fraction, check_values_per_channel

# 1e-5 as float32 holds it: Paddle's kernel keeps epsilon as float32, so all three use that number.
EPSILON = 9.999999747378752e-06


class BatchNorm(nn.BatchNorm2D):
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
        super().__init__(channels, epsilon=EPSILON)
        self.momentum = check_fraction("momentum", momentum)
        self.name = name
        kernel_gives_unbiased_variance(paddle.get_device())

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            n, _, h, w = x.shape
            check_values_per_channel(x.shape, n * h * w, self.name)
            return self.normalise_and_track(x, n * h * w)
        return super().forward(x)

    def normalise_and_track(self, x: Tensor, count: int) -> Tensor:
        """Train mode, with PyTorch's running variance and a momentum that is not cut to float32."""
        # With momentum 0 the kernel hands over the batch's own statistics; writing them into the running values
        # themselves would change, behind the gradient's back, tensors that it keeps.
        mean, var = paddle.zeros_like(self._mean), paddle.zeros_like(self._variance)
        y = F.batch_norm(x, mean, var, self.weight, self.bias, training=True, momentum=0.0, epsilon=EPSILON)
        with paddle.no_grad():
            if not kernel_gives_unbiased_variance(paddle.get_device()):
                var = var * paddle.full([], count / (count - 1), var.dtype)
            # As tensors, because paddle.jit.to_static cuts the numbers that it multiplies by to float32.
            momentum = paddle.full([], self.momentum, var.dtype)
            paddle.assign(self._mean + momentum * (mean - self._mean), self._mean)
            paddle.assign(self._variance + momentum * (var - self._variance), self._variance)
        return y


@cache
def kernel_gives_unbiased_variance(device: str) -> bool:
    """Whether batch norm's kernel on this device tracks n/(n-1) * var; tried once, on the values 0 and 2."""
    mean, var, one, zero = (paddle.full([1], value, "float32") for value in (0, 0, 1, 0))
    x = paddle.to_tensor([0.0, 2.0], dtype="float32").reshape([2, 1, 1, 1])
    F.batch_norm(x, mean, var, one, zero, training=True, momentum=0.0)
    return bool(var.item() > 1.5)


class Sequential(nn.LayerList):
    """Modules applied one after the other, each called by its number in the list."""

    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x


class Conv2d(nn.Conv2D):
    """A convolution that adds its bias to the map that it has made, in about a tenth of the framework's time.

    Paddle adds a bias of shape (1, c, 1, 1), for which its kernel on a processor works out each value's place in turn;
    one of shape (c, 1, 1) it adds channel by channel.
    """

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.weight, None, self._stride, self._padding, self._dilation, self._groups)
        if self.bias is None:
            return y
        bias = self.bias.reshape([-1, 1, 1])
        return y.add_(bias) if paddle.in_dynamic_mode() else y + bias


def conv2d(
    channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = True,
) -> Conv2d:
    """A convolution whose stride alone changes the map's size: an odd kernel, and the padding in integers.

    (n, c, h, w) to (n, o, p, q), where p = ceil(h / stride) and q = ceil(w / stride).
    """
    padding = dilation * (kernel_size // 2)
    bias_attr = None if bias else False
    return Conv2d(channels, out_channels, kernel_size, stride, padding=padding, dilation=dilation, bias_attr=bias_attr)


def mean_hw(x: Tensor) -> Tensor:
    """The mean over the map, (n, c, h, w) to (n, c, 1, 1)."""
    # Paddle's kernel adds in order and its error grows with the root of the count; row by row it is 5 times closer at
    # 41x37, and twice as fast.
    return x.mean(3, keepdim=True).mean(2, keepdim=True)


def max_hw(x: Tensor) -> Tensor:
    """The maximum over the map, (n, c, h, w) to (n, c, 1, 1), NaN if there is one.

    The gradient goes to the first of several equal places, row by row, whose index is kept from the forward pass.
    """
    amax = x.detach().amax(3, keepdim=True).amax(2, keepdim=True)  # row by row, which is faster
    if not paddle.is_grad_enabled():
        return amax
    y, _ = F.adaptive_max_pool2d(_with_a_place(x, amax), 1, return_mask=True)
    # The pool passes over NaN.
    return paddle.where(y == amax, y, amax)


def max_c(x: Tensor) -> Tensor:
    """The maximum across the channels, (n, c, h, w) to (n, 1, h, w), NaN if there is one.

    The gradient goes to the first of several equal channels, whose index is kept from the forward pass.
    """
    amax = x.detach().amax(1, keepdim=True)
    if not paddle.is_grad_enabled():
        return amax
    n, c, h, w = x.shape
    # The same memory read as one channel of a map of c rows.
    y, _ = F.max_pool2d(_with_a_place(x, amax).reshape([n, 1, c, h * w]), (c, 1), return_mask=True)  # n 1 1 h*w
    y = y.reshape([n, 1, h, w])
    return paddle.where(y == amax, y, amax)


def _with_a_place(x: Tensor, amax: Tensor) -> Tensor:
    """x with zeros where the pools find no place of the maximum `amax`: where it is NaN, or no float32 is as small.

    There they give the index -1, and their derivative would write in front of the gradient's memory.
    """
    found = amax > -3.4028234663852886e38  # the smallest float32, with which the pools begin
    if paddle.in_dynamic_mode() and bool(found.all()):
        return x  # to select is three times the pool's time
    return paddle.where(found, x, paddle.zeros([], x.dtype))


def max_pool(x: Tensor) -> Tensor:
    """The maximum over each 3x3 window at stride 2: (n, c, h, w) to (n, c, p, q), p = ceil(h / 2), q = ceil(w / 2).

    The gradient goes to the first of a window's equal places, row by row.
    """
    return F.max_pool2d(x, 3, 2, padding=1)


def relu(x: Tensor) -> Tensor:
    """max(x, 0), whose derivative at 0 is 0; NaN stays NaN. It may be written over x, which must be nobody else's."""
    # Paddle's own relu makes 0 of NaN.
    return (F.hardtanh_ if paddle.in_dynamic_mode() else F.hardtanh)(x, 0.0, math.inf)


def apply_gate(x: Tensor, kind: str, slope: float) -> Tensor:
    """The sigmoid, or the hard sigmoid clip(slope * x + 0.5, 0, 1) with derivative slope on the closed interval."""
    if kind == "sigmoid":
        return F.sigmoid(x)
    return (slope * x + 0.5).clip(0, 1)


def children(module: nn.Layer) -> list[tuple[str | int, nn.Layer]]:
    """The modules that this one holds itself, by name, or by number in a list."""
    return list(module.named_children())


def place(module: nn.Layer, name: str | int, child: nn.Layer) -> None:
    """Put the child where the module holds that name or number."""
    setattr(module, str(name), child)


def fold_norm(conv: nn.Conv2D, norm: BatchNorm) -> None:
    """Put an eval-mode batch norm into the convolution in front of it."""
    scale = norm.weight / paddle.sqrt(norm._variance + paddle.full([], EPSILON, norm._variance.dtype))
    bias = norm.bias - norm._mean * scale
    bias = bias if conv.bias is None else bias + conv.bias * scale
    conv.weight = as_parameter(conv.weight * scale[:, None, None, None])
    conv.bias = as_parameter(bias)


def as_parameter(x: Tensor) -> Tensor:
    """A parameter of x's values."""
    parameter = paddle.create_parameter(x.shape, x.dtype)
    paddle.assign(x.detach(), parameter)
    return parameter


def split_conv(conv: nn.Conv2D, count: int) -> list[nn.Conv2D]:
    """The convolutions of `count` equal parts of the input's channels, whose sum is `conv`; the last has its bias."""
    parts = []
    for i, weight in enumerate(conv.weight.detach().chunk(count, 1), 1):
        part = conv2d(weight.shape[1], weight.shape[0], 1, bias=i == count)
        part.weight = as_parameter(weight)
        if i == count:
            part.bias = conv.bias
        parts.append(part)
    return parts
