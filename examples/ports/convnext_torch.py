"""Two ConvNeXt blocks behind their stem: depthwise 7x7, layer norm, four times as wide, GELU, layer scale."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """(n, c, h, w) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)  # n h w c
        y = self.pwconv1(self.norm(y))
        y = self.pwconv2(F.gelu(y))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """(n, 3, h, w) to (n, classes); h and w are multiples of 4."""

    def __init__(self, width: int = 12, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.head(self.norm(x.mean((2, 3))))


def build() -> ConvNeXt:
    """The model that is compared."""
    return ConvNeXt()
