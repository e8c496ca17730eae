"""The benchmark's candidates in Flax NNX: ours, and the modules and networks as a user writes them."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

NAME = "flax"
RATES = (6, 12, 18)


def versions() -> dict[str, str]:
    """Of everything that is compared here."""
    return {"flax": flax.__version__, "jax": jax.__version__}


class PlainSE(nnx.Module):
    """Squeeze-and-Excitation over the means, with linear layers."""

    def __init__(self, channels: int, hidden: int, rngs: nnx.Rngs) -> None:
        self.fc1, self.fc2 = nnx.Linear(channels, hidden, rngs=rngs), nnx.Linear(hidden, channels, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        gate = nnx.sigmoid(self.fc2(nnx.relu(self.fc1(x.mean((1, 2))))))
        return x * gate[:, None, None, :]


class PlainCBAM(nnx.Module):
    """CBAM with `mean` and `max`."""

    def __init__(self, channels: int, hidden: int, rngs: nnx.Rngs) -> None:
        self.fc1 = nnx.Linear(channels, hidden, use_bias=False, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, channels, use_bias=False, rngs=rngs)
        self.conv = nnx.Conv(2, 1, (7, 7), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(1, rngs=rngs)

    def mlp(self, x: Array) -> Array:
        """The bottleneck of both."""
        return self.fc2(nnx.relu(self.fc1(x)))

    def __call__(self, x: Array) -> Array:
        gate = nnx.sigmoid(self.mlp(x.mean((1, 2))) + self.mlp(x.max((1, 2))))
        x = x * gate[:, None, None, :]
        y = jnp.concatenate([x.mean(-1, keepdims=True), x.max(-1, keepdims=True)], -1)
        return x * nnx.sigmoid(self.norm(self.conv(y)))


class Unit(nnx.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, i: int, o: int, side: int, rngs: nnx.Rngs, *, rate: int = 1, stride: int = 1, bias: bool = False
    ):
        kernel, pad = (side, side), rate * (side // 2)
        self.conv = nnx.Conv(i, o, kernel, stride, padding=pad, kernel_dilation=rate, use_bias=bias, rngs=rngs)
        self.norm = nnx.BatchNorm(o, rngs=rngs)

    def __call__(self, x: Array, *, relu: bool = True) -> Array:
        y = self.norm(self.conv(x))
        return nnx.relu(y) if relu else y


class PlainASPP(nnx.Module):
    """ASPP with a resized pooled branch and a concatenation, with Squeeze-and-Excitation over it or without."""

    def __init__(self, channels: int, out: int, se: bool, rngs: nnx.Rngs) -> None:
        first = Unit(channels, out, 1, rngs, bias=se)
        self.branches = nnx.List([first, *(Unit(channels, out, 3, rngs, rate=rate, bias=se) for rate in RATES)])
        self.pool, self.project = Unit(channels, out, 1, rngs, bias=se), Unit(5 * out, out, 1, rngs, bias=se)
        self.se = PlainSE(5 * out, 5 * out // 16, rngs) if se else None
        self.dropout = nnx.Dropout(0.0 if se else 0.5, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        pooled = self.pool(x.mean((1, 2), keepdims=True))
        pooled = jax.image.resize(pooled, (*x.shape[:3], pooled.shape[-1]), "bilinear")
        y = jnp.concatenate([*(branch(x) for branch in self.branches), pooled], -1)
        return self.dropout(self.project(y if self.se is None else self.se(y)))


class PlainBlock(nnx.Module):
    """A bottleneck, with Squeeze-and-Excitation before the sum or without."""

    def __init__(self, channels: int, width: int, stride: int, se: bool, rngs: nnx.Rngs) -> None:
        self.one, self.two = Unit(channels, width, 1, rngs), Unit(width, width, 3, rngs, stride=stride)
        self.three = Unit(width, 4 * width, 1, rngs)
        self.se = PlainSE(4 * width, max(width // 4, 8), rngs) if se else None
        changes = stride > 1 or channels != 4 * width
        self.downsample = Unit(channels, 4 * width, 1, rngs, stride=stride) if changes else None

    def __call__(self, x: Array) -> Array:
        y = self.three(self.two(self.one(x)), relu=False)
        y = y if self.se is None else self.se(y)
        return nnx.relu(y + (x if self.downsample is None else self.downsample(x, relu=False)))


class PlainResNet(nnx.Module):
    """ResNet-50."""

    def __init__(self, se: bool, rngs: nnx.Rngs) -> None:
        self.stem, blocks, channels = Unit(3, 64, 7, rngs, stride=2), [], 64
        for i, count in enumerate((3, 4, 6, 3)):
            for j in range(count):
                blocks.append(PlainBlock(channels, 64 * 2**i, 2 if i and not j else 1, se, rngs))
                channels = 256 * 2**i
        self.blocks, self.fc = nnx.List(blocks), nnx.Linear(2048, 1000, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        y = nnx.max_pool(self.stem(x), (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            y = block(y)
        return self.fc(y.mean((1, 2)))


PEERS = {
    "SE": {"plain": lambda row: PlainSE(row.args[0], row.args[0] // 16, nnx.Rngs(0))},
    "CBAM": {"plain": lambda row: PlainCBAM(row.args[0], row.args[0] // 16, nnx.Rngs(0))},
    "ASPP": {"plain": lambda row: PlainASPP(*row.args, False, nnx.Rngs(0))},
    "SE_ASPP": {"plain": lambda row: PlainASPP(*row.args, True, nnx.Rngs(0))},
    "SEResNet": {"plain": lambda row: PlainResNet(True, nnx.Rngs(0))},
    "ResNet": {"plain": lambda row: PlainResNet(False, nnx.Rngs(0))},
}


def ours(package: Any, row: Any) -> nnx.Module:
    """The row's module of ours."""
    return getattr(package, row.module)(*row.args, **row.options, rngs=nnx.Rngs(0))


def as_input(array: np.ndarray) -> Array:
    """The maps n, c, h, w as the framework takes them."""
    return jnp.asarray(array.transpose(0, 2, 3, 1))


def call(model: nnx.Module, array: np.ndarray, execution: str, mode: str) -> Any:
    """A call that runs the model once: without gradients in eval mode, with those of weights and maps in train mode."""
    x = as_input(array)
    (model.train if mode == "train" else model.eval)()
    compile = nnx.jit if execution == "compiled" else lambda function: function
    run = compile(lambda model, x: model(x))
    if mode == "eval":
        return lambda: jax.block_until_ready(run(model, x))
    cotangent = jax.random.normal(jax.random.key(0), run(model, x).shape)
    # An image needs no gradient.
    wanted = (0, 1) if array.shape[1] > 3 else 0
    step = compile(nnx.grad(lambda model, x: (model(x) * cotangent).sum(), argnums=wanted))
    return lambda: jax.block_until_ready(step(model, x))
