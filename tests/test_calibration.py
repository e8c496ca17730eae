"""Calibration: honest code within the limit, the slips beyond it, and a sample for each seed."""

import numpy as np
import pytest

from parity.calibration import calibrate, draw_picture
from parity.cases import select
from parity.compare import NOISE_LIMIT
from parity.frameworks import COLUMNS
from parity.inputs import default_image, read_image


@pytest.mark.parametrize("check", ["forward", "gradients"])
def test_each_seed_is_a_sample_and_the_limit_lies_between(check, tmp_path):
    samples = calibrate(select(["SE/default"]), COLUMNS, [check], read_image(default_image()), 2)
    true = [sample for sample in samples if sample.mutant is None]
    columns = COLUMNS if check == "forward" else COLUMNS[:3]
    assert sorted(sample.framework for sample in true) == sorted(2 * columns)
    assert all(0 < sample.units <= NOISE_LIMIT for sample in true)
    assert len({sample.units for sample in true if sample.framework == "torch"}) == 2
    slips = {sample.mutant.name: sample.units for sample in samples if sample.mutant}
    assert all(np.isfinite(units) for units in slips.values())
    if check == "forward":
        assert slips["TF32"] > 10 * NOISE_LIMIT
    draw_picture(samples, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
