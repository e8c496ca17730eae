"""The whole catalogue on a GPU, wherever one is visible; `conftest.py` says in the summary where none is."""

import json
import os
from pathlib import Path

import pytest
from commands import parity

from parity.frameworks import FRAMEWORKS

# What a machine with an accelerator has; a framework is asked only where there is one, because asking takes seconds.
NODES = ("nvidia[0-9]*", "kfd", "accel[0-9]*", "dxg")
HIDDEN = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "HIP_VISIBLE_DEVICES")


def visible():
    """The frameworks that see a GPU."""
    if not any(True for node in NODES for _ in Path("/dev").glob(node)) and os.uname().sysname != "Darwin":
        return []
    env = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    document = json.loads(parity("doctor", "--device", "auto", "--json", env=env).stdout)
    return [
        name for name in FRAMEWORKS if document["backends"].get(name, {}).get("device", {}).get("id", "cpu") != "cpu"
    ]


SEEING = visible()
pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", SEEING)
def test_every_case_is_the_same_on_the_gpu(name):
    env = {key: value for key, value in os.environ.items() if key not in HIDDEN}
    done = parity(
        "run", "--framework", name, "--device", "gpu", "--check", "forward,gradients", "--repeat", "2", env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
