"""The benchmark's candidates in Paddle: ours, the modules as a user writes them, and paddle.vision's ResNet."""

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.vision.models import ResNet, resnet50
from paddle.vision.models.resnet import BottleneckBlock

NAME = "paddle"
RATES = (6, 12, 18)


def versions() -> dict[str, str]:
    """Of everything that is compared here."""
    return {"paddle": paddle.__version__}


class PlainSE(nn.Layer):
    """Squeeze-and-Excitation with the framework's pool."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc1, self.fc2 = nn.Conv2D(channels, hidden, 1), nn.Conv2D(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.sigmoid(self.fc2(F.relu(self.fc1(self.pool(x)))))


class PlainCBAM(nn.Layer):
    """CBAM with the framework's pools and its `max` over the channels, whose derivative takes hours on large maps.

    So in train mode it is `topk`, as somebody would have it who waited for that.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mean, self.max = nn.AdaptiveAvgPool2D(1), nn.AdaptiveMaxPool2D(1)
        self.mlp = nn.Sequential(
            nn.Conv2D(channels, hidden, 1, bias_attr=False),
            nn.ReLU(),
            nn.Conv2D(hidden, channels, 1, bias_attr=False),
        )
        self.conv, self.norm = nn.Conv2D(2, 1, 7, padding=3, bias_attr=False), nn.BatchNorm2D(1)

    def forward(self, x: Tensor) -> Tensor:
        x = x * F.sigmoid(self.mlp(self.mean(x)) + self.mlp(self.max(x)))
        largest = x.topk(1, axis=1)[0] if self.training else x.max(1, keepdim=True)
        y = paddle.concat([x.mean(1, keepdim=True), largest], 1)
        return x * F.sigmoid(self.norm(self.conv(y)))


class PlainASPP(nn.Layer):
    """ASPP with an upsampled pooled branch and a concatenation, with Squeeze-and-Excitation over it or without."""

    def __init__(self, channels: int, out: int, se: bool) -> None:
        super().__init__()

        def unit(i: int, side: int = 1, rate: int = 1) -> nn.Layer:
            bias = None if se else False
            conv = nn.Conv2D(i, out, side, padding=rate * (side // 2), dilation=rate, bias_attr=bias)
            return nn.Sequential(conv, nn.BatchNorm2D(out), nn.ReLU())

        self.branches = nn.LayerList([unit(channels), *(unit(channels, 3, rate) for rate in RATES)])
        self.pool, self.project = nn.Sequential(nn.AdaptiveAvgPool2D(1), unit(channels)), unit(5 * out)
        self.se = PlainSE(5 * out, 5 * out // 16) if se else None
        self.dropout = nn.Dropout(0.0 if se else 0.5)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.interpolate(self.pool(x), x.shape[2:], mode="bilinear", align_corners=False)
        y = paddle.concat([*(branch(x) for branch in self.branches), pooled], 1)
        return self.dropout(self.project(y if self.se is None else self.se(y)))


class SEBlock(BottleneckBlock):
    """paddle.vision's block with Squeeze-and-Excitation before the sum."""

    def __init__(self, inplanes: int, planes: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(inplanes, planes, *args, **kwargs)
        self.se = PlainSE(4 * planes, max(planes // 4, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.se(self.bn3(self.conv3(y)))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


PEERS = {
    "SE": {"plain": lambda row: PlainSE(row.args[0], row.args[0] // 16)},
    "CBAM": {"plain": lambda row: PlainCBAM(row.args[0], row.args[0] // 16)},
    "ASPP": {"plain": lambda row: PlainASPP(*row.args, False)},
    "SE_ASPP": {"plain": lambda row: PlainASPP(*row.args, True)},
    "SEResNet": {"paddle.vision with SE": lambda row: ResNet(SEBlock, 50)},
    "ResNet": {"paddle.vision": lambda row: resnet50()},
}


def ours(package: Any, row: Any) -> nn.Layer:
    """The row's module of ours."""
    return getattr(package, row.module)(*row.args, **row.options)


def as_input(array: np.ndarray) -> Tensor:
    """The maps n, c, h, w as the framework takes them."""
    return paddle.to_tensor(array)


def call(model: nn.Layer, array: np.ndarray, execution: str, mode: str) -> Any:
    """A call that runs the model once: without gradients in eval mode, with those of weights and maps in train mode."""
    x = as_input(array)
    (model.train if mode == "train" else model.eval)()
    run = paddle.jit.to_static(model, full_graph=True) if execution == "compiled" else model

    def infer() -> None:
        with paddle.no_grad():
            run(x)

    if mode == "eval":
        return infer
    x.stop_gradient = x.shape[1] <= 3  # an image needs no gradient
    with paddle.no_grad():
        cotangent = paddle.randn(model(x).shape)

    def step() -> None:
        for parameter in model.parameters():
            parameter.clear_gradient(set_to_zero=False)
        x.clear_gradient(set_to_zero=False)
        paddle.autograd.backward([run(x)], [cotangent])

    return step
