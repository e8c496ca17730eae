"""The maximum of the three implementations: the first of equal places has the gradient, NaN stays, every transform works."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import paddle
import pytest
import torch
from ml_dtypes import bfloat16

import flax_impl.layers
import paddle_impl.layers
import torch_impl.layers
from parity.reference.arithmetic import Exact

NAMES = ("max_hw", "max_c", "max_pool")
SHAPES = ((2, 3, 8, 11), (3, 5, 1, 4), (2, 1, 5, 3), (1, 4, 1, 1))
INPUTS = {
    "integers": lambda rng, shape: rng.integers(-1, 2, shape).astype(float),
    "behind a ReLU": lambda rng, shape: np.maximum(rng.integers(-3, 4, shape), 0).astype(float),
    "constant": lambda rng, shape: np.full(shape, -2.0),
}


def expected(name, x, cotangent):
    """The reference's value and gradient."""
    ops = Exact()
    ops.start()
    y = {"max_hw": lambda: ops.amax(x, (2, 3)), "max_c": lambda: ops.amax(x, 1), "max_pool": lambda: ops.max_pool(x)}[
        name
    ]()
    cotangent = cotangent(y.shape)
    return y, cotangent, ops.gradients(y, cotangent, {"x": x})["x"]


def in_torch(name, x, cotangent, dtype="float64", memory_format=torch.contiguous_format, compiled=lambda f: f):
    dtype = getattr(torch, dtype)
    given = torch.from_numpy(x).to(dtype).to(memory_format=memory_format).requires_grad_()
    y = compiled(getattr(torch_impl.layers, name))(given)
    gradient = torch.autograd.grad(y, given, torch.from_numpy(cotangent).to(dtype))[0]
    return y.detach().double().numpy(), gradient.double().numpy()


def in_torch_channels_last(name, x, cotangent, dtype="float64"):
    return in_torch(name, x, cotangent, dtype, torch.channels_last)


def in_paddle(name, x, cotangent, dtype="float64", compiled=lambda f: f):
    given = paddle.to_tensor(x.astype(dtype), stop_gradient=False)
    y = compiled(getattr(paddle_impl.layers, name))(given)
    return y.numpy(), paddle.grad(y, given, paddle.to_tensor(cotangent.astype(dtype)))[0].numpy()


def in_flax(name, x, cotangent, dtype="float64", compiled=lambda f: f):
    x, cotangent = (jnp.asarray(a.transpose(0, 2, 3, 1).astype(dtype)) for a in (x, cotangent))

    @compiled
    def both(x, cotangent):
        y, pull = jax.vjp(getattr(flax_impl.layers, name), x)
        return y, pull(cotangent)[0]

    return tuple(np.asarray(a, np.float64).transpose(0, 3, 1, 2) for a in both(x, cotangent))


EAGER = {"torch": in_torch, "torch, channels last": in_torch_channels_last, "paddle": in_paddle, "flax": in_flax}


@pytest.mark.parametrize("where", EAGER)
@pytest.mark.parametrize("name", NAMES)
def test_the_first_of_equal_places_has_the_gradient(name, where):
    rng = np.random.default_rng(0)
    for (kind, draw), shape in product(INPUTS.items(), SHAPES):
        x = draw(rng, shape)
        y, cotangent, gradient = expected(name, x, lambda shape: rng.integers(-4, 5, shape).astype(float))
        computed = EAGER[where](name, x, cotangent)
        assert np.array_equal(computed[0], y), (kind, shape)
        assert np.array_equal(computed[1], gradient), (kind, shape)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("where", ["torch", "torch, channels last", "flax"])
@pytest.mark.parametrize("name", NAMES)
def test_so_it_is_in_every_precision(name, where, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (2, 3, 8, 11)).astype(float)
    y, cotangent, gradient = expected(name, x, lambda shape: rng.integers(-4, 5, shape).astype(float))
    computed = EAGER[where](name, x, cotangent, bfloat16 if where == "flax" and dtype == "bfloat16" else dtype)
    assert np.array_equal(computed[0], y)
    assert np.array_equal(computed[1], gradient)


COMPILED = {
    "torch.compile": lambda *given: in_torch(*given, compiled=lambda f: torch.compile(f, dynamic=False)),
    "paddle.jit.to_static": lambda *given: in_paddle(
        *given, compiled=lambda f: paddle.jit.to_static(f, full_graph=True)
    ),
    "jax.jit": lambda *given: in_flax(*given, compiled=jax.jit),
}


# Paddle warns of a call of its own.
@pytest.mark.filterwarnings("ignore:Tensor do not have 'place' interface:UserWarning")
@pytest.mark.parametrize("how", COMPILED)
@pytest.mark.parametrize("name", NAMES)
def test_so_it_is_in_compiled_code(name, how):
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (2, 3, 8, 11)).astype(float)
    y, cotangent, gradient = expected(name, x, lambda shape: rng.integers(-4, 5, shape).astype(float))
    computed = COMPILED[how](name, x, cotangent)
    assert np.array_equal(computed[0], y)
    assert np.array_equal(computed[1], gradient)


def test_the_reference_counts_places_row_by_row():
    x = np.array([[0.0, 2, 1], [2, 2, 0], [0, 0, 0]])[None, None]
    ones = np.ones
    assert np.argwhere(expected("max_hw", x, ones)[2]).tolist() == [[0, 0, 0, 1]]
    assert np.argwhere(expected("max_c", np.array([1.0, 3, 3]).reshape(1, 3, 1, 1), ones)[2]).tolist() == [[0, 1, 0, 0]]
    # Of its four windows the first two hold (0, 1), the third (1, 0), the fourth (1, 1).
    assert expected("max_pool", x, ones)[2][0, 0].tolist() == [[0, 2, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "row", [[np.nan, 1, 2, 0], [1, 2, 0, np.nan], [np.inf, np.nan, 0, 0], [-np.inf] * 4, [1, np.inf, 0, 0]]
)
@pytest.mark.parametrize("name", ["max_hw", "max_c"])
def test_nan_stays_nan_and_infinity_infinity(name, row):
    x = np.array(row).reshape((1, 1, 2, 2) if name == "max_hw" else (1, 4, 1, 1))
    truth = [np.max(row)]
    cotangent = np.ones((1, 1, 1, 1))
    for compute in EAGER.values():
        assert np.array_equal(np.ravel(compute(name, x, cotangent)[0]), truth, equal_nan=True)
    with torch.no_grad(), paddle.no_grad():
        assert np.array_equal(getattr(torch_impl.layers, name)(torch.from_numpy(x)).ravel(), truth, equal_nan=True)
        assert np.array_equal(
            getattr(paddle_impl.layers, name)(paddle.to_tensor(x)).numpy().ravel(), truth, equal_nan=True
        )
    y = getattr(flax_impl.layers, name)(jnp.asarray(x.transpose(0, 2, 3, 1)))
    assert np.array_equal(np.ravel(y), truth, equal_nan=True)
    assert np.array_equal(np.ravel(expected(name, x, np.ones)[0]), truth, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_stems_pool_and_the_maxima_keep_nan_in_torch_and_flax(name):
    x = np.zeros((1, 2, 3, 3))
    x[0, 1, 2, 2] = np.nan
    truth = np.isnan(expected(name, x, np.ones)[0])
    assert truth.sum() == 1
    assert np.array_equal(np.isnan(in_torch(name, x, np.ones(truth.shape))[0]), truth)
    assert np.array_equal(np.isnan(in_flax(name, x, np.ones(truth.shape))[0]), truth)


def transforms_of_torch(f, x, direction):
    """Forward mode, the same where no gradient is kept, for each image by vmap, and a second derivative."""
    x, direction = torch.from_numpy(x), torch.from_numpy(direction)
    yield torch.func.jvp(f, (x,), (direction,))[1]
    with torch.no_grad():
        yield torch.func.jvp(f, (x,), (direction,))[1]
    yield torch.func.vmap(lambda x, d: torch.func.jvp(lambda x: f(x[None])[0], (x,), (d,))[1])(x, direction)
    yield torch.func.vmap(lambda x: torch.func.grad(lambda x: f(x[None]).pow(3).sum() / 3)(x))(x)
    yield torch.func.grad(lambda x: torch.func.vmap(lambda x: f(x[None])[0])(x).pow(3).sum() / 3)(x)
    slope = torch.func.grad(lambda x: f(x).pow(3).sum() / 3)
    yield torch.func.jvp(slope, (x,), (direction,))[1]
    yield torch.func.grad(lambda x: (slope(x) * direction).sum())(x)


def transforms_of_flax(f, x, direction):
    def moved(f):
        return lambda x: f(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    f, x, direction = moved(f), jnp.asarray(x), jnp.asarray(direction)
    yield jax.jvp(f, (x,), (direction,))[1]
    yield jax.jit(lambda x, d: jax.jvp(f, (x,), (d,))[1])(x, direction)
    yield jax.vmap(lambda x, d: jax.jvp(lambda x: f(x[None])[0], (x,), (d,))[1])(x, direction)
    yield jax.vmap(jax.grad(lambda x: (f(x[None]) ** 3).sum() / 3))(x)
    yield jax.grad(lambda x: (jax.vmap(lambda x: f(x[None])[0])(x) ** 3).sum() / 3)(x)
    slope = jax.grad(lambda x: (f(x) ** 3).sum() / 3)
    yield jax.jvp(slope, (x,), (direction,))[1]
    yield jax.grad(lambda x: (slope(x) * direction).sum())(x)


# PyTorch's own derivatives for forward mode are scripts.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("transforms", [transforms_of_torch, transforms_of_flax])
@pytest.mark.parametrize("name", ["max_hw", "max_c"])
def test_forward_mode_vmap_and_second_derivatives(name, transforms):
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (2, 3, 4, 5)).astype(float)
    direction = rng.integers(-4, 5, x.shape).astype(float)
    y, _, held = expected(name, x, np.ones)
    axes = {"max_hw": (2, 3), "max_c": 1}[name]
    along = (held * direction).sum(axes, keepdims=True)
    # The gradient of sum(y^3) / 3, and its derivative along the direction, which is its gradient too.
    first, second = held * y**2, held * 2 * y * along
    module = {transforms_of_torch: torch_impl, transforms_of_flax: flax_impl}[transforms]
    found = transforms(getattr(module.layers, name), x, direction)
    for i, (computed, truth) in enumerate(zip(found, [along] * 3 + [first] * 2 + [second] * 2, strict=True)):
        assert np.array_equal(np.asarray(computed), truth), i


def test_without_a_gradient_wanted_torch_takes_the_fast_way():
    x = torch.zeros(1, 2, 3, 3, requires_grad=True)
    with torch.no_grad():
        assert not torch_impl.layers.derivative_wanted()
        graph = torch.export.export(torch_impl.ChannelAttention(2, hidden=1), (x,)).graph
    assert "adaptive" not in str(graph)
    assert torch_impl.layers.derivative_wanted()


def test_autocast_leaves_the_rule():
    x = np.random.default_rng(0).integers(-1, 2, (2, 3, 8, 11)).astype(float)
    for name in NAMES:
        y, cotangent, gradient = expected(name, x, np.ones)
        with torch.autocast("cpu", torch.bfloat16):
            computed = in_torch(name, x, cotangent, "float32")
        assert np.array_equal(computed[0], y)
        assert np.array_equal(computed[1], gradient)


@pytest.mark.parametrize("name", ["max_hw", "max_c"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_paddles_pools_are_given_a_place_where_they_would_find_none(name, value, monkeypatch):
    """The index -1 is in front of the gradient's memory."""
    masks = []

    def spied(pool):
        def call(*arguments, **options):
            y, mask = pool(*arguments, **options)
            masks.append(mask.numpy())
            return y, mask

        return call

    for pool in ("adaptive_max_pool2d", "max_pool2d"):
        monkeypatch.setattr(paddle.nn.functional, pool, spied(getattr(paddle.nn.functional, pool)))
    for x in (np.full((2, 3, 4, 5), value), np.where(np.arange(120).reshape(2, 3, 4, 5) < 60, value, 1.0)):
        tensor = paddle.to_tensor(x, stop_gradient=False)
        y = getattr(paddle_impl.layers, name)(tensor)
        paddle.where(y.isfinite(), y, paddle.zeros_like(y)).sum().backward()
        assert np.isfinite(tensor.grad.numpy()).all()
    assert masks
    assert all((mask >= 0).all() for mask in masks)
