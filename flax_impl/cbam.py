"""Convolutional Block Attention Module: attention over channels, then over the map."""

import jax.numpy as jnp
from flax import nnx
from jax import Array

from .checks import check_hidden, check_input, check_odd, check_size
from .layers import BatchNorm, conv2d, max_c, max_hw, mean_hw, relu


class ChannelAttention(nnx.Module):
    """CBAM's channel attention: one bottleneck, shared by each channel's mean and maximum.

    mlp(y) = fc2(relu(fc1(y)))
    scale(x) = sigmoid(mlp(mean_hw(x)) + mlp(max_hw(x))) and ChannelAttention(x) = x * scale(x)

    A maximum held by several places hands its gradient to the first, row by row.

    Args:
        channels: the number of channels c.
        reduction: the bottleneck is c // reduction wide, unless `hidden` is given.
        hidden: the width of the bottleneck; None leaves it to `reduction`.
        bias: whether fc1 and fc2 add one.

    Shape: (n, h, w, c) to the same; `scale` gives (n, 1, 1, c).

    Raises:
        ValueError: for an argument out of range, a bottleneck narrower than 1, an input of another rank or width.

    Woo, Park, Lee and Kweon, "CBAM: Convolutional Block Attention Module", 2018, https://arxiv.org/abs/1807.06521
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 8,
        hidden: int | None = None,
        bias: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        channels = check_size("channels", channels)
        hidden = check_hidden(channels, reduction, hidden)
        self.channels = channels
        self.fc1 = conv2d(channels, hidden, 1, bias=bias, rngs=rngs)
        self.fc2 = conv2d(hidden, channels, 1, bias=bias, rngs=rngs)

    def scale(self, x: Array) -> Array:
        """The attention map alone: one factor in (0, 1) for each channel."""
        check_input(x.shape, "nhwc", self.channels)
        mean = mean_hw(x)  # n 1 1 c
        amax = max_hw(x)  # n 1 1 c
        # One pass over both: on a CPU it takes 0.5 to 0.8 of the time of two from a batch of 8 on.
        y = self.fc2(relu(self.fc1(jnp.concatenate((mean, amax), 0))))  # 2n 1 1 c
        n = x.shape[0]
        return nnx.sigmoid(y[:n] + y[n:])

    def __call__(self, x: Array) -> Array:
        return x * self.scale(x)


class SpatialAttention(nnx.Module):
    """CBAM's spatial attention: a convolution over each place's mean and maximum across the channels.

    scale(x) = sigmoid(norm(conv([mean_c(x), max_c(x)]))) and SpatialAttention(x) = x * scale(x)

    The mean is the convolution's first input channel, the maximum its second. A maximum held by several channels hands
    its gradient to the first.

    Args:
        kernel_size: the convolution's side, odd.
        norm: whether a batch norm of one channel follows the convolution, as in the authors' code and in timm.
        momentum: that batch norm's weight of the new value.

    Shape: (n, h, w, c) to the same, for any c; `scale` gives (n, h, w, 1).

    Raises:
        ValueError: for an argument out of range, an input of another rank, one value per channel in train mode.

    Woo, Park, Lee and Kweon, "CBAM: Convolutional Block Attention Module", 2018, https://arxiv.org/abs/1807.06521
    """

    def __init__(self, *, kernel_size: int = 7, norm: bool = False, momentum: float = 0.1, rngs: nnx.Rngs) -> None:
        kernel_size = check_odd("kernel_size", kernel_size)
        self.conv = conv2d(2, 1, kernel_size, bias=False, rngs=rngs)
        self.norm = BatchNorm(1, momentum=momentum, name="SpatialAttention.norm", rngs=rngs) if norm else None

    def scale(self, x: Array) -> Array:
        """The attention map alone: one factor in (0, 1) for each place."""
        check_input(x.shape, "nhwc")
        mean = x.mean(-1, keepdims=True)  # n h w 1
        amax = max_c(x)  # n h w 1
        y = self.conv(jnp.concatenate((mean, amax), -1))  # n h w 1
        if self.norm is not None:
            y = self.norm(y)
        return nnx.sigmoid(y)

    def __call__(self, x: Array) -> Array:
        return x * self.scale(x)


class CBAM(nnx.Module):
    """CBAM: channel attention, then spatial attention.

    CBAM(x) = spatial(channel(x))

    Args:
        channels, reduction, hidden, bias: see ChannelAttention.
        kernel_size, norm, momentum: see SpatialAttention.

    Shape: (n, h, w, c) to the same.

    Raises:
        ValueError: as its two parts do.

    Woo, Park, Lee and Kweon, "CBAM: Convolutional Block Attention Module", 2018, https://arxiv.org/abs/1807.06521
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 8,
        hidden: int | None = None,
        bias: bool = False,
        kernel_size: int = 7,
        norm: bool = False,
        momentum: float = 0.1,
        rngs: nnx.Rngs,
    ) -> None:
        self.channel = ChannelAttention(channels, reduction=reduction, hidden=hidden, bias=bias, rngs=rngs)
        self.spatial = SpatialAttention(kernel_size=kernel_size, norm=norm, momentum=momentum, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.spatial(self.channel(x))
