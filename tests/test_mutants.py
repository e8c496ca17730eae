"""The mutants that ports make are seen, in each framework; honest float32 is not mistaken for one."""

from contextlib import nullcontext
from functools import cache

import numpy as np
import paddle
import pytest
import torch
from flax import nnx

import paddle_impl.layers
from parity import get_weights, set_weights
from parity.catalogue.cases import CASES
from parity.catalogue.inputs import default_image, draw_input, draw_weights, read_image
from parity.reference import modules as reference
from parity.reference.evaluate import build
from parity.verdict.expect import expect_forward
from parity.verdict.judge import NOISE_LIMIT, judge

BY_NAME = {case.name: case for case in CASES}
IMAGE = read_image(default_image())


@cache
def drawn(name, dtype, train, seed):
    """The case's weights, its input, and what the reference expects of them."""
    case = BY_NAME[name]
    weights = draw_weights(case, reference.shapes(build(case)), seed)
    x = draw_input(case, IMAGE, seed)
    return weights, x, expect_forward(case, weights, x, dtype, train=train)


def verdict(
    framework, name, dtype, *, train, seed=0, weights_mutant=None, kwargs_mutant=None, model_mutant=nullcontext
):
    """The verdict on one case computed with a mutant."""
    case = BY_NAME[name]
    weights, x, expected = drawn(name, dtype, train, seed)
    mutated = {key: (weights_mutant or (lambda key, w: w))(key, array) for key, array in weights.items()}
    model = framework.build(case.module, case.args, {**case.kwargs, **(kwargs_mutant or {})})
    set_weights(model, {key: array.astype(dtype) for key, array in mutated.items()})
    with model_mutant(model):
        output = framework.forward(model, x.astype(dtype), train=train)
    computed = {"output": output, **get_weights(model)}
    # A mutant in a kernel is to be seen in what the model computes, not in the kernel itself.
    computed |= {key: weights[key].astype(dtype) for key in weights if "running" not in key}
    return judge(computed, expected.arrays, dtype, expected.noise)


def tf32(array):
    """Rounded to the 10 bits after the point that TF32 keeps."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)


class Tf32Products:
    """Convolutions whose inputs are rounded to TF32; their kernels are by the mutant in the weights."""

    def __init__(self, model):
        self.patch = pytest.MonkeyPatch()
        if isinstance(model, torch.nn.Module):
            for layer in model.modules():
                if isinstance(layer, torch.nn.Conv2d):
                    layer.register_forward_pre_hook(lambda _, args: torch.from_numpy(tf32(args[0].detach().numpy())))
        elif isinstance(model, paddle.nn.Layer):
            for layer in model.sublayers():
                if isinstance(layer, paddle.nn.Conv2D):
                    layer.register_forward_pre_hook(lambda _, args: paddle.to_tensor(tf32(args[0].numpy())))
        else:
            call = nnx.Conv.__call__
            self.patch.setattr(nnx.Conv, "__call__", lambda layer, x: call(layer, tf32(np.asarray(x))))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.patch.undo()


class Epsilon:
    """Batch norms with eps 2e-5."""

    def __init__(self, model):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(paddle_impl.layers, "EPSILON", 2e-5)
        if isinstance(model, torch.nn.Module):
            layers, name = model.modules(), "eps"
        elif isinstance(model, paddle.nn.Layer):
            layers, name = model.sublayers(), "_epsilon"
        else:
            layers, name = (layer for _, layer in nnx.iter_modules(model)), "epsilon"
        for layer in layers:
            if hasattr(layer, name):
                setattr(layer, name, 2e-5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.patch.undo()


def kernels(change):
    return lambda key, array: change(array).copy() if array.ndim == 4 else array


SLIPS = {
    "TF32 convolutions": ("ASPP/one-rate", "float32", {"weights_mutant": kernels(tf32), "model_mutant": Tf32Products}),
    "TF32 in SE": ("SE/default", "float32", {"weights_mutant": kernels(tf32), "model_mutant": Tf32Products}),
    "eps 2e-5": ("SE_ASPP/small-map", "float32", {"model_mutant": Epsilon}),
    "maximum before mean": ("CBAM/default", "float64", {"weights_mutant": lambda key, w: w[:, ::-1].copy() if key == "spatial.conv.weight" else w}),
    "a dilation one too large": ("ASPP/default", "float64", {"kwargs_mutant": {"rates": (6, 12, 19)}}),
    "height and width exchanged": ("ASPP/default", "float64", {"weights_mutant": kernels(lambda w: w.transpose(0, 1, 3, 2))}),
    "height and width of 7x7": ("SpatialAttention/default", "float64", {"weights_mutant": kernels(lambda w: w.transpose(0, 1, 3, 2))}),
}  # fmt: skip


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("mutant", SLIPS)
def test_a_mutant_is_seen(framework, mutant, train):
    name, dtype, change = SLIPS[mutant]
    assert verdict(framework, name, dtype, train=train).passed
    seen = verdict(framework, name, dtype, train=train, **change)
    assert not seen.passed
    print(f"{mutant}: {seen.why}")


@pytest.mark.parametrize("name", ["SE/default", "CBAM/norm", "SE_ASPP/small-map", "ASPP/integers"])
def test_honest_float32_stays_under_four_noise_units_over_50_seeds(framework, name):
    errors = [verdict(framework, name, "float32", train=True, seed=seed).error for seed in range(50)]
    assert max(errors) <= 4 <= NOISE_LIMIT
