"""The noise of a sum is that of real sums, added up in order and rounded each time, whatever their values are."""

import numpy as np
import pytest

from parity.reference.arithmetic import BLOCK, SAME_EXPONENT, UNIT_ROUNDOFF, Noisy, independent
from parity.verdict.judge import NOISE_LIMIT

ROWS = 200
COUNT = 442


def same(rng):
    return rng.standard_normal((ROWS, 1))


def different(rng):
    return rng.standard_normal((ROWS, COUNT))


def half(rng):
    return rng.random((ROWS, COUNT)) < 0.5


VALUES = {
    "of mean zero": different,
    "of one sign": lambda rng: rng.random((ROWS, COUNT)),
    "far from zero": lambda rng: different(rng) + 3,
    "all the same": lambda rng: np.repeat(same(rng), COUNT, 1),
    "nearly the same": lambda rng: same(rng) * (1 + 1e-6 * different(rng)),
    "the levels of a photograph": lambda rng: (
        same(rng) / 255 * np.clip(rng.normal(90, 30, (ROWS, COUNT)).round(), 0, 255)
    ),
    "behind a ReLU": lambda rng: np.maximum(different(rng), 0),
    # As the gradient in front of SE: where a ReLU behind it is shut, only SE's part, which is one number per image.
    "half the same": lambda rng: np.where(half(rng), same(rng), different(rng)),
    "half the same, two images": lambda rng: half(rng) * np.repeat(rng.standard_normal((ROWS, 2)), COUNT // 2, 1),
    "of a smooth map": lambda rng: np.sin(np.arange(COUNT) / 40 + rng.uniform(0, 6, (ROWS, 1))),
}


def units(values, dtype, **options):
    """The errors of sums added up in order, each over the noise of its sum."""
    values = values.astype(dtype)
    exact = values.astype(np.float64).sum(1)
    errors = np.add.accumulate(values, 1, dtype=dtype)[:, -1] - exact
    ops = Noisy(UNIT_ROUNDOFF[dtype], np.random.default_rng(1), **options)
    draws = [ops.total(values.astype(np.float64), 1)[:, 0] - exact for _ in range(16)]
    return errors / np.sqrt(np.mean(np.square(draws), 0))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", VALUES)
def test_the_noise_of_a_sum_is_its_error(kind, dtype):
    assert COUNT <= BLOCK
    found = units(VALUES[kind](np.random.default_rng(0)), dtype)
    assert 0.2 < np.sqrt(np.mean(found**2)) < 1.2
    assert np.mean(np.abs(found) > 3) <= 0.02


def test_many_values_in_order_need_the_noise_of_order():
    values = np.random.default_rng(0).random((ROWS, 4500))
    assert 0.3 < np.sqrt(np.mean(units(values, "float32", in_order=True) ** 2)) < 1.2
    assert np.sqrt(np.mean(units(values, "float32") ** 2)) > NOISE_LIMIT


def test_values_that_come_again_count_together_and_zeros_do_not_count():
    rows = np.array([[1.0, 2.0, 0.0, 1.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(independent(rows, np.full(3, 1e-6)), [2 * (1 + SAME_EXPONENT) + 1, 4, 0])
    assert not Noisy(UNIT_ROUNDOFF["float32"], np.random.default_rng(0)).total(np.zeros((2, 3, 4, 5)), (2, 3)).any()


def test_another_pass_has_new_errors_of_the_same_deviations():
    ops = Noisy(UNIT_ROUNDOFF["float32"], np.random.default_rng(0))
    x = np.random.default_rng(1).random((20, 100))
    first = ops.total(x, 1) - x.sum(1, keepdims=True)
    ops.next_draw()
    second = ops.total(x, 1) - x.sum(1, keepdims=True)
    assert len(ops.deviations) == 1
    assert not np.any(first == second)
    assert 0.3 < first.std() / second.std() < 3
