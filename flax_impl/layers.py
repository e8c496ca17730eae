"""The primitives on which the frameworks disagree, made to agree."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from .checks import check_fraction, check_values_per_channel

# 1e-5 as float32 holds it: Paddle's kernel keeps epsilon as float32, so all three use that number.
EPSILON = 9.999999747378752e-06


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation over (n, h, w) for each channel.

    y = gamma * (x - mean) / sqrt(var + eps) + beta, where mean and var are the batch's in train mode, var the biased
    one, and the running ones in eval mode. Train mode then moves the running values by `momentum` towards the batch's
    mean and its unbiased variance n/(n-1) * var, as PyTorch does.

    Args:
        channels: the number of channels.
        momentum: the weight of the new value, in [0, 1].
        name: what an error calls this layer.

    Shape: (n, h, w, c) to the same.

    Raises:
        ValueError: in train mode on one value per channel, or none.

    Ioffe and Szegedy, "Batch Normalization", 2015, https://arxiv.org/abs/1502.03167
    """

    def __init__(self, channels: int, *, momentum: float = 0.1, name: str = "batch norm", rngs: nnx.Rngs) -> None:
        momentum = check_fraction("momentum", momentum)
        super().__init__(channels, epsilon=EPSILON, momentum=1 - momentum, use_fast_variance=False, rngs=rngs)
        self.name = name

    def __call__(self, x: Array) -> Array:
        if self.use_running_average:
            return super().__call__(x)
        n, h, w, _ = x.shape
        check_values_per_channel(x.shape, n * h * w, self.name)
        return self.normalise_and_track(x, n * h * w)

    def normalise_and_track(self, x: Array, count: int) -> Array:
        """Train mode, with PyTorch's running variance."""
        kept = self.momentum * self.var[...]
        y = super().__call__(x)
        self.var[...] = self.var[...] + (self.var[...] - kept) / (count - 1)
        return y


class Sequential(nnx.List):
    """Modules applied one after the other, each called by its number in the list."""

    def __call__(self, x: Array) -> Array:
        for module in self:
            x = module(x)
        return x


def conv2d(
    channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = True,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution whose stride alone changes the map's size: an odd kernel, and the padding in integers.

    (n, h, w, c) to (n, p, q, o), where p = ceil(h / stride) and q = ceil(w / stride).
    """
    padding = dilation * (kernel_size // 2)
    side = (kernel_size, kernel_size)
    return nnx.Conv(
        channels, out_channels, side, stride, padding=padding, kernel_dilation=dilation, use_bias=bias, rngs=rngs
    )


def mean_hw(x: Array) -> Array:
    """The mean over the map, (n, h, w, c) to (n, 1, 1, c)."""
    return x.mean((1, 2), keepdims=True)


@jax.custom_jvp
def kept(x: Array) -> Array:
    """x itself, which compiled code holds in memory from here on.

    The gradient of a maximum asks which values equal it. XLA on a CPU may compute x anew to ask, with other products
    fused into sums, and find none: behind a batch norm that is wrong by half, in float64 too. There a loop that is
    never entered keeps x, because XLA undoes barriers before it comes to that.
    """
    if not isinstance(x, jax.core.Tracer):
        return x
    return jax.lax.platform_dependent(x, cpu=_through_a_loop, default=jax.lax.optimization_barrier)


@kept.defjvp
def _kept_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return kept(primals[0]), tangents[0]


def _through_a_loop(x: Array) -> Array:
    # False, and nothing that a compiler could know before.
    enter = jax.lax.population_count(x.ravel()[0].astype(jnp.int32)) > 32
    return jax.lax.while_loop(lambda state: state[0], lambda state: (~state[0], -state[1]), (enter, x))[1]


def max_pool(x: Array) -> Array:
    """The maximum over each 3x3 window at stride 2: (n, h, w, c) to (n, p, q, c), p = ceil(h / 2), q = ceil(w / 2).

    By amax over the shifted maps, down and then across: it hands the gradient of a maximum to its ties in equal parts,
    those of a column first. A window pool gives it all to the first, and in JAX has no deterministic gradient on a GPU.
    """
    _, h, w, _ = x.shape
    y = jnp.pad(kept(x), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    y = jnp.stack([y[:, i : i + h : 2] for i in range(3)]).max(0)
    return jnp.stack([y[:, :, i : i + w : 2] for i in range(3)]).max(0)


def apply_gate(x: Array, kind: str, slope: float) -> Array:
    """The sigmoid, or the hard sigmoid clip(slope * x + 0.5, 0, 1) with derivative slope on the closed interval."""
    if kind == "sigmoid":
        return nnx.sigmoid(x)
    y = slope * x + 0.5
    # jnp.clip halves the derivative at 0 and 1.
    return jnp.where(y < 0, 0, jnp.where(y > 1, 1, y))
