"""Flax NNX's side: a model's layers, what goes through them, and its gradients."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from . import linen
from .load import is_inside
from .taps import Record, Taps

CONTAINERS = (nnx.Sequential,)
CHANNELS_LAST = True
SKIPPED = ("rngs", "deterministic", "use_running_average")


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tap(name: str, record: Record, tensor: jax.Array) -> jax.Array:
    return tensor


def _tap_forward(name: str, record: Record, tensor: jax.Array) -> tuple[jax.Array, None]:
    return tensor, None


def _tap_backward(name: str, record: Record, _: None, gradient: jax.Array) -> tuple[jax.Array]:
    record.gradients[name] = np.array(gradient)
    return (gradient,)


_tap.defvjp(_tap_forward, _tap_backward)


@jax.custom_vjp
def probe(tensor: jax.Array, zero: jax.Array) -> jax.Array:
    """The same tensor, whose gradient goes to `zero` too."""
    return tensor


probe.defvjp(lambda tensor, zero: (tensor, None), lambda _, gradient: (gradient, gradient))


def is_tensor(value: Any) -> bool:
    """Whether the value is an array of this framework."""
    return isinstance(value, jax.Array | np.ndarray)


def tap(name: str, tensor: jax.Array, record: Record) -> jax.Array:
    """The same tensor, which writes its value and its gradient into `record`."""
    value = _concrete(tensor)
    if value is None:
        return tensor
    record.values[name] = np.array(value)
    return _tap(name, record, tensor) if jnp.issubdtype(tensor.dtype, jnp.floating) else tensor


def _concrete(tensor: Any) -> Any:
    """The value of what jax.vjp follows; None inside what is compiled or looped over, where there is none yet."""
    while isinstance(tensor, jax.core.Tracer):
        tensor = getattr(tensor, "primal", None)
    return tensor


def modules(model: nnx.Module) -> Iterator[tuple[str, str, nnx.Module]]:
    """Each layer that is looked at: its path, the same path as another framework would say it, and the layer."""
    if isinstance(model, linen.Linen):
        yield from linen.layers(model)
        return
    yield from _modules("", "", model, set())


def _modules(path: str, alias: str, layer: nnx.Module, seen: set[int]) -> Iterator[tuple[str, str, nnx.Module]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, alias, layer
    if is_leaf(layer):
        return
    for name, child in _children(layer):
        # nnx.Sequential keeps its layers in a list of that name.
        short = name.removeprefix("layers.") if isinstance(layer, nnx.Sequential) else name
        yield from _modules(_join(path, name), _join(alias, short), child, seen)


def _children(layer: Any) -> Iterator[tuple[str, nnx.Module]]:
    """The layers that are attributes of this one, or lie in its lists and dictionaries, with the path to each."""
    values = vars(layer).items() if isinstance(layer, nnx.Module) else _items(layer)
    for name, value in values:
        if isinstance(value, nnx.List | nnx.Dict | list | tuple | dict):
            yield from ((f"{name}.{more}", child) for more, child in _children(value))
        elif isinstance(value, nnx.Module):
            yield str(name), value


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((str(key), item) for key, item in value.items())
    if isinstance(value, nnx.Dict):
        return ((str(key), item) for key, item in vars(value).items())
    return ((str(i), item) for i, item in enumerate(value))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def is_leaf(layer: nnx.Module) -> bool:
    """Whether the layer is Flax's own, so that what is inside is not looked at."""
    if isinstance(layer, linen.Layer):
        return not any(isinstance(value, linen.Layer) for value in vars(layer).values())
    return type(layer).__module__.startswith("flax.") and not isinstance(layer, CONTAINERS)


def config(layer: nnx.Module) -> Mapping[str, Any]:
    """The layer's attributes that are no layers and no arrays."""
    return {key: value for key, value in vars(layer).items() if not key.startswith("_") and key not in SKIPPED}


def forward_of(layer: nnx.Module) -> Callable[..., Any]:
    """The function that computes the layer."""
    if isinstance(layer, linen.Layer):
        raise TypeError("what computes a layer of Linen is not known before it is called")
    return type(layer.linen if isinstance(layer, linen.Linen) else layer).__call__


@contextmanager
def sites() -> Iterator[dict[int, tuple[str, int]]]:
    """The line that made each layer, by the layer's id, for those made inside."""
    found: dict[int, tuple[str, int]] = {}
    meta = type(nnx.Module)
    original = meta.__call__

    def call(cls: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(cls, *args, **kwargs)
        frame: Any = sys._getframe(1)
        while frame is not None and is_inside(frame.f_code.co_filename):
            frame = frame.f_back
        found[id(made)] = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)
        return made

    meta.__call__ = call
    try:
        yield found
    finally:
        if "__call__" in vars(meta):
            del meta.__call__


def parameter_keys(model: nnx.Module) -> set[str]:
    """The native keys of what training moves."""
    return {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))}


def frozen_keys(model: nnx.Module) -> set[str]:
    """No keys: whoever trains chooses what moves."""
    return set()


def fresh(tensor: jax.Array) -> jax.Array:
    """The same tensor, which may be written into: JAX writes into none."""
    return tensor


def set_dtype(model: nnx.Module, dtype: str) -> None:
    """Turn every floating-point array of the model into that precision."""

    def turn(array: Any) -> Any:
        floats = isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jnp.floating)
        return array.astype(dtype) if floats else array

    nnx.update(model, jax.tree.map(turn, nnx.state(model)))


def set_mode(model: nnx.Module, *, train: bool) -> None:
    """Train or eval mode; dropout, which no two frameworks draw alike, stays in eval mode."""
    model.train() if train else model.eval()
    for _, layer in nnx.iter_modules(model):
        if type(layer).__name__.startswith(("Drop", "StochasticDepth")):
            layer.eval()


@contextmanager
def tapped(model: nnx.Module, taps: Taps) -> Iterator[None]:
    """Let every call of a layer go through `taps`."""
    if isinstance(model, linen.Linen):
        known = {path for path, _, _ in modules(model)}

        def call(path: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            tapped = path in known and taps.wants(path)
            return taps.call(path, forward, args, kwargs) if tapped else forward(*args, **kwargs)

        with linen.tapped(call):
            yield
        return
    paths = {id(layer): path for path, _, layer in modules(model) if taps.wants(path)}
    classes = list(dict.fromkeys(type(layer) for _, _, layer in modules(model) if callable(layer)))
    own = {cls: vars(cls).get("__call__") for cls in classes}
    inside: set[int] = set()

    def through(call: Callable[..., Any]) -> Callable[..., Any]:
        def forward(self: nnx.Module, *args: Any, **kwargs: Any) -> Any:
            # A class that calls its base's __call__ on itself is one layer.
            if id(self) not in paths or id(self) in inside:
                return call(self, *args, **kwargs)
            inside.add(id(self))
            try:
                return taps.call(paths[id(self)], partial(call, self), args, kwargs)
            finally:
                inside.discard(id(self))

        return forward

    try:
        calls = {cls: cls.__call__ for cls in classes}
        for cls in classes:
            cls.__call__ = through(calls[cls])
        yield
    finally:
        for cls in classes:
            if own[cls] is None:
                del cls.__call__
            else:
                cls.__call__ = own[cls]


def pull(
    model: nnx.Module,
    function: Callable[[nnx.Module, dict[str, jax.Array]], dict[str, jax.Array]],
    leaves: Mapping[str, np.ndarray],
    cotangents: Mapping[str, np.ndarray] | Callable[[str, tuple[int, ...]], np.ndarray] | None,
    *,
    compiled: bool = False,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Compute `function` of the leaves, and the gradients of sum(given * cotangent) to leaves and parameters.

    Args:
        model: its parameters are the further leaves; its buffers move in train mode.
        function: takes the model and the leaves as tensors, gives tensors by name.
        leaves: arrays by name.
        cotangents: arrays by the names that `function` gives, or what draws one for a name and shape; None for no
            gradients.
        compiled: whether the framework compiles the model as a whole.
    """
    tensors = {name: jnp.asarray(array) for name, array in leaves.items()}
    if cotangents is None and not compiled:
        return _arrays(function(model, tensors)), {}, {}
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    pure = pulled(graph, function, cotangents)
    values, to_leaves, to_parameters, moved = (jax.jit(pure) if compiled else pure)(parameters, rest, tensors)
    nnx.update(model, moved)
    return _arrays(values), _arrays(to_leaves), _flat(to_parameters)


def pulled(
    graph: Any,
    function: Callable[[nnx.Module, dict[str, jax.Array]], dict[str, jax.Array]],
    cotangents: Mapping[str, np.ndarray] | Callable[[str, tuple[int, ...]], np.ndarray] | None,
) -> Callable[[nnx.State, nnx.State, dict[str, jax.Array]], tuple[Any, Any, Any, nnx.State]]:
    """`pull` as a function of arrays alone: of parameters, what else the model holds, and leaves.

    It gives the values, the gradients to leaves and parameters, and what else the model holds after the pass.
    """

    def compute(parameters: nnx.State, sources: dict[str, jax.Array], fixed: Any, rest: nnx.State) -> Any:
        copy = nnx.merge(graph, parameters, rest, copy=True)
        given = function(copy, {**sources, **fixed})
        floats = {name: tensor for name, tensor in given.items() if _floats(tensor)}
        others = {name: tensor for name, tensor in given.items() if not _floats(tensor)}
        return floats, (others, nnx.split(copy, nnx.Param, ...)[2])

    def pure(parameters: nnx.State, rest: nnx.State, tensors: dict[str, jax.Array]) -> Any:
        sources = {name: tensor for name, tensor in tensors.items() if _floats(tensor)}
        fixed = {name: tensor for name, tensor in tensors.items() if not _floats(tensor)}
        if cotangents is None:
            floats, (others, moved) = compute(parameters, sources, fixed, rest)
            return {**floats, **others}, {}, {}, moved
        floats, pull_back, (others, moved) = jax.vjp(
            lambda parameters, sources: compute(parameters, sources, fixed, rest), parameters, sources, has_aux=True
        )
        weighted = {name: _cotangent(cotangents, name, tensor) for name, tensor in floats.items()}
        to_parameters, to_sources = pull_back(weighted)
        return {**floats, **others}, to_sources, to_parameters, moved

    return pure


def as_function(
    model: nnx.Module,
    function: Callable[[nnx.Module, dict[str, jax.Array]], dict[str, jax.Array]],
    leaves: Mapping[str, np.ndarray],
    cotangents: Mapping[str, np.ndarray] | None,
) -> tuple[nnx.State, Callable[..., Any], Callable[[Any], tuple[Any, Any, Any]]]:
    """`pull` taken apart: the parameters; a function of them and of leaves; and what makes of its results those of `pull`."""  # noqa: E501
    graph, parameters, rest = jax.tree.map(lambda array: array, nnx.split(model, nnx.Param, ...))
    pure = pulled(graph, function, cotangents)

    def finish(results: Any) -> tuple[Any, Any, Any]:
        values, to_leaves, to_parameters, moved = results
        nnx.update(model, moved)
        return _arrays(values), _arrays(to_leaves), _flat(to_parameters)

    return parameters, lambda parameters, tensors: pure(parameters, rest, tensors), finish


def _flat(state: Any) -> dict[str, np.ndarray]:
    """Arrays by native key."""
    return {".".join(map(str, path)): np.array(each[...]) for path, each in nnx.to_flat_state(state)} if state else {}


def _floats(tensor: jax.Array) -> bool:
    return bool(jnp.issubdtype(tensor.dtype, jnp.floating))


def _cotangent(cotangents: Any, name: str, tensor: jax.Array) -> jax.Array:
    array = cotangents(name, tuple(tensor.shape)) if callable(cotangents) else cotangents.get(name)
    return jnp.zeros_like(tensor) if array is None else jnp.asarray(array, tensor.dtype)


def _arrays(given: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    return {name: np.array(tensor) for name, tensor in given.items()}
