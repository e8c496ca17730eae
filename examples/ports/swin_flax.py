"""A stage of Swin: patches, a block of windowed attention, one of shifted windows, patches merged."""

import jax
import jax.numpy as jnp
from flax import nnx


def relative_positions(window: int) -> jax.Array:
    """For each two places of a window the row of the table of biases, (window², window²)."""
    rows, columns = (axis.ravel() for axis in jnp.meshgrid(*[jnp.arange(window)] * 2, indexing="ij"))
    down, right = rows[:, None] - rows + window - 1, columns[:, None] - columns + window - 1
    return down * (2 * window - 1) + right


def into_windows(x: jax.Array, window: int) -> jax.Array:
    """(n, h, w, c) to (n * windows, window², c)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // window, window, w // window, window, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window * window, c)


def from_windows(x: jax.Array, window: int, shape: tuple[int, ...]) -> jax.Array:
    """The inverse of `into_windows`."""
    n, h, w, c = shape
    x = x.reshape(n, h // window, w // window, window, window, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


def shifted_mask(h: int, w: int, window: int, shift: int) -> jax.Array:
    """The mask of shifted windows, added to scores: -100 between places that were not neighbours, (windows, l, l)."""
    regions = jnp.zeros((1, h, w, 1))
    for i, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
        for j, columns in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
            regions = regions.at[:, rows, columns].set(3 * i + j)
    of = into_windows(regions, window)[..., 0]
    return -100.0 * (of[:, :, None] != of[:, None, :])


class WindowAttention(nnx.Module):
    """(b, l, c) to the same shape, each of the b windows by itself."""

    def __init__(self, width: int, heads: int, window: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.relative_position_bias_table = nnx.Param(rngs.params.normal(((2 * window - 1) ** 2, heads)))
        self.relative_position_index = nnx.Variable(relative_positions(window))
        self.proj = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        b, length, c = x.shape
        q, k, v = self.qkv(x).reshape(b, length, 3, self.heads, c // self.heads).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(2, 3) * (c // self.heads) ** -0.5
        scores = scores + self.relative_position_bias_table[...][self.relative_position_index[...]].transpose(2, 0, 1)
        if mask is not None:
            scores = scores + jnp.tile(mask.astype(x.dtype), (b // len(mask), 1, 1))[:, None]
        y = jax.nn.softmax(scores, axis=-1) @ v
        return self.proj(y.swapaxes(1, 2).reshape(b, length, c))


class Block(nnx.Module):
    """(n, h, w, c) to the same shape; h and w are multiples of the window."""

    def __init__(self, width: int, heads: int, window: int, shift: int, *, rngs: nnx.Rngs) -> None:
        self.window, self.shift = window, shift
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.attn = WindowAttention(width, heads, window, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.fc1 = nnx.Linear(width, 4 * width, rngs=rngs)
        self.fc2 = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y, mask = self.norm1(x), None
        if self.shift:
            y = jnp.roll(y, (-self.shift, -self.shift), (1, 2))
            mask = shifted_mask(*x.shape[1:3], self.window, self.shift)
        y = from_windows(self.attn(into_windows(y, self.window), mask), self.window, x.shape)
        if self.shift:
            y = jnp.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.fc2(nnx.gelu(self.fc1(self.norm2(x)), approximate=False))


class PatchMerging(nnx.Module):
    """(n, h, w, c) to (n, h / 2, w / 2, 2 * c)."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(4 * width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.reduction = nnx.Linear(4 * width, 2 * width, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.concatenate([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x))


class Swin(nnx.Module):
    """(n, h, w, 3) to (n, classes); h and w are multiples of 16."""

    def __init__(self, width: int = 12, heads: int = 2, window: int = 4, classes: int = 5, *, rngs: nnx.Rngs) -> None:
        self.patch = nnx.Conv(3, width, (4, 4), strides=4, padding=0, rngs=rngs)
        self.blocks = nnx.List([Block(width, heads, window, shift, rngs=rngs) for shift in (0, window // 2)])
        self.merge = PatchMerging(width, rngs=rngs)
        self.norm = nnx.LayerNorm(2 * width, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.head = nnx.Linear(2 * width, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patch(x)
        for block in self.blocks:
            x = block(x)
        x = self.merge(x)
        return self.head(self.norm(x).mean((1, 2)))


def build() -> Swin:
    """The model that is compared."""
    return Swin(rngs=nnx.Rngs(0))
