"""Flax NNX: build a module, list and set its arrays, run it."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import flax_impl

from ..errors import ParityError
from .layout import relayout

NAME = "flax"
Trainer = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Most of the time goes into compiling each operation for each shape, which threads do side by side.
THREADS = os.cpu_count() or 1
# JAX keeps whatever it has compiled, a megabyte for each operation and shape.
KEPT = 500
# Ten training steps one operation at a time would take longer than to compile one whole, with little care.
FAST_COMPILATION = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("convolution", (nnx.Conv,)),
    ("linear", (nnx.Linear,)),
    ("norm", (nnx.BatchNorm, nnx.LayerNorm, nnx.GroupNorm)),
)
_compiled: list[str] = []


def versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {"flax": flax.__version__, "jax": jax.__version__}


def build(module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nnx.Module:
    """A new module of flax_impl, whose arrays hold nothing until `set_weights`: initialisers take long to compile."""
    model = nnx.eval_shape(lambda: getattr(flax_impl, module)(*args, **kwargs, rngs=nnx.Rngs(0)))
    for _, node in nnx.iter_graph(model):
        if isinstance(node, nnx.RngKey):
            node.set_value(jax.random.key(0))
        elif isinstance(node, nnx.RngCount):
            node.set_value(jnp.zeros((), jnp.uint32))
    return model


def variables(model: nnx.Module) -> Iterator[tuple[str, str | None, nnx.Variable]]:
    """Each array: its native key, the kind of layer that owns it (None where unknown), and its Variable."""
    for path, layer in nnx.iter_modules(model):
        kind = next((kind for kind, types in KINDS if isinstance(layer, types)), None)
        for name, variable in vars(layer).items():
            if isinstance(variable, nnx.Param | nnx.BatchStat) and variable.get_value() is not None:
                yield ".".join(map(str, (*path, name))), kind, variable


def to_numpy(variable: nnx.Variable | jax.Array) -> np.ndarray:
    """The array's values; the result may share its memory."""
    return np.asarray(variable)


def assign(variable: nnx.Variable, array: np.ndarray) -> None:
    """Put `array`, whose memory the Variable may keep, in place of the Variable's values and dtype."""
    value = jnp.asarray(array)
    if value.dtype != array.dtype:
        raise ParityError(
            f"{array.dtype} weights need jax.config.update('jax_enable_x64', True) before the first array"
        )
    variable.set_value(value)


def reset_counters(model: nnx.Module) -> None:
    """Nothing: Flax counts no batches."""


def release() -> None:
    """Forget what was compiled where it has become much: what follows, another module or precision, shares little.

    Nothing is counted before the first call.
    """
    if not _compiled:
        _compiled.append("")
        jax.monitoring.register_event_duration_secs_listener(_count)
    if len(_compiled) > KEPT:
        del _compiled[1:]
        jax.clear_caches()
        gc.collect()
        # glibc keeps what is free between what is not.
        if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
            trim(0)


def _count(event: str, _seconds: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(event)


def forward(model: nnx.Module, x: np.ndarray, *, train: bool, form: str = "eager") -> np.ndarray:
    """The model's output for `x` (n, c, h, w); in train mode its running values move."""
    model.train() if train else model.eval()
    model = flax_impl.fold(model) if form == "folded" else model
    call = nnx.jit(lambda model, x: model(x)) if form == "nnx.jit" else type(model).__call__
    y = call(model, jnp.asarray(relayout(x, "nchw", "nhwc")))
    return relayout(to_numpy(y), "nhwc", "nchw") if y.ndim == 4 else to_numpy(y)


def gradients(
    model: nnx.Module, x: np.ndarray, cotangent: np.ndarray, *, train: bool, form: str = "eager"
) -> dict[str, np.ndarray]:
    """The gradients of sum(output * cotangent): of "input", and of each parameter by its native key."""
    model.train() if train else model.eval()
    keys = [key for key, _, variable in variables(model) if isinstance(variable, nnx.Param)]
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def pull(parameters: nnx.State, rest: nnx.State, x: jax.Array, cotangent: jax.Array) -> tuple[nnx.State, jax.Array]:
        _, pull = jax.vjp(lambda p, x: nnx.merge(graph, p, rest, copy=True)(x), parameters, x)
        return pull(cotangent)

    x, cotangent = (jnp.asarray(relayout(a, "nchw", "nhwc") if a.ndim == 4 else a) for a in (x, cotangent))
    found, found_input = (jax.jit(pull) if form == "nnx.jit" else pull)(parameters, rest, x, cotangent)
    flat = {".".join(map(str, path)): variable[...] for path, variable in nnx.to_flat_state(found)}
    return {"input": relayout(to_numpy(found_input), "nhwc", "nchw")} | {key: to_numpy(flat[key]) for key in keys}


def trainer(model: nnx.Module, method: str, loss: str, options: Mapping[str, float]) -> Trainer:
    """A function that takes an input and a target, makes one step with Optax's optimizer and gives the loss."""
    model.train()
    rate, decay = options["rate"], options["decay"]
    if method == "adamw":
        change = optax.adamw(rate, options["beta1"], options["beta2"], options["epsilon"], weight_decay=decay)
    elif method == "adam":
        change = optax.adam(rate, options["beta1"], options["beta2"], options["epsilon"])
    else:
        change = optax.sgd(rate, options.get("momentum"), nesterov=method == "nesterov")
    if method != "adamw":
        change = optax.chain(optax.add_decayed_weights(decay), change)
    optimizer = nnx.Optimizer(model, change, wrt=nnx.Param)
    criterion = {"mse": optax.squared_error, "cross-entropy": optax.softmax_cross_entropy_with_integer_labels}[loss]

    graph, _ = nnx.split((model, optimizer))

    @partial(jax.jit, compiler_options=FAST_COMPILATION)
    def update(state: nnx.State, x: jax.Array, target: jax.Array) -> tuple[jax.Array, nnx.State]:
        model, optimizer = nnx.merge(graph, state, copy=True)
        value, gradients = nnx.value_and_grad(lambda model: criterion(model(x), target).mean())(model)
        optimizer.update(model, gradients)
        return value, nnx.state((model, optimizer))

    def step(x: np.ndarray, target: np.ndarray) -> np.ndarray:
        target = relayout(target, "nchw", "nhwc") if target.ndim == 4 else target
        x = jnp.asarray(relayout(x, "nchw", "nhwc"))
        value, state = update(nnx.state((model, optimizer)), x, jnp.asarray(target))
        nnx.update((model, optimizer), state)
        return to_numpy(value)

    return step
