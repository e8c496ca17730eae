"""A stage of Swin: patches, a block of windowed attention, one of shifted windows, patches merged."""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn


def relative_positions(window: int) -> Tensor:
    """For each two places of a window the row of the table of biases, (window², window²)."""
    rows, columns = (axis.flatten() for axis in paddle.meshgrid(*[paddle.arange(window)] * 2))
    down, right = rows[:, None] - rows + window - 1, columns[:, None] - columns + window - 1
    return down * (2 * window - 1) + right


def into_windows(x: Tensor, window: int) -> Tensor:
    """(n, h, w, c) to (n * windows, window², c)."""
    n, h, w, c = x.shape
    x = x.reshape([n, h // window, window, w // window, window, c])
    return x.transpose([0, 1, 3, 2, 4, 5]).reshape([-1, window * window, c])


def from_windows(x: Tensor, window: int, shape: list[int]) -> Tensor:
    """The inverse of `into_windows`."""
    n, h, w, c = shape
    x = x.reshape([n, h // window, w // window, window, window, c])
    return x.transpose([0, 1, 3, 2, 4, 5]).reshape([n, h, w, c])


def shifted_mask(h: int, w: int, window: int, shift: int) -> Tensor:
    """The mask of shifted windows, added to scores: -100 between places that were not neighbours, (windows, l, l)."""
    regions = paddle.zeros([1, h, w, 1])
    for i, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
        for j, columns in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
            regions[:, rows, columns] = 3 * i + j
    of = into_windows(regions, window)[..., 0]
    return -100.0 * (of[:, :, None] != of[:, None, :]).astype(of.dtype)


class WindowAttention(nn.Layer):
    """(b, l, c) to the same shape, each of the b windows by itself."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.relative_position_bias_table = self.create_parameter([(2 * window - 1) ** 2, heads])
        self.register_buffer("relative_position_index", relative_positions(window))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, length, c = x.shape
        q, k, v = self.qkv(x).reshape([b, length, 3, self.heads, c // self.heads]).transpose([2, 0, 3, 1, 4])
        scores = q @ k.transpose([0, 1, 3, 2]) * (c // self.heads) ** -0.5
        scores = scores + self.relative_position_bias_table[self.relative_position_index].transpose([2, 0, 1])
        if mask is not None:
            scores = scores + mask.astype(x.dtype).tile([b // len(mask), 1, 1]).unsqueeze(1)
        y = F.softmax(scores, -1) @ v
        return self.proj(y.transpose([0, 2, 1, 3]).reshape([b, length, c]))


class Block(nn.Layer):
    """(n, h, w, c) to the same shape; h and w are multiples of the window."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y, mask = self.norm1(x), None
        if self.shift:
            y = paddle.roll(y, (-self.shift, -self.shift), (1, 2))
            mask = shifted_mask(*x.shape[1:3], self.window, self.shift)
        y = from_windows(self.attn(into_windows(y, self.window), mask), self.window, x.shape)
        if self.shift:
            y = paddle.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class PatchMerging(nn.Layer):
    """(n, h, w, c) to (n, h / 2, w / 2, 2 * c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        x = paddle.concat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x))


class Swin(nn.Layer):
    """(n, 3, h, w) to (n, classes); h and w are multiples of 16."""

    def __init__(self, width: int = 12, heads: int = 2, window: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.patch = nn.Conv2D(3, width, 4, 4)
        self.blocks = nn.Sequential(Block(width, heads, window, 0), Block(width, heads, window, window // 2))
        self.merge = PatchMerging(width)
        self.norm = nn.LayerNorm(2 * width)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.merge(self.blocks(self.patch(x).transpose([0, 2, 3, 1])))  # n h w c
        return self.head(self.norm(x).mean((1, 2)))


def build() -> Swin:
    """The model that is compared."""
    return Swin()
