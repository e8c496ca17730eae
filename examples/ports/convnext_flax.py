"""Two ConvNeXt blocks behind their stem: depthwise 7x7, layer norm, four times as wide, GELU, layer scale."""

import jax
import jax.numpy as jnp
from flax import nnx


class Block(nnx.Module):
    """(n, h, w, c) to the same shape."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.dwconv = nnx.Conv(channels, channels, (7, 7), padding=3, feature_group_count=channels, rngs=rngs)
        self.norm = nnx.LayerNorm(channels, epsilon=1e-6, use_fast_variance=False, rngs=rngs)
        self.pwconv1 = nnx.Linear(channels, 4 * channels, rngs=rngs)
        self.pwconv2 = nnx.Linear(4 * channels, channels, rngs=rngs)
        self.gamma = nnx.Param(1e-6 * jnp.ones(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.pwconv1(self.norm(self.dwconv(x)))
        y = self.pwconv2(nnx.gelu(y, approximate=False))
        return x + self.gamma * y


class ConvNeXt(nnx.Module):
    """(n, h, w, 3) to (n, classes); h and w are multiples of 4."""

    def __init__(self, width: int = 12, classes: int = 5, *, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, width, (4, 4), strides=4, padding=0, rngs=rngs)
        self.blocks = nnx.Sequential(Block(width, rngs=rngs), Block(width, rngs=rngs))
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, use_fast_variance=False, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.blocks(self.stem(x))
        return self.head(self.norm(x.mean((1, 2))))


def build() -> ConvNeXt:
    """The model that is compared."""
    return ConvNeXt(rngs=nnx.Rngs(0))
