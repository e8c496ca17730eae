"""A small U-Net: two levels, transposed convolutions up, group norm."""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn


class Block(nn.Layer):
    """Twice convolution, group norm, SiLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels, out_channels, 3, padding=1)
        self.norm1 = nn.GroupNorm(4, out_channels)
        self.conv2 = nn.Conv2D(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(4, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(x)))


class UNet(nn.Layer):
    """(n, 3, h, w) to (n, classes, h, w); h and w are multiples of 4."""

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.down1 = Block(3, width)
        self.down2 = Block(width, 2 * width)
        self.bottom = Block(2 * width, 4 * width)
        self.up2 = nn.Conv2DTranspose(4 * width, 2 * width, 2, 2)
        self.merge2 = Block(4 * width, 2 * width)
        self.up1 = nn.Conv2DTranspose(2 * width, width, 2, 2)
        self.merge1 = Block(2 * width, width)
        self.head = nn.Conv2D(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip1 = self.down1(x)
        skip2 = self.down2(F.max_pool2d(skip1, 2))
        x = self.bottom(F.max_pool2d(skip2, 2))
        x = self.merge2(paddle.concat([skip2, self.up2(x)], 1))
        x = self.merge1(paddle.concat([skip1, self.up1(x)], 1))
        return self.head(x)


def build() -> UNet:
    """The model that is compared."""
    return UNet()
