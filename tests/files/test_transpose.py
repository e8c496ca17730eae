"""Arrays with their axes in the opposite order, copied by tiles: every value, in row-major order, and counted once."""

import itertools

import numpy as np
import pytest

from parity.weights.files.transpose import transpose

SHAPES = [
    (130, 70, 3, 3),
    (3, 3, 70, 130),
    (200, 40, 3, 3),
    (700, 300),
    (3, 9000),
    (9000, 3),
    (129, 601, 2),
    (65, 7, 3, 3, 13),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_order_of_axes(shape: tuple[int, ...], dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 127, shape).astype(dtype)
    turned = 0
    for order in itertools.permutations(range(len(shape))):
        view = array.transpose(order)
        told: list[int] = []
        copy = transpose(view, told.append)
        if copy is not None:
            turned += 1
            assert copy.flags.c_contiguous
            assert np.array_equal(copy, view)
            assert sum(told) == view.nbytes
    assert turned or array.nbytes < 1 << 16


def test_what_is_not_turned() -> None:
    array = np.zeros((300, 200), np.float32)
    for view in (array, array[::2].T, array[:, ::-1].T, np.broadcast_to(array[:1], (300, 200)).T, array[:0].T):
        assert transpose(view, lambda _: None) is None
