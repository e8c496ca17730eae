"""Training scripts save the weights beside an epoch and an optimizer; this finds them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import ParityError
from . import limits
from .tree import flatten

# What scripts call the weights, the likeliest first.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights", "params")


def unwrap(tree: Any, leaf: Callable[[Any], Any], stored: int) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays of the tree, or of its branch that has a usual name and no array beside it, and what else it holds.

    Args:
        tree: nested dictionaries.
        leaf: makes an array of each value that stands for one.
        stored: the bytes of the file.

    Raises:
        ParityError: where there is no dictionary, and where the arrays would be far larger than the file.
    """
    if not isinstance(tree, dict):
        raise ParityError(f"must hold a dictionary of tensors, got {type(tree).__name__}")
    branch = next((tree[name] for name in _WRAPPERS if isinstance(tree.get(name), dict)), None)
    if branch is None or any(isinstance(leaf(value), np.ndarray) for value in tree.values()):
        arrays, skipped = flatten(tree, leaf)
    else:
        arrays, skipped = flatten(branch, leaf)
        skipped += tuple(limits.check_name(str(key)) for key in tree if tree[key] is not branch)
    limits.check_expansion(sum(array.nbytes for array in arrays.values()), stored)
    return arrays, skipped
