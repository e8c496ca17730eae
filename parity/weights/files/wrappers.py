"""Training scripts save the weights beside an epoch and an optimizer; this finds them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import ParityError
from . import limits
from .budget import Budget
from .tree import flatten

# What scripts call the weights, the likeliest first.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "weights",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema",
)


def unwrap(
    tree: Any, budget: Budget, is_leaf: Callable[[Any], bool], leaf: Callable[[Any], Any]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays of the tree, or of its branch that has a usual name and no array beside it, and what else it holds.

    Args:
        tree: nested dictionaries.
        budget: pays for the arrays.
        is_leaf: whether a value stands for an array.
        leaf: makes an array of each value that stands for one.

    Raises:
        ParityError: where there is no dictionary, and where the arrays would be far larger than the file.
    """
    if not isinstance(tree, dict):
        raise ParityError(f"must hold a dictionary of tensors, got {type(tree).__name__}")
    branch = next((tree[name] for name in _WRAPPERS if isinstance(tree.get(name), dict)), None)
    if branch is None or any(map(is_leaf, tree.values())):
        return flatten(tree, budget, leaf)
    arrays, skipped = flatten(branch, budget, leaf)
    budget.tensors(len(tree))
    return arrays, skipped + tuple(limits.check_name(str(key)) for key in tree if tree[key] is not branch)
