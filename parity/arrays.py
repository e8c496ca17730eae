"""The arrays that everything here works on: NumPy's, by name."""

from collections.abc import Mapping

import numpy as np

Arrays = dict[str, np.ndarray]


def largest(array: np.ndarray) -> float:
    """The largest absolute value."""
    return float(np.abs(array).max())


def unmoved(weights: Mapping[str, np.ndarray], who: str) -> Arrays:
    """The running values among canonical weights that a model does not own, so that no pass may move them."""
    return {f"{who}/{key}": array for key, array in weights.items() if "running_" in key}
