"""A classifier of texts: an embedding, two LSTMs that read both ways, the mean over the words.

PyTorch's two layers are one module, Flax's are two; `lstm.toml` says how.
"""

import jax
import jax.numpy as jnp
from flax import nnx


def both_ways(width: int, hidden: int, *, rngs: nnx.Rngs) -> nnx.Bidirectional:
    """(n, l, width) to (n, l, 2 * hidden)."""
    return nnx.Bidirectional(*(nnx.RNN(nnx.OptimizedLSTMCell(width, hidden, rngs=rngs)) for _ in range(2)))


class Classifier(nnx.Module):
    """(n, l) of words to (n, classes)."""

    def __init__(self, words: int = 50, width: int = 8, hidden: int = 6, classes: int = 3, *, rngs: nnx.Rngs) -> None:
        self.hidden = hidden
        self.embedding = nnx.Embed(words, width, rngs=rngs)
        self.lstm = nnx.List([both_ways(width, hidden, rngs=rngs), both_ways(2 * hidden, hidden, rngs=rngs)])
        self.fc = nnx.Linear(2 * hidden, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        # Calling nnx.Embed gives float32, whatever its weights are; so does a cell's own carry.
        y = self.embedding.embedding[...][x]
        carry = (jnp.zeros((len(x), self.hidden), y.dtype),) * 2
        for layer in self.lstm:
            y = layer(y, initial_carry=(carry, carry))  # n l 2h
        return self.fc(y.mean(1))


def build() -> Classifier:
    """The model that is compared."""
    return Classifier(rngs=nnx.Rngs(0))
