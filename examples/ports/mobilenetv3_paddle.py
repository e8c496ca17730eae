"""MobileNetV3-Small with PaddleClas's names, a quarter as wide: inverted residuals with SE and hard activations.

The names differ from timm's; `mobilenetv3.toml` says how. PaddleClas's own weights were trained with a gate of slope
0.2, timm's with 1/6, which is the one here.
"""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

# kernel, expanded, out, SE, hard swish, stride.
ROWS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


class ConvBN(nn.Layer):
    """A convolution without bias and its norm."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2D(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias_attr=False)
        self.bn = nn.BatchNorm2D(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class SE(nn.Layer):
    """x times one number for each channel, between 0 and 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels, channels // 4, 1)
        self.conv2 = nn.Conv2D(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x.mean((2, 3), keepdim=True)))
        # F.hardsigmoid keeps its slope as float32.
        return x * paddle.clip(self.conv2(y) / 6 + 0.5, 0, 1)


class InvertedResidual(nn.Layer):
    """(n, c, h, w) to (n, out_channels, h / stride, w / stride)."""

    def __init__(
        self, channels: int, kernel: int, expanded: int, out_channels: int, se: bool, hard: bool, stride: int
    ) -> None:
        super().__init__()
        self.act = F.hardswish if hard else F.relu
        self.skip = stride == 1 and channels == out_channels
        self.expand_conv = ConvBN(channels, expanded, 1)
        self.bottleneck_conv = ConvBN(expanded, expanded, kernel, stride, expanded)
        self.mid_se = SE(expanded) if se else nn.Identity()
        self.linear_conv = ConvBN(expanded, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.expand_conv(x))
        y = self.mid_se(self.act(self.bottleneck_conv(y)))
        y = self.linear_conv(y)
        return x + y if self.skip else y


class MobileNetV3(nn.Layer):
    """(n, 3, h, w) to (n, classes)."""

    def __init__(self, divisor: int = 4, classes: int = 5) -> None:
        super().__init__()
        outs = [16 // divisor, *(row[2] // divisor for row in ROWS)]
        self.conv = ConvBN(3, outs[0], 3, 2)
        self.blocks = nn.Sequential(
            *(
                InvertedResidual(channels, kernel, expanded // divisor, out // divisor, se, hard, stride)
                for channels, (kernel, expanded, out, se, hard, stride) in zip(outs[:-1], ROWS, strict=True)
            )
        )
        self.last_conv = nn.Conv2D(outs[-1], 1024 // divisor, 1)
        self.fc = nn.Linear(1024 // divisor, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.hardswish(self.conv(x)))
        x = F.hardswish(self.last_conv(x.mean((2, 3), keepdim=True)))
        return self.fc(x.flatten(1))


def build() -> MobileNetV3:
    """The model that is compared."""
    return MobileNetV3()
