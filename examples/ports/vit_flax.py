"""A small vision transformer: patches, a class token, two blocks of attention with one matrix for query, key, value."""

import jax
import jax.numpy as jnp
from flax import nnx


class Attention(nnx.Module):
    """(n, l, c) to the same shape."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.proj = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        n, length, c = x.shape
        q, k, v = (
            self.qkv(x).reshape(n, length, 3, self.heads, c // self.heads).transpose(2, 0, 3, 1, 4)
        )  # n h l d each
        scores = q @ k.swapaxes(2, 3) * (c // self.heads) ** -0.5
        y = jax.nn.softmax(scores, axis=-1) @ v
        return self.proj(y.swapaxes(1, 2).reshape(n, length, c))


class Block(nnx.Module):
    """(n, l, c) to the same shape."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-6, use_fast_variance=False, rngs=rngs)
        self.attn = Attention(width, heads, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-6, use_fast_variance=False, rngs=rngs)
        self.fc1 = nnx.Linear(width, 4 * width, rngs=rngs)
        self.fc2 = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(nnx.gelu(self.fc1(self.norm2(x)), approximate=False))


class ViT(nnx.Module):
    """(n, 16, 16, 3) to (n, classes)."""

    def __init__(self, width: int = 24, heads: int = 4, classes: int = 5, *, rngs: nnx.Rngs) -> None:
        self.patch = nnx.Conv(3, width, (4, 4), strides=4, padding=0, rngs=rngs)
        self.token = nnx.Param(rngs.params.normal((1, 1, width)))
        self.position = nnx.Param(rngs.params.normal((1, 17, width)))
        self.blocks = nnx.List([Block(width, heads, rngs=rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, use_fast_variance=False, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patch(x)
        x = x.reshape(len(x), -1, x.shape[-1])  # n l c
        token = jnp.broadcast_to(self.token[...], (len(x), 1, x.shape[-1]))
        x = jnp.concatenate([token, x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def build() -> ViT:
    """The model that is compared."""
    return ViT(rngs=nnx.Rngs(0))
