"""Bad input is a ValueError that names the value and what was expected, the same in all frameworks."""

import jax.numpy as jnp
import numpy as np
import paddle
import pytest
import torch

import paddle_impl
import torch_impl
from parity import frameworks, get_weights, set_weights
from parity.catalogue.cases import Case
from parity.reference import modules as reference
from parity.reference.evaluate import output_shape

BAD_ARGUMENTS = [
    ("SE", (0,), {}, "channels must be an integer of at least 1, got 0"),
    ("SE", (16.0,), {}, "channels must be an integer of at least 1, got 16.0"),
    ("SE", (True,), {}, "channels must be an integer of at least 1, got True"),
    ("SE", (8,), {"reduction": 16}, "channels // reduction = 8 // 16 = 0 must be at least 1"),
    ("SE", (8,), {"reduction": 0}, "reduction must be an integer of at least 1, got 0"),
    ("SE", (8,), {"hidden": -1}, "hidden must be an integer of at least 1, got -1"),
    ("SE", (8,), {"hidden": 2, "gate": "tanh"}, "gate must be one of 'sigmoid', 'hard_sigmoid', got 'tanh'"),
    ("SE", (8,), {"hidden": 2, "slope": 0}, "slope must be a positive number, got 0"),
    ("SE", (8,), {"hidden": 2, "slope": float("nan")}, "slope must be a positive number, got nan"),
    ("ChannelAttention", (4,), {}, "channels // reduction = 4 // 8 = 0 must be at least 1"),
    ("ChannelAttention", ("4",), {}, "channels must be an integer of at least 1, got '4'"),
    ("SpatialAttention", (), {"kernel_size": 4}, "kernel_size must be odd to keep the map's size, got 4"),
    ("SpatialAttention", (), {"kernel_size": -3}, "kernel_size must be an integer of at least 1, got -3"),
    ("SpatialAttention", (), {"norm": True, "momentum": 1.5}, "momentum must be a number in [0, 1], got 1.5"),
    ("CBAM", (16,), {"kernel_size": 2}, "kernel_size must be odd to keep the map's size, got 2"),
    ("ASPP", (4, 8), {"rates": ()}, "rates must be one or more positive integers, got ()"),
    ("ASPP", (4, 8), {"rates": 6}, "rates must be one or more positive integers, got 6"),
    ("ASPP", (4, 8), {"rates": (6, -12)}, "rates[1] must be an integer of at least 1, got -12"),
    ("ASPP", (4, 0), {}, "out_channels must be an integer of at least 1, got 0"),
    ("ASPP", (4, 8), {"dropout": 1}, "dropout must be a number in [0, 1), got 1"),
    ("ASPP", (4, 8), {"dropout": float("nan")}, "dropout must be a number in [0, 1), got nan"),
    ("ASPP", (4, 8), {"momentum": "0.1"}, "momentum must be a number in [0, 1], got '0.1'"),
    ("SE_ASPP", (4, 2), {"rates": (1,)}, "channels // reduction = 6 // 16 = 0 must be at least 1"),
    *(
        (block, args, {"reduction": 4, **kwargs}, words)
        for block in ("BasicBlock", "Bottleneck")
        for args, kwargs, words in (
            ((0, 4), {}, "channels must be an integer of at least 1, got 0"),
            ((8.0, 4), {}, "channels must be an integer of at least 1, got 8.0"),
            ((8, 0), {}, "width must be an integer of at least 1, got 0"),
            ((8, 4), {"stride": 0}, "stride must be an integer of at least 1, got 0"),
            ((8, 4), {"stride": -1}, "stride must be an integer of at least 1, got -1"),
            ((8, 4), {"stride": (2, 1)}, "stride must be an integer of at least 1, got (2, 1)"),
            ((8, 4), {"dilation": 0}, "dilation must be an integer of at least 1, got 0"),
            ((8, 4), {"dilation": 1.5}, "dilation must be an integer of at least 1, got 1.5"),
            ((8, 4), {"first_dilation": 0}, "first_dilation must be an integer of at least 1, got 0"),
            ((8, 4), {"first_dilation": False}, "first_dilation must be an integer of at least 1, got False"),
            ((8, 4), {"placement": "after"}, "placement must be one of 'standard', 'pre', 'post', "),
            ((8, 4), {"attention": "eca"}, "attention must be one of 'se', 'cbam', got 'eca'"),
            ((8, 4), {"reduction": 0, "attention": None}, "reduction must be an integer of at least 1, got 0"),
            ((8, 4), {"min_hidden": 0}, "min_hidden must be an integer of at least 1, got 0"),
            ((8, 4), {"reduction": 32}, "must be at least 1: lower reduction or give hidden"),
            ((8, 4), {"momentum": 1.5}, "momentum must be a number in [0, 1], got 1.5"),
        )
    ),
]

MODULES = {
    "SE": ((16,), {}),
    "ChannelAttention": ((16,), {}),
    "SpatialAttention": ((), {}),
    "CBAM": ((16,), {}),
    "ASPP": ((16, 4), {"rates": (2,)}),
    "SE_ASPP": ((16, 8), {"rates": (2,)}),
    "BasicBlock": ((16, 16), {}),
    "Bottleneck": ((16, 4), {"stride": 2}),
    "SEResNet": ((18,), {"in_channels": 16, "width": 8, "reduction": 4, "num_classes": 10}),
}
# Those without a batch norm, whose train mode is their eval mode.
PLAIN = ("SE", "ChannelAttention", "SpatialAttention", "CBAM")


@pytest.mark.parametrize(("module", "args", "kwargs", "words"), BAD_ARGUMENTS, ids=lambda value: str(value)[:40])
def test_arguments(framework, module, args, kwargs, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        framework.build(module, args, kwargs)
    assert words in str(error.value)


@pytest.mark.parametrize("shape", [(16,), (16, 5), (2, 16, 5), (2, 16, 5, 5, 5)])
@pytest.mark.parametrize("module", MODULES)
def test_the_rank_of_the_input(module, shape):
    for call, _ in calls(module):
        with pytest.raises(ValueError, match="the input must have 4 dimensions"):
            call(np.ones(shape, np.float32))


@pytest.mark.parametrize("module", [name for name in MODULES if name != "SpatialAttention"])
def test_the_channels_of_the_input(module):
    for call, axes in calls(module):
        shape = {"n": 2, "c": 15, "h": 5, "w": 7}
        with pytest.raises(ValueError, match=r"with c = 16, got shape \(2, "):
            call(np.ones([shape[axis] for axis in axes], np.float32))


@pytest.mark.parametrize("shape", [(2, 16, 0, 7), (2, 16, 5, 0), (0, 16, 0, 0)])
@pytest.mark.parametrize("module", MODULES)
def test_a_map_without_places_is_refused_and_nothing_moves(framework, module, shape):
    model, weights = with_ones(framework, module)
    for train in (False, True):
        with pytest.raises(ValueError, match=r"maps \(.*\) must not be empty, got shape \(\d+, "):
            framework.forward(model, np.ones(shape, np.float32), train=train)
    assert all(np.array_equal(array, weights[key]) for key, array in get_weights(model).items())


def test_a_map_without_channels_is_refused(framework):
    with pytest.raises(ValueError, match="must not be empty"):
        framework.forward(framework.build("SpatialAttention", (), {}), np.ones((2, 0, 5, 7), np.float32), train=False)


@pytest.mark.parametrize("module", MODULES)
def test_an_empty_batch_gives_an_empty_result_and_no_batch_norm_trains_on_it(framework, module):
    model, weights = with_ones(framework, module)
    none = np.ones((0, 16, 5, 7), np.float32)
    args, kwargs = MODULES[module]
    shape = (0, *output_shape(Case(module, "", args, (1, *none.shape[1:]), "", kwargs))[1:])
    assert framework.forward(model, none, train=False).shape == shape
    if module != "SEResNet":  # its blocks do, and it takes long
        found = framework.gradients(model, none, np.ones(shape, np.float32), train=module in PLAIN)
        assert found.pop("input").shape == none.shape
        assert not any(gradient.any() for gradient in found.values())
    if module in PLAIN:
        assert framework.forward(model, none, train=True).shape == shape
    else:
        with pytest.raises(
            ValueError, match=r"got no value per channel, shape \(0, .* batch of at least 2, or use eval"
        ):
            framework.forward(model, none, train=True)
    assert all(np.array_equal(array, weights[key]) for key, array in get_weights(model).items())


def with_ones(framework, module):
    """The module with every weight 1."""
    args, kwargs = MODULES[module]
    model = framework.build(module, args, kwargs)
    shapes = reference.shapes(getattr(reference, module)(*args, **kwargs))
    weights = {key: np.ones(shape, np.float32) for key, shape in shapes.items()}
    set_weights(model, weights)
    return model, weights


def calls(module):
    """Each framework's module on a NumPy array in that framework's own order of axes."""
    args, kwargs = MODULES[module]
    in_torch = getattr(torch_impl, module)(*args, **kwargs)
    in_paddle = getattr(paddle_impl, module)(*args, **kwargs)
    in_flax = frameworks.load("flax").build(module, args, kwargs)
    return [
        (lambda x: in_torch(torch.from_numpy(x)), "nchw"),
        (lambda x: in_paddle(paddle.to_tensor(x)), "nchw"),
        (lambda x: in_flax(jnp.asarray(x)), "nhwc"),
    ]
