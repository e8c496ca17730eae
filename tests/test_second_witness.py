"""The noise measured on PyTorch's and JAX's own operations is the one that the reference predicts, within a factor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from parity.catalogue.cases import select
from parity.catalogue.inputs import default_image, read_image
from parity.frameworks import flax as on_flax
from parity.frameworks import torch as on_torch
from parity.frameworks.layout import convert, relayout
from parity.montecarlo.estimate import measure
from parity.montecarlo.jax_engine import noisy
from parity.montecarlo.torch_engine import MonteCarlo
from parity.runs.run import draw
from parity.verdict.expect import expect
from parity.weights.models import set_weights

FLOAT32 = 2.0**-24
DRAWS = 6
# Of each array's noise, and of the middle of a case's; docs/noise.md publishes what was measured.
FACTOR = 4.0
MIDDLE = 2.0
IMAGE = read_image(default_image())
CASES = ["SE/default", "ChannelAttention/bias", "SpatialAttention/norm", "CBAM/options", "ASPP/one-rate", "SE_ASPP/options", "BasicBlock/cbam"]  # fmt: skip


def given(case, framework):
    """The case in float64: the model with its weights, the input and the cotangent."""
    drawn = draw(case, IMAGE, 0)
    model = framework.build(case.module, case.args, case.kwargs)
    set_weights(model, {key: array.astype(np.float64) for key, array in drawn.weights.items()})
    return drawn, model, drawn.x.astype(np.float64), drawn.cotangent.astype(np.float64)


def of_torch(case, *, train):
    """The gradients of the case in PyTorch, as they are or with the errors that a seed draws."""

    def gradients(seed=None):
        _, model, x, cotangent = given(case, on_torch)
        mode = torch.enable_grad() if seed is None else MonteCarlo(FLOAT32, seed)
        with mode:
            found = on_torch.gradients(model, x, cotangent, train=train)
        assert seed is None or not mode.unknown
        return found

    return gradients


def of_jax(case, *, train):
    """The gradients of the case in JAX, likewise."""
    _, model, x, cotangent = given(case, on_flax)
    model.train() if train else model.eval()
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def pull(parameters, x, cotangent):
        return jax.vjp(lambda p, x: nnx.merge(graph, p, rest, copy=True)(x), parameters, x)[1](cotangent)

    function = noisy(pull, FLOAT32)
    arrays = [jnp.asarray(relayout(a, "nchw", "nhwc")) for a in (x, cotangent)]

    def gradients(seed=None):
        found, found_input = pull(parameters, *arrays) if seed is None else function(seed, parameters, *arrays)
        flat = {".".join(map(str, path)): np.asarray(v[...]) for path, v in nnx.to_flat_state(found)}
        assert not function.unknown
        return {"input": relayout(np.asarray(found_input), "nhwc", "nchw"), **convert(flat, "flax", "torch")}

    return gradients


def factors(case, witness, *, train):
    """How many times what the reference predicts the other witness measures, for each array."""
    expected = expect(case, draw(case, IMAGE, 0), "float32", ("gradients",), train=train)["gradients"]
    gradients = witness(case, train=train)
    truth = {key: np.asarray(array, np.float64) for key, array in gradients().items()}
    assert truth.keys() == expected.arrays.keys()
    found = measure(truth, gradients, DRAWS)
    return {key: found[key].noise.rms / noise.rms for key, noise in expected.noise.items() if noise.rms > 0}


@pytest.mark.parametrize(
    ("name", "mode"), [*((name, "eval") for name in CASES), *((name, "train") for name in CASES[:4])]
)
def test_pytorch_errs_as_the_reference_predicts(name, mode):
    found = factors(select([name])[0], of_torch, train=mode == "train")
    assert min(found.values()) > 1 / FACTOR
    assert max(found.values()) < FACTOR
    assert 1 / MIDDLE < np.median(list(found.values())) < MIDDLE


@pytest.mark.parametrize("name", ["SE/default"])
def test_jax_errs_as_the_reference_predicts(name):
    found = factors(select([name])[0], of_jax, train=True)
    assert min(found.values()) > 1 / FACTOR
    assert max(found.values()) < FACTOR
    assert 1 / MIDDLE < np.median(list(found.values())) < MIDDLE
