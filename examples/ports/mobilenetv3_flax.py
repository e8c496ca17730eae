"""MobileNetV3-Small with timm's names, a quarter as wide: inverted residuals with SE and hard activations."""

import jax
from flax import nnx

# kernel, expanded, out, SE, hard swish, stride.
ROWS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def conv(channels: int, out_channels: int, side: int, stride: int = 1, groups: int = 1, *, rngs: nnx.Rngs) -> nnx.Conv:
    """A convolution without bias that is padded on all sides alike, which "SAME" is not where the stride is 2."""
    return nnx.Conv(
        channels,
        out_channels,
        (side, side),
        strides=stride,
        padding=side // 2,
        feature_group_count=groups,
        use_bias=False,
        rngs=rngs,
    )


def batch_norm(channels: int, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """PyTorch's numbers."""
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, use_fast_variance=False, rngs=rngs)


class SE(nnx.Module):
    """x times one number for each channel, between 0 and 1."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv_reduce = nnx.Conv(channels, channels // 4, (1, 1), rngs=rngs)
        self.conv_expand = nnx.Conv(channels // 4, channels, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.conv_reduce(x.mean((1, 2), keepdims=True)))
        return x * nnx.hard_sigmoid(self.conv_expand(y))


class InvertedResidual(nnx.Module):
    """(n, h, w, c) to (n, h / stride, w / stride, out_channels)."""

    def __init__(
        self,
        channels: int,
        kernel: int,
        expanded: int,
        out_channels: int,
        se: bool,
        hard: bool,
        stride: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.act = nnx.hard_swish if hard else nnx.relu
        self.skip = stride == 1 and channels == out_channels
        self.conv_pw = conv(channels, expanded, 1, rngs=rngs)
        self.bn1 = batch_norm(expanded, rngs=rngs)
        self.conv_dw = conv(expanded, expanded, kernel, stride, expanded, rngs=rngs)
        self.bn2 = batch_norm(expanded, rngs=rngs)
        self.se = SE(expanded, rngs=rngs) if se else nnx.identity
        self.conv_pwl = conv(expanded, out_channels, 1, rngs=rngs)
        self.bn3 = batch_norm(out_channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.se(self.act(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.skip else y


class MobileNetV3(nnx.Module):
    """(n, h, w, 3) to (n, classes)."""

    def __init__(self, divisor: int = 4, classes: int = 5, *, rngs: nnx.Rngs) -> None:
        outs = [16 // divisor, *(row[2] // divisor for row in ROWS)]
        self.conv_stem = conv(3, outs[0], 3, 2, rngs=rngs)
        self.bn1 = batch_norm(outs[0], rngs=rngs)
        self.blocks = nnx.List(
            [
                InvertedResidual(channels, kernel, expanded // divisor, out // divisor, se, hard, stride, rngs=rngs)
                for channels, (kernel, expanded, out, se, hard, stride) in zip(outs[:-1], ROWS, strict=True)
            ]
        )
        self.conv_head = nnx.Conv(outs[-1], 1024 // divisor, (1, 1), rngs=rngs)
        self.classifier = nnx.Linear(1024 // divisor, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.hard_swish(self.bn1(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        x = nnx.hard_swish(self.conv_head(x.mean((1, 2), keepdims=True)))
        return self.classifier(x.reshape(len(x), -1))


def build() -> MobileNetV3:
    """The model that is compared."""
    return MobileNetV3(rngs=nnx.Rngs(0))
