"""Trained weights play every part that they are drawn for, and the rounding noise leaves what is exact in its place."""

import numpy as np
import pytest

from parity.catalogue.cases import CASES
from parity.catalogue.inputs import default_image, draw_weights, read_image
from parity.catalogue.trained import pairs
from parity.reference import modules as reference
from parity.reference.arithmetic import LEAST, UNIT_ROUNDOFF, Noisy
from parity.reference.evaluate import build
from parity.runs.run import draw
from parity.verdict.expect import expect

TRAINED = [case for case in CASES if case.weights == "trained"]
MODULES = {case.module for case in CASES}
IMAGE = read_image(default_image())


def noisy(dtype):
    return Noisy(UNIT_ROUNDOFF[dtype], np.random.default_rng(0), least=LEAST.get(dtype, 0.0))


def test_every_module_has_a_case_with_trained_weights():
    assert {case.module for case in TRAINED} == MODULES


@pytest.mark.parametrize("case", TRAINED, ids=lambda case: case.name)
def test_the_parts_are_played(case):
    weights = draw_weights(case, reference.shapes(build(case)), 0)
    for kernel, norm in pairs(weights).items():
        gamma, beta, mean, var = (
            weights[f"{norm}{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        assert gamma[0] < 0
        assert 4e-6 <= var[0] <= 2e-5
        if len(gamma) > 1:
            assert not weights[kernel][1].any()
            assert beta[1] == mean[1] == 0
        if len(gamma) > 6:
            assert 0 < var[2] < 3e-8
            assert var[3] > 5e3
            assert var[4] == mean[4] == 0
            assert gamma[-1] == 0 < beta[-1]
    gates = [array for key, array in weights.items() if key.endswith("fc2.weight")]
    assert all(not rows[-2:].any() for rows in gates)


def test_a_norm_is_paired_with_the_convolution_in_front_of_it():
    case = next(case for case in TRAINED if case.module == "Bottleneck")
    found = pairs(draw_weights(case, reference.shapes(build(case)), 0))
    convs = {
        "conv1.weight": "bn1.",
        "conv2.weight": "bn2.",
        "conv3.weight": "bn3.",
        "downsample.0.weight": "downsample.1.",
    }
    assert found == convs


@pytest.mark.parametrize("dtype", UNIT_ROUNDOFF)
def test_what_the_format_holds_makes_no_noise(dtype):
    held = np.array([0.0, 1.0, -3.0, 0.5, 800.0, 2.0**-14])
    assert np.array_equal(noisy(dtype).rounded(held), held)
    others = np.random.default_rng(1).standard_normal(1000)
    assert (noisy(dtype).rounded(others) != others).mean() > 0.2


def test_float16_errs_as_far_as_its_smallest_numbers_lie_apart():
    y = np.random.default_rng(0).uniform(1e-6, 1e-5, 10000)
    truth = y.astype(np.float16).astype(float) - y
    noise = noisy("float16").rounded(y) - y
    assert 0.9 <= np.sqrt((truth**2).mean() / (noise**2).mean()) <= 1.1
    assert not noisy("float16").holds(np.array([2.0**-26])).any()


@pytest.mark.parametrize("name", ["SE/trained-hard", "CBAM/trained", "BasicBlock/trained"])
def test_no_rounding_moves_what_lies_on_a_kink_or_ties(name):
    # Were it so, the noise would be as large as what a wrong kink or tie changes, and hide it.
    case = next(case for case in TRAINED if case.name == name)
    for train in (False, True):
        expected = expect(case, draw(case, IMAGE, 0), "float64", ("gradients",), train=train)["gradients"]
        assert all(expected.noise[key].peak <= 1e-12 * np.abs(array).max() for key, array in expected.arrays.items())
