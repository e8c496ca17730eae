"""Arrays that are hard to keep, and a comparison that sees every bit."""

from pathlib import Path

import ml_dtypes
import numpy as np

FLOATS = {np.dtype(dtype).name: np.dtype(dtype) for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)}
SHAPES = {
    "branches.0.conv.weight": (3, 4, 2, 5),
    "branches.0.conv.bias": (3,),
    "branches.1.conv.weight": (3, 4, 1, 1),
    "pool.norm.weight": (3,),
    "pool.norm.bias": (3,),
    "pool.norm.running_mean": (3,),
    "pool.norm.running_var": (3,),
    "fc.weight": (4, 6),
    "fc.bias": (4,),
    "wide.weight": (70, 45, 2, 1),
}


def hard(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> np.ndarray:
    """Random bits: NaN of every payload, infinities, subnormals and both zeros among them."""
    size = int(np.prod(shape)) * dtype.itemsize
    array = np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape).copy()
    quiet = {2: "<u2", 4: "<u4", 8: "<u8"}[dtype.itemsize]
    bits = array.reshape(-1).view(quiet)
    sign = 1 << (8 * dtype.itemsize - 1)
    special = (sign, sign | 1, np.array(np.nan, dtype).view(quiet) | 1)  # -0, a subnormal, a NaN with a payload
    if bits.size > len(special):
        bits[: len(special)] = special
    return array


def hard_weights(dtype: np.dtype) -> dict[str, np.ndarray]:
    return {key: hard(shape, dtype, seed) for seed, (key, shape) in enumerate(SHAPES.items())}


def assert_same(weights: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Equal names, dtypes, shapes and bits."""
    assert weights.keys() == expected.keys()
    for key, array in expected.items():
        assert weights[key].dtype == array.dtype, key
        assert weights[key].shape == array.shape, key
        assert weights[key].tobytes() == array.tobytes(), key


def names(folder: Path) -> list[str]:
    """The names in a directory, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
