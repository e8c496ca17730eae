"""Nested dictionaries and the dotted names that they are the same as."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import ParityError, printable
from . import limits
from .budget import Budget
from .pickled import Foreign

_ENTRY = 64  # bytes of memory for each key on the way


def flatten(
    tree: Mapping[Any, Any], budget: Budget, leaf: Callable[[Any], Any] = lambda value: value
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays of nested dictionaries under dotted names, and the names of what is there besides.

    Args:
        tree: nested dictionaries.
        budget: pays for what hangs in them, which is more than the file says where something hangs in several places.
        leaf: makes an array of each value that stands for one.

    Raises:
        ParityError: for dictionaries nested deeper than 64, keys that are neither text nor an integer, and two arrays
            that get one name.
    """
    arrays: dict[str, np.ndarray] = {}
    skipped: list[str] = []

    def visit(branch: Mapping[Any, Any], path: tuple[str, ...]) -> None:
        if len(path) >= limits.MAX_DEPTH:
            raise ParityError(f"its dictionaries are nested deeper than {limits.MAX_DEPTH}")
        for key, value in branch.items():
            # Paid for here, because a branch that hangs in many places is many branches.
            budget.take(_ENTRY)
            budget.step(2)
            if type(key) not in (str, int):
                raise ParityError(f"a tensor's name must be text, got {type(key).__name__}")
            if type(key) is str:
                limits.check_length(key)
            here = (*path, str(key))
            if isinstance(value, Mapping) and (value or not isinstance(value, Foreign)):
                visit(value, here)
                continue
            name = limits.check_name(".".join(here))
            value = leaf(value)
            budget.tensors(1)
            limits.check_count(len(arrays) + len(skipped) + 1)
            if not isinstance(value, np.ndarray):
                skipped.append(label(name, value))
            elif name in arrays:
                raise ParityError(f"{name} is there twice")
            else:
                budget.expand(value.nbytes)
                arrays[name] = value

    visit(tree, ())
    return arrays, tuple(skipped)


def label(name: str, value: Any) -> str:
    """The name of what is no weight, and its class where it is an object of one."""
    limits.check_name(name)
    return f"{name} ({printable(str(value.kind))[:60]})" if isinstance(value, Foreign) else name


def nest(flat: Mapping[str, Any], key: Callable[[str], Any] = str) -> dict[Any, Any]:
    """The nested dictionaries that dotted names stand for; `key` makes each part a key."""
    tree: dict[Any, Any] = {}
    for name, value in flat.items():
        *path, last = (key(part) for part in limits.check_name(name).split("."))
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                raise ParityError(f"{name} lies within another tensor")
        if last in branch:
            raise ParityError(f"{name} lies around another tensor")
        branch[last] = value
    return tree
