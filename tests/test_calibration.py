"""Calibration: honest code within the limit, the mutants beyond it, and a sample for each seed."""

import numpy as np
import pytest

from parity.__main__ import main
from parity.catalogue.cases import select
from parity.catalogue.inputs import default_image, read_image
from parity.frameworks import COLUMNS
from parity.runs.calibration import Sample, calibrate, draw_picture
from parity.verdict.judge import NOISE_LIMIT


@pytest.mark.parametrize("check", ["forward", "gradients"])
def test_each_seed_is_a_sample_and_the_limit_lies_between(check, tmp_path):
    samples = calibrate(select(["SE/default"]), COLUMNS, [check], read_image(default_image()), range(2))
    true = [sample for sample in samples if sample.mutant is None]
    columns = COLUMNS if check == "forward" else COLUMNS[:3]
    assert sorted(sample.framework for sample in true) == sorted(2 * columns)
    assert all(0 < sample.units <= NOISE_LIMIT and not sample.why for sample in true)
    assert {sample.seed for sample in true} == {0, 1}
    assert len({sample.units for sample in true if sample.framework == "torch"}) == 2
    mutants = {sample.mutant.name: sample.units for sample in samples if sample.mutant}
    assert all(np.isfinite(units) for units in mutants.values())
    if check == "forward":
        assert mutants["TF32"] > 10 * NOISE_LIMIT
    draw_picture(samples, "float32", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("case", "seed", "check"),
    [("SE_ASPP/options", 6, "gradients"), ("SE_ASPP/options", 55, "gradients"), ("CBAM/options", 173, "forward")],
)
def test_draws_that_other_models_of_a_sum_misjudge_are_judged(case, seed, check):
    """Taking a sum's values for random and different makes Flax 11.1, 5.8 and 4.6 units off here."""
    samples = calibrate(select([case]), ["flax"], [check], read_image(default_image()), [seed])
    (sample,) = (sample for sample in samples if sample.mutant is None)
    assert 0 < sample.units < NOISE_LIMIT / 1.5


def test_a_picture_holds_no_error_at_all_and_one_that_has_no_number(tmp_path):
    draw_picture(
        [Sample("torch", "SE/default", 0, None, units, "") for units in (0.0, np.inf)], "float32", tmp_path / "p.png"
    )
    assert (tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("torch,paddle --dtype bfloat16", 0, "left out, because they cannot compute forward in bfloat16: paddle"),
        (
            "torch --dtype float16",
            0,
            "a right port fails one check with probability 0 (95% interval 0 to 0.95), a run of",
        ),
        ("onnx --check gradients", 2, "onnx cannot compute gradients in float32: nothing to measure"),
        ("paddle --dtype float64", 2, "--dtype must be one of float32, bfloat16, float16, got 'float64'"),
    ],
)
def test_what_cannot_be_measured_is_said(options, code, words, monkeypatch, capsys):
    command = f"parity calibrate --case SE/default --seeds 1 --framework {options}"
    monkeypatch.setattr("sys.argv", command.split())
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code
    shown = capsys.readouterr()
    assert words in (shown.err if code else shown.out)
