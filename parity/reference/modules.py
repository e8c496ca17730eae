"""The modules once more, in NumPy, written from their formulas: the witness that the three frameworks answer to.

The classes take the same arguments as the frameworks' modules. A model's weights are canonical arrays in float64, set
by `set_weights`; calling it with an arithmetic and a mode gives the output, and in train mode moves its running values.

>>> model = SE(32, reduction=8)
>>> set_weights(model, {key: np.ones(shape) for key, shape in shapes(model).items()})
>>> model(np.ones((2, 32, 5, 7)), Exact(), train=False).shape
(2, 32, 5, 7)
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

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
    """A convolution that keeps the map's size, of which a stride takes a part; `weight` is (o, i, k, k)."""

    def __init__(
        self, channels: int, out_channels: int, side: int, *, stride: int = 1, dilation: int = 1, bias: bool = True
    ) -> None:
        shapes = {"weight": (out_channels, channels, side, side)}
        super().__init__(**shapes, **({"bias": (out_channels,)} if bias else {}))
        self.stride = stride
        self.dilation = dilation

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See `Exact.conv2d`."""
        y = ops.conv2d(x, self.arrays["weight"], self.arrays.get("bias"), self.dilation)
        return y if self.stride == 1 else ops.subsample(y, self.stride)


class Linear(Module):
    """A matrix and a bias over the channels of a 1x1 map; `weight` is (o, i)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(weight=(out_channels, channels), bias=(out_channels,))

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See `Exact.linear`."""
        return ops.linear(x, self.arrays["weight"], self.arrays["bias"])


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


class Block(Module):
    """relu(branch(x) + downsample(x)), attention at one of five places; `branch` pairs each convolution with its norm.

    Basic: 3x3 (stride), 3x3. Bottleneck: 1x1, 3x3 (stride), 1x1 to four times the width.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        bottleneck: bool,
        stride: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        placement: str = "standard",
        attention: str | None = "se",
        reduction: int = 16,
        min_hidden: int | None = None,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        out = 4 * width if bottleneck else width
        first = {"stride": stride, "dilation": first_dilation or dilation}
        layers = (
            [(channels, width, 1, {}), (width, width, 3, first), (width, out, 1, {})]
            if bottleneck
            else [(channels, width, 3, first), (width, width, 3, {"dilation": dilation})]
        )
        self.depth = len(layers)
        for i, (source, target, side, options) in enumerate(layers, 1):
            setattr(self, f"conv{i}", Conv2d(source, target, side, bias=False, **options))
            setattr(self, f"bn{i}", BatchNorm(target, momentum=momentum))
        self.placement = placement if attention else ""
        self.se: SE | CBAM | None = None
        if attention:
            attended = channels if placement in ("pre", "identity") else out
            hidden = max(min_hidden or 1, attended // reduction)
            self.se = (SE if attention == "se" else CBAM)(attended, hidden=hidden)
        self.downsample: list[Module] = []
        if stride != 1 or channels != out:
            projection = Conv2d(channels, out, 1, stride=stride, bias=False)
            self.downsample = [projection, BatchNorm(out, momentum=momentum)]

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""

        def attend(y: np.ndarray, place: str) -> np.ndarray:
            return y if self.se is None or self.placement != place else self.se(y, ops, train=train)

        y = attend(x, "pre")
        for i in range(1, self.depth + 1):
            y = getattr(self, f"conv{i}")(y, ops, train=train)
            last = i == self.depth
            y = getattr(self, f"bn{i}")(attend(y, "conv") if last else y, ops, train=train)
            y = attend(y, "standard") if last else ops.relu(y)
        shortcut = attend(x, "identity")
        for layer in self.downsample:
            shortcut = layer(shortcut, ops, train=train)
        return attend(ops.relu(ops.add(y, shortcut)), "post")


class BasicBlock(Block):
    """See Block."""

    def __init__(self, channels: int, width: int, **options: Any) -> None:
        super().__init__(channels, width, bottleneck=False, **options)


class Bottleneck(Block):
    """See Block."""

    def __init__(self, channels: int, width: int, **options: Any) -> None:
        super().__init__(channels, width, bottleneck=True, **options)


class SEResNet(Module):
    """fc(mean_hw(stages(max_pool(relu(bn1(conv1(x))))))), four stages of blocks, each after the first half the size."""

    blocks: ClassVar = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

    def __init__(
        self,
        depth: int,
        *,
        placement: str = "standard",
        where: str | Sequence[str] = "all",
        attention: str = "se",
        reduction: int = 16,
        min_hidden: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        small_stem: bool = False,
        output_stride: int = 32,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.small_stem = small_stem
        side, stride = (3, 1) if small_stem else (7, 2)
        self.conv1 = Conv2d(in_channels, width, side, stride=stride, bias=False)
        self.bn1 = BatchNorm(width, momentum=momentum)
        # Where the map is no longer halved, the kernels of what follows reach twice as far instead.
        steps = {32: (1, 2, 2, 2), 16: (1, 2, 2, 1), 8: (1, 2, 1, 1)}[output_stride]
        reach = {32: (1, 1, 1, 1, 1), 16: (1, 1, 1, 1, 2), 8: (1, 1, 1, 2, 4)}[output_stride]
        channels = width
        for i, count in enumerate(self.blocks[depth]):
            stage = []
            for j in range(count):
                names = (f"layer{i + 1}", f"layer{i + 1}.{j}")
                block = (BasicBlock if depth < 50 else Bottleneck)(
                    channels,
                    width * 2**i,
                    stride=steps[i] if j == 0 else 1,
                    dilation=reach[i + 1],
                    first_dilation=reach[i] if j == 0 else None,
                    placement=placement,
                    attention=attention if where == "all" or any(name in where for name in names) else None,
                    reduction=reduction,
                    min_hidden=min_hidden,
                    momentum=momentum,
                )
                channels = width * 2**i * (4 if depth >= 50 else 1)
                stage.append(block)
            setattr(self, f"layer{i + 1}", stage)
        self.fc = Linear(channels, num_classes) if num_classes else None

    def stages(self, x: np.ndarray, ops: Exact, *, train: bool) -> list[np.ndarray]:
        """The map after each stage."""
        y = ops.relu(self.bn1(self.conv1(x, ops, train=train), ops, train=train))
        y = y if self.small_stem else ops.max_pool(y)
        maps = []
        for i in range(1, 5):
            for block in getattr(self, f"layer{i}"):
                y = block(y, ops, train=train)
            maps.append(y)
        return maps

    def __call__(self, x: np.ndarray, ops: Exact, *, train: bool) -> np.ndarray:
        """See the class."""
        y = ops.mean(self.stages(x, ops, train=train)[-1], (2, 3))
        return ops.flatten(y) if self.fc is None else self.fc(y, ops, train=train)


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
