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
    branch = next((tree[name] for name in _WRAPPERS if isinstance(tree.get(name), dict)), None)
    if branch is None or any(isinstance(leaf(value), np.ndarray) for value in tree.values()):
        return flatten(tree, leaf)
    arrays, skipped = flatten(branch, leaf)
    return arrays, (*skipped, *(limits.check_name(str(key)) for key in tree if tree[key] is not branch))
