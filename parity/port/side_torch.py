"""PyTorch's side: a model's layers, what goes through them, and its gradients."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..frameworks.torch import on_device, to_numpy
from .taps import Record, Taps

# Whose children are called by code of PyTorch that says nothing of its own.
CONTAINERS = (
    nn.Sequential,
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
)
CHANNELS_LAST = False
SKIPPED = ("training", "transformer_layer")


class _Tap(torch.autograd.Function):
    """The identity, a copy, which tells the gradient that comes to it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, name: str, record: Record) -> Tensor:
        ctx.name, ctx.record = name, record
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ctx.record.gradients[ctx.name] = to_numpy(gradient).copy()
        return gradient, None, None


def is_tensor(value: Any) -> bool:
    """Whether the value is an array of this framework."""
    return isinstance(value, Tensor)


def tap(name: str, tensor: Tensor, record: Record) -> Tensor:
    """The same tensor, which writes its value and its gradient into `record`."""
    record.values[name] = to_numpy(tensor).copy()
    return _Tap.apply(tensor, name, record) if tensor.is_floating_point() else tensor


def modules(model: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Each layer that is looked at: its path, the same path as another framework would say it, and the layer."""
    yield from _modules("", model)


def _modules(path: str, layer: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    yield path, path, layer
    if is_leaf(layer):
        return
    for name, child in layer.named_children():
        yield from _modules(f"{path}.{name}" if path else name, child)


def is_leaf(layer: nn.Module) -> bool:
    """Whether the layer is PyTorch's own, so that what is inside is not looked at."""
    own = type(layer).__module__.startswith("torch.nn.")
    return own and not isinstance(layer, (*CONTAINERS, nn.ModuleList, nn.ModuleDict))


def config(layer: nn.Module) -> Mapping[str, Any]:
    """The layer's attributes that are no layers and no arrays."""
    return {key: value for key, value in vars(layer).items() if not key.startswith("_") and key not in SKIPPED}


def forward_of(layer: nn.Module) -> Callable[..., Any]:
    """The function that computes the layer."""
    return type(layer).forward


@contextmanager
def sites() -> Iterator[dict[int, tuple[str, int]]]:
    """The line that made each layer, by the layer's id, for those made inside."""
    found: dict[int, tuple[str, int]] = {}
    original = nn.Module.__init__

    def init(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        frame: Any = sys._getframe(1)
        # Out of the constructors of the layer itself and of its bases.
        while frame is not None and frame.f_code.co_name == "__init__" and _first(frame) is self:
            frame = frame.f_back
        found[id(self)] = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)
        original(self, *args, **kwargs)

    nn.Module.__init__ = init
    try:
        yield found
    finally:
        nn.Module.__init__ = original


def _first(frame: Any) -> Any:
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if names else None


def parameter_keys(model: nn.Module) -> set[str]:
    """The native keys of what training moves."""
    return {key for key, _ in model.named_parameters(remove_duplicate=False)}


def frozen_keys(model: nn.Module) -> set[str]:
    """The native keys of parameters that training does not move."""
    return {key for key, tensor in model.named_parameters(remove_duplicate=False) if not tensor.requires_grad}


def fresh(tensor: Tensor) -> Tensor:
    """The same tensor, which may be written into."""
    return tensor.clone()


def set_dtype(model: nn.Module, dtype: str) -> None:
    """Turn every floating-point array of the model into that precision."""
    model.to(getattr(torch, dtype))


def set_mode(model: nn.Module, *, train: bool) -> None:
    """Train or eval mode; dropout, which no two frameworks draw alike, stays in eval mode."""
    model.train(train)
    for layer in model.modules():
        if type(layer).__name__.startswith(("Drop", "AlphaDrop", "FeatureAlphaDrop", "StochasticDepth")):
            layer.eval()


@contextmanager
def tapped(model: nn.Module, taps: Taps) -> Iterator[None]:
    """Let every call of a layer go through `taps`."""
    wrapped = []
    try:
        for path, _, layer in modules(model):
            if "forward" in vars(layer) or not taps.wants(path):
                continue
            wrapped.append(layer)
            layer.forward = _through(taps, path, layer.forward)
        yield
    finally:
        for layer in wrapped:
            del layer.forward


def _through(taps: Taps, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: taps.call(path, forward, args, kwargs)


def pull(
    model: nn.Module,
    function: Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]],
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
    tensors = {name: on_device(array) for name, array in leaves.items()}
    call = _compiled(model) if compiled else model
    if cotangents is None:
        with torch.no_grad():
            return _arrays(function(call, tensors)), {}, {}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    sources = {name: tensor.requires_grad_() for name, tensor in tensors.items() if tensor.is_floating_point()}
    parameters = {key: tensor for key, tensor in model.named_parameters(remove_duplicate=False) if tensor.requires_grad}
    given = function(call, tensors)
    targets = {name: tensor for name, tensor in given.items() if tensor.requires_grad and tensor.is_floating_point()}
    pulled = {name: _cotangent(cotangents, name, tensor) for name, tensor in targets.items()}
    pulled = {name: array for name, array in pulled.items() if array is not None}
    wanted = [*sources.values(), *parameters.values()]
    if not pulled or not wanted:
        return _arrays(given), {}, {}
    found = torch.autograd.grad([targets[name] for name in pulled], wanted, list(pulled.values()), allow_unused=True)
    arrays = [to_numpy(torch.zeros_like(of) if each is None else each) for of, each in zip(wanted, found, strict=True)]
    count = len(sources)
    return (
        _arrays(given),
        dict(zip(sources, arrays[:count], strict=True)),
        dict(zip(parameters, arrays[count:], strict=True)),
    )


def _compiled(model: nn.Module) -> Any:
    torch.compiler.reset()
    return torch.compile(model, dynamic=False)


def _cotangent(cotangents: Any, name: str, tensor: Tensor) -> Tensor | None:
    array = cotangents(name, tuple(tensor.shape)) if callable(cotangents) else cotangents.get(name)
    return None if array is None else on_device(array).to(tensor.dtype)


def _arrays(given: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: to_numpy(tensor).copy() for name, tensor in given.items()}
