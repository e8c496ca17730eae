"""`parity port` and weights: rules read and written, pairs by value, shape and running, Linen's variables, training."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from typer.testing import CliRunner

from parity.cli.app import app
from parity.errors import ParityError
from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.port.load import load_factory
from parity.testing import to_text

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.second(torch.relu(self.first(x)))))

def build():
    return Net()
"""
RENAMED = NET.replace("first", "a").replace("second", "b").replace("head", "out")


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return [f"{folder / name}.py:build" for name in files]


def model_of(text):
    space = {}
    exec(text, space)
    return space["build"]


def compare(original, port_of_it, **options):
    options = {"modes": ["eval"], "dtypes": ["float64"], **options}
    return port(original, port_of_it, from_shapes(options.pop("shapes", ["5,6"]), 0), **options)


def test_rules_say_what_names_do_not(tmp_path):
    (tmp_path / "port.toml").write_text(
        'framework = "torch"\nsource = "by hand"\n\n[Net]\n"first" = "a"\n"second" = "b"\n"head" = "out"\n'
    )
    report = compare(model_of(NET), model_of(RENAMED), rules=str(tmp_path / "port.toml"))
    assert report.passed
    assert set(report.weights.pairs.values()) == {
        (f"{name}.{leaf}", "rules") for name in ("first", "second", "head") for leaf in ("weight", "bias")
    }
    (tmp_path / "wrong.toml").write_text(
        'framework = "torch"\nsource = "by hand"\n\n[Net]\n"first" = "b"\n"second" = "a"\n"head" = "out"\n'
    )
    assert not compare(model_of(NET), model_of(RENAMED), rules=str(tmp_path / "wrong.toml")).passed


def test_written_rules_are_read_again_and_say_how_each_was_paired(tmp_path):
    written = tmp_path / "port.toml"
    assert compare(model_of(NET), model_of(RENAMED), write_rules=written).passed
    text = written.read_text()
    assert '"head" = "out"  # by shape' in text
    assert '"first" = "a"  # by running' in text
    report = compare(model_of(NET), model_of(RENAMED), rules=str(written))
    assert report.passed
    assert {how for _, how in report.weights.pairs.values()} == {"rules"}


CROSSED = RENAMED.replace("self.b(torch.relu(self.a(x)))", "self.a(torch.relu(self.b(x)))")
# Called in another order than the original does: the order of calls is right; where both are called at once it is not.
BRANCHES = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return torch.tanh(self.left(x)) - torch.relu(self.right(x))

def build():
    return Net()
"""
SWAPPED = (
    BRANCHES.replace("left", "p")
    .replace("right", "q")
    .replace(
        "return torch.tanh(self.p(x)) - torch.relu(self.q(x))",
        "late = torch.relu(self.q(x))\n        return torch.tanh(self.p(x)) - late",
    )
)


@pytest.mark.parametrize(("original", "other", "expected"), [
    (NET, CROSSED, {"b.weight": "first.weight", "a.bias": "second.bias"}),
    (BRANCHES, SWAPPED, {"p.weight": "left.weight", "q.bias": "right.bias"}),
])  # fmt: skip
def test_equal_shapes_are_decided_by_running_and_it_is_said(original, other, expected):
    report = compare(model_of(original), model_of(other))
    assert report.passed
    for key, source in expected.items():
        assert report.weights.pairs[key] == (source, "running")
    assert "decided by running, " in to_text(report)


def test_where_running_does_not_decide_it_says_so_and_finds_the_difference():
    other = SWAPPED.replace("torch.tanh", "torch.sigmoid")
    report = compare(model_of(BRANCHES), model_of(other))
    assert not report.passed
    assert "running does not decide, so they stay as they were" in to_text(report)


def test_a_port_that_brings_the_values_is_paired_by_them():
    model = model_of(NET)()
    other = model_of(RENAMED)()
    with torch.no_grad():
        for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
            mine.copy_(theirs)
    report = compare(model, other)
    assert report.passed
    assert {how for _, how in report.weights.pairs.values()} == {"value"}


class TorchMatrix(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(6, 6))
        self.v = torch.nn.Parameter(torch.randn(4, 6))

    def forward(self, x):
        return torch.nn.functional.linear(torch.nn.functional.linear(x, self.w), self.v)


class Matrix(nnx.Module):
    def __init__(self):
        self.w, self.v = nnx.Param(jnp.ones((6, 6))), nnx.Param(jnp.ones((6, 4)))

    def __call__(self, x):
        return x @ self.w @ self.v


def test_a_matrix_of_the_users_own_may_lie_the_other_way_between_frameworks():
    report = compare(TorchMatrix, Matrix)
    assert report.passed
    assert report.weights.pairs == {"w": ("w", "running"), "v": ("v", "name, transposed")}
    assert "a square matrix, as it is or transposed: decided by running, w is w, transposed" in to_text(report)


class Turned(TorchMatrix):
    def forward(self, x):
        return torch.nn.functional.linear(torch.nn.functional.linear(x, self.w.T), self.v)


def test_within_a_framework_a_transposed_matrix_is_a_difference():
    assert not compare(TorchMatrix, Turned).passed


class LinenBlock(linen.Module):
    features: int
    scale: float

    @linen.compact
    def __call__(self, x, train):
        x = linen.Dropout(0.5, deterministic=not train)(linen.Dense(self.features, name="fc")(x))
        norm = linen.BatchNorm(
            use_running_average=not train, momentum=0.875, epsilon=2.0**-17, use_fast_variance=False, name="norm"
        )
        return self.scale * jax.nn.relu(norm(x))


class LinenNet(linen.Module):
    scale: float = 1.0

    @linen.compact
    def __call__(self, x, train=False):
        return linen.Dense(3, name="head")(LinenBlock(8, self.scale, name="block")(x, train))


class TorchBlock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm = torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8, 2.0**-17, 0.125)

    def forward(self, x):
        return torch.relu(self.norm(self.fc(x)))


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head = TorchBlock(), torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.block(x))


def of_linen(**options):
    def build():
        module = LinenNet(**options)
        return module, module.init(jax.random.key(0), jnp.ones((1, 6)))

    return build


def test_a_linen_module_with_its_variables_is_a_port():
    report = compare(TorchNet, of_linen(), modes=["eval", "train"])
    assert [check.what for check in report.checks if not check.passed] == ["buffers"]
    assert [cause.what for cause in report.difference.causes] == ["the running variance"]
    assert {layer.path for layer in report.layers["eval"]} == {"", "block", "block.fc", "block.norm", "head"}


def test_a_difference_in_a_linen_module_has_its_layer():
    report = compare(TorchNet, of_linen(scale=1.5))
    assert report.difference.layer == "block"
    assert "after block.norm" in report.difference.where


def frozen():
    model = TorchNet()
    model.head.bias.requires_grad_(False)
    return model


def test_ten_steps_of_training_are_compared():
    report = compare(TorchNet, TorchNet, modes=["training"])
    assert report.passed
    assert [(check.mode, check.what) for check in report.checks[1:]] == [
        ("training", what) for what in ("outputs", "weights", "buffers")
    ]


def test_a_layer_that_the_port_does_not_train_is_found_by_training_alone():
    report = compare(TorchNet, frozen, modes=["train", "training"])
    failed = [(check.mode, check.what) for check in report.checks if not check.passed]
    assert ("training", "weights") in failed
    assert all(mode == "training" for mode, _ in failed)
    assert "head.bias is not trained in the port: it is frozen there" in report.notes


BAD = {
    "syntax": ("def build(:\n    pass\n", "importing {0} raises SyntaxError"),
    "raises": ("raise OSError('disk')\n", "importing {0} raises OSError: disk"),
    "absent": ("import no_such_package\n", "{0} needs no_such_package, which is not installed"),
    "nothing": ("other = 3\ndef make():\n    pass\n", "{0} has no build; it has make"),
    "value": ("build = 3\n", "is no function but int: a factory gives a model when called"),
    "none": ("def build():\n    pass\n", "must give a torch.nn.Module, a paddle.nn.Layer, a flax.nnx.Module"),
    "single": (
        NET.replace("return self.head", "x = x.float()\n        return self.head"),
        "Net raises for inputs float64 (5, 6): RuntimeError",
    ),
    "conv": (
        NET.replace("self.first(x)", "torch.nn.functional.max_pool2d(self.first(x), 2)"),
        "Net raises for inputs float64 (5, 6): ",
    ),
    "text": (NET.replace("return self.head", "return 'no', self.head").replace("Net()\n", "None\n"), "got NoneType"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_original_is_one_line(tmp_path, name):
    text, words = BAD[name]
    original, right = write(tmp_path, **{name: text, "right": NET})
    with pytest.raises(ParityError) as caught:
        compare(load_factory(original), load_factory(right))
    message = str(caught.value)
    assert words.format(f"{tmp_path}/{name}.py") in message
    assert "\n" not in message


def test_a_bad_original_ends_the_command_with_exit_code_2(tmp_path):
    specs = write(tmp_path, absent=BAD["absent"][0], right=NET)
    command = [sys.executable, "-m", "parity", "port", *specs, "--shape", "5,6"]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent.parent}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "original: " in done.stderr


@pytest.mark.parametrize(("options", "words"), [
    ([], "an input is needed: --shape 2,3,64,64 draws one"),
    (["--shape", "5,6", "--rules", "none.toml"], "none.toml"),
    (["--shape", "5,6", "--weights", "none.pth"], "none.pth is not there"),
    (["--shape", "5,6", "--axes", "ab->ac"], "--axes must be such as ncl->nlc"),
    (["--shape", "5,6", "--dtype", "float8"], "float8"),
    (["--shape", "5,6", "--check", "test"], "test"),
    (["--shape", "5,6", "--python", "both=python"], "--python must be original=ENV/bin/python"),
    (["--input", "none.npy"], "none.npy is not there"),
    (["--input", "notes.txt"], "--input must be .npz, .npy or an image"),
])  # fmt: skip
def test_a_bad_option_is_one_line(tmp_path, options, words):
    original, right = write(tmp_path, net=NET, right=NET)
    done = CliRunner().invoke(app, ["port", original, right, *options])
    message = str(done.exception) if isinstance(done.exception, ParityError) else done.output
    assert words in message
    assert done.exit_code != 0


def test_two_outputs_for_one_are_named():
    two = NET.replace(
        "return self.head(torch.tanh(self.second(torch.relu(self.first(x)))))",
        "y = self.head(torch.tanh(self.second(torch.relu(self.first(x)))))\n        return y, y",
    )
    assert two != NET
    assert "is one output more than the original's" in to_text(compare(model_of(NET), model_of(two)))
    assert "is missing: the port gives fewer outputs" in to_text(compare(model_of(two), model_of(NET)))
    assert np.isinf(max(check.error for check in compare(model_of(two), model_of(NET)).checks))
