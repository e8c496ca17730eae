"""The fixtures that all tests share: the frameworks, in this process, with float64 in JAX."""

import os
import shutil
import sys
import tempfile

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# What JAX has compiled for one test's process the next one finds; `parity.frameworks.switches` sets the rest.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="parity-tests-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

from importlib.util import find_spec
from types import ModuleType

import pytest
from chromium import find_chromium

from parity import frameworks
from parity.frameworks import FRAMEWORKS


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> ModuleType:
    """Each framework's functions; one that is not installed fails, it is not skipped."""
    return frameworks.load(request.param)


# What `make` installs for one file of tests alone: Ray is larger than all the rest of the tests' needs, and Chromium
# comes from the system.
BROWSER = find_spec("playwright") and find_chromium()
LEFT_OUT = {
    "test_ray.py": "" if find_spec("ray") else "`make test-ray` installs ray and runs it",
    "test_browser.py": "" if BROWSER else "`make test-browser` runs it where Chromium is, see CONTRIBUTING.md",
}
collect_ignore = [name for name, why in LEFT_OUT.items() if why]
NOT_RUN_ELSEWHERE = {}


def pytest_unconfigure():
    """Leave nothing behind."""
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


def pytest_sessionfinish(session):
    """In a process of pytest-xdist, hand over to the one that reports."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["not run"] = not_run()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take what a process of pytest-xdist handed over."""
    NOT_RUN_ELSEWHERE.update(dict.fromkeys(getattr(node, "workeroutput", {}).get("not run", ())))


def pytest_terminal_summary(terminalreporter):
    """Say which tests did not run: those on a GPU where none is visible, and those without what they need."""
    for line in {**NOT_RUN_ELSEWHERE, **dict.fromkeys(not_run())}:
        terminalreporter.write_line(line, yellow=True)


def not_run():
    """The tests that this process did not run, a line each."""
    lines = [f"{name} did not run: {LEFT_OUT[name]}" for name in collect_ignore]
    module = sys.modules.get("test_gpu")
    if module is not None and not module.SEEING:
        lines.append("test_gpu.py did not run: no framework here sees a GPU")
    module = sys.modules.get("test_lower")
    if module is not None and not module.INSTALLED:
        lines.append("test_lower.py compiled nothing for a GPU: `make lower` makes the environment that it takes")
    return lines
