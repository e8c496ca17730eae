"""The benchmark's candidates in PyTorch: ours, timm's, torchvision's, segmentation_models.pytorch's, a plain one."""

from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
import torchvision
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP as SmpASPP
from timm.layers.cbam import CbamModule
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP as TorchvisionASPP

NAME = "torch"
RATES = (6, 12, 18)


def versions() -> dict[str, str]:
    """Of everything that is compared here."""
    return {module.__name__: module.__version__ for module in (torch, torchvision, timm, smp)}


class PlainSEASPP(nn.Module):
    """SE_ASPP as the DeepLabv3+ code that it is from has it: an upsampled pooled branch, a concatenation, Linears."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()

        def unit(i: int, side: int = 1, rate: int = 1) -> nn.Module:
            conv = nn.Conv2d(i, out, side, padding=rate * (side // 2), dilation=rate)
            return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))

        self.branches = nn.ModuleList([unit(channels), *(unit(channels, 3, rate) for rate in RATES)])
        self.pool, self.project = unit(channels), unit(5 * out)
        self.fc = nn.Sequential(
            nn.Linear(5 * out, 5 * out // 16), nn.ReLU(inplace=True), nn.Linear(5 * out // 16, 5 * out), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(torch.mean(x, (2, 3), keepdim=True))
        pooled = F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=True)
        y = torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1)
        gate = self.fc(F.adaptive_avg_pool2d(y, 1).flatten(1))[:, :, None, None]
        return self.project(y * gate)


def seresnet(row: Any) -> nn.Module:
    """timm's network, with attention or without."""
    return timm.create_model("seresnet50" if "min_hidden" in row.options else "resnet50")


PEERS = {
    "SE": {
        "timm": lambda row: timm.layers.SEModule(row.args[0], rd_divisor=1),
        "torchvision": lambda row: torchvision.ops.SqueezeExcitation(row.args[0], row.args[0] // 16),
    },
    "CBAM": {"timm": lambda row: CbamModule(row.args[0])},
    "ASPP": {
        "torchvision": lambda row: TorchvisionASPP(row.args[0], list(RATES), row.args[1]),
        "smp": lambda row: SmpASPP(*row.args, RATES, separable=False, dropout=0.5),
    },
    "SE_ASPP": {"plain": lambda row: PlainSEASPP(*row.args)},
    "SEResNet": {"timm": seresnet},
    "ResNet": {"timm": seresnet, "torchvision": lambda row: torchvision.models.resnet50()},
}


def ours(package: Any, row: Any) -> nn.Module:
    """The row's module of ours."""
    return getattr(package, row.module)(*row.args, **row.options)


def call(model: nn.Module, array: np.ndarray, execution: str, mode: str) -> Any:
    """A call that runs the model once: without gradients in eval mode, with those of weights and maps in train mode."""
    layout = torch.channels_last if execution.endswith("NHWC") else torch.contiguous_format
    model = model.to(memory_format=layout).train(mode == "train")
    x = torch.from_numpy(array).to(memory_format=layout)
    run = torch.compile(model) if execution.startswith("compiled") else model

    def infer() -> None:
        with torch.no_grad():
            run(x)

    if mode == "eval":
        return infer
    x.requires_grad_(x.shape[1] > 3)  # an image needs no gradient
    with torch.no_grad():
        cotangent = torch.randn_like(model(x))

    def step() -> None:
        model.zero_grad()
        x.grad = None
        run(x).backward(cotangent)

    return step
