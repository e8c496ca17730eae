"""SEResNet: golden blocks, published sizes, the stem's pool, dilation, and what it refuses."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import paddle
import pytest
import torch
from golden_vectors import GOLDEN, canonical, read
from gradients import GRADIENTS

import torch_impl.layers
from parity import set_weights
from parity.catalogue import cases
from parity.reference import modules as reference
from parity.weights.models import get_weights

BLOCKS = [golden for golden in GOLDEN if golden.module == "BasicBlock"]


def relative_error(computed, truth):
    return np.abs(computed - truth).max() / np.abs(truth).max()


def ones(shapes):
    return {key: np.ones(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("golden", BLOCKS, ids=[golden.file for golden in BLOCKS])
def test_the_gradients_of_the_golden_blocks(framework, golden, mode):
    arrays, origin = read(golden)
    model = framework.build(golden.module, golden.args, golden.kwargs)
    set_weights(model, canonical(golden, arrays, "state/", origin))
    model.train() if mode == "train" else model.eval()
    found = GRADIENTS[framework.NAME](model, arrays["input"], arrays["cotangent"])
    truth = canonical(golden, arrays, f"{mode}/grad/", origin) | {"input": arrays[f"{mode}/grad_input"]}
    assert found.keys() == truth.keys()
    for key, gradient in truth.items():
        assert relative_error(found[key], gradient) <= 1e-10, key


def test_every_network_of_the_catalogue_is_the_reference():
    seen = {case.kwargs.get("placement", "standard") for case in cases.select(["SEResNet/*"])}
    assert seen == {"standard", "pre", "post", "identity", "conv"}
    command = [sys.executable, "-m", "parity", "run", "--case", "SEResNet/*", "--dtype", "float64"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# torchvision's resnets, timm's legacy_seresnets (the paper's) and seresnets, whose bottlenecks are at least 8 wide.
PUBLISHED = [
    (18, {"where": ()}, 11_689_512),
    (34, {"where": ()}, 21_797_672),
    (50, {"where": ()}, 25_557_032),
    (101, {"where": ()}, 44_549_160),
    (152, {"where": ()}, 60_192_808),
    (18, {}, 11_778_592),
    (34, {}, 21_958_868),
    (50, {}, 28_088_024),
    (101, {}, 49_326_872),
    (152, {}, 66_821_848),
    (18, {"min_hidden": 8}, 11_779_624),
    (34, {"min_hidden": 8}, 21_960_416),
    (50, {"min_hidden": 8}, 28_088_024),
]


@pytest.mark.parametrize(("depth", "kwargs", "count"), PUBLISHED)
def test_the_parameter_counts_are_the_published_ones(depth, kwargs, count):
    shapes = reference.shapes(reference.SEResNet(depth, **kwargs))
    assert sum(int(np.prod(shape)) for key, shape in shapes.items() if "running" not in key) == count
    with torch.device("meta"):
        model = torch_impl.SEResNet(depth, **kwargs)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items() if "tracked" not in key} == shapes


@pytest.mark.parametrize("depth", [18, 50])
def test_the_names_are_torchvisions(framework, depth):
    model = framework.build("SEResNet", (depth,), {"width": 4, "reduction": 4})
    shapes = reference.shapes(reference.SEResNet(depth, width=4, reduction=4))
    set_weights(model, ones(shapes))
    assert {key: array.shape for key, array in get_weights(model).items()} == shapes
    assert {"conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight", "fc.bias"} <= set(
        shapes
    )
    assert {"layer4.1.se.fc1.weight", "layer2.0.downsample.1.running_var"} <= set(shapes)


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("depth", [18, 50])
def test_a_dilated_network_sees_what_the_strided_one_does_and_more(depth, output_stride):
    """Without attention, which sees the whole map, every 2nd or 4th place of the dilated maps is the strided map's."""
    options = {"width": 4, "where": (), "num_classes": 0}
    strided = torch_impl.SEResNet(depth, **options).eval()
    dilated = torch_impl.SEResNet(depth, output_stride=output_stride, **options).eval()
    weights = get_weights(strided)
    set_weights(dilated, {key: array.astype(np.float64) for key, array in weights.items()})
    set_weights(strided, {key: array.astype(np.float64) for key, array in weights.items()})
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 97, 75)))
    with torch.no_grad():
        for strided_map, dilated_map in zip(strided.stages(x), dilated.stages(x), strict=True):
            step = -(-dilated_map.shape[2] // strided_map.shape[2])
            assert torch.allclose(dilated_map[:, :, ::step, ::step], strided_map, rtol=1e-12)
    assert step == 32 // output_stride


def test_the_stages_carry_a_head(framework):
    models = [
        ("SEResNet", (50,), {"width": 4, "reduction": 4, "output_stride": 8, "num_classes": 0}),
        ("SE_ASPP", (128, 8), {"rates": (2, 4)}),
    ]
    net, head = (framework.build(*arguments) for arguments in models)
    for model, (module, args, kwargs) in zip((net, head), models, strict=True):
        set_weights(model, ones(reference.shapes(getattr(reference, module)(*args, **kwargs))))
        model.eval()
    x = np.ones((2, 3, 41, 33))
    native = {
        "torch": torch.from_numpy,
        "paddle": paddle.to_tensor,
        "flax": lambda x: jnp.asarray(x.transpose(0, 2, 3, 1)),
    }
    maps = net.stages(native[framework.NAME](x))
    axis = 3 if framework.NAME == "flax" else 1
    assert tuple(one.shape[axis] for one in maps) == net.stage_channels == (16, 32, 64, 128)
    sides = [[side for i, side in enumerate(one.shape) if i not in (0, axis)] for one in (*maps, head(maps[-1]))]
    assert sides == [[11, 9], [6, 5], [6, 5], [6, 5], [6, 5]]


STAGES = r"layer1 \(layer1.0 to layer1.1\), .*, layer4 \(layer4.0 to layer4.1\)"
BAD_ARGUMENTS = [
    ((20,), {}, "depth must be one of 18, 34, 50, 101, 152, got 20"),
    (("18",), {}, "depth must be one of 18, 34, 50, 101, 152, got '18'"),
    (
        (18,),
        {"placement": "after"},
        "placement must be one of 'standard', 'pre', 'post', 'identity', 'conv', got 'after'",
    ),
    ((18,), {"attention": "eca"}, "attention must be one of 'se', 'cbam', got 'eca'"),
    ((18,), {"output_stride": 4}, "output_stride must be one of 32, 16, 8, got 4"),
    ((18,), {"where": "layer3"}, r"where must be 'all' or a sequence of names such as .*, got 'layer3'"),
    ((18,), {"where": ("layer5",)}, f"where must hold names of {STAGES}, got 'layer5'"),
    ((18,), {"where": ("layer3", "layer3.2")}, f"where must hold names of {STAGES}, got 'layer3.2'"),
    ((18,), {"num_classes": -1}, "num_classes must be an integer of at least 1, got -1"),
    ((18,), {"width": 0}, "width must be an integer of at least 1, got 0"),
    ((18,), {"in_channels": 1.5}, "in_channels must be an integer of at least 1, got 1.5"),
    ((18,), {"min_hidden": 0}, "min_hidden must be an integer of at least 1, got 0"),
    ((18,), {"width": 8}, "channels // reduction = 8 // 16 = 0 must be at least 1"),
    ((18,), {"momentum": 2}, r"momentum must be a number in \[0, 1\], got 2"),
]


@pytest.mark.parametrize(("args", "kwargs", "words"), BAD_ARGUMENTS, ids=lambda value: str(value)[:40])
def test_bad_arguments(framework, args, kwargs, words):
    with pytest.raises(ValueError, match=words):
        framework.build("SEResNet", args, kwargs)


def test_a_map_too_small_to_train_on_is_named(framework):
    options = {"width": 4, "reduction": 4, "num_classes": 0}
    model = framework.build("SEResNet", (18,), options)
    set_weights(model, ones(reference.shapes(reference.SEResNet(18, **options))))
    with pytest.raises(ValueError, match=r"SEResNet\.layer4\.0\.bn1 got one value per channel"):
        framework.forward(model, np.ones((1, 3, 32, 32)), train=True)
