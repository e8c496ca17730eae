"""`parity port` below float64: which side the noise is measured on, how sure it is, half precisions, compiled forms."""

import jax
import jax.numpy as jnp
import numpy as np
import paddle
import pytest
import torch
from flax import nnx

from parity.errors import ParityError
from parity.montecarlo.estimate import Estimate
from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.port.noise import is_in_doubt
from parity.testing import to_text
from parity.verdict.judge import NOISE_LIMIT, Noise


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(6, 16), torch.nn.Linear(16, 4)

    def forward(self, x):
        return self.fc2(torch.nn.functional.silu(self.fc1(x)))


class Flax(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.fc1, self.fc2 = nnx.Linear(6, 16, rngs=rngs), nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x):
        return self.fc2(jax.nn.silu(self.fc1(x)))


class Rough(Flax):
    def __call__(self, x):
        if x.dtype == jnp.float32:
            x = x.astype(jnp.bfloat16).astype(jnp.float32)
        return super().__call__(x)


class Paddle(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = paddle.nn.Linear(6, 16), paddle.nn.Linear(16, 4)

    def forward(self, x):
        return self.fc2(paddle.nn.functional.silu(self.fc1(x)))


def compare(original, port_of_it, *dtypes, modes=("eval",), **options):
    return port(original, port_of_it, from_shapes(["16,6"], 0), modes=modes, dtypes=dtypes, **options)


def below(report):
    return [check for check in report.checks if check.unit == "noise units"]


@pytest.mark.parametrize(
    ("original", "port_of_it"), [(Flax, Flax), (Flax, Paddle), (Paddle, Flax), (Flax, Torch), (Torch, Paddle)]
)
def test_float32_is_judged_wherever_pytorch_or_flax_is(original, port_of_it):
    report = compare(original, port_of_it, "float32")
    assert report.passed
    assert not report.notes
    assert [check.what for check in below(report)] == ["outputs", "input gradients", "parameter gradients"]
    for check in below(report):
        least, most = check.interval
        assert 0.1 < least < check.error < most < 2 * NOISE_LIMIT
        assert check.draws == 6
        assert f"{check.error:.2g} ({least:.2g} to {most:.2g})" in to_text(report)


def test_between_paddle_and_paddle_float64_alone_is_judged_and_it_says_so():
    report = compare(Paddle, Paddle, "float32")
    assert report.passed
    assert not below(report)
    assert report.notes == (
        "float32 is not judged: neither side runs a framework whose rounding noise can be measured",
    )


def test_an_input_cut_to_bfloat16_is_found_in_noise_measured_on_flax():
    report = compare(Flax, Rough, "float32")
    failed = [check for check in report.checks if not check.passed]
    assert failed == below(report)
    assert min(check.error for check in failed) > 1000
    # Outputs are surely wrong: no further draws are needed.
    assert {check.draws for check in failed} == {6}


@pytest.mark.parametrize(
    ("units", "name", "freedom", "expected"),
    [
        (1.0, "value||0|out|0", 1e6, False),  # nothing is wrong
        (NOISE_LIMIT + 1, "value||0|out|0", 1e6, False),  # surely wrong
        (NOISE_LIMIT + 1, "value||0|out|0", 3, True),  # the noise of a single number
        (1000.0, "parameter|fc.weight", 1e6, True),  # a ReLU may have opened
        (1000.0, "buffer|norm.mean", 1e6, False),
        (float("inf"), "value||0|out|0", 0, False),
    ],
)
def test_draws_are_doubled_where_that_may_settle_it(units, name, freedom, expected):
    found = {name: Estimate(Noise(1.0, 1.0), 1.0, 6, freedom)} if freedom else {}
    assert is_in_doubt({name: np.array([units, units / 2])}, found) is expected


@pytest.mark.parametrize(("original", "port_of_it"), [(Torch, Flax), (Flax, Torch)])
def test_half_precisions_begin_with_what_they_hold(original, port_of_it):
    report = compare(original, port_of_it, "bfloat16", "float16")
    assert report.passed, to_text(report)
    assert {check.dtype for check in below(report)} == {"bfloat16", "float16"}
    outputs = [check for check in below(report) if check.what == "outputs"]
    assert [check.error > 0.1 for check in outputs] == [True, True]


class Wide(Torch):
    def forward(self, x):
        return super().forward(x).float() if x.dtype == torch.bfloat16 else super().forward(x)


def test_an_output_of_another_precision_is_named():
    report = compare(Torch, Wide, "bfloat16")
    assert "output is float32 in a bfloat16 model" in to_text(report)


def test_paddle_in_half_precision_is_one_line():
    with pytest.raises(ParityError, match="Paddle's, which computes no float16 on a processor: leave --dtype float16"):
        compare(Torch, Paddle, "float16")


@pytest.mark.parametrize("port_of_it", [Flax, Paddle])
def test_a_compiled_port_is_judged_beside_the_one_that_is_not(port_of_it):
    report = compare(Torch, port_of_it, "float32", modes=["train"], compiled=True)
    assert report.passed, to_text(report)
    groups = [(check.execution, check.what) for check in below(report)]
    whats = ["outputs", "input gradients", "parameter gradients"]
    assert groups == [(execution, what) for execution in ("eager", "compiled") for what in whats]
    assert "float32, compiled" in to_text(report)


def test_paddle_compiles_no_backward_pass_in_eval_mode_and_it_is_said():
    report = compare(Torch, Paddle, "float32", compiled=True)
    assert [check.what for check in below(report) if check.execution == "compiled"] == ["outputs"]
    assert any("gradients are not judged where Paddle compiles" in note for note in report.notes)


class CompiledOtherwise(Torch):
    def forward(self, x):
        y = super().forward(x)
        return y, (y * 1.001 if torch.compiler.is_compiling() else y).detach()


def test_what_a_compiled_form_alone_does_is_found():
    report = compare(CompiledOtherwise, CompiledOtherwise, "float32", modes=["train"], compiled=True)
    (failed,) = [check for check in report.checks if not check.passed]
    assert (failed.execution, failed.worst) == ("compiled", "output 1")
    compiled = [check.what for check in report.checks if check.execution == "compiled"]
    assert compiled == ["outputs", "input gradients", "parameter gradients"]


class Detached(Torch):
    def forward(self, x):
        return super().forward(x.detach())


def test_a_gradient_that_is_not_there_is_no_gradient_that_is_right():
    report = compare(Torch, Detached)
    assert "input has no gradient: nothing of the port's output flows back to it" in to_text(report)
    assert "has a gradient, and none in the original" in to_text(compare(Detached, Torch))


class Unknown(Torch):
    def forward(self, x):
        return torch.special.airy_ai(super().forward(x).detach()) + super().forward(x)


def test_operations_that_the_noise_model_does_not_know_are_named():
    report = compare(Unknown, Unknown, "float32")
    (note,) = report.notes
    assert note == "the noise model does not know aten.special_airy_ai: each of its values errs by one rounding"


class Momentum(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(6, momentum=0.9)

    def forward(self, x):
        return self.norm(x)


class TorchMomentum(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(6, momentum=0.1)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.filterwarnings("ignore:When training, we now:UserWarning")
def test_a_momentum_that_float32_does_not_hold_is_no_difference_to_paddles():
    report = compare(TorchMomentum, Momentum, modes=["train"])
    (cause,) = report.difference.causes
    assert (cause.what, cause.port) == ("the running variance", "of n")
    assert report.difference.place.text
