"""ResNet-18 with torchvision's names, narrow: four stages of two basic blocks."""

import jax
from flax import nnx


def conv(channels: int, out_channels: int, side: int, stride: int, *, rngs: nnx.Rngs) -> nnx.Conv:
    """A convolution without bias that is padded on all sides alike, which "SAME" is not where the stride is 2."""
    return nnx.Conv(channels, out_channels, (side, side), strides=stride, padding=side // 2, use_bias=False, rngs=rngs)


def batch_norm(channels: int, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """PyTorch's numbers."""
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, use_fast_variance=False, rngs=rngs)


class BasicBlock(nnx.Module):
    """(n, h, w, c) to (n, h / stride, w / stride, out_channels)."""

    def __init__(self, channels: int, out_channels: int, stride: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(channels, out_channels, 3, stride, rngs=rngs)
        self.bn1 = batch_norm(out_channels, rngs=rngs)
        self.conv2 = conv(out_channels, out_channels, 3, 1, rngs=rngs)
        self.bn2 = batch_norm(out_channels, rngs=rngs)
        self.downsample = nnx.List([])
        if stride > 1:
            self.downsample.append(conv(channels, out_channels, 1, stride, rngs=rngs))
            self.downsample.append(batch_norm(out_channels, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(y + x)


class ResNet18(nnx.Module):
    """(n, h, w, 3) to (n, classes)."""

    def __init__(self, width: int = 8, classes: int = 5, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(3, width, 7, 2, rngs=rngs)
        self.bn1 = batch_norm(width, rngs=rngs)
        self.layer1 = stage(width, width, 1, rngs=rngs)
        self.layer2 = stage(width, 2 * width, 2, rngs=rngs)
        self.layer3 = stage(2 * width, 4 * width, 2, rngs=rngs)
        self.layer4 = stage(4 * width, 8 * width, 2, rngs=rngs)
        self.fc = nnx.Linear(8 * width, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x = block(x)
        return self.fc(x.mean((1, 2)))


def stage(channels: int, out_channels: int, stride: int, *, rngs: nnx.Rngs) -> nnx.List:
    """Two blocks, the first with the stride."""
    return nnx.List(
        [BasicBlock(channels, out_channels, stride, rngs=rngs), BasicBlock(out_channels, out_channels, 1, rngs=rngs)]
    )


def build() -> ResNet18:
    """The model that is compared."""
    return ResNet18(rngs=nnx.Rngs(0))
