"""What all tests share: the frameworks, in this process, with float64 in JAX."""

import os

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from types import ModuleType

import pytest

from parity import frameworks
from parity.layout import FRAMEWORKS


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> ModuleType:
    """Each framework's functions; one that is not installed fails, it is not skipped."""
    return frameworks.load(request.param)
