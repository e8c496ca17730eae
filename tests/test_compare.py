"""The verdict can fail: planted faults in arrays, and the mutants that a port makes."""

import numpy as np
import pytest

from parity.verdict.judge import NOISE_LIMIT, RELATIVE_LIMIT, Noise, judge, judge_drift, noise_units


def example(dtype, size=60):
    """A true array, the noise of a precision in it, and an honest computation of it."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((2, 3, size // 6))
    unit = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11}[dtype]
    noise = Noise.over([Noise.of(unit * truth * rng.uniform(-1, 1, truth.shape)) for _ in range(16)])
    return {"output": truth}, {"output": noise}, {"output": truth.astype(dtype)}


def spoil(array, index, value):
    array = array.copy()
    array[index] = value
    return array


FAULTS = {
    "NaN": (lambda a: spoil(a, (1, 2, 3), np.nan), "output holds 1 NaN"),
    "infinity": (lambda a: spoil(a, (0, 0, 0), np.inf), "output holds 1 NaN or infinite"),
    "a permutation": (lambda a: a[::-1].copy(), "output is off by"),
    "one wrong element": (lambda a: spoil(a, (1, 2, 3), a[1, 2, 3] * 1.001), "output is off by"),
    "all zero": (np.zeros_like, "output is off by"),
    "another sign": (lambda a: -a, "output is off by"),
    "a broadcastable shape": (lambda a: a[:1], "output must have shape (2, 3, 10), got (1, 3, 10)"),
    "a scalar": (lambda a: a[0, 0, 0], "output must have shape (2, 3, 10), got ()"),
    "another order of axes": (lambda a: a.transpose(1, 0, 2), "output must have shape"),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_honest_array_passes(dtype):
    truth, noise, computed = example(dtype)
    verdict = judge(computed, truth, dtype, noise)
    assert verdict.passed
    assert 0 < verdict.error <= 1.5 if dtype == "float32" else verdict.error == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_by_name(fault, dtype):
    truth, noise, computed = example(dtype)
    change, words = FAULTS[fault]
    verdict = judge({"output": change(computed["output"])}, truth, dtype, noise)
    assert not verdict.passed
    assert words in verdict.why


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_wrong_element_in_a_million_fails(dtype):
    truth, noise, computed = example(dtype, 10**6 // 6 * 6)
    step = 1e-10 if dtype == "float64" else 1e-5
    wrong = spoil(computed["output"], (1, 1, 7), computed["output"][1, 1, 7] + step)
    assert judge(computed, truth, dtype, noise).passed
    assert not judge({"output": wrong}, truth, dtype, noise).passed


@pytest.mark.parametrize(
    ("computed", "words"),
    [({}, "missing output"), ({"output": np.ones(1, np.float64)}, "output must be float32, got float64")],
)
def test_a_missing_array_and_another_dtype_fail(computed, words):
    verdict = judge(computed, {"output": np.ones(1)}, "float32", {"output": Noise(1, 1)})
    assert not verdict.passed
    assert words in verdict.why


def test_an_array_too_many_fails():
    truth, noise, computed = example("float32")
    verdict = judge({**computed, "extra": np.ones(1)}, truth, "float32", noise)
    assert not verdict.passed
    assert verdict.why == "unexpected extra"


def test_an_error_where_no_noise_is_possible_fails():
    exact = {"output": np.zeros((2, 2))}
    assert judge({"output": np.zeros((2, 2), np.float32)}, exact, "float32", {"output": Noise(0, 0)}).passed
    wrong = {"output": np.full((2, 2), 1e-30, np.float32)}
    assert not judge(wrong, exact, "float32", {"output": Noise(0, 0)}).passed


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_rounding_decides_may_be_anything_but_missing_misshapen_or_nan(dtype):
    truth, noise, computed = example(dtype)
    for judged in (
        lambda arrays: judge(arrays, truth, dtype, noise, undetermined=["output"]),
        lambda arrays: judge_drift(arrays, truth, dtype, noise, None, undetermined=["output"]),
    ):
        assert judged({"output": -computed["output"]}).passed
        assert judged({}).why == "missing output"
        for fault in ("NaN", "a broadcastable shape"):
            change, words = FAULTS[fault]
            assert words in judged({"output": change(computed["output"])}).why


def test_the_limits_are_between_honest_code_and_the_nearest_fault():
    assert 1e-12 < RELATIVE_LIMIT <= 1e-11
    assert 4 < NOISE_LIMIT < 10


def test_an_error_as_rare_as_one_draw_of_many_is_within_the_limit_and_a_larger_one_is_not():
    noise = Noise.over([Noise(1.0, 1.0)] * 99 + [Noise(100.0, 100.0)])
    assert noise_units(np.full(4, 100.0), noise) < NOISE_LIMIT < noise_units(np.full(4, 200.0), noise)
