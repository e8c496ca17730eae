"""An image alone and in a batch of eight: the same within noise, and whether bit for bit is said."""

import os

import numpy as np
import pytest
from commands import parity

from parity.catalogue import batch, cases
from parity.catalogue.inputs import default_image, read_image
from parity.runs.run import draw
from parity.verdict.batch import SAME_BITS, judge_batch
from parity.verdict.expect_batch import expect_batch
from parity.verdict.judge import RELATIVE_LIMIT
from parity.verdict.results import Status


def test_the_image_is_the_same_in_both_and_its_neighbours_are_others():
    x = np.arange(2 * 3 * 4 * 16, dtype=np.float32).reshape(2, 3, 4, 16)
    found = batch.among(x)
    assert found.shape == (batch.SIZE, 3, 4, 16)
    assert np.array_equal(found[[batch.PLACE]], batch.alone(x))
    assert [i for i in range(batch.SIZE) if np.array_equal(found[i], found[batch.PLACE])] == [batch.PLACE]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_an_image_takes_from_its_neighbours_differs(dtype):
    case = cases.select(["SE/1x1"])[0]
    expected = expect_batch(case, draw(case, read_image(default_image()), 0), dtype)
    right = expected.arrays["alone"].astype(dtype)
    leak = 1e-6 if dtype == "float64" else 1e-3
    unit = np.float64(expected.noise["alone"].peak) if dtype == "float32" else 1e-15
    for among, passed, why in (
        (right.copy(), True, SAME_BITS),
        (right + right.dtype.type(unit), True, "apart by"),
        (right * right.dtype.type(1 + leak), False, "among is off by"),
        (np.where(right == right.max(), np.nan, right).astype(dtype), False, "among holds 1 NaN"),
    ):
        verdict = judge_batch({"alone": right, "among": among}, expected, dtype, RELATIVE_LIMIT)
        assert (verdict.status is Status.SAME) == passed
        assert verdict.why.startswith(why)
    assert not judge_batch({"alone": right}, expected, dtype, RELATIVE_LIMIT).passed


def test_a_module_that_mixes_images_is_found(tmp_path):
    """The mean over the map taken over the batch too, in PyTorch's worker alone."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'parity.workers.worker' in sys.orig_argv and 'torch' in sys.orig_argv:\n"
        "    import torch_impl.se as se\n"
        "    se.mean_hw = lambda x: x.mean((0, 2, 3), keepdim=True).expand(len(x), -1, -1, -1)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = parity("run", "--case", "SE/1x1", "--check", "batch", "--framework", "torch,paddle", env=env)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert [" in torch, " in line for line in failed] == [True, True]
    assert all("among is off by" in line for line in failed)
    assert f"paddle in float32, alone and in a batch of eight: {SAME_BITS} in " in done.stdout
