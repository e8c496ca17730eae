"""Checkpoints: which network they are of, under whose names, and what is refused and why."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity import ParityError, load, save
from parity.reference import modules as reference
from parity.reference.modules import shapes
from parity.weights.dialects import networks


def weights_of(depth, **options):
    rng = np.random.default_rng(0)
    model = reference.SEResNet(depth, **{"width": 16, "num_classes": 3, **options})
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes(model).items()}


OPTIONS = [
    (18, {}),
    (34, {"where": ()}),
    (50, {"reduction": 8}),
    (101, {"where": ("layer4.0", "layer4.1")}),
    (152, {"where": ()}),
    (18, {"placement": "pre", "reduction": 4}),
    (50, {"attention": "cbam", "where": ("layer3.0",), "in_channels": 1}),
    (18, {"min_hidden": 3, "small_stem": True, "num_classes": 0}),
]


@pytest.mark.parametrize(("depth", "options"), OPTIONS, ids=str)
def test_a_network_is_read_from_its_shapes(depth, options):
    weights = weights_of(depth, **options)
    network = networks.identify({**weights, "bn1.num_batches_tracked": np.array(3)})
    assert (network.depth, network.options) == (depth, {"width": 16, "num_classes": 3, **options})
    assert network.weights.keys() == weights.keys()
    assert network.call.startswith(f"SEResNet({depth}, width=16")


def paddleclas(depth):
    """Our names as PaddleClas's: blocks counted through, layers from 0."""
    weights = {}
    names = [f"layer{i}.{j}" for i, count in enumerate(networks.DEPTHS[depth], 1) for j in range(count)]
    for key, array in weights_of(depth, where=()).items():
        block = next((name for name in names if key.startswith(f"{name}.")), None)
        if block is None:
            weights[
                {"conv1": "stem.0.conv", "bn1": "stem.0.bn", "fc": "fc"}[key.split(".")[0]] + f".{key.split('.')[-1]}"
            ] = array
            continue
        part, *rest = key.removeprefix(f"{block}.").split(".")
        if part == "downsample":
            new = f"short.{('conv', 'bn')[int(rest[0])]}"
        else:
            new = f"conv{int(part[-1]) - 1}.{'conv' if part.startswith('conv') else 'bn'}"
        weights[f"blocks.{names.index(block)}.{new}.{rest[-1]}"] = array
    return weights


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_paddleclas_arrives_under_our_names(depth):
    network = networks.identify(paddleclas(depth))
    truth = weights_of(depth, where=())
    assert network.depth == depth
    assert network.weights.keys() == truth.keys()
    assert all(np.array_equal(network.weights[key], truth[key]) for key in truth)


def flaxmodels(depth):
    """Our names as flaxmodels's, which are Linen's own: blocks counted through, layers from 0."""
    weights = {}
    names = [f"layer{i}.{j}" for i, count in enumerate(networks.DEPTHS[depth], 1) for j in range(count)]
    kind = "BasicBlock" if depth < 50 else "Bottleneck"
    for key, array in weights_of(depth, where=()).items():
        block = next((f"{kind}_{i}." for i, name in enumerate(names) if key.startswith(f"{name}.")), "")
        *path, leaf = key.split(".")
        layer = path[-1]
        if "downsample" in path:
            new = f"{('Conv', 'BatchNorm')[int(layer)]}_{2 if depth < 50 else 3}"
        elif layer == "fc":
            new = "Dense_0"
        else:
            new = f"{'Conv' if 'conv' in layer else 'BatchNorm'}_{int(layer[-1]) - 1}"
        weights[f"{block}{new}.{leaf}"] = array
    return weights


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_flaxmodels_arrives_under_our_names(depth, tmp_path):
    save(flaxmodels(depth), tmp_path / "resnet.msgpack", framework="linen")
    found = load(tmp_path / "resnet.msgpack")
    truth = weights_of(depth, where=())
    assert (found.dialect, found.framework) == ("resnet", "linen")
    assert found.module.startswith(f"SEResNet({depth}, ")
    assert found.weights.keys() == truth.keys()
    assert all(np.array_equal(found.weights[key], truth[key]) for key in truth)


def without(weights, part):
    return {key: array for key, array in weights.items() if part not in key}


def with_key(weights, key, shape=(1,)):
    return {**weights, key: np.zeros(shape, np.float32)}


REFUSED = [
    (with_key({}, "layer0.conv1.weight"), "timm's legacy_seresnet: its stem pools without padding"),
    (with_key({}, "conv1_1._conv.weight"), "a ResNet-C, -D or vd: its stem has three convolutions"),
    (with_key({}, "stem.1.conv.weight"), "a ResNet-C, -D or vd: its stem has three convolutions"),
    (with_key(weights_of(50), "layer1.0.downsample.2.weight"), "a ResNet-D: it averages before"),
    (with_key(paddleclas(50), "blocks.0.gate.weight"), "PaddleClas's ResNet has no blocks.0.gate.weight"),
    (
        {**without(paddleclas(50), "conv2."), "blocks.16.conv0.conv.weight": 0},
        "PaddleClas's ResNet18 or 34, which projects",
    ),
    (
        {**paddleclas(50), "blocks.16.conv0.conv.weight": 0},
        "with 17 blocks is of no known depth; possible are 18 (2, 2, 2, 2)",
    ),
    (
        without(weights_of(50), "layer4.2"),
        "with (3, 4, 6, 2) bottlenecks in its stages is of no known depth; possible are 18",
    ),
    (with_key(weights_of(18), "layer1.0.conv2.weight", (16, 8, 3, 3)), "unexpected are layer1.0.conv2.weight: grouped"),
    ({}, "with (0, 0, 0, 0) basic blocks in its stages is of no known depth"),
]


@pytest.mark.parametrize(("weights", "words"), REFUSED, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_another_network_is_refused_with_the_reason(weights, words):
    with pytest.raises(ParityError) as error:
        networks.identify(weights)
    assert words in str(error.value)


def test_another_depth_is_one_clear_error():
    with pytest.raises(
        ParityError, match=r"^this checkpoint is of depth 18, not 50; possible are 18 .*, 152 \(3, 8, 36, 3\)$"
    ):
        networks.identify(weights_of(18), depth=50)


def test_a_whole_model_goes_through_the_files(tmp_path):
    save_file(paddleclas(50), tmp_path / "resnet50.safetensors")
    save(load(tmp_path / "resnet50.safetensors").weights, tmp_path / "resnet50.msgpack", framework="flax")
    arrived = load(tmp_path / "resnet50.msgpack").weights
    truth = weights_of(50, where=())
    assert arrived.keys() == truth.keys()
    assert all(np.array_equal(arrived[key], truth[key]) for key in truth)


@pytest.mark.parametrize(("dialect", "passes"), [(None, True), ("resnet", False), ("none", True)])
@pytest.mark.parametrize("near", ["legacy", "PaddleClas"])
def test_a_near_network_keeps_its_names_and_is_refused_as_a_resnet(near, dialect, passes, tmp_path):
    weights = {**weights_of(18), "layer0.conv1.weight": np.zeros((16, 3, 7, 7), np.float32)}
    if near == "PaddleClas":
        weights = {
            **without(paddleclas(50), "conv2."),
            "blocks.16.conv0.conv.weight": np.zeros((2, 2, 1, 1), np.float32),
        }
    save_file(weights, tmp_path / "legacy.safetensors")
    if passes:
        assert load(tmp_path / "legacy.safetensors", dialect=dialect).weights.keys() == weights.keys()
    else:
        with pytest.raises(
            ParityError, match=r"it is of (timm's legacy_seresnet: its stem pools|PaddleClas's ResNet18)"
        ):
            load(tmp_path / "legacy.safetensors", dialect=dialect)
