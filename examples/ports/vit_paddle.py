"""A small vision transformer: patches, a class token, two blocks of attention with one matrix for query, key, value."""

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn


class Attention(nn.Layer):
    """(n, l, c) to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, length, c = x.shape
        q, k, v = self.qkv(x).reshape([n, length, 3, self.heads, c // self.heads]).transpose([2, 0, 3, 1, 4])
        scores = q @ k.transpose([0, 1, 3, 2]) * (c // self.heads) ** -0.5
        y = F.softmax(scores, -1) @ v
        return self.proj(y.transpose([0, 2, 1, 3]).reshape([n, length, c]))


class Block(nn.Layer):
    """(n, l, c) to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, epsilon=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, epsilon=1e-6)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Layer):
    """(n, 3, 16, 16) to (n, classes)."""

    def __init__(self, width: int = 24, heads: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.patch = nn.Conv2D(3, width, 4, 4)
        self.token = self.create_parameter([1, 1, width])
        self.position = self.create_parameter([1, 17, width])
        self.blocks = nn.LayerList([Block(width, heads) for _ in range(2)])
        self.norm = nn.LayerNorm(width, epsilon=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose([0, 2, 1])  # n l c
        x = paddle.concat([self.token.expand([x.shape[0], -1, -1]), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def build() -> ViT:
    """The model that is compared."""
    return ViT()
