"""Other systems' names: told from the keys, translated both ways, and refused where they are nobody's."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_vectors import GOLDEN, Golden, canonical, read
from hard import assert_same, hard
from loaders import save_state
from typer.testing import CliRunner

import parity
from parity.cli.app import app
from parity.errors import ParityError
from parity.weights import dialects

SUFFIX = {"torch": ".pth", "paddle": ".pdparams"}
# Which system each golden file is of; those whose names are ours need no translation.
NAMES = {
    "authors_cbam": "authors_cbam",
    "mmsegmentation_se": "mmsegmentation",
    "monai_se": "monai",
    "moskomule_se": "moskomule",
    "paddleclas_mobilenetv3_se": "paddleclas:SE",
    "paddleclas_senet_se": "paddleclas:SELayer",
    "paddledet_se": "paddledet:SELayer",
    "paddleseg_aspp": "paddleseg",
    "pytorchcv_aspp": "pytorchcv",
    "pytorchcv_cbam": "pytorchcv",
    "pytorchcv_se": "pytorchcv",
    "segmentation_models_pytorch_aspp": "segmentation_models_pytorch",
    "super_gradients_se": "super_gradients",
    "seed000_se_aspp": "bubbliiiing_deeplab",
    "seed000_se_block": "paddleclas:SE",
    "seed001_cbam": "yolo_forks",
    "seed001_channel_attention": "yolo_forks:ChannelAttention",
    "seed001_se_block": "yolo_forks:SE",
    "seed001_spatial_attention_3": "yolo_forks",
    "seed001_spatial_attention_7": "yolo_forks",
    "seed002_aspp": "torchvision",
    "seed003_se": "seresnet_linear",
    **{f"seed003_basic_block_{place}": "seresnet_linear" for place in ("identity", "post", "pre", "standard")},
    "seed004_se_layer1": "paddle_excitation:SE",
    "seed004_se_layer2": "paddle_excitation:SEConv",
    "timm_cbam": "timm",
    "timm_mobilenetv3_se": "timm:SqueezeExcite",
    "timm_se": "timm:SE",
    "torchvision_aspp": "torchvision",
    "torchvision_se": "torchvision",
    "torchvision_se_hardsigmoid": "torchvision",
    "ultralytics_spatial_attention": "ultralytics",
}


def convert(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def theirs(golden: Golden, folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The system's own file, and its weights by our names."""
    tensors, framework = read(golden)
    state = {key.removeprefix("state/"): array for key, array in tensors.items() if key.startswith("state/")}
    path = folder / f"theirs{SUFFIX[framework]}"
    save_state(framework, state, path)
    expected = canonical(golden, tensors, "state/", framework)
    expected |= {key: np.zeros(len(expected[key.replace("bias", "weight")])) for key in golden.zero_bias}
    return path, expected


def test_every_system_has_a_dialect() -> None:
    assert NAMES.keys() == {golden.file for golden in GOLDEN}
    assert {name.partition(":")[0] for name in NAMES.values()} == dialects.known().keys() - {dialects.OURS}


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.file)
def test_from_their_names_and_back(golden: Golden, tmp_path: Path) -> None:
    path, expected = theirs(golden, tmp_path)
    told = parity.load(path)
    assert_same(told.weights, expected)
    assert told.dialect in dialects.known()
    named = parity.load(path, dialect=NAMES[golden.file])
    assert_same(named.weights, expected)
    assert named.dialect == NAMES[golden.file].partition(":")[0]
    ours, again = tmp_path / "ours.msgpack", tmp_path / f"again{path.suffix}"
    convert(path, ours)
    convert(ours, again, "--dialect", NAMES[golden.file])
    before, after = parity.weights.files.read(path), parity.weights.files.read(again)
    # A counter of the golden files is an array of one value, and stays one.
    assert_same(after.arrays, {key: np.array(array, order="C") for key, array in before.arrays.items()})


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.file)
def test_inside_a_larger_model(golden: Golden, tmp_path: Path) -> None:
    tensors, framework = read(golden)
    state = {f"head.0.{key.removeprefix('state/')}": a for key, a in tensors.items() if key.startswith("state/")}
    around = {"backbone.conv.weight": np.zeros((4, 3, 3, 3)), "backbone.emb.table": np.zeros((4, 3, 3, 3, 2, 2))}
    path = tmp_path / f"model{SUFFIX[framework]}"
    save_state(framework, {**around, **state}, path)
    _, expected = theirs(golden, tmp_path)
    found = parity.load(path, prefix="head.0")
    assert_same(found.weights, expected)
    assert found.skipped == tuple(sorted(around))
    convert(path, tmp_path / "ours.npz", "--prefix", "head.0.", "--to", "linen")
    assert_same(parity.load(tmp_path / "ours.npz").weights, expected)
    convert(tmp_path / "ours.npz", tmp_path / f"x{path.suffix}", "--dialect", NAMES[golden.file], "--prefix", "head.0")
    written = parity.weights.files.read(tmp_path / f"x{path.suffix}").arrays
    assert_same(written, {key: np.array(array, order="C") for key, array in state.items()})
    with pytest.raises(ParityError, match=r"no key begins with 'tail\.'; they begin with"):
        parity.load(path, prefix="tail")


def test_a_prefix_that_all_keys_share_is_hinted_at(tmp_path: Path) -> None:
    kernels = {"fc.0.weight": torch.zeros(2, 8), "fc.2.weight": torch.zeros(8, 2)}
    torch.save({f"module.se.{key}": tensor for key, tensor in kernels.items()}, tmp_path / "x.pth")
    with pytest.raises(ParityError, match=r"those of moskomule below se; give --prefix se"):
        parity.load(tmp_path / "x.pth")
    for prefix in ("se", "module.se"):
        assert parity.load(tmp_path / "x.pth", prefix=prefix).dialect == "moskomule"
    assert parity.load(tmp_path / "x.pth", dialect="none").weights.keys() == {f"module.se.{key}" for key in kernels}


def test_unknown_keys_are_listed_and_the_nearest_dialect_named(tmp_path: Path) -> None:
    _, state = theirs(next(golden for golden in GOLDEN if golden.file == "timm_cbam"), tmp_path)
    state = {key.replace("spatial.conv", "spatial.conv.conv"): torch.from_numpy(a.copy()) for key, a in state.items()}
    state = {key.replace("spatial.norm", "spatial.conv.bn"): tensor for key, tensor in state.items()}
    torch.save(state, tmp_path / "x.pth")
    assert parity.load(tmp_path / "x.pth").dialect == "timm"
    state["channel.fc3.weight"] = torch.zeros(1, 1, 1, 1)
    state["spatial.cnv.weight"] = torch.zeros(1, 1, 1, 1)
    del state["channel.fc2.weight"]
    torch.save(state, tmp_path / "x.pth")
    expected = r"nearest is timm \(CBAM\); which does not know channel.fc3, spatial.cnv; which misses channel.fc2"
    with pytest.raises(ParityError, match=expected):
        parity.load(tmp_path / "x.pth")
    with pytest.raises(ParityError, match=expected):
        parity.load(tmp_path / "x.pth", dialect="timm")
    with pytest.raises(ParityError, match=r"there is no dialect 'tim', nearest is timm; --help lists all"):
        parity.load(tmp_path / "x.pth", dialect="tim")


@pytest.mark.parametrize(
    ("dialect", "file", "old", "new", "message"),
    [
        ("segmentation_models_pytorch", "segmentation_models_pytorch_aspp", "convs.1.0.weight", ("convs.1.0.0.weight", "convs.1.0.1.weight"), "convs.1.0.0 is of an ASPP whose branches are depthwise separable, as segmentation_models_pytorch has it"),
        ("paddleseg", "paddleseg_aspp", "aspp_blocks.1._conv.weight", ("aspp_blocks.1.depthwise_conv._conv.weight",), "aspp_blocks.1.depthwise_conv._conv is of an ASPP whose branches"),
        ("ultralytics", "ultralytics_spatial_attention", "cv1.weight", ("spatial_attention.cv1.weight", "channel_attention.fc.weight"), "channel_attention.fc is of a CBAM whose channel attention is one layer on the mean alone"),
        ("mmsegmentation", "mmsegmentation_se", "conv1.conv.weight", ("image_pool.1.conv.weight",), "image_pool.1.conv is of an ASPPHead, whose pooled branch comes first"),
    ],
)  # fmt: skip
def test_what_only_has_a_systems_names_is_refused_with_the_reason(dialect, file, old, new, message, tmp_path):
    tensors, framework = read(next(golden for golden in GOLDEN if golden.file == file))
    state = {key.removeprefix("state/"): array for key, array in tensors.items() if key.startswith("state/")}
    array = state.pop(old)
    save_state(framework, {**state, **dict.fromkeys(new, array)}, tmp_path / f"x{SUFFIX[framework]}")
    with pytest.raises(ParityError, match=re.escape(message)):
        parity.load(tmp_path / f"x{SUFFIX[framework]}", dialect=dialect)


def test_of_systems_that_say_the_same_one_of_the_files_framework_is_named(tmp_path):
    state = {"conv1.weight": np.ones((2, 8, 1, 1), np.float32), "conv2.weight": np.ones((8, 2, 1, 1), np.float32)}
    for framework, suffix in SUFFIX.items():
        save_state(framework, state, tmp_path / f"x{suffix}")
    assert parity.load(tmp_path / "x.pth").dialect == "pytorchcv"
    assert parity.load(tmp_path / "x.pdparams").dialect == "paddleclas"


def test_keys_of_nobody_keep_their_names(tmp_path: Path) -> None:
    state = {f"layer{i}.{j}.conv.weight": torch.zeros(2, 2, 3, 3) for i in range(4) for j in range(2)}
    torch.save(state, tmp_path / "x.pth")
    found = parity.load(tmp_path / "x.pth")
    assert found.dialect is None
    assert found.weights.keys() == state.keys()


def test_a_bias_that_their_side_lacks_goes_out_only_as_zero(tmp_path: Path) -> None:
    golden = next(golden for golden in GOLDEN if golden.file == "paddleseg_aspp")
    _, weights = theirs(golden, tmp_path)
    parity.save(weights, tmp_path / "ours.npz")
    convert(tmp_path / "ours.npz", tmp_path / "x.pdparams", "--dialect", "paddleseg")
    assert "global_avg_pool.1._conv.bias" not in parity.weights.files.read(tmp_path / "x.pdparams").arrays
    for value, name in ((0.5, "half"), (np.nan, "nan")):
        weights["pool.conv.bias"][3] = value
        parity.save(weights, tmp_path / f"{name}.npz")
        with pytest.raises(ParityError, match=r"pool\.conv\.bias is not zero"):
            convert(tmp_path / f"{name}.npz", tmp_path / f"{name}.pdparams", "--dialect", "paddleseg")
        assert not (tmp_path / f"{name}.pdparams").exists()


def test_names_that_fit_two_of_a_systems_modules_are_asked_for(tmp_path: Path) -> None:
    weights = {"fc1.weight": np.ones((2, 8, 1, 1), np.float32), "fc2.weight": np.ones((8, 2, 1, 1), np.float32)}
    parity.save(weights, tmp_path / "ours.npz")
    with pytest.raises(
        ParityError, match=r"fit yolo_forks:SE, yolo_forks:ChannelAttention, which differ; give --dialect"
    ):
        convert(tmp_path / "ours.npz", tmp_path / "x.pth", "--dialect", "yolo_forks")
    with pytest.raises(
        ParityError, match="yolo_forks has the modules SE, ChannelAttention, SpatialAttention, CBAM, got"
    ):
        convert(tmp_path / "ours.npz", tmp_path / "x.pth", "--dialect", "yolo_forks:ASPP")


def test_any_number_of_rates(tmp_path: Path) -> None:
    """The last number of torchvision's list is the pooled branch, however many come before."""
    for rates in ((4,), (2, 3), (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)):
        weights = parity.get_weights(parity.frameworks.load("torch").build("ASPP", (2, 3), {"rates": rates}))
        parity.save(weights, tmp_path / "ours.npz", force=True)
        convert(tmp_path / "ours.npz", tmp_path / "x.pth", "--dialect", "torchvision", "--force")
        state = torch.load(tmp_path / "x.pth")
        assert state[f"convs.{len(rates) + 1}.1.weight"].shape == (3, 2, 1, 1)
        assert_same(parity.load(tmp_path / "x.pth", dialect="torchvision").weights, weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('framework = "torch"\n[SE]\n"squeeze" = "fc1 linear"\n"excite" = "fc2 linear"', None),
        ('framework = "torch"\n[SE]\n"squeeze" = "fc1 liner"', "unknown words liner"),
        ('framework = "tensorflow"\n[SE]\n"a" = "b"', "framework must be one of"),
        ('framework = "torch"\n[SE]\n"a.{i}" = "b"', "must be on both sides"),
        ('framework = "torch"\n[SE]\na = 3', "must hold lines of the form"),
        ('framework = "torch"', "there must be a table of rules"),
        ("framework =", "is no TOML"),
        ("a = " + "[" * 100_000, "is no TOML"),
    ],
)
def test_a_dialect_of_ones_own(text: str, message: str | None, tmp_path: Path) -> None:
    weights = {"fc1.weight": hard((2, 8, 1, 1), np.dtype("f4")), "fc2.weight": hard((8, 2, 1, 1), np.dtype("f4"), 1)}
    rules = tmp_path / "mine.toml"
    rules.write_text(text)
    parity.save(weights, tmp_path / "ours.npz")
    arguments = (tmp_path / "ours.npz", tmp_path / "theirs.pdparams", "--to", "paddle", "--dialect", rules)
    if message is not None:
        with pytest.raises(ParityError, match=message):
            convert(*arguments)
        return
    convert(*arguments)
    arrays = parity.weights.files.read(tmp_path / "theirs.pdparams").arrays
    assert {key: array.shape for key, array in arrays.items()} == {"squeeze.weight": (8, 2), "excite.weight": (2, 8)}
    assert_same(parity.load(tmp_path / "theirs.pdparams", dialect=str(rules)).weights, weights)
