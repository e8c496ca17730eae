"""The primitives on which the frameworks disagree, made to agree."""

import jax
import jax.numpy as jnp
import numpy as np
import paddle
import pytest
import torch
from flax import nnx

import flax_impl
import flax_impl.layers
import paddle_impl
import paddle_impl.layers
import torch_impl
import torch_impl.layers
from parity import frameworks, get_weights, set_weights
from parity.catalogue.cases import select
from parity.catalogue.inputs import default_image, read_image
from parity.frameworks import FRAMEWORKS
from parity.reference import modules as reference
from parity.reference.arithmetic import Exact
from parity.reference.evaluate import build
from parity.runs.run import draw


def norm_of(framework, **kwargs):
    layers = {"torch": torch_impl.layers, "paddle": paddle_impl.layers, "flax": flax_impl.layers}[framework.NAME]
    rngs = {"rngs": nnx.Rngs(0)} if framework.NAME == "flax" else {}
    return layers.BatchNorm(3, **kwargs, **rngs)


def start(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "weight": rng.uniform(0.5, 1.5, 3),
        "bias": rng.standard_normal(3),
        "running_mean": rng.standard_normal(3),
        "running_var": rng.uniform(0.5, 1.5, 3),
    }


@pytest.mark.parametrize("momentum", [0.0, 0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (3, 3, 5, 4)])
def test_batch_norm_is_its_formula(framework, shape, momentum):
    norm, weights = norm_of(framework, momentum=momentum), start()
    set_weights(norm, weights)
    x = np.random.default_rng(1).normal(2, 3, shape)
    y = framework.forward(norm, x, train=True)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    c = (None, slice(None), None, None)
    eps = float(np.float32(1e-5))
    formula = (x - mean[c]) / np.sqrt(var + eps)[c] * weights["weight"][c] + weights["bias"][c]
    assert np.abs(y - formula).max() <= 1e-13
    after = get_weights(norm)
    unbiased = x.var((0, 2, 3), ddof=1)
    assert np.abs(after["running_mean"] - ((1 - momentum) * weights["running_mean"] + momentum * mean)).max() <= 1e-14
    assert np.abs(after["running_var"] - ((1 - momentum) * weights["running_var"] + momentum * unbiased)).max() <= 1e-14
    y = framework.forward(norm, x, train=False)
    scale = after["weight"] / np.sqrt(after["running_var"] + eps)
    assert np.abs(y - ((x - after["running_mean"][c]) * scale[c] + weights["bias"][c])).max() <= 1e-13
    assert all(np.array_equal(array, after[key]) for key, array in get_weights(norm).items())


SINGLE = {
    "norm": ("SpatialAttention", (), {"norm": True}, (1, 5, 1, 1), "SpatialAttention.norm"),
    "pooled branch": ("ASPP", (5, 4), {"rates": (2,), "dropout": 0.0}, (1, 5, 9, 7), "ASPP.pool.norm"),
    "SE_ASPP": ("SE_ASPP", (5, 8), {"rates": (2,)}, (1, 5, 9, 7), "ASPP.pool.norm"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_value_per_channel_is_refused_by_name_and_nothing_moves(framework, name):
    module, args, kwargs, shape, words = SINGLE[name]
    model = framework.build(module, args, kwargs)
    shapes = reference.shapes(getattr(reference, module)(*args, **kwargs))
    weights = {key: np.ones(side, np.float32) for key, side in shapes.items()}
    set_weights(model, weights)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    with pytest.raises(ValueError, match=rf"{words} got one value per channel, .* batch of at least 2, or use eval"):
        framework.forward(model, x, train=True)
    assert all(np.array_equal(array, weights[key]) for key, array in get_weights(model).items())
    assert np.isfinite(framework.forward(model, x, train=False)).all()


def test_paddles_kernel_on_the_processor_gives_the_biased_variance():
    assert not paddle_impl.layers.kernel_gives_unbiased_variance("cpu")


def test_torch_knows_the_norms():
    model = torch_impl.SE_ASPP(4, 8)
    count = sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.modules())
    start_weights = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert sum(isinstance(layer, torch.nn.SyncBatchNorm) for layer in start_weights.modules()) == count == 6
    assert start_weights.state_dict().keys() == torch_impl.SE_ASPP(4, 8).state_dict().keys()


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5])
def test_dropout_keeps_the_expected_value(rate):
    x = np.ones((2, 4, 40, 40), np.float32)
    in_torch = torch_impl.ASPP(4, 8, rates=(2,), dropout=rate).dropout(torch.from_numpy(x)).numpy()
    in_paddle = paddle_impl.ASPP(4, 8, rates=(2,), dropout=rate).dropout(paddle.to_tensor(x)).numpy()
    in_flax = np.asarray(flax_impl.ASPP(4, 8, rates=(2,), dropout=rate, rngs=nnx.Rngs(0)).dropout(jnp.asarray(x)))
    for y in (in_torch, in_paddle, in_flax):
        assert np.isin(y, [0, np.float32(1 / (1 - rate))]).all()
        assert abs((y == 0).mean() - rate) <= 0.03


def test_the_hard_gate_has_its_slope_at_its_ends_too():
    x = np.array([-4.0, -3.0, 0.0, 3.0, 4.0]).reshape(5, 1, 1, 1)
    slope = 1 / 6
    in_torch = torch.from_numpy(x).requires_grad_()
    torch_impl.layers.apply_gate(in_torch, "hard_sigmoid", slope).sum().backward()
    in_paddle = paddle.to_tensor(x, stop_gradient=False)
    paddle_impl.layers.apply_gate(in_paddle, "hard_sigmoid", slope).sum().backward()
    in_flax = jax.grad(lambda x: flax_impl.layers.apply_gate(x, "hard_sigmoid", slope).sum())(jnp.asarray(x))
    for gradient in (in_torch.grad.numpy(), in_paddle.grad.numpy(), np.asarray(in_flax)):
        assert gradient.ravel().tolist() == [0, slope, slope, slope, 0]


@pytest.mark.parametrize("factor", [1.0, 1e3])
def test_paddles_mean_over_a_large_map_is_as_close_as_the_others(factor):
    x = (factor * np.random.default_rng(0).uniform(0, 1, (2, 8, 112, 112))).astype(np.float32)
    truth = x.astype(np.float64).mean((2, 3), keepdims=True)
    y = paddle_impl.layers.mean_hw(paddle.to_tensor(x)).numpy()
    assert np.abs(y / truth - 1).max() <= 16 * 2.0**-24


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name",
    [
        "SE/hard-sigmoid",
        "ChannelAttention/bias",
        "CBAM/norm",
        "ASPP/one-rate",
        "SE_ASPP/options",
        "BasicBlock/identity",
    ],
)
def test_what_is_no_number_is_none_in_the_three(name, value):
    case = select([name])[0]
    drawn = draw(case, read_image(default_image()), 0)
    x = drawn.x.astype(np.float64)
    x[0, 1, 0, 0] = value
    weights = {key: array.astype(np.float64) for key, array in drawn.weights.items()}
    model = build(case)
    reference.set_weights(model, weights)
    with np.errstate(all="ignore"):
        truth = model(x, Exact(), train=False)
    assert 0 < np.isnan(truth).sum() < truth.size
    for framework in FRAMEWORKS:
        adapter = frameworks.load(framework)
        model = adapter.build(case.module, case.args, case.kwargs)
        set_weights(model, weights)
        y = adapter.forward(model, x, train=False)
        assert np.array_equal(np.isnan(y), np.isnan(truth)), framework


def test_dropout_comes_last(framework):
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 11))
    kept = framework.build("ASPP", (4, 8), {"rates": (2,), "dropout": 0.0})
    weights = {key: array.astype(np.float64) for key, array in get_weights(torch_impl.ASPP(4, 8, rates=(2,))).items()}
    set_weights(kept, weights)
    y = framework.forward(kept, x, train=True)
    dropped = framework.build("ASPP", (4, 8), {"rates": (2,), "dropout": 0.5})
    set_weights(dropped, weights)
    z = framework.forward(dropped, x, train=True)
    assert np.allclose(z, np.where(z == 0, 0, 2 * y), atol=0, rtol=1e-12)
    assert 0.4 < (z == 0)[y > 0].mean() < 0.6


def test_a_hook_of_the_backward_pass_may_stand_between_a_norm_and_its_relu():
    block = torch_impl.BasicBlock(4, 4, reduction=2)
    seen = []
    block.bn1.register_full_backward_hook(lambda module, into, out: seen.append(out[0].shape))
    block(torch.randn(2, 4, 5, 5)).sum().backward()
    assert seen == [(2, 4, 5, 5)]


@pytest.mark.parametrize("library", [torch, paddle])
def test_a_relu_may_be_written_over_its_input_and_keeps_nan_and_its_gradient(library):
    package = torch_impl if library is torch else paddle_impl
    values = [np.nan, -1.0, 0.0, 2.0, np.inf]
    x = torch.tensor(values) if library is torch else paddle.to_tensor(values)
    made = x * 1
    y = package.layers.relu(made)
    assert made is y
    assert np.array_equal(y.numpy(), [np.nan, 0, 0, 2, np.inf], equal_nan=True)
    leaf = (
        torch.tensor([-1.0, 0.0, 3.0], requires_grad=True)
        if library is torch
        else paddle.to_tensor([-1.0, 0.0, 3.0], stop_gradient=False)
    )
    package.layers.relu(2 * leaf).sum().backward()
    assert np.array_equal(leaf.grad.numpy(), [0, 0, 2])


def test_a_block_is_one_graph_for_pytorchs_compiler_and_its_export():
    block = torch_impl.BasicBlock(4, 4, reduction=2).double().eval()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    found, expected = (torch.autograd.grad(run(x).pow(2).sum(), x)[0] for run in (compiled, block))
    assert torch.allclose(found, expected, rtol=1e-12)
    exported = torch.export.export(block, (x.detach(),)).module()
    assert torch.allclose(exported(x), block(x), rtol=1e-12)
