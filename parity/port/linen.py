"""A Linen module with its variables as an NNX module, so that there is one way to look at a Flax model.

Its arrays are attributes along the paths of Linen's own layers, whatever collection they are of.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax.numpy as jnp
from flax import linen, nnx

from ..errors import ParityError

# By which argument a Linen module is told its mode, by convention, and what that is in train mode.
MODES = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}


class Layer(nnx.Dict):
    """The arrays and layers of one layer of Linen's."""


class Linen(nnx.Module):
    """module.apply(variables, ...), its collections moving in train mode; dropout stays off.

    Args:
        module: The Linen module.
        variables: What its `init` gave.
    """

    def __init__(self, module: linen.Module, variables: Mapping[str, Any]) -> None:
        self.linen = module
        self.deterministic = True
        named = inspect.signature(type(module).__call__).parameters
        self.told = tuple(name for name in MODES if name in named)
        for name, value in _merged(variables).items():
            setattr(self, name, value)

    def __call__(self, *inputs: Any) -> Any:
        train = not self.deterministic
        variables = _collections(vars(self))
        told = {name: MODES[name] is train for name in self.told}
        moving = [name for name in variables if name != "params"] if train else []
        with linen.intercept_methods(_without_dropout):
            if not moving:
                return self.linen.apply(variables, *inputs, **told)
            output, moved = self.linen.apply(variables, *inputs, **told, mutable=moving)
        for tree in moved.values():
            for path, array in _leaves(tree):
                _at(self, path).set_value(array)
        return output


def is_pair(made: Any) -> bool:
    """Whether a factory gave a Linen module and its variables."""
    return isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], linen.Module)


def layers(model: Linen) -> Iterator[tuple[str, str, Any]]:
    """The path of each layer that owns arrays or layers, twice, and what stands for it."""
    yield "", "", model
    yield from _layers("", vars(model))


def _layers(path: str, attributes: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, value in attributes.items():
        if isinstance(value, Layer):
            below = f"{path}.{name}" if path else name
            yield below, below, value
            yield from _layers(below, vars(value))


@contextmanager
def tapped(call: Callable[..., Any]) -> Iterator[None]:
    """Let every call of a layer go through `call`, which takes its path, what computes it, and its arguments."""

    def through(forward: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return forward(*args, **kwargs)
        return call(".".join(context.module.path), forward, args, kwargs)

    with linen.intercept_methods(through):
        yield


def _without_dropout(forward: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
    if isinstance(context.module, linen.Dropout) and context.method_name == "__call__":
        return args[0]
    return forward(*args, **kwargs)


def _merged(variables: Mapping[str, Any]) -> dict[str, Any]:
    """One tree of all collections."""
    tree: dict[str, Any] = {}
    for collection, leaves in variables.items():
        for path, array in _leaves(leaves):
            place = tree
            for name in path[:-1]:
                place = place.setdefault(name, {})
            if path[-1] in place:
                raise ParityError(f"two collections of the Linen module have {'.'.join(path)}; give them other names")
            kind = (
                nnx.Param if collection == "params" else nnx.BatchStat if collection == "batch_stats" else nnx.Variable
            )
            place[path[-1]] = kind(jnp.array(array), collection=collection)
    return {name: _layer(value) for name, value in tree.items()}


def _layer(value: Any) -> Any:
    return Layer({name: _layer(each) for name, each in value.items()}) if isinstance(value, dict) else value


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _leaves(value, (*path, str(name)))
    else:
        yield path, tree


def _collections(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The variables as Linen has them."""
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, Layer):
            for collection, tree in _collections(vars(value)).items():
                found.setdefault(collection, {})[name] = tree
        elif isinstance(value, nnx.Variable):
            found.setdefault(value.get_metadata()["collection"], {})[name] = value[...]
    return found


def _at(layer: Any, path: tuple[str, ...]) -> nnx.Variable:
    for name in path:
        layer = vars(layer)[name]
    return layer
