"""Convolutional Block Attention Module: attention over channels, then over the map."""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from .checks import check_hidden, check_input, check_odd, check_size
from .layers import BatchNorm, conv2d, max_c, max_hw, mean_hw, relu


class ChannelAttention(nn.Layer):
    """CBAM's channel attention: one bottleneck, shared by each channel's mean and maximum.

    mlp(y) = fc2(relu(fc1(y)))
    scale(x) = sigmoid(mlp(mean_hw(x)) + mlp(max_hw(x))) and ChannelAttention(x) = x * scale(x)

    A maximum held by several places hands its gradient to the first, row by row.

    Args:
        channels: the number of channels c.
        reduction: the bottleneck is c // reduction wide, unless `hidden` is given.
        hidden: the width of the bottleneck; None leaves it to `reduction`.
        bias: whether fc1 and fc2 add one.

    Shape: (n, c, h, w) to the same; `scale` gives (n, c, 1, 1).

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
    ) -> None:
        super().__init__()
        channels = check_size("channels", channels)
        hidden = check_hidden(channels, reduction, hidden)
        self.channels = channels
        self.fc1 = conv2d(channels, hidden, 1, bias=bias)
        self.fc2 = conv2d(hidden, channels, 1, bias=bias)

    def scale(self, x: Tensor) -> Tensor:
        """The attention map alone: one factor in (0, 1) for each channel."""
        check_input(x.shape, "nchw", self.channels)
        mean = mean_hw(x)  # n c 1 1
        amax = max_hw(x)  # n c 1 1
        # One pass over both: on a CPU it takes 0.5 to 0.8 of the time of two from a batch of 8 on.
        y = self.fc2(relu(self.fc1(paddle.concat((mean, amax), 0))))  # 2n c 1 1
        n = x.shape[0]
        return F.sigmoid(y[:n] + y[n:])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


class SpatialAttention(nn.Layer):
    """CBAM's spatial attention: a convolution over each place's mean and maximum across the channels.

    scale(x) = sigmoid(norm(conv([mean_c(x), max_c(x)]))) and SpatialAttention(x) = x * scale(x)

    The mean is the convolution's first input channel, the maximum its second. A maximum held by several channels hands
    its gradient to the first.

    Args:
        kernel_size: the convolution's side, odd.
        norm: whether a batch norm of one channel follows the convolution, as in the authors' code and in timm.
        momentum: that batch norm's weight of the new value.

    Shape: (n, c, h, w) to the same, for any c; `scale` gives (n, 1, h, w).

    Raises:
        ValueError: for an argument out of range, an input of another rank, one value per channel in train mode.

    Woo, Park, Lee and Kweon, "CBAM: Convolutional Block Attention Module", 2018, https://arxiv.org/abs/1807.06521
    """

    def __init__(self, *, kernel_size: int = 7, norm: bool = False, momentum: float = 0.1) -> None:
        super().__init__()
        kernel_size = check_odd("kernel_size", kernel_size)
        self.conv = conv2d(2, 1, kernel_size, bias=False)
        self.norm = BatchNorm(1, momentum=momentum, name="SpatialAttention.norm") if norm else None

    def scale(self, x: Tensor) -> Tensor:
        """The attention map alone: one factor in (0, 1) for each place."""
        check_input(x.shape, "nchw")
        mean = x.mean(1, keepdim=True)  # n 1 h w
        amax = max_c(x)  # n 1 h w
        y = self.conv(paddle.concat((mean, amax), 1))  # n 1 h w
        if self.norm is not None:
            y = self.norm(y)
        return F.sigmoid(y)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


class CBAM(nn.Layer):
    """CBAM: channel attention, then spatial attention.

    CBAM(x) = spatial(channel(x))

    Args:
        channels, reduction, hidden, bias: see ChannelAttention.
        kernel_size, norm, momentum: see SpatialAttention.

    Shape: (n, c, h, w) to the same.

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
    ) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction=reduction, hidden=hidden, bias=bias)
        self.spatial = SpatialAttention(kernel_size=kernel_size, norm=norm, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(self.channel(x))
