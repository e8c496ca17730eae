"""The vectors that public systems compute (tests/golden), with their names and executions turned into ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

FOLDER = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True)
class Golden:
    """One system: our module for it, what its keys (without the leaf) become, and what it does otherwise.

    `scale`: it returns the attention map alone. `max_first`: its spatial kernel takes [max, mean]. `zero_bias`: our
    arrays that it lacks, of value zero. `biased`: its running variance is the biased one. `quirk`: how far, relative to
    the largest output, what it does in float32 or with another eps may move it away from us.
    """

    file: str
    module: str
    args: tuple[int, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    scale: bool = False
    max_first: bool = False
    zero_bias: tuple[str, ...] = ()
    biased: bool = False
    quirk: float = 1e-9


_ASPP = {r"convs\.([0-3])\.0": r"branches.\1.conv", r"convs\.([0-3])\.1": r"branches.\1.norm"}
_ASPP |= {"convs.4.1": "pool.conv", "convs.4.2": "pool.norm", "project.0": "project.conv", "project.1": "project.norm"}
_SE_ASPP = {rf"branch{i + 1}\.{j}": f"branches.{i}.{name}" for i in range(4) for j, name in enumerate(("conv", "norm"))}
_SE_ASPP |= {"branch5_conv": "pool.conv", "branch5_bn": "pool.norm", "conv_cat.0": "project.conv"}
_SE_ASPP |= {"conv_cat.1": "project.norm", "senet.conv1": "se.fc1", "senet.conv2": "se.fc2"}
_PADDLESEG = {
    r"aspp_blocks\.(\d)\._conv": r"branches.\1.conv",
    r"aspp_blocks\.(\d)\._batch_norm": r"branches.\1.norm",
    "global_avg_pool.1._conv": "pool.conv",
    "global_avg_pool.1._batch_norm": "pool.norm",
    "conv_bn_relu._conv": "project.conv",
    "conv_bn_relu._batch_norm": "project.norm",
}
_FC = {r"fc\.0": "fc1", r"fc\.2": "fc2"}
_AUTHORS = {"ChannelGate.mlp.1": "channel.fc1", "ChannelGate.mlp.3": "channel.fc2"}
_AUTHORS |= {"SpatialGate.spatial.conv": "spatial.conv", "SpatialGate.spatial.bn": "spatial.norm"}
_SEED001 = {"channelattention": "channel", "spatialattention.conv1": "spatial.conv"}
_TIMM = {"spatial.conv.conv": "spatial.conv", "spatial.conv.bn": "spatial.norm"}
# Paddle's kernel keeps its momentum, 0.9 of the old value, as float32.
_SEG = {"bias": True, "dropout": 0.0, "momentum": 1 - float(np.float32(0.9))}
_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}
_HARD = {"gate": "hard_sigmoid"}
_CLAS = {"reduction": 4, **_HARD, "slope": 0.2}

_CV_CBAM = {"ch_gate.mlp.fc": "channel.fc", "sp_gate.conv.conv": "spatial.conv", "sp_gate.conv.bn": "spatial.norm"}
_CV_ASPP = {rf"branches\.branch{i + 1}\.conv$": f"branches.{i}.conv" for i in range(4)}
_CV_ASPP |= {rf"branches\.branch{i + 1}\.bn": f"branches.{i}.norm" for i in range(4)}
_CV_ASPP |= {r"branches\.branch5\.conv\.conv": "pool.conv", r"branches\.branch5\.conv\.bn": "pool.norm"}
_CV_ASPP |= {r"conv\.conv": "project.conv", r"conv\.bn": "project.norm"}

_BLOCKS = {r"se\.fc(\d)\.0": r"se.fc\1"}

GOLDEN = (
    Golden("authors_cbam", "CBAM", (32,), {"bias": True, "norm": True, "momentum": 0.01}, _AUTHORS, max_first=True),
    Golden("mmsegmentation_se", "SE", (32,), {"reduction": 4, **_HARD}, {r"conv(\d)\.conv": r"fc\1"}),
    Golden("monai_se", "SE", (16,), {"reduction": 4}, _FC),
    Golden("moskomule_se", "SE", (32,), {"reduction": 8, "bias": False}, _FC),
    Golden("paddleclas_mobilenetv3_se", "SE", (32,), _CLAS, {"conv": "fc"}, quirk=1e-6),
    Golden("paddleclas_senet_se", "SE", (16,), {"reduction": 4}, {"squeeze": "fc1", "excitation": "fc2"}),
    Golden("paddledet_se", "SE", (16,), {"reduction": 4}, {"squeeze": "fc1", "extract": "fc2"}),
    Golden("paddleseg_aspp", "ASPP", (4, 8), _SEG, _PADDLESEG, zero_bias=("pool.conv.bias",), biased=True, quirk=1e-7),
    Golden("pytorchcv_aspp", "ASPP", (16, 2), {"rates": (12, 24, 36), "dropout": 0.0}, _CV_ASPP),
    Golden("pytorchcv_cbam", "CBAM", (16,), {"reduction": 4, "bias": True, "norm": True}, _CV_CBAM, max_first=True),
    Golden("pytorchcv_se", "SE", (16,), {"reduction": 4}, {"conv": "fc"}),
    Golden("segmentation_models_pytorch_aspp", "ASPP", (4, 3), {"rates": (2, 3, 4), "dropout": 0.0}, _ASPP),
    Golden("super_gradients_se", "SE", (16,), {"reduction": 4}, {"down": "fc1", "up": "fc2"}),
    Golden("seed000_se_aspp", "SE_ASPP", (4, 8), {}, _SE_ASPP),
    Golden("seed000_se_block", "SE", (32,), {}, {"conv": "fc"}, scale=True),
    Golden("seed001_cbam", "CBAM", (32,), {}, _SEED001),
    Golden("seed001_channel_attention", "ChannelAttention", (32,), scale=True),
    Golden("seed001_se_block", "SE", (32,), {"reduction": 8, "bias": False}, _FC),
    Golden("seed001_spatial_attention_3", "SpatialAttention", (), {"kernel_size": 3}, {"conv1": "conv"}, scale=True),
    Golden("seed001_spatial_attention_7", "SpatialAttention", (), {}, {"conv1": "conv"}, scale=True),
    Golden("seed002_aspp", "ASPP", (6, 6), {"dropout": 0.0}, _ASPP),
    *(
        Golden(
            f"seed003_basic_block_{placement}",
            "BasicBlock",
            (16, 24),
            {"stride": 2, "placement": placement, "reduction": 4},
            _BLOCKS,
        )
        for placement in ("identity", "post", "pre", "standard")
    ),
    Golden("seed003_se", "SE", (32,), {"reduction": 4}, {r"fc(\d)\.0": r"fc\1"}),
    Golden("seed004_se_layer1", "SE", (32,), {"reduction": 8}, _FC),
    Golden("seed004_se_layer2", "SE", (32,), {"reduction": 8}, {r"excitation\.0": "fc1", r"excitation\.2": "fc2"}),
    Golden("timm_cbam", "CBAM", (32,), {"norm": True}, _TIMM),
    Golden("timm_mobilenetv3_se", "SE", (16,), {"hidden": 4}, {"conv_reduce": "fc1", "conv_expand": "fc2"}),
    Golden("timm_se", "SE", (32,), {"hidden": 8}),
    Golden("torchvision_aspp", "ASPP", (4, 8), {"dropout": 0.0}, _ASPP),
    Golden("torchvision_se", "SE", (32,), {"hidden": 8}),
    Golden("torchvision_se_hardsigmoid", "SE", (32,), {"hidden": 8, **_HARD}),
    Golden("ultralytics_spatial_attention", "SpatialAttention", (), {}, {"cv1": "conv"}),
)  # fmt: skip


def read(golden: Golden) -> tuple[dict[str, np.ndarray], str]:
    """The file's arrays, and the framework that the system is written in."""
    with safe_open(FOLDER / f"{golden.file}.safetensors", "numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()["framework"]  # noqa: SIM118


def canonical(golden: Golden, arrays: Mapping[str, np.ndarray], prefix: str, framework: str) -> dict[str, np.ndarray]:
    """The system's arrays under `prefix` by our names and in our form."""
    found = {}
    for key, array in arrays.items():
        if key.startswith(prefix) and not key.endswith("num_batches_tracked"):
            path, _, leaf = key.removeprefix(prefix).rpartition(".")
            name = f"{_rename(path, golden.paths)}.{_LEAVES.get(leaf, leaf)}"
            found[name] = _reshape(golden, name, array, framework)
    return found


def _rename(path: str, paths: Mapping[str, str]) -> str:
    for old, new in paths.items():
        path, count = re.subn(f"^{old}" if "\\" in old else f"^{re.escape(old)}", new, path)
        if count:
            break
    return path


def _reshape(golden: Golden, name: str, array: np.ndarray, framework: str) -> np.ndarray:
    if array.ndim == 2:
        array = (array.T if framework == "paddle" else array)[:, :, None, None]
    return array[:, ::-1] if golden.max_first and name == "spatial.conv.weight" else array
