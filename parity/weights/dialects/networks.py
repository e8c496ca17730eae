"""Residual networks of other systems: which one a checkpoint is of, and its weights under SEResNet's names.

Systems whose network is the same function are read; others are refused with what is different about them, for their
weights would fit and their outputs would not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from ...errors import ParityError
from ...reference import modules as reference
from . import RESNET

DEPTHS = reference.SEResNet.blocks

# Keys that give a system away, and what SEResNet does otherwise.
REFUSED = {
    r"layer0\.conv1\.weight": (
        "timm's legacy_seresnet: its stem pools without padding and rounds the size up, 18 and 34 have a ReLU more in "
        "front of SE, 50 and above stride in the first 1x1 convolution"
    ),
    r"conv1\.3\.weight|stem\.1\.conv\.weight|conv1_1\._conv\.weight": (
        "a ResNet-C, -D or vd: its stem has three convolutions, and D and vd average before a shortcut's projection"
    ),
    r"layer1\.0\.bn4\.weight|layer1\.0\.conv2\.conv\.weight": "a network of blocks that ResNet does not have",
    r"layer1\.0\.downsample\.2\.weight": "a ResNet-D: it averages before its shortcuts' projections",
}
# PaddleClas counts blocks through the stages, and layers from 0; so does flaxmodels, which names them as Linen does.
PADDLECLAS = {
    r"stem\.0\.conv\.(\w+)": r"conv1.\1",
    r"stem\.0\.bn\.(\w+)": r"bn1.\1",
    r"blocks\.(\d+)\.conv(\d)\.conv\.(\w+)": r"BLOCK\1.conv\2.\3",
    r"blocks\.(\d+)\.conv(\d)\.bn\.(\w+)": r"BLOCK\1.bn\2.\3",
    r"blocks\.(\d+)\.short\.conv\.(\w+)": r"BLOCK\1.downsample.0.\2",
    r"blocks\.(\d+)\.short\.bn\.(\w+)": r"BLOCK\1.downsample.1.\2",
    r"fc\.(\w+)": r"fc.\1",
}
FLAXMODELS = {
    r"Conv_0\.(\w+)": r"conv1.\1",
    r"BatchNorm_0\.(\w+)": r"bn1.\1",
    r"(?:BasicBlock_(\d+)\.Conv_2|Bottleneck_(\d+)\.Conv_3)\.(\w+)": r"BLOCK\1\2.downsample.0.\3",
    r"(?:BasicBlock_(\d+)\.BatchNorm_2|Bottleneck_(\d+)\.BatchNorm_3)\.(\w+)": r"BLOCK\1\2.downsample.1.\3",
    r"\w+_(\d+)\.Conv_(\d)\.(\w+)": r"BLOCK\1.conv\2.\3",
    r"\w+_(\d+)\.BatchNorm_(\d)\.(\w+)": r"BLOCK\1.bn\2.\3",
    r"Dense_0\.(\w+)": r"fc.\1",
}
# For each system that counts blocks through: a key that it has, its names, and whether it has basic blocks.
COUNTED = {
    "PaddleClas": ("stem.0.conv.weight", PADDLECLAS, False),
    "flaxmodels": ("Conv_0.weight", FLAXMODELS, True),
}


@dataclass(frozen=True)
class Network:
    """A checkpoint's network SEResNet(depth, **options), its canonical weights, and the new path of each layer."""

    depth: int
    options: dict[str, Any]
    weights: dict[str, np.ndarray]
    paths: dict[str, str]

    @property
    def call(self) -> str:
        """The constructor's call, as one writes it."""
        return f"SEResNet({', '.join([str(self.depth), *(f'{k}={v!r}' for k, v in self.options.items())])})"


_FIRST = (
    "layer1.0.conv1.weight",
    "blocks.0.conv0.conv.weight",
    "bb_0_0.conv0._conv.weight",
    "BasicBlock_0.Conv_0.weight",
    "Bottleneck_0.Conv_0.weight",
)


def translate(weights: Mapping[str, np.ndarray], dialect: str | None) -> Network | None:
    """The network where the names are to become SEResNet's: told by `dialect`, or by the keys; otherwise None.

    Names that are SEResNet's already need nothing. A network that SEResNet cannot be keeps its own, which no SEResNet
    takes; why it cannot is said where `dialect` asks for it.

    Raises:
        ParityError: see `identify`.
    """
    if dialect == RESNET:
        return identify(weights)
    if dialect is not None or _counted(weights) is None or not any(key in weights for key in _FIRST):
        return None
    try:
        return identify(weights)
    except ParityError:
        return None


def identify(weights: Mapping[str, np.ndarray], *, depth: int | None = None) -> Network:
    """The network that canonical weights of torchvision, timm, PaddleClas, flaxmodels or SEResNet itself are of.

    What weights do not show keeps its default: `output_stride`, and of placements "standard", "post" and "conv", which
    have the same shapes, "standard".

    Args:
        weights: canonical arrays under the system's own names.
        depth: the depth that it must be.

    Raises:
        ParityError: for a network that SEResNet cannot be, with the reason, and for another depth.
    """
    for pattern, reason in REFUSED.items():
        if any(re.fullmatch(pattern, key) for key in weights):
            raise ParityError(f"this checkpoint cannot become an SEResNet: it is of {reason}")
    weights = {key: array for key, array in weights.items() if not key.endswith("num_batches_tracked")}
    system = _counted(weights)
    names = {key: key for key in weights} if system is None else _renamed(weights, system)
    renamed = {names[key]: array for key, array in weights.items()}
    paths = {key.rpartition(".")[0]: name.rpartition(".")[0] for key, name in names.items()}
    found = _depth(renamed)
    if depth is not None and found != depth:
        raise ParityError(f"this checkpoint is of depth {found}, not {depth}; possible are {_listed()}")
    network = Network(found, _options(renamed, found), renamed, paths)
    try:
        expected = reference.shapes(reference.SEResNet(found, **network.options))
    except (ValueError, ZeroDivisionError) as error:
        raise ParityError(f"this checkpoint cannot become an {network.call}: {error}") from None
    faults = [key for key in expected if key not in renamed or renamed[key].shape != expected[key]]
    faults += [key for key in renamed if key not in expected]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ParityError(
            f"this checkpoint is close to {network.call}, but other, missing or unexpected are "
            f"{', '.join(faults[:5])}{more}: grouped or wider convolutions and other attentions cannot become one"
        )
    return network


def _depth(weights: Mapping[str, np.ndarray]) -> int:
    """The depth whose stages have as many blocks, basic ones or bottlenecks."""
    blocks = {match[1] for key in weights if (match := re.match(r"(layer[1-4]\.\d+)\.conv1\.weight$", key))}
    counts = tuple(sum(block.startswith(f"layer{stage}.") for block in blocks) for stage in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in weights
    for depth, known in DEPTHS.items():
        if known == counts and (depth >= 50) == bottleneck:
            return depth
    kind = "bottlenecks" if bottleneck else "basic blocks"
    raise ParityError(f"a checkpoint with {counts} {kind} in its stages is of no known depth; possible are {_listed()}")


def _options(weights: Mapping[str, np.ndarray], depth: int) -> dict[str, Any]:
    """The arguments of SEResNet that are not its defaults, read from shapes."""
    width, in_channels, side, _ = weights["conv1.weight"].shape
    fc = weights.get("fc.weight")
    found = {"width": width, "in_channels": in_channels, "small_stem": side == 3}
    found["num_classes"] = 0 if fc is None else len(fc)
    defaults = {"width": 64, "in_channels": 3, "small_stem": False, "num_classes": 1000}
    options: dict[str, Any] = {key: value for key, value in found.items() if value != defaults[key]}
    names = [f"layer{i}.{j}" for i, count in enumerate(DEPTHS[depth], 1) for j in range(count)]
    cbam = any(".se.channel.fc1." in key for key in weights)
    first = "se.channel.fc1.weight" if cbam else "se.fc1.weight"
    attended = {name: weights[f"{name}.{first}"].shape[:2] for name in names if f"{name}.{first}" in weights}
    if len(attended) < len(names):
        options["where"] = tuple(attended)
    if not attended:
        return options
    if cbam:
        options["attention"] = "cbam"
    # Attention on a block's input is as wide as that, elsewhere as its output: only where they differ does it show.
    if any(weights[f"{name}.conv1.weight"].shape[1] == c != _out(weights, name) for name, (_, c) in attended.items()):
        options["placement"] = "pre"
    # The widest bottleneck is the one that a least width does not touch.
    hidden, channels = max(attended.values())
    if channels // hidden != 16:
        options["reduction"] = channels // hidden
    narrowest = min(attended.values())
    if narrowest[0] != narrowest[1] // (channels // hidden):
        options["min_hidden"] = narrowest[0]
    return options


def _out(weights: Mapping[str, np.ndarray], block: str) -> int:
    last = "conv3" if f"{block}.conv3.weight" in weights else "conv2"
    return len(weights[f"{block}.{last}.weight"])


def _counted(weights: Mapping[str, np.ndarray]) -> str | None:
    """The system whose keys those are, of those that count blocks through."""
    return next((system for system, (key, _, _) in COUNTED.items() if key in weights), None)


def _renamed(weights: Mapping[str, np.ndarray], system: str) -> dict[str, str]:
    """Our key for each of the system's; PaddleClas's 18 and 34 project a shortcut that we do not."""
    if "blocks.0.conv2.conv.weight" not in weights and "blocks.0.short.conv.weight" in weights:
        raise ParityError(
            "this checkpoint cannot become an SEResNet: it is of PaddleClas's ResNet18 or 34, which projects the first "
            "block's shortcut although the shapes are the same"
        )
    _, patterns, has_basic = COUNTED[system]
    basic = has_basic and any(key.startswith("BasicBlock_") for key in weights)
    numbers = (re.match(r"(?:blocks\.|BasicBlock_|Bottleneck_)(\d+)\.", key) for key in weights)
    last = max((int(match[1]) for match in numbers if match), default=-1)
    fitting = (counts for depth, counts in DEPTHS.items() if (depth < 50) == basic and sum(counts) == last + 1)
    counts = next(fitting, None)
    if counts is None:
        raise ParityError(
            f"a {system} checkpoint with {last + 1} blocks is of no known depth; possible are {_listed()}"
        )
    starts = (0, *accumulate(counts))

    def block(number: int) -> str:
        stage = max(i for i, start in enumerate(starts[:-1]) if start <= number)
        return f"layer{stage + 1}.{number - starts[stage]}"

    renamed = {}
    for key in weights:
        found = ((re.fullmatch(pattern, key), name) for pattern, name in patterns.items())
        match, name = next(((match, name) for match, name in found if match), (None, ""))
        if match is None:
            raise ParityError(f"{system}'s ResNet has no {key}")
        # A group that took no part is empty.
        new = re.sub(r"BLOCK(\d+)", lambda number: block(int(number[1])), match.expand(name))
        renamed[key] = re.sub(r"\.(conv|bn)(\d)\.", lambda layer: f".{layer[1]}{int(layer[2]) + 1}.", new)
    return renamed


def _listed() -> str:
    return ", ".join(f"{depth} {counts}" for depth, counts in DEPTHS.items())
