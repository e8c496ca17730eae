"""Attentions and cells whose arrays are one in PyTorch and several in Flax, or the other way round."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

WIDTH, HEADS = 12, 3


class Attention(nn.Module):
    """Query, key and value stacked in one matrix, as timm has them."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        y = (q @ k.mT * (WIDTH // HEADS) ** -0.5).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).flatten(2))


class SplitAttention(nn.Module):
    """Query, key and value in a matrix each."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = (q @ k.mT * (WIDTH // HEADS) ** -0.5).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).flatten(2))


class Blocks(nn.Module):
    """Three attentions in a row."""

    def __init__(self, kind=Attention):
        super().__init__()
        self.blocks = nn.ModuleList([kind() for _ in range(3)])

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def attend(q, k, v):
    """Attention of n l h d each, in whatever precision they have."""
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) * (WIDTH // HEADS) ** -0.5
    return jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores, axis=-1), v)


class FlaxSplit(nnx.Module):
    """A linear layer for each."""

    def __init__(self, rngs):
        self.query, self.key, self.value, self.proj = (nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(4))

    def __call__(self, x):
        q, k, v = (layer(x).reshape(*x.shape[:2], HEADS, -1) for layer in (self.query, self.key, self.value))
        return self.proj(attend(q, k, v).reshape(x.shape))


class FlaxHeads(nnx.Module):
    """A kernel with an axis of heads for each, and one with two to go back."""

    def __init__(self, rngs):
        self.query, self.key, self.value = (
            nnx.LinearGeneral(WIDTH, (HEADS, WIDTH // HEADS), rngs=rngs) for _ in range(3)
        )
        self.out = nnx.LinearGeneral((HEADS, WIDTH // HEADS), WIDTH, axis=(-2, -1), rngs=rngs)

    def __call__(self, x):
        return self.out(attend(self.query(x), self.key(x), self.value(x)))


class FlaxFused(nnx.Module):
    """One linear layer, whose parts come in another order than PyTorch's."""

    def __init__(self, rngs, order=(0, 1, 2)):
        self.order = order
        self.qkv, self.proj = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        parts = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, -1)
        return self.proj(attend(*(parts[:, :, i] for i in self.order)).reshape(x.shape))


class FlaxBlocks(nnx.Module):
    """Three in a row."""

    def __init__(self, kind, **options):
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List([kind(rngs, **options) for _ in range(3)])

    def __call__(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


class LSTM(nn.Module):
    """PyTorch's, the last output."""

    def __init__(self, width=5, hidden=4, kind=nn.LSTM):
        super().__init__()
        self.cell = kind(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class FlaxGates(nnx.Module):
    """An LSTM written by hand, a linear layer for each gate and each of what comes in and what is kept."""

    def __init__(self, width=5, hidden=4):
        rngs = nnx.Rngs(0)
        self.hidden = hidden
        self.cell = nnx.Dict(
            {f"i{gate}": nnx.Linear(width, hidden, rngs=rngs) for gate in "ifgo"}
            | {f"h{gate}": nnx.Linear(hidden, hidden, rngs=rngs) for gate in "ifgo"}
        )
        self.head = nnx.Linear(hidden, 2, rngs=rngs)

    def __call__(self, x):
        h = c = jnp.zeros((len(x), self.hidden), x.dtype)
        for step in range(x.shape[1]):
            i, f, g, o = (self.cell[f"i{gate}"](x[:, step]) + self.cell[f"h{gate}"](h) for gate in "ifgo")
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return self.head(h)


class LinenLSTM(linen.Module):
    """Linen's own cell, whose arrays are a kernel for each gate."""

    @linen.compact
    def __call__(self, x):
        cell = linen.OptimizedLSTMCell(4, name="cell")
        carry = (jnp.zeros((len(x), 4), x.dtype),) * 2
        for step in range(x.shape[1]):
            carry, h = cell(carry, x[:, step])
        return linen.Dense(2, name="head")(h)


def linen_lstm():
    """The module and its variables."""
    module = LinenLSTM()
    return module, module.init(jax.random.key(0), jnp.ones((1, 2, 5)))


class FlaxLSTM(nnx.Module):
    """NNX's own cell, whose gates are stacked and whose two biases are one."""

    def __init__(self, cell=nnx.OptimizedLSTMCell):
        rngs = nnx.Rngs(0)
        self.cell = nnx.RNN(cell(5, 4, rngs=rngs))
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        carry = (jnp.zeros((len(x), 4), x.dtype),) * 2
        return self.head(self.cell(x, initial_carry=carry)[:, -1])


class TorchMulti(nn.Module):
    """PyTorch's own attention."""

    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        return self.attn(x, x, x, need_weights=False)[0]


class FlaxMulti(nnx.Module):
    """NNX's own, with its softmax in the precision of its inputs."""

    def __init__(self):
        self.attn = nnx.MultiHeadAttention(
            HEADS, WIDTH, decode=False, rngs=nnx.Rngs(0), attention_fn=lambda q, k, v, **_: attend(q, k, v)
        )

    def __call__(self, x):
        return self.attn(x)


def drawn(model):
    """The model with other values than its authors begin with, so that nothing is zero."""
    with torch.no_grad():
        for array in model.parameters():
            array.normal_(0, 0.4)
    return model
