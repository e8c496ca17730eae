"""Paddle's side: a model's layers, what goes through them, and its gradients."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from ..frameworks.paddle import from_numpy, to_numpy
from .load import is_inside
from .taps import Record, Taps

CONTAINERS = (
    nn.Sequential,
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
)
CHANNELS_LAST = False
SKIPPED = ("training",)
# What Paddle keeps under names of its own; the others that begin so are its machinery.
PRIVATE = ("_epsilon", "_momentum", "_stride", "_padding", "_dilation", "_groups", "_kernel_size", "_output_padding",
           "_num_groups", "_normalized_shape", "_data_format", "_padding_mode", "_approximate", "_axis")  # fmt: skip


# Running values are parameters too, not to be trained.
RUNNING = ("_mean", "_variance")


class _Tap(PyLayer):
    """The identity, a copy, which tells the gradient that comes to it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, name: str, record: Record) -> Tensor:
        ctx.name, ctx.record = name, record
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        ctx.record.gradients[ctx.name] = to_numpy(gradient).copy()
        return gradient.clone()


def is_tensor(value: Any) -> bool:
    """Whether the value is an array of this framework."""
    return isinstance(value, paddle.Tensor)


def tap(name: str, tensor: Tensor, record: Record) -> Tensor:
    """The same tensor, which writes its value and its gradient into `record`."""
    record.values[name] = to_numpy(tensor).copy()
    return _Tap.apply(tensor, name, record) if tensor.is_floating_point() else tensor


def modules(model: nn.Layer) -> Iterator[tuple[str, str, nn.Layer]]:
    """Each layer that is looked at: its path, the same path as another framework would say it, and the layer."""
    yield from _modules("", model)


def _modules(path: str, layer: nn.Layer) -> Iterator[tuple[str, str, nn.Layer]]:
    yield path, path, layer
    if is_leaf(layer):
        return
    for name, child in layer.named_children():
        yield from _modules(f"{path}.{name}" if path else name, child)


def is_leaf(layer: nn.Layer) -> bool:
    """Whether the layer is Paddle's own, so that what is inside is not looked at."""
    own = type(layer).__module__.startswith("paddle.")
    return own and not isinstance(layer, (*CONTAINERS, nn.LayerList, nn.LayerDict))


def config(layer: nn.Layer) -> Mapping[str, Any]:
    """The layer's attributes that are no layers and no arrays."""
    found = vars(layer).items()
    return {key: value for key, value in found if key in PRIVATE or not (key.startswith("_") or key in SKIPPED)}


def forward_of(layer: nn.Layer) -> Callable[..., Any]:
    """The function that computes the layer."""
    return type(layer).forward


@contextmanager
def sites() -> Iterator[dict[int, tuple[str, int]]]:
    """The line that made each layer, by the layer's id, for those made inside."""
    found: dict[int, tuple[str, int]] = {}
    original = nn.Layer.__init__

    def init(self: nn.Layer, *args: Any, **kwargs: Any) -> None:
        frame: Any = sys._getframe(1)
        # Out of the constructors of the layer itself and of its bases, and of what Paddle wraps around them.
        while frame is not None and (_first(frame) is self or is_inside(frame.f_code.co_filename)):
            frame = frame.f_back
        found[id(self)] = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)
        original(self, *args, **kwargs)

    nn.Layer.__init__ = init
    try:
        yield found
    finally:
        nn.Layer.__init__ = original


def _first(frame: Any) -> Any:
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if names else None


def parameter_keys(model: nn.Layer) -> set[str]:
    """The native keys of what training moves."""
    return {key for key, _ in model.named_parameters() if not key.endswith(RUNNING)}


def frozen_keys(model: nn.Layer) -> set[str]:
    """The native keys of parameters that training does not move; running values, which are some too, are none."""
    return {key for key, tensor in model.named_parameters() if tensor.stop_gradient and not key.endswith(RUNNING)}


def fresh(tensor: Tensor) -> Tensor:
    """The same tensor, which may be written into."""
    return tensor.clone()


def set_dtype(model: nn.Layer, dtype: str) -> None:
    """Turn every floating-point array of the model into that precision."""
    model.to(dtype=dtype)


def set_mode(model: nn.Layer, *, train: bool) -> None:
    """Train or eval mode; dropout, which no two frameworks draw alike, stays in eval mode."""
    model.train() if train else model.eval()
    for layer in model.sublayers(include_self=True):
        if type(layer).__name__.startswith(("Drop", "AlphaDrop", "FeatureAlphaDrop", "StochasticDepth")):
            layer.eval()


@contextmanager
def tapped(model: nn.Layer, taps: Taps) -> Iterator[None]:
    """Let every call of a layer go through `taps`."""
    wrapped = []
    try:
        for path, _, layer in modules(model):
            if "forward" in vars(layer) or not taps.wants(path):
                continue
            wrapped.append(layer)
            vars(layer)["forward"] = _through(taps, path, layer.forward)
        yield
    finally:
        for layer in wrapped:
            del vars(layer)["forward"]


def _through(taps: Taps, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: taps.call(path, forward, args, kwargs)


def pull(
    model: nn.Layer,
    function: Callable[[nn.Layer, dict[str, Tensor]], dict[str, Tensor]],
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
    tensors = {name: from_numpy(array) for name, array in leaves.items()}
    call = _compiled(model) if compiled else model
    # What Paddle compiles in eval mode has no backward pass.
    if cotangents is None or (compiled and not model.training):
        with paddle.no_grad():
            return _arrays(function(call, tensors)), {}, {}
    parameters = {}
    for key, tensor in model.named_parameters():
        if tensor.is_floating_point() and not key.endswith(RUNNING):
            tensor.stop_gradient = False
            parameters[key] = tensor
    sources = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    for tensor in sources.values():
        tensor.stop_gradient = False
    given = function(call, tensors)
    targets = {name: t for name, t in given.items() if not t.stop_gradient and t.is_floating_point()}
    pulled = {name: _cotangent(cotangents, name, tensor) for name, tensor in targets.items()}
    pulled = {name: array for name, array in pulled.items() if array is not None}
    wanted = [*sources.values(), *parameters.values()]
    if not pulled or not wanted:
        return _arrays(given), {}, {}
    outputs, weights = _once([(targets[name], array) for name, array in pulled.items()])
    found = paddle.grad(outputs, wanted, weights, allow_unused=True)
    arrays = [to_numpy(paddle.zeros_like(of) if each is None else each) for of, each in zip(wanted, found, strict=True)]
    count = len(sources)
    return (
        _arrays(given),
        dict(zip(sources, arrays[:count], strict=True)),
        dict(zip(parameters, arrays[count:], strict=True)),
    )


def _once(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Each tensor once, with the sum of what it is multiplied by: Paddle refuses one that several layers are given."""
    sums: dict[int, tuple[Tensor, Tensor]] = {}
    for tensor, weight in pairs:
        known = sums.get(id(tensor))
        sums[id(tensor)] = (tensor, weight if known is None else known[1] + weight)
    return [tensor for tensor, _ in sums.values()], [weight for _, weight in sums.values()]


def _compiled(model: nn.Layer) -> Callable[..., Any]:
    program = paddle.jit.to_static(model.forward, full_graph=True)

    def call(*args: Any) -> Any:
        with warnings.catch_warnings():
            # Of Paddle about itself.
            warnings.simplefilter("ignore")
            return program(*args)

    return call


def _cotangent(cotangents: Any, name: str, tensor: Tensor) -> Tensor | None:
    array = cotangents(name, tuple(tensor.shape)) if callable(cotangents) else cotangents.get(name)
    return None if array is None else from_numpy(array).astype(tensor.dtype)


def _arrays(given: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: to_numpy(tensor).copy() for name, tensor in given.items()}
