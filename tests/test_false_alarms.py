"""The frequency with which a right port fails: SciPy's numbers, the definition, and a simulation."""

import numpy as np
import pytest
from scipy.stats import binomtest

from parity.runs.false_alarms import CONFIDENCE, any_of, at_most, describe, upper_bound

COUNTS = [(0, 1), (0, 20), (1, 20), (0, 5600), (1, 4800), (30, 5600), (7, 9), (19, 20), (20, 20), (280, 560)]


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("alarms", "samples"), COUNTS)
def test_the_bound_is_scipys(alarms, samples, confidence):
    expected = binomtest(alarms, samples, alternative="less").proportion_ci(confidence, "exact").high
    assert upper_bound(alarms, samples, confidence) == pytest.approx(expected, rel=1e-10)


def test_without_alarms_the_bound_is_a_power():
    assert upper_bound(0, 5600) == pytest.approx(1 - 0.05 ** (1 / 5600), rel=1e-12)
    assert upper_bound(0, 5600) == pytest.approx(5.35e-4, rel=1e-3)
    assert any_of(upper_bound(0, 5600), 853) == pytest.approx(0.366, abs=5e-4)


@pytest.mark.parametrize("p", [0.003, 0.02, 0.3])
def test_the_bound_holds_as_often_as_it_says(p):
    samples = 300
    found = np.random.default_rng(0).binomial(samples, p, 4000)
    bounds = {alarms: upper_bound(int(alarms), samples) for alarms in set(found)}
    assert np.mean([bounds[alarms] >= p for alarms in found]) > CONFIDENCE - 0.01


def test_a_few_of_many_are_counted_as_the_definition_has_it():
    assert at_most(1, 3, 0.25) == pytest.approx(0.75**3 + 3 * 0.25 * 0.75**2)


@pytest.mark.parametrize(("p", "checks", "expected"), [(0, 853, 0), (1, 1, 1), (0.5, 2, 0.75), (1e-20, 853, 8.53e-18)])
def test_a_run_fails_where_one_check_does(p, checks, expected):
    assert any_of(p, checks) == pytest.approx(expected, rel=1e-12)


def test_the_sentence_says_both_with_their_intervals():
    assert describe(0, 5600, 853) == (
        "a right port fails one check with probability 0 (95% interval 0 to 0.00053), "
        "a run of 853 checks with 0 (0 to 0.37)"
    )
    assert "probability 0.00021 (95% interval 0 to 0.00099), a run of 853 checks with 0.16" in describe(1, 4800, 853)


@pytest.mark.parametrize(("alarms", "samples"), [(0, 0), (-1, 3), (4, 3)])
def test_impossible_counts_are_refused(alarms, samples):
    with pytest.raises(ValueError, match=f"got {alarms} of {samples}"):
        upper_bound(alarms, samples)
