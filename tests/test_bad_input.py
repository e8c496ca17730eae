"""What cannot be right is a ValueError that names the value and what was expected, the same in all frameworks."""

import jax.numpy as jnp
import numpy as np
import paddle
import pytest
import torch
from flax import nnx

import flax_impl
import paddle_impl
import torch_impl

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
]

MODULES = {
    "SE": ((16,), {}),
    "ChannelAttention": ((16,), {}),
    "SpatialAttention": ((), {}),
    "CBAM": ((16,), {}),
    "ASPP": ((16, 4), {"rates": (2,)}),
    "SE_ASPP": ((16, 8), {"rates": (2,)}),
}


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


def calls(module):
    """Each framework's module on a NumPy array in that framework's own order of axes."""
    args, kwargs = MODULES[module]
    in_torch = getattr(torch_impl, module)(*args, **kwargs)
    in_paddle = getattr(paddle_impl, module)(*args, **kwargs)
    in_flax = getattr(flax_impl, module)(*args, **kwargs, rngs=nnx.Rngs(0))
    return [
        (lambda x: in_torch(torch.from_numpy(x)), "nchw"),
        (lambda x: in_paddle(paddle.to_tensor(x)), "nchw"),
        (lambda x: in_flax(jnp.asarray(x)), "nhwc"),
    ]
