"""Tensors in what a layer takes and gives: nested tuples, lists and dictionaries, and whatever else lies between."""

from collections.abc import Callable, Iterator
from typing import Any

IsTensor = Callable[[Any], bool]


def tensors(tree: Any, is_tensor: IsTensor) -> list[Any]:
    """The tensors of the tree, in order."""
    return list(_walk(tree, is_tensor))


def replace(tree: Any, new: Iterator[Any], is_tensor: IsTensor) -> Any:
    """The tree with each tensor replaced by the next of `new`."""
    if is_tensor(tree):
        return next(new)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(replace(item, new, is_tensor) for item in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(replace(item, new, is_tensor) for item in tree)
    if isinstance(tree, dict):
        copy = tree.copy()
        for key, item in tree.items():
            copy[key] = replace(item, new, is_tensor)
        return copy
    return tree


def _walk(tree: Any, is_tensor: IsTensor) -> Iterator[Any]:
    if is_tensor(tree):
        yield tree
    elif isinstance(tree, tuple | list):
        for item in tree:
            yield from _walk(item, is_tensor)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from _walk(item, is_tensor)
