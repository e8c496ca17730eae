"""Flax NNX: build a module, list and set its arrays, run it; on processors, CUDA, ROCm, TPU, METAL (Apple)."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from .adapter import Trainer
from .layers import Layer, normed
from .layout import relayout
from .telling import tell

NAME = "flax"
# Most of the time goes into compiling each operation for each shape, which threads do side by side.
THREADS = os.cpu_count() or 1
# JAX keeps whatever it has compiled, a megabyte for each operation and shape.
KEPT = 500
# Ten training steps one operation at a time would take longer than to compile one whole, with little care.
FAST_COMPILATION = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("convolution", (nnx.Conv,)),
    ("linear", (nnx.Linear,)),
    ("embedding", (nnx.Embed,)),
    ("norm", (nnx.BatchNorm, nnx.GroupNorm)),
    ("layer-norm", (nnx.LayerNorm, nnx.RMSNorm)),
    ("instance-norm", (nnx.InstanceNorm,)),
    ("prelu", (nnx.PReLU,)),
    ("unfused-lstm", (nnx.LSTMCell,)),
    ("lstm", (nnx.OptimizedLSTMCell,)),
    ("gru", (nnx.GRUCell,)),
    ("rnn", (nnx.SimpleCell,)),
)
# What holds arrays or modules.
HOLDERS = (nnx.Module, nnx.State, dict, list, tuple)
# Variables that are no weights.
PASSING = (nnx.RngState, nnx.Cache, nnx.Intermediate)
_compiled: list[str] = []
_built: dict[tuple[str, str, str], tuple[Any, Any]] = {}
# What computes convolutions and matrix products.
LIBRARIES: Mapping[str, tuple[str, str]] = {}


def versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {"flax": flax.__version__, "jax": jax.__version__}


def build(module: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> nnx.Module:
    """A new module of flax_impl, whose arrays hold nothing until `set_weights`: initialisers take long to compile.

    To trace them takes long too, so it is done once for all that are built alike.
    """
    key = module, repr(args), repr(kwargs)
    if key not in _built:
        model = nnx.eval_shape(lambda: getattr(flax_impl, module)(*args, **kwargs, rngs=nnx.Rngs(0)))
        reset_counters(model)
        _built[key] = nnx.split(model)
    return nnx.merge(*_built[key], copy=True)


@dataclass
class Entry:
    """An array in a dictionary: a leaf of a Linen tree, or a scale that no Variable holds."""

    holder: dict[Any, Any]
    name: Any

    @property
    def value(self) -> Any:
        return self.holder[self.name]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def identity(self) -> Any:
        """The identity that two names of one array share; arrays are values, and no two names share one."""
        return id(self.holder), self.name


COLLECTIONS = {"params", "batch_stats"}


def is_tree(model: Any) -> bool:
    """Whether the model is the arrays alone: an nnx.State, or nested dictionaries such as Linen's variables."""
    return isinstance(model, nnx.State | Mapping) and not isinstance(model, nnx.Module)


def _is_collections(model: Any) -> bool:
    """Whether the model is what a Linen module's `init` gives: its collections, which are no part of a key."""
    return is_tree(model) and bool(model) and model.keys() <= COLLECTIONS


def variables(model: Any) -> Iterator[tuple[str, "nnx.Variable | Entry"]]:
    """Each array: its native key, and the Variable or the place that holds it."""
    skipped = int(_is_collections(model))
    for path, owner, name, value in _walk(model):
        path = path[skipped:]
        if isinstance(value, nnx.Variable):
            array = None if isinstance(value, PASSING) else value.get_value()
            if hasattr(array, "shape") and hasattr(array, "dtype"):
                yield ".".join(map(str, (*path, name))), value
        elif isinstance(owner, nnx.WeightNorm) and name == "scales" and value is not None:
            for inner in value:
                yield ".".join(map(str, (*path, name, *inner))), Entry(value, inner)
        elif is_tree(model) and is_tree(owner) and hasattr(value, "shape") and hasattr(value, "dtype"):
            if not isinstance(owner, dict | nnx.State):
                raise TypeError(f"a tree of arrays must be of dict, which can be changed, got {type(owner).__name__}")
            yield ".".join(map(str, (*path, name))), Entry(owner, name)


def layers(model: Any) -> dict[str, Layer]:
    """The layers by path: those of NNX's library; modules of the user's own keep their arrays as they are.

    A tree has no layers; they are told by its names and shapes.
    """
    if is_tree(model):
        return tell({key: entry.shape for key, entry in variables(model)}, NAME)
    found = {}
    below = [((*path, name), owner, value) for path, owner, name, value in _walk(model) if isinstance(value, HOLDERS)]
    for path, owner, module in [((), None, model), *below]:
        kind = next((kind for kind, types in KINDS if isinstance(module, types)), "")
        # What a layer of the library keeps in a dictionary is the layer's too.
        of_library = any(type(each).__module__.startswith("flax.nnx.nn.") for each in (module, owner))
        if kind or of_library:
            found[".".join(map(str, path))] = Layer(*_seen(module, kind), extras=not of_library)
    return found


def _walk(node: Any, path: tuple[Any, ...] = (), above: tuple[int, ...] = ()) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Everything below a module or tree: the path of what has it, that, its name there, and itself.

    A module that hangs in two places is seen in both, as PyTorch's `state_dict` has it.
    """
    if is_tree(node):
        items: Iterable[tuple[Any, Any]] = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    else:
        items = vars(node).items()
    for name, value in items:
        yield path, node, name, value
        if isinstance(value, HOLDERS) and id(value) not in above and not str(name).startswith("_pytree__"):
            yield from _walk(value, (*path, name), (*above, id(node)))


def _seen(module: nnx.Module, kind: str) -> tuple[str, dict[str, int]]:
    """The kind of a layer, and the sizes that its arrays' shapes do not tell."""
    if isinstance(module, nnx.MultiHeadAttention):
        if module.num_kv_heads not in (None, module.num_heads):
            return "", {}
        return "attention" if module.in_kv_features == module.in_features else "split-attention", {}
    if isinstance(module, nnx.ConvTranspose):
        return "transpose-kernel" if module.transpose_kernel else "transposed", {}
    if isinstance(module, nnx.RNNCellBase):
        return f"{kind}-cell" if kind else "", {}
    if isinstance(module, nnx.RNN):
        return next((kind for kind, types in KINDS if isinstance(module.cell, types)), ""), {}
    if isinstance(module, nnx.Bidirectional):
        kind, other = (_seen(each, "")[0] for each in (module.forward_rnn, module.backward_rnn))
        return f"{kind}-bidirectional" if kind and kind == other else "", {}
    if isinstance(module, nnx.WeightNorm) and module.feature_axes in (-1, (-1,)):
        inner = next((kind for kind, types in KINDS[:2] if isinstance(module.layer_instance, types)), "")
        return normed(inner, ["weight_g"]) if inner else "", {}
    return kind, {}


def to_numpy(variable: "nnx.Variable | Entry | jax.Array") -> np.ndarray:
    """The array's values; the result may share its memory."""
    return np.asarray(variable.value if isinstance(variable, Entry) else variable)


def value_of(variable: "nnx.Variable | Entry") -> Any:
    """The array as JAX has it, or the shape that stands for it."""
    return variable.value if isinstance(variable, Entry) else variable.get_value()


def assign(variable: "nnx.Variable | Entry", array: np.ndarray) -> None:
    """Put `array`, whose memory the Variable may keep, in place of the Variable's values and dtype."""
    value = jax.device_put(array)
    # Without x64, JAX cuts what is wider: integers that fit lose nothing.
    if value.dtype != array.dtype and (array.dtype.kind not in "iu" or not np.array_equal(np.asarray(value), array)):
        raise ParityError(
            f"{array.dtype} weights need jax.config.update('jax_enable_x64', True) before the first array"
        )
    if isinstance(variable, Entry):
        variable.holder[variable.name] = value
    else:
        variable.set_value(value)


def reset_counters(model: Any) -> None:
    """Give the random streams of an abstract model a seed; Flax counts no batches."""
    for _, _, _, value in _walk(model):
        stream = getattr(value, "key", None), getattr(value, "count", None)
        for node in (value, *stream):
            if isinstance(node, nnx.RngState) and isinstance(node.get_value(), jax.ShapeDtypeStruct):
                is_key = isinstance(node, nnx.RngKey)
                node.set_value(jax.random.key(0) if is_key else jnp.zeros((), jnp.uint32))


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


def forward(model: nnx.Module, x: np.ndarray, *, train: bool, execution: str = "eager") -> np.ndarray:
    """The model's output for `x` (n, c, h, w); in train mode its running values move."""
    model.train() if train else model.eval()
    model = flax_impl.fold(model) if execution == "folded" else model
    call = nnx.jit(lambda model, x: model(x)) if execution == "nnx.jit" else type(model).__call__
    y = call(model, jax.device_put(relayout(x, "nchw", "nhwc")))
    return relayout(to_numpy(y), "nhwc", "nchw") if y.ndim == 4 else to_numpy(y)


def gradients(
    model: nnx.Module, x: np.ndarray, cotangent: np.ndarray, *, train: bool, execution: str = "eager"
) -> dict[str, np.ndarray]:
    """The gradients of sum(output * cotangent): of "input", and of each parameter by its native key."""
    model.train() if train else model.eval()
    keys = [key for key, variable in variables(model) if isinstance(variable, nnx.Param)]
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def pull(parameters: nnx.State, rest: nnx.State, x: jax.Array, cotangent: jax.Array) -> tuple[nnx.State, jax.Array]:
        _, pull = jax.vjp(lambda p, x: nnx.merge(graph, p, rest, copy=True)(x), parameters, x)
        return pull(cotangent)

    x, cotangent = (jax.device_put(relayout(a, "nchw", "nhwc") if a.ndim == 4 else a) for a in (x, cotangent))
    found, found_input = (jax.jit(pull) if execution == "nnx.jit" else pull)(parameters, rest, x, cotangent)
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
        x = jax.device_put(relayout(x, "nchw", "nhwc"))
        value, state = update(nnx.state((model, optimizer)), x, jax.device_put(target))
        nnx.update((model, optimizer), state)
        return to_numpy(value)

    return step


def available() -> list[str]:
    """The devices that JAX sees."""
    return list(devices_by_name())


def select(device: str) -> None:
    """Put models and inputs on `device` from now on."""
    jax.config.update("jax_default_device", devices_by_name()[device])


def describe(device: str) -> dict[str, str | int]:
    """The device's name, driver and memory in bytes, as far as JAX tells."""
    if device == "cpu":
        return {}
    found = devices_by_name()[device]
    memory = (found.memory_stats() or {}).get("bytes_limit", 0)
    return {"name": found.device_kind, "runtime": found.client.platform_version.replace("\n", " "), "memory": memory}


def set_numerics_flags(*, allow_tf32: bool) -> dict[str, str]:
    """Nothing to set: JAX read its variables when it was imported; what it made of them is returned."""
    return {"jax_default_matmul_precision": str(jax.config.jax_default_matmul_precision)}


def convolve(x: np.ndarray, w: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """A 3x3 convolution (nchw, oihw) that keeps the size, and the gradients of sum(y * cotangent) to x and w."""

    def forward(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(a, b, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    maps = [np.ascontiguousarray(relayout(array, "nchw", "nhwc")) for array in (x, cotangent)]
    kernel = np.ascontiguousarray(relayout(w, "oihw", "hwio"))
    y, to_x, to_w = _pull(forward, maps[0], kernel, maps[1])
    return [relayout(y, "nhwc", "nchw"), relayout(to_x, "nhwc", "nchw"), relayout(to_w, "hwio", "oihw")]


def multiply(a: np.ndarray, b: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    """The product a @ b, and the gradients of sum(y * cotangent) to a and b."""
    return _pull(jnp.matmul, a, b, cotangent)


def _pull(
    forward: Callable[[jax.Array, jax.Array], jax.Array], a: np.ndarray, b: np.ndarray, cotangent: np.ndarray
) -> list[np.ndarray]:
    @jax.jit
    def pull(a: jax.Array, b: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, ...]:
        y, back = jax.vjp(forward, a, b)
        return y, *back(cotangent)

    return [to_numpy(array) for array in pull(jax.device_put(a), jax.device_put(b), jax.device_put(cotangent))]


def devices_by_name() -> dict[str, jax.Device]:
    """The devices by name: those of the default backend, and the processor."""
    named = {}
    for device in (*jax.devices(), *jax.devices("cpu")[:1]):
        name = kind(device)
        named["cpu" if name == "cpu" else f"{name}:{device.id}"] = device
    return named


def kind(device: jax.Device) -> str:
    """The kind of a device as this program calls it, `cpu` or `cuda`."""
    platform = device.platform.lower()
    if platform == "gpu":
        return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return {"metal": "mps"}.get(platform, platform)
