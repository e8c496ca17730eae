"""`parity port`: the verdict, the layer and the line of models that are nobody's here."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import parity
from parity.errors import ParityError
from parity.port.compare import port
from parity.port.inputs import from_shapes
from parity.port.load import load_factory
from parity.testing import assert_same

ORIGINAL = """
import torch
import torch.nn.functional as F
from torch import nn

class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + F.gelu(self.norm(self.conv(x)))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList([Block(8), Block(8)])
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))

def build():
    return Net()
"""
FLAX = """
import jax
from flax import nnx

class Block(nnx.Module):
    def __init__(self, channels, rngs):
        self.conv = nnx.Conv(channels, channels, (3, 3), padding=1, rngs=rngs)
        self.norm = nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

    def __call__(self, x):
        return x + jax.nn.gelu(self.norm(self.conv(x)), approximate=False)

class Net(nnx.Module):
    def __init__(self, rngs):
        conv = nnx.Conv(3, 8, (3, 3), strides=2, padding=1, rngs=rngs)
        self.stem = nnx.Sequential(conv, jax.nn.relu)
        self.blocks = nnx.List([Block(8, rngs), Block(8, rngs)])
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))

def build():
    return Net(nnx.Rngs(0))
"""
SHAPE = ["2,3,16,16"]


def write(folder, name, text, *edits):
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return f"{folder / name}:build"


def compare(tmp_path, other, *edits, **options):
    specs = write(tmp_path, "net.py", ORIGINAL), write(tmp_path, "port.py", other, *edits)
    return port(
        *map(load_factory, specs),
        from_shapes(options.pop("shapes", SHAPE), 0),
        **options,
    )


def line_of(text, words, *edits):
    for old, new in edits:
        text = text.replace(old, new)
    return next(i for i, line in enumerate(text.splitlines(), 1) if words in line)


def test_the_same_model_twice_is_the_same_in_every_check(tmp_path):
    report = compare(tmp_path, ORIGINAL)
    assert report.passed
    assert not report.differences
    checks = {(check.mode, check.dtype, check.what) for check in report.checks}
    for mode in ("eval", "train"):
        for dtype in ("float64", "float32"):
            assert {(mode, dtype, what) for what in ("outputs", "input gradients", "parameter gradients")} <= checks
    assert ("train", "float64", "buffers") in checks


def test_a_right_port_to_flax_is_the_same_but_for_its_biased_running_variance(tmp_path):
    report = compare(tmp_path, FLAX)
    failed = [(check.mode, check.what) for check in report.checks if not check.passed]
    assert failed == [("train", "buffers")]
    assert report.difference.layer == "blocks.0.norm"
    assert report.difference.direction == "buffers"


@pytest.mark.parametrize(
    ("edit", "layer", "words", "cause"),
    [
        (
            ("nn.BatchNorm2d(channels)", "nn.BatchNorm2d(channels, eps=1e-3)"),
            "blocks.0.norm",
            "eps=1e-3",
            ("epsilon", "1e-05", "0.001"),
        ),
        (
            ("F.gelu(self", 'F.gelu(approximate="tanh", input=self'),
            "blocks.0",
            "tanh",
            ("the activation", "gelu, erf", "gelu, tanh"),
        ),
        (("x.mean((2, 3))", "x.sum((2, 3))"), "", "x.sum", ("the reduction", "mean", "sum")),
        (
            ("3, 2, 1)", "3, 2, 1, padding_mode='circular')"),
            "stem.0",
            "circular",
            ("what is padded", "zeros", "circular"),
        ),
    ],
)
def test_the_first_layer_that_differs_is_named_with_its_line(tmp_path, edit, layer, words, cause):
    report = compare(tmp_path, ORIGINAL, edit, modes=["eval"], dtypes=["float64"])
    assert not report.passed
    assert report.difference.layer == layer
    assert report.difference.place.line == line_of(ORIGINAL, words, edit)
    assert report.difference.inherited == 0
    found = [(each.what, each.original, each.port) for each in report.difference.causes]
    assert found == [cause]
    assert report.difference.also == (("blocks.1" + layer.removeprefix("blocks.0"),) if "blocks" in layer else ())


def test_weights_that_do_not_pair_are_named(tmp_path):
    with pytest.raises(ParityError, match=re.escape("only in the port: tail.weight (7, 8)")):
        compare(tmp_path, ORIGINAL.replace("self.head", "self.tail"), ("Linear(8, 5)", "Linear(8, 7)"))


def test_a_spec_without_a_factory_is_one_line():
    with pytest.raises(ParityError, match=r"must be FILE\.py:FACTORY"):
        parity.port("net.py", "net.py", [np.zeros((1, 2))])
    assert not Path("net.py").exists()


def test_an_assertion_says_the_layer_the_cause_and_the_line(tmp_path):
    edit = ("nn.BatchNorm2d(channels)", "nn.BatchNorm2d(channels, eps=1e-3)")
    specs = write(tmp_path, "net.py", ORIGINAL), write(tmp_path, "port.py", ORIGINAL, edit)
    with pytest.raises(AssertionError) as caught:
        assert_same(*map(load_factory, specs), from_shapes(SHAPE, 0), modes=["eval"], dtypes=["float64"])
    said = str(caught.value)
    assert "FIRST DIFFERENCE blocks.0.norm (BatchNorm2d)" in said
    assert "CAUSE epsilon: 0.001 in the port, 1e-05 in the original" in said
    assert "self.norm = nn.BatchNorm2d(channels, eps=1e-3)" in said


@pytest.mark.parametrize("processes", [(), ("-n", "2")])
def test_the_plugin_writes_the_reports_of_passed_and_failed_ports(processes, tmp_path):
    write(tmp_path, "net.py", ORIGINAL)
    write(tmp_path, "other.py", ORIGINAL, ("x + F.gelu", "x - F.gelu"))
    (tmp_path / "test_mine.py").write_text(
        "import net, other, numpy as np, pytest\n"
        "from parity.testing import assert_same\n"
        "X = [np.random.default_rng(0).standard_normal((2, 3, 16, 16))]\n"
        "@pytest.mark.parametrize('port', [net.build, other.build])\n"
        "def test_port(port):\n"
        "    assert_same(net.build, port, X, modes=['eval'], dtypes=['float64'])\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--parity-report", "reports.json", *processes]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent.parent}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert ": DIFFERS in blocks.0: in Block.forward after blocks.0.norm" in done.stdout
    documents = json.loads((tmp_path / "reports.json").read_text())
    by_verdict = {document["passed"]: document for document in documents}
    assert (len(documents), by_verdict.keys()) == (2, {True, False})
    assert by_verdict[False]["differences"][0]["causes"][0]["what"] == "the operation"


def test_dropout_left_on_is_named_as_chance(tmp_path):
    edit = ("return self.head(x.mean((2, 3)))", "return self.head(F.dropout(x.mean((2, 3))))")
    report = compare(tmp_path, ORIGINAL, edit, modes=["eval"], dtypes=["float64"])
    (cause,) = report.difference.causes
    assert (report.difference.layer, cause.what) == ("", "chance")
    assert cause.place.line == line_of(ORIGINAL, "F.dropout", edit)


class Random(torch.nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Logarithm(torch.nn.Module):
    def forward(self, x):
        return x.log()


def takes(depth):
    return torch.nn.Identity()


def raises():
    raise ValueError("no weights here")


@pytest.mark.parametrize(
    ("factory", "shape", "words"),
    [
        (Random, "2,3", "the original is random in eval mode, first in output"),
        (Logarithm, "2,3", "the original gives 4 NaN or infinite values in eval mode, first in output"),
        (takes, "2,3", "takes must be callable without arguments: missing a required argument: 'depth'"),
        (raises, "2,3", "raises raises ValueError: no weights here"),
        (
            dict,
            "2,3",
            "must give a torch.nn.Module, a paddle.nn.Layer, a flax.nnx.Module, or a Linen module and its variables, got dict",
        ),
        (lambda: torch.nn.Linear(3, 3), "2,4", "Linear raises for inputs float64 (2, 4): RuntimeError"),
        (lambda: torch.nn.Linear(3, 3), "2,3:int<5", "Linear raises for inputs int64 (2, 3): RuntimeError"),
        (lambda: torch.nn.Linear(3, 3), "2,x", "--shape must be sizes such as 2,3,64,64"),
    ],
)
def test_bad_input_is_one_line(factory, shape, words):
    with pytest.raises(ParityError) as caught:
        parity.port(factory, factory, from_shapes([shape], 0), modes=["eval"], dtypes=["float64"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
