"""The precision probe measures each framework's float32 products, and its verdict comes before any other."""

import os
from pathlib import Path

import pytest
from commands import ROOT, parity

from parity import frameworks
from parity.frameworks import FRAMEWORKS
from parity.workers import precision_probe

LOWERED = Path(__file__).parent / "lowered"


def lowered(fault, *arguments, framework):
    """`parity run` in which one framework's worker computes its products in a lower precision."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(LOWERED), str(ROOT)]), "PARITY_LOWER": fault}
    return parity("run", "--case", "CBAM/1x1", "--framework", framework, *arguments, env=env)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_honest_float32_is_far_below_the_limit(name):
    found = precision_probe.measure(frameworks.load(name), "cpu")
    assert len(found) == 6
    assert all(0.1 < units < precision_probe.LIMIT / 4 for units in found.values()), found
    assert precision_probe.verdict(name, found) == ""


@pytest.mark.parametrize(
    ("framework", "precision", "when", "op", "named"),
    [
        ("torch", "tf32", "forward", "conv", "torch: mkldnn.conv; its forward"),
        ("torch", "tf32", "backward", "matmul", "torch: mkldnn.matmul; its gradient"),
        ("torch", "bfloat16", "backward", "conv", "torch: mkldnn.conv; its gradient"),
        ("paddle", "tf32", "backward", "conv", "paddle: convolution; its gradient"),
        ("paddle", "bfloat16", "forward", "matmul", "paddle: matmul; its forward"),
        ("flax", "tf32", "forward", "matmul", "flax: matmul; its forward"),
        ("flax", "bfloat16", "backward", "conv", "flax: convolution; its gradient"),
    ],
)
def test_a_worker_with_lower_products_is_a_hard_error_before_any_verdict(framework, precision, when, op, named):
    done = lowered(f"{framework}:{precision}:{when}:{op}", framework=framework)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"parity: TF32 (or lower) is on in {named}")
    assert done.stderr.count("\n") == 1


def test_tf32_that_is_allowed_is_judged_as_tf32():
    done = lowered("torch:tf32:forward:conv", "--allow-tf32", "--verbose", framework="torch")
    assert done.returncode == 0, done.stderr
    assert "float32 as TF32" in done.stdout
    assert "cudnn.conv.fp32_precision=tf32" in done.stdout
    assert "NVIDIA_TF32_OVERRIDE= " in done.stdout


def test_less_than_tf32_is_an_error_even_where_tf32_is_allowed():
    done = lowered("flax:bfloat16:forward:conv", "--allow-tf32", framework="flax")
    assert done.returncode == 2
    assert "less than TF32 is on in flax: convolution" in done.stderr


def test_a_measurement_that_is_not_a_number_is_no_pass():
    assert "is off by nan" in precision_probe.verdict(
        "torch", {"cudnn.conv forward": float("nan"), "matmul forward": 1.0}
    )
