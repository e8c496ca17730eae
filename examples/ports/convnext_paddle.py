"""Two ConvNeXt blocks behind their stem: depthwise 7x7, layer norm, four times as wide, GELU, layer scale."""

import paddle.nn.functional as F
from paddle import Tensor, nn


class Block(nn.Layer):
    """(n, c, h, w) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2D(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, epsilon=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = self.create_parameter([channels], default_initializer=nn.initializer.Constant(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).transpose([0, 2, 3, 1])  # n h w c
        y = self.pwconv1(self.norm(y))
        y = self.pwconv2(F.gelu(y))
        return x + (self.gamma * y).transpose([0, 3, 1, 2])


class ConvNeXt(nn.Layer):
    """(n, 3, h, w) to (n, classes); h and w are multiples of 4."""

    def __init__(self, width: int = 12, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, width, 4, 4)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.norm = nn.LayerNorm(width, epsilon=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.head(self.norm(x.mean((2, 3))))


def build() -> ConvNeXt:
    """The model that is compared."""
    return ConvNeXt()
