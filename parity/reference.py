"""The modules once more, in NumPy, written from their formulas: the witness that the three frameworks answer to.

The classes take the same arguments as the frameworks' modules. A model's weights are canonical arrays in float64, set
by `set_weights`; calling it with an arithmetic and a mode gives the output, and in train mode moves its running values.

>>> model = SE(32, reduction=8)
>>> set_weights(model, {key: np.ones(shape) for key, shape in shapes(model).items()})
>>> model(np.ones((2, 32, 5, 7)), Exact(), train=False).shape
(2, 32, 5, 7)
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .arithmetic import Exact

# As float32 holds 1e-5.
EPSILON = float(np.float32(1e-5))


class Module:
    """Arrays of its own by leaf name, shapes first, and modules as attributes or in lists."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self.arrays: dict[str, np.ndarray] = {leaf: np.zeros(shape) for leaf, shape in shapes.items()}

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """The output for x (n, c, h, w), computed in the arithmetic `ops`."""
        raise NotImplementedError


class Conv2d(Module):
    """A convolution that keeps the map's size; `weight` is (o, i, k, k)."""

    def __init__(self, channels: int, out_channels: int, side: int, *, dilation: int = 1, bias: bool = True) -> None:
        shapes = {"weight": (out_channels, channels, side, side)}
        super().__init__(**shapes, **({"bias": (out_channels,)} if bias else {}))
        self.dilation = dilation

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See `Exact.conv2d`."""
        return ops.conv2d(x, self.arrays["weight"], self.arrays.get("bias"), self.dilation)


class BatchNorm(Module):
    """gamma * (x - mean) / sqrt(var + eps) + beta over (n, h, w).

    In train mode mean and the biased variance are the batch's, and the running ones become
    (1 - momentum) * old + momentum * new, with n/(n-1) * var for the variance.
    """

    def __init__(self, channels: int, *, momentum: float) -> None:
        side = (channels,)
        super().__init__(weight=side, bias=side, running_mean=side, running_var=side)
        self.momentum = momentum

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        gamma, beta, mean, var = (
            ops.per_channel(self.arrays[leaf]) for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        if train:
            count = x.size // x.shape[1]
            if count == 1:
                raise ValueError(f"one value per channel, shape {x.shape}, has no variance")
            mean = ops.mean(x, (0, 2, 3))
            deviation = ops.sub(x, mean)
            var = ops.mean(ops.mul(deviation, deviation), (0, 2, 3))
            self.track("running_mean", mean, ops)
            self.track("running_var", ops.mul(var, count / (count - 1)), ops)
            standard = ops.standardise(x, mean, var, EPSILON)
        else:
            standard = ops.div(ops.sub(x, mean), ops.sqrt(ops.add(var, EPSILON)))
        scaled = ops.mul(standard, gamma)
        return ops.add(scaled, beta)

    def track(self, leaf: str, new: np.ndarray, ops: Exact) -> None:
        """Move a running value towards `new`."""
        old = ops.mul(self.arrays[leaf], 1 - self.momentum)
        self.arrays[leaf] = ops.add(old, ops.mul(new.ravel(), self.momentum))


class SE(Module):
    """x * gate(fc2(relu(fc1(mean_hw(x)))))."""

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden: int | None = None,
        bias: bool = True,
        gate: str = "sigmoid",
        slope: float = 1 / 6,
    ) -> None:
        super().__init__()
        width = hidden or channels // reduction
        self.fc1 = Conv2d(channels, width, 1, bias=bias)
        self.fc2 = Conv2d(width, channels, 1, bias=bias)
        self.gate = gate
        self.slope = slope

    def scale(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """The attention map, (n, c, 1, 1)."""
        y = ops.mean(x, (2, 3))
        y = self.fc2(ops.relu(self.fc1(y, ops, train=train)), ops, train=train)
        if self.gate == "sigmoid":
            return ops.sigmoid(y)
        return ops.clip(ops.add(ops.mul(y, self.slope), 0.5), 0, 1)

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        return ops.mul(x, self.scale(x, ops, train=train))


class ChannelAttention(Module):
    """x * sigmoid(mlp(mean_hw(x)) + mlp(max_hw(x))), mlp(y) = fc2(relu(fc1(y)))."""

    def __init__(self, channels: int, *, reduction: int = 8, hidden: int | None = None, bias: bool = False) -> None:
        super().__init__()
        width = hidden or channels // reduction
        self.fc1 = Conv2d(channels, width, 1, bias=bias)
        self.fc2 = Conv2d(width, channels, 1, bias=bias)

    def mlp(self, y: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """The shared bottleneck."""
        return self.fc2(ops.relu(self.fc1(y, ops, train=train)), ops, train=train)

    def scale(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """The attention map, (n, c, 1, 1)."""
        mean = self.mlp(ops.mean(x, (2, 3)), ops, train=train)
        return ops.sigmoid(ops.add(mean, self.mlp(ops.amax(x, (2, 3)), ops, train=train)))

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        return ops.mul(x, self.scale(x, ops, train=train))


class SpatialAttention(Module):
    """x * sigmoid(norm(conv([mean_c(x), max_c(x)])))."""

    def __init__(self, *, kernel_size: int = 7, norm: bool = False, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv = Conv2d(2, 1, kernel_size, bias=False)
        self.norm = BatchNorm(1, momentum=momentum) if norm else None

    def scale(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """The attention map, (n, 1, h, w)."""
        y = self.conv(ops.concat((ops.mean(x, 1), ops.amax(x, 1))), ops, train=train)
        if self.norm is not None:
            y = self.norm(y, ops, train=train)
        return ops.sigmoid(y)

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        return ops.mul(x, self.scale(x, ops, train=train))


class CBAM(Module):
    """spatial(channel(x))."""

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 8,
        hidden: int | None = None,
        bias: bool = False,
        kernel_size: int = 7,
        norm: bool = False,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction=reduction, hidden=hidden, bias=bias)
        self.spatial = SpatialAttention(kernel_size=kernel_size, norm=norm, momentum=momentum)

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        return self.spatial(self.channel(x, ops, train=train), ops, train=train)


class ConvNormReLU(Module):
    """relu(norm(conv(x)))."""

    def __init__(
        self, channels: int, out_channels: int, side: int, *, dilation: int = 1, bias: bool, momentum: float
    ) -> None:
        super().__init__()
        self.conv = Conv2d(channels, out_channels, side, dilation=dilation, bias=bias)
        self.norm = BatchNorm(out_channels, momentum=momentum)

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        return ops.relu(self.norm(self.conv(x, ops, train=train), ops, train=train))


class ASPP(Module):
    """project([1x1(x), 3x3 at each rate (x), pool(mean_hw(x)) everywhere]); dropout is the identity.

    Its masks are random and each framework's own, so in train mode only dropout 0 can be compared.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        rates: Sequence[int] = (6, 12, 18),
        bias: bool = False,
        dropout: float = 0.5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.branches = [ConvNormReLU(channels, out_channels, 1, bias=bias, momentum=momentum)]
        for rate in rates:
            self.branches.append(ConvNormReLU(channels, out_channels, 3, dilation=rate, bias=bias, momentum=momentum))
        self.pool = ConvNormReLU(channels, out_channels, 1, bias=bias, momentum=momentum)
        width = (2 + len(rates)) * out_channels
        self.project = ConvNormReLU(width, out_channels, 1, bias=bias, momentum=momentum)
        self.dropout = dropout

    def features(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """The branches side by side."""
        if train and self.dropout:
            raise ValueError(f"train mode can be compared only without dropout, got dropout={self.dropout}")
        maps = [branch(x, ops, train=train) for branch in self.branches]
        pooled = self.pool(ops.mean(x, (2, 3)), ops, train=train)
        return ops.concat((*maps, ops.expand(pooled, maps[0].shape)))

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        return self.project(self.features(x, ops, train=train), ops, train=train)


class SE_ASPP(ASPP):
    """project(se(features(x)))."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        rates: Sequence[int] = (6, 12, 18),
        reduction: int = 16,
        bias: bool = True,
        dropout: float = 0.0,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(channels, out_channels, rates=rates, bias=bias, dropout=dropout, momentum=momentum)
        self.se = SE((2 + len(rates)) * out_channels, reduction=reduction)

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        return self.project(self.se(self.features(x, ops, train=train), ops, train=train), ops, train=train)


def shapes(model: Module) -> dict[str, tuple[int, ...]]:
    """The canonical key and shape of every array of the model."""
    return {key: owner.arrays[leaf].shape for key, owner, leaf in _slots(model)}


def get_weights(model: Module) -> dict[str, np.ndarray]:
    """Every array of the model, by canonical key."""
    return {key: owner.arrays[leaf].copy() for key, owner, leaf in _slots(model)}


def parameters(model: Module) -> dict[str, np.ndarray]:
    """The arrays that are trained, by canonical key: the model's own, not copies."""
    return {key: owner.arrays[leaf] for key, owner, leaf in _slots(model) if not leaf.startswith("running_")}


def set_weights(model: Module, weights: Mapping[str, np.ndarray]) -> None:
    """Set every array of the model, as float64."""
    for key, owner, leaf in _slots(model):
        owner.arrays[leaf] = weights[key].astype(np.float64)


def _slots(model: Module, prefix: str = "") -> Iterator[tuple[str, Module, str]]:
    for leaf in model.arrays:
        yield prefix + leaf, model, leaf
    for name, child in vars(model).items():
        if isinstance(child, Module):
            yield from _slots(child, f"{prefix}{name}.")
        elif isinstance(child, list):
            for i, item in enumerate(child):
                yield from _slots(item, f"{prefix}{name}.{i}.")
