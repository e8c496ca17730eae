"""MobileNetV3-Small with timm's names, a quarter as wide: inverted residuals with SE and hard activations."""

import torch.nn.functional as F
from torch import Tensor, nn

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


class SE(nn.Module):
    """x times one number for each channel, between 0 and 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels // 4, 1)
        self.conv_expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.conv_expand(y))


class InvertedResidual(nn.Module):
    """(n, c, h, w) to (n, out_channels, h / stride, w / stride)."""

    def __init__(
        self, channels: int, kernel: int, expanded: int, out_channels: int, se: bool, hard: bool, stride: int
    ) -> None:
        super().__init__()
        self.act = F.hardswish if hard else F.relu
        self.skip = stride == 1 and channels == out_channels
        self.conv_pw = nn.Conv2d(channels, expanded, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(expanded)
        self.conv_dw = nn.Conv2d(expanded, expanded, kernel, stride, kernel // 2, groups=expanded, bias=False)
        self.bn2 = nn.BatchNorm2d(expanded)
        self.se = SE(expanded) if se else nn.Identity()
        self.conv_pwl = nn.Conv2d(expanded, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.se(self.act(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.skip else y


class MobileNetV3(nn.Module):
    """(n, 3, h, w) to (n, classes)."""

    def __init__(self, divisor: int = 4, classes: int = 5) -> None:
        super().__init__()
        outs = [16 // divisor, *(row[2] // divisor for row in ROWS)]
        self.conv_stem = nn.Conv2d(3, outs[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outs[0])
        self.blocks = nn.Sequential(
            *(
                InvertedResidual(channels, kernel, expanded // divisor, out // divisor, se, hard, stride)
                for channels, (kernel, expanded, out, se, hard, stride) in zip(outs[:-1], ROWS, strict=True)
            )
        )
        self.conv_head = nn.Conv2d(outs[-1], 1024 // divisor, 1)
        self.classifier = nn.Linear(1024 // divisor, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.hardswish(self.bn1(self.conv_stem(x))))
        x = F.hardswish(self.conv_head(x.mean((2, 3), keepdim=True)))
        return self.classifier(x.flatten(1))


def build() -> MobileNetV3:
    """The model that is compared."""
    return MobileNetV3()
