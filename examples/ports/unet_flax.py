"""A small U-Net: two levels, transposed convolutions up, group norm."""

import jax
import jax.numpy as jnp
from flax import nnx


class Block(nnx.Module):
    """Twice convolution, group norm, SiLU."""

    def __init__(self, channels: int, out_channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(channels, out_channels, (3, 3), padding=1, rngs=rngs)
        self.norm1 = nnx.GroupNorm(out_channels, 4, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.conv2 = nnx.Conv(out_channels, out_channels, (3, 3), padding=1, rngs=rngs)
        self.norm2 = nnx.GroupNorm(out_channels, 4, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.silu(self.norm1(self.conv1(x)))
        return nnx.silu(self.norm2(self.conv2(x)))


class UNet(nnx.Module):
    """(n, h, w, 3) to (n, h, w, classes); h and w are multiples of 4."""

    def __init__(self, width: int = 8, classes: int = 5, *, rngs: nnx.Rngs) -> None:
        self.down1 = Block(3, width, rngs=rngs)
        self.down2 = Block(width, 2 * width, rngs=rngs)
        self.bottom = Block(2 * width, 4 * width, rngs=rngs)
        self.up2 = nnx.ConvTranspose(4 * width, 2 * width, (2, 2), 2, padding="VALID", rngs=rngs)
        self.merge2 = Block(4 * width, 2 * width, rngs=rngs)
        self.up1 = nnx.ConvTranspose(2 * width, width, (2, 2), 2, padding="VALID", rngs=rngs)
        self.merge1 = Block(2 * width, width, rngs=rngs)
        self.head = nnx.Conv(width, classes, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        skip1 = self.down1(x)
        skip2 = self.down2(nnx.max_pool(skip1, (2, 2), (2, 2)))
        x = self.bottom(nnx.max_pool(skip2, (2, 2), (2, 2)))
        x = self.merge2(jnp.concatenate([skip2, self.up2(x)], -1))
        x = self.merge1(jnp.concatenate([skip1, self.up1(x)], -1))
        return self.head(x)


def build() -> UNet:
    """The model that is compared."""
    return UNet(rngs=nnx.Rngs(0))
