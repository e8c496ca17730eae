"""The noise units of honest float32, and of mistakes, on models that nobody wrote for this project.

    pip install timm torchvision
    python benchmarks/noise.py --seeds 20 --json noise.json

For each model and seed: random weights, inputs and cotangents; the truth in float64; the noise from some draws of
`MonteCarlo`; then PyTorch's own float32, and float32 with the products' operands rounded as TF32 and bfloat16 do, and
with 2e-5 for every norm's epsilon. Printed is the worst array's error in noise units: output, gradients of inputs and
parameters, and buffers, in train mode for even seeds and in eval mode for odd ones.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from parity.montecarlo.estimate import Estimate, measure
from parity.montecarlo.torch_engine import MonteCarlo
from parity.verdict.judge import NOISE_LIMIT, noise_units

UNIT_ROUNDOFF = 2.0**-24
EPSILON = 2e-5
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "mv", "dot", "convolution", "convolution_backward", "linear"}


class UNet(nn.Module):
    """Two steps down, two up by transposed convolutions, group norms, skip connections."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()

        def block(source: int, target: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(source, target, 3, padding=1), nn.GroupNorm(4, target), nn.SiLU(),
                nn.Conv2d(target, target, 3, padding=1), nn.GroupNorm(4, target), nn.SiLU(),
            )  # fmt: skip

        self.first, self.second, self.third = block(3, width), block(width, 2 * width), block(2 * width, 4 * width)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.back2, self.back1, self.last = block(4 * width, 2 * width), block(2 * width, width), nn.Conv2d(width, 5, 1)
        self.down = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.second(self.down(a))
        c = self.third(self.down(b))
        b = self.back2(torch.cat((self.up2(c), b), 1))
        return self.last(self.back1(torch.cat((self.up1(b), a), 1)))


class Encoder(nn.Module):
    """Two transformer encoder layers over embedded tokens, the mean of which is classified."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(tokens)).mean(1))


class Recurrent(nn.Module):
    """A bidirectional LSTM and a GRU over embedded tokens, a layer norm and a classifier."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, width)
        self.lstm = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(2 * width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        y, _ = self.gru(self.lstm(self.embedding(tokens))[0])
        return self.head(self.norm(y[:, -1]))


def of_timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A model of timm."""

    def build() -> nn.Module:
        import timm

        return timm.create_model(name, **options)

    return build


def of_torchvision(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A model of torchvision."""

    def build() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None, **options)

    return build


def image(*shape: int) -> Callable[[torch.Generator], Tensor]:
    """Standard normal values."""
    return lambda generator: torch.randn(shape, generator=generator)


def tokens(*shape: int) -> Callable[[torch.Generator], Tensor]:
    """Numbers below 100."""
    return lambda generator: torch.randint(0, 100, shape, generator=generator)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[torch.Generator], Tensor]]] = {
    "shufflenet_v2_x0_5 (torchvision)": (of_torchvision("shufflenet_v2_x0_5"), image(4, 3, 48, 48)),
    "squeezenet1_1 (torchvision)": (of_torchvision("squeezenet1_1"), image(2, 3, 48, 48)),
    "regnety_002 (timm)": (of_timm("regnety_002"), image(4, 3, 48, 48)),
    "mobilenetv3_small_050 (timm)": (of_timm("mobilenetv3_small_050"), image(4, 3, 48, 48)),
    "mobilevit_xxs (timm)": (of_timm("mobilevit_xxs"), image(2, 3, 64, 64)),
    "edgenext_xx_small (timm)": (of_timm("edgenext_xx_small"), image(2, 3, 64, 64)),
    "convnext_atto (timm)": (of_timm("convnext_atto"), image(2, 3, 48, 48)),
    "vit_tiny (timm), two blocks": (of_timm("vit_tiny_patch16_224", img_size=48, depth=2), image(2, 3, 48, 48)),
    "swin_tiny (timm), a block a stage": (
        of_timm("swin_tiny_patch4_window7_224", img_size=112, depths=(1, 1, 1, 1), embed_dim=48), image(2, 3, 112, 112),
    ),
    "resnet18 (torchvision)": (of_torchvision("resnet18"), image(4, 3, 48, 48)),
    "efficientnet_b0 (timm)": (of_timm("efficientnet_b0"), image(4, 3, 48, 48)),
    "U-Net, group norm, transposed convolutions": (UNet, image(2, 3, 32, 32)),
    "transformer encoder": (Encoder, tokens(4, 24)),
    "LSTM and GRU": (Recurrent, tokens(4, 16)),
}  # fmt: skip


class Rounded(TorchDispatchMode):
    """Operands of products rounded to a few bits: 11 as TF32 has them, 8 as bfloat16."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func._schema.name.removeprefix("aten::").removesuffix("_") in PRODUCTS:
            args = tree_map(self.rounded, args)
        return func(*args, **(kwargs or {}))

    def rounded(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            return x
        mantissa, exponent = torch.frexp(x)
        return torch.ldexp((mantissa * 2**self.bits).round() / 2**self.bits, exponent)


def without_dropout(model: nn.Module) -> nn.Module:
    """The model with every dropout's probability zero."""
    for layer in model.modules():
        for name in ("p", "drop_prob", "drop"):
            if isinstance(getattr(layer, name, None), float):
                setattr(layer, name, 0.0)
        if isinstance(layer, nn.MultiheadAttention):
            layer.dropout = 0.0
    return model


def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Norms and biases away from their defaults, which hide mistakes."""
    with torch.no_grad():
        for name, array in (*model.named_parameters(), *model.named_buffers()):
            if not array.is_floating_point():
                continue
            if name.endswith(("running_var", "weight")) and array.ndim == 1:
                array.copy_(0.5 + torch.rand(array.shape, generator=generator))
            elif array.ndim == 1:
                array.copy_(0.3 * torch.randn(array.shape, generator=generator))


def run(model: nn.Module, state: dict[str, Tensor], x: Tensor, cotangent: int, *, train: bool, dtype: torch.dtype) -> dict[str, np.ndarray]:  # fmt: skip # noqa: E501
    """The output, the gradients of the input and every parameter, and the buffers after the pass."""
    model.load_state_dict(state)
    model.to(dtype).train(train)
    x = (x.to(dtype) if x.is_floating_point() else x).clone()
    leaves = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if x.is_floating_point():
        leaves["input"] = x.requires_grad_()
    y = model(x)
    y = y["out"] if isinstance(y, dict) else y
    # Exact in float32, so that every precision gets the same.
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(cotangent)).to(dtype)
    found = torch.autograd.grad(y, list(leaves.values()), weights, allow_unused=True)
    arrays = {"output": y, **{f"gradient of {k}": g for k, g in zip(leaves, found, strict=True) if g is not None}}
    if train:
        arrays |= {name: array for name, array in model.named_buffers() if array.is_floating_point()}
    return {key: array.detach().numpy().astype(np.float64) for key, array in arrays.items()}


def measure_model(
    name: str, seed: int, draws: int
) -> tuple[dict[str, dict[str, float]], dict[str, Estimate], set[str]]:
    """The noise units of each array, of float32 as it is and of each mistake; the noise; and unknown operations."""
    build, draw_input = MODELS[name]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = without_dropout(build())
    randomise(model, generator)
    x, train = draw_input(generator), seed % 2 == 0
    state = {key: value.clone() for key, value in model.state_dict().items()}
    unknown: set[str] = set()

    def compute(dtype: torch.dtype) -> dict[str, np.ndarray]:
        return run(model, state, x, seed, train=train, dtype=dtype)

    def draw(number: int) -> dict[str, np.ndarray]:
        with MonteCarlo(UNIT_ROUNDOFF, 1000 * seed + number) as engine:
            arrays = compute(torch.float64)
        unknown.update(engine.unknown)
        return arrays

    truth, honest = compute(torch.float64), compute(torch.float32)

    def units(arrays: dict[str, np.ndarray], noise: Mapping[str, Estimate]) -> dict[str, float]:
        return {key: noise_units(arrays[key] - truth[key], noise[key].noise) for key in truth}

    noise = measure(truth, draw, draws, doubt=lambda noise: max(units(honest, noise).values()) > NOISE_LIMIT)
    found = {"float32": units(honest, noise)}
    for mistake, bits in (("TF32", 11), ("bfloat16", 8)):
        with Rounded(bits):
            found[mistake] = units(compute(torch.float32), noise)
    norms = [layer for layer in model.modules() if isinstance(getattr(layer, "eps", None), float)]
    for layer in norms:
        layer.eps = EPSILON
    if norms:
        found["epsilon"] = units(compute(torch.float32), noise)
    return found, noise, unknown


def main() -> None:
    """Measure the models chosen and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many draws of weights and inputs each model gets")
    parser.add_argument("--draws", type=int, default=8, help="how many draws of the noise each of these gets")
    parser.add_argument("--model", default="", help="part of the names of the models to measure")
    parser.add_argument("--json", type=Path, help="where every number goes")
    options = parser.parse_args()
    everything: dict[str, Any] = {}
    print("| model | outputs | gradients | buffers | TF32 | bfloat16 | epsilon | over the limit |\n|" + "---|" * 8)
    for name in (name for name in MODELS if options.model in name):
        began, seeds = time.monotonic(), []
        for seed in range(options.seeds):
            found, noise, unknown = measure_model(name, seed, options.draws)
            seeds.append(
                {
                    "units": found,
                    "bits": noise["output"].bits,
                    "draws": noise["output"].draws,
                    "unknown": sorted(unknown),
                }
            )
        everything[name] = seeds
        print(row(name, seeds), f"<!-- {time.monotonic() - began:.0f} s -->", flush=True)
        if options.json:
            options.json.write_text(json.dumps(everything))


def row(name: str, seeds: list[dict[str, Any]]) -> str:
    """A line of the table."""
    groups: dict[str, list[float]] = {"outputs": [], "gradients": [], "buffers": []}
    for seed in seeds:
        for key, units in seed["units"]["float32"].items():
            kind = "outputs" if key == "output" else "gradients" if key.startswith("gradient") else "buffers"
            groups[kind].append(units)
    cells = [f"{min(units):.2g} to {max(units):.2g}" if units else "" for units in groups.values()]
    for mistake in ("TF32", "bfloat16", "epsilon"):
        caught = [max(seed["units"][mistake].values()) for seed in seeds if mistake in seed["units"]]
        cells.append(f"{min(caught):.3g}" if caught else "no norm")
    over = sum(max(seed["units"]["float32"].values()) > NOISE_LIMIT for seed in seeds)
    unknown = sorted({name for seed in seeds for name in seed["unknown"]})
    return f"| {name} | {' | '.join(cells)} | {over} of {len(seeds)} |" + (f" {', '.join(unknown)}" if unknown else "")


if __name__ == "__main__":
    main()
