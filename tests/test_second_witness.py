"""The noise measured on PyTorch's and JAX's own operations is the one that the reference predicts, within a factor."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from parity.catalogue.cases import select

spec = importlib.util.spec_from_file_location("witness", Path(__file__).parent.parent / "benchmarks" / "witness.py")
witness = importlib.util.module_from_spec(spec)
spec.loader.exec_module(witness)
factors, of_torch, of_jax = witness.factors, witness.of_torch, witness.of_jax

# Of each array's noise, and of the middle of a case's; docs/noise.md publishes what was measured.
FACTOR = 4.0
MIDDLE = 2.0
CASES = ["SE/default", "ChannelAttention/bias", "SpatialAttention/norm", "CBAM/options", "ASPP/one-rate", "SE_ASPP/options", "BasicBlock/cbam"]  # fmt: skip


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
