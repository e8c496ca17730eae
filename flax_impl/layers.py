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
def max_hw(x: Array) -> Array:
    """The maximum over the map, (n, h, w, c) to (n, 1, 1, c), NaN if there is one.

    The gradient goes to the first of several equal places, row by row, whose index is kept from the forward pass.
    """
    return x.max((1, 2), keepdims=True)


@max_hw.defjvp
def _max_hw_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    n, h, w, c = primals[0].shape
    x, tangent = (a.reshape(n, h * w, c) for a in (*primals, *tangents))
    place = jax.lax.platform_dependent(
        jax.lax.stop_gradient(primals[0]), cpu=_first_by_columns, default=lambda x: x.reshape(n, h * w, c).argmax(1)
    )[:, None]  # n 1 c
    y, dy = jnp.take_along_axis(x, place, 1), _at(tangent, place, 1)
    return y[:, None], dy[:, None]


@jax.custom_jvp
def max_c(x: Array) -> Array:
    """The maximum across the channels, (n, h, w, c) to (n, h, w, 1), NaN if there is one.

    The gradient goes to the first of several equal channels, whose index is kept from the forward pass.
    """
    return x.max(-1, keepdims=True)


@max_c.defjvp
def _max_c_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    place = x.argmax(-1, keepdims=True)  # n h w 1
    return jnp.take_along_axis(x, place, -1), _at(tangent, place, 3)


def _at(x: Array, place: Array, axis: int) -> Array:
    """The values of x at `place` along an axis, as a sum, whose transpose needs no atomics as a gather's does."""
    return jnp.where(jax.lax.broadcasted_iota(place.dtype, x.shape, axis) == place, x, 0).sum(axis, keepdims=True)


def _first_by_columns(x: Array) -> Array:
    """x.reshape(n, h * w, c).argmax(1), which XLA on a CPU computes value by value: columns are compared as a whole."""
    w = x.shape[2]

    def step(j: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        (y, column), new = best, x[:, :, j]
        larger = (new > y) | (jnp.isnan(new) & ~jnp.isnan(y))
        return jnp.where(larger, new, y), jnp.where(larger, j, column)

    y, column = jax.lax.fori_loop(1, w, step, (x[:, :, 0], jnp.zeros(x[:, :, 0].shape, jnp.int32)))  # n h c
    row = y.argmax(1, keepdims=True)  # n 1 c
    return (row * w + jnp.take_along_axis(column, row, 1))[:, 0]


def max_pool(x: Array) -> Array:
    """The maximum over each 3x3 window at stride 2: (n, h, w, c) to (n, p, q, c), p = ceil(h / 2), q = ceil(w / 2).

    The gradient goes to the first of a window's equal places, row by row.
    """
    return nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))


def relu(x: Array) -> Array:
    """max(x, 0), whose derivative at 0 is 0; NaN stays NaN. It may be written over x, which must be nobody else's."""
    return nnx.relu(x)


def apply_gate(x: Array, kind: str, slope: float) -> Array:
    """The sigmoid, or the hard sigmoid clip(slope * x + 0.5, 0, 1) with derivative slope on the closed interval."""
    if kind == "sigmoid":
        return nnx.sigmoid(x)
    y = slope * x + 0.5
    # jnp.clip halves the derivative at 0 and 1.
    return jnp.where(y < 0, 0, jnp.where(y > 1, 1, y))


def children(module: nnx.Module) -> list[tuple[str | int, nnx.Module]]:
    """The modules that this one holds itself, by name, or by number in a list."""
    held = enumerate(module) if isinstance(module, nnx.List) else vars(module).items()
    return [(name, child) for name, child in held if isinstance(child, nnx.Module)]


def place(module: nnx.Module, name: str | int, child: nnx.Module) -> None:
    """Put the child where the module holds that name or number."""
    if isinstance(module, nnx.List):
        module[name] = child
    else:
        setattr(module, str(name), child)


def fold_norm(conv: nnx.Conv, norm: BatchNorm) -> None:
    """Put an eval-mode batch norm into the convolution in front of it."""
    scale = norm.scale[...] / jnp.sqrt(norm.var[...] + norm.epsilon)
    bias = norm.bias[...] - norm.mean[...] * scale
    bias = bias if conv.bias is None else bias + conv.bias[...] * scale
    conv.kernel = nnx.Param(conv.kernel[...] * scale)
    conv.bias = nnx.Param(bias)
    conv.use_bias = True


def split_conv(conv: nnx.Conv, count: int) -> list[nnx.Conv]:
    """The convolutions of `count` equal parts of the input's channels, whose sum is `conv`; the last has its bias."""
    parts = []
    for i, weight in enumerate(jnp.split(conv.kernel[...], count, 2), 1):
        part = conv2d(weight.shape[2], weight.shape[3], 1, bias=i == count, rngs=nnx.Rngs(0))
        part.kernel = nnx.Param(weight)
        if i == count:
            part.bias = conv.bias
        parts.append(part)
    return parts
