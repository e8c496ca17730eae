"""`parity port` and differences that only gradients show: equal maxima, kinks; on inputs that have them."""

import jax.numpy as jnp
import paddle
import pytest
import torch
from flax import nnx
from torch import nn

from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.testing import to_text


def net(forward):
    return type("Net", (nn.Module,), {"forward": lambda self, x: forward(x)})


def first(x):
    return x.flatten(2).max(-1)[0]


PAIRS = [
    (lambda x: x.amax((2, 3)), first, ("the gradient of equal maxima", "shared", "to the first")),
    (lambda x: x.flatten(2).max(-1)[0], lambda x: x.amax((2, 3)), ("the gradient of equal maxima", "to the first", "shared")),
    (lambda x: nn.functional.adaptive_max_pool2d(x, 1), lambda x: x.amax((2, 3), True), ("the gradient of equal maxima", "to the first", "shared")),
    (torch.relu, lambda x: torch.maximum(x, torch.zeros_like(x)), ("the derivative at zero", "0", "1/2")),
    (lambda x: torch.maximum(x, -x), lambda x: torch.where(x >= -x, x, -x), ("the gradient of equal operands", "shared", "to the first")),
    (lambda x: x.clamp(-1, 1), lambda x: torch.where((x > -1) & (x < 1), x, x.detach().clamp(-1, 1)), ("the derivative at the ends", "1", "0")),
]  # fmt: skip


@pytest.mark.parametrize(("original", "other", "expected"), PAIRS)
def test_a_difference_of_gradients_alone_is_named(original, other, expected):
    report = port(net(original), net(other), from_shapes(["2,3,4,4:ties"], 0), modes=["eval"], dtypes=["float64"])
    assert [check.what for check in report.checks if not check.passed] == ["input gradients"]
    assert report.difference.direction == "backward"
    (cause,) = report.difference.causes
    assert (cause.what, cause.original, cause.port) == expected


def test_inputs_without_ties_show_none_of_them():
    original, other, _ = PAIRS[0]
    assert port(net(original), net(other), from_shapes(["2,3,4,4"], 0), modes=["eval"], dtypes=["float64"]).passed


def test_what_is_none_of_them_is_called_unknown():
    report = port(
        net(lambda x: x.relu()),
        net(lambda x: x.relu() + 3 * (x - x.detach())),
        from_shapes(["2,3,4,4"], 0),
        modes=["eval"],
        dtypes=["float64"],
    )
    assert not report.difference.causes
    assert "cause unknown: none of 2 known differences" in to_text(report)


class Clipped(nnx.Module):
    def __call__(self, x):
        return jnp.maximum(x, 0)


def test_jax_maximum_in_place_of_relu_is_named():
    report = port(net(torch.relu), Clipped, from_shapes(["2,3,4,4:ties"], 0), modes=["eval"], dtypes=["float64"])
    (cause,) = report.difference.causes
    assert (cause.what, cause.port) == ("the derivative at zero", "1/2")
    assert "jnp.maximum(x, 0)" in cause.place.text


class Fork(torch.nn.Module):
    """One tensor for two layers, as a residual block with a projection has it."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.norm = nn.Linear(6, 4), nn.Linear(6, 4), nn.LayerNorm(4)

    def forward(self, x):
        x = torch.tanh(x)
        return self.norm(self.one(x)) * self.other(x)


class PaddleFork(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.one, self.other = paddle.nn.Linear(6, 4), paddle.nn.Linear(6, 4)
        self.norm = paddle.nn.LayerNorm(4, epsilon=1e-3)

    def forward(self, x):
        x = paddle.tanh(x)
        return self.norm(self.one(x)) * self.other(x)


def test_in_paddle_one_tensor_may_be_given_to_two_layers():
    report = port(Fork, PaddleFork, from_shapes(["5,6"], 0), modes=["eval"], dtypes=["float64"])
    # Paddle's layer does not say its epsilon, so that the cause is not named.
    assert report.difference.layer == "norm"
    assert not report.difference.also
