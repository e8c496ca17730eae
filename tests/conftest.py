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


def pytest_terminal_summary(terminalreporter):
    """Say that the tests on a GPU did not run, where none is visible: they are the only ones that may be missing."""
    import sys

    module = sys.modules.get("test_gpu")
    if module is not None and not module.SEEING:
        terminalreporter.write_line("test_gpu.py did not run: no framework here sees a GPU", yellow=True)
