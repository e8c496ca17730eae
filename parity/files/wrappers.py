"""Training scripts save the weights beside an epoch and an optimizer; this finds them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import limits
from .tree import flatten

# What scripts call the weights, the likeliest first.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights", "params")


def unwrap(tree: Mapping[Any, Any], leaf: Callable[[Any], Any]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays of the tree, or of its branch that has a usual name and no array beside it, and what else it holds.

    Args:
        tree: nested dictionaries.
        leaf: makes an array of each value that stands for one.
    """
    filled = _fill(tree, leaf)
    if not any(isinstance(value, np.ndarray) for value in filled.values()):
        for name in _WRAPPERS:
            if isinstance(filled.get(name), dict):
                arrays, skipped = flatten(filled[name])
                return arrays, (*skipped, *(limits.check_name(str(key)) for key in filled if key != name))
    return flatten(filled)


def _fill(tree: Mapping[Any, Any], leaf: Callable[[Any], Any], depth: int = 0) -> dict[Any, Any]:
    if depth > limits.MAX_DEPTH:
        return dict(tree)  # flatten refuses it
    return {
        key: _fill(value, leaf, depth + 1) if isinstance(value, dict) else leaf(value) for key, value in tree.items()
    }
