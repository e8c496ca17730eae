"""The layers of the table of layouts, each built in every framework that has it, from shapes that hypothesis draws."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import paddle
import torch
from flax import nnx
from hypothesis import strategies as st

from parity.frameworks import flax

FEW = st.integers(1, 3)
SOME = st.integers(2, 5)
YES = st.booleans()
FLAX = {"param_dtype": jnp.float64}
# Paddle keeps an epsilon as float32.
EPS = float(np.float32(1e-5))
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True)
class Spec:
    """A layer: the arguments to draw, how each framework builds it, an input's shape, and how Flax orders that.

    `run` calls the layer where calling it on x is not all; `last` says that Flax has the channels last.
    """

    draw: dict[str, Any]
    build: dict[str, Callable[..., Any]]
    shape: Callable[..., tuple[int, ...]]
    last: bool = False
    integers: str = ""
    run: dict[str, Callable[..., Any]] | None = None
    fix: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda weights: weights


def rngs():
    return nnx.Rngs(0)


def convolution(dims):
    def shape(i, g, k, s, d, **_):
        return (2, i * g, *(d * (each - 1) + 3 + j for j, each in enumerate(k)))

    return Spec(
        {"o": FEW, "i": FEW, "g": FEW, "k": st.tuples(*[FEW] * dims), "s": FEW, "d": st.integers(1, 2), "bias": YES},
        {
            "torch": lambda o, i, g, k, s, d, bias: getattr(torch.nn, f"Conv{dims}d")(i * g, o * g, k, s, 0, d, g, bias),
            "paddle": lambda o, i, g, k, s, d, bias: getattr(paddle.nn, f"Conv{dims}D")(
                i * g, o * g, list(k), s, 0, d, g, bias_attr=None if bias else False
            ),
            "flax": lambda o, i, g, k, s, d, bias: nnx.Conv(
                i * g, o * g, k, s, padding="VALID", kernel_dilation=d, feature_group_count=g, use_bias=bias, rngs=rngs(), **FLAX
            ),
        },
        shape,
        last=True,
    )  # fmt: skip


def transposed(dims, groups=False, kept=False):
    build = {
        "torch": lambda o, i, g, k, s, bias: getattr(torch.nn, f"ConvTranspose{dims}d")(i * g, o * g, k, s, 0, 0, g, bias),
        "paddle": lambda o, i, g, k, s, bias: getattr(paddle.nn, f"Conv{dims}DTranspose")(
            i * g, o * g, list(k), s, groups=g, bias_attr=None if bias else False
        ),
        # Its own "VALID" rounds sizes up; the gradient's padding is this one.
        "flax": lambda o, i, g, k, s, bias: nnx.ConvTranspose(
            i, o, k, s, padding=[(each - 1, each - 1) for each in k], transpose_kernel=kept, use_bias=bias, rngs=rngs(), **FLAX
        ),
    }  # fmt: skip
    if groups:
        del build["flax"]
    return Spec(
        {"o": FEW, "i": FEW, "g": st.integers(2, 3) if groups else st.just(1), "k": st.tuples(*[FEW] * dims), "s": FEW, "bias": YES},
        build,
        lambda i, g, **_: (2, i * g, *range(3, 3 + dims)),
        last=True,
    )  # fmt: skip


def batch_norm(dims):
    return Spec(
        {"c": SOME},
        {
            "torch": lambda c: getattr(torch.nn, f"BatchNorm{dims}d")(c, EPS),
            "paddle": lambda c: getattr(paddle.nn, f"BatchNorm{dims}D")(c, epsilon=EPS),
            "flax": lambda c: nnx.BatchNorm(c, epsilon=EPS, use_fast_variance=False, rngs=rngs(), **FLAX),
        },
        lambda c: (3, c, *range(3, 3 + dims)),
        last=True,
        fix=positive,
    )


def positive(weights):
    return {key: np.abs(array) + 0.5 if key.endswith("running_var") else array for key, array in weights.items()}


def recurrent(name, cell, layers=1, both=False, fix=None):
    """`name` is torch's; Flax has one layer, one way or both."""
    paddle_name = {"RNN": "SimpleRNN"}.get(name, name)
    direction = "bidirect" if both else "forward"
    build = {
        "torch": lambda i, h: getattr(torch.nn, name)(i, h, layers, batch_first=True, bidirectional=both),
        "paddle": lambda i, h: getattr(paddle.nn, paddle_name)(i, h, layers, direction),
        "flax": lambda i, h: flax_recurrent(getattr(nnx, cell), i, h, both),
    }
    if layers > 1:
        del build["flax"]
    run = {
        "torch": lambda layer, x: layer(x)[0],
        "paddle": lambda layer, x: layer(x)[0],
        "flax": lambda layer, x: layer(x),
    }
    return Spec({"i": SOME, "h": SOME}, build, lambda i, h: (2, 3, i), run=run, fix=fix or (lambda weights: weights))


def flax_recurrent(cell, i, h, both):
    one, other = (nnx.RNN(cell(i, h, dtype=jnp.float64, rngs=rngs(), **FLAX)) for _ in range(2))
    return nnx.Bidirectional(one, other) if both else one


def without_inner_bias(weights):
    """A GRU as Flax can have it: no bias inside r * (...)."""
    return {
        key: np.where(np.arange(len(a)) < len(a) // 3 * 2, a, 0) if "bias_hh" in key else a
        for key, a in weights.items()
    }


def cell(name, of_flax):
    return Spec(
        {"i": SOME, "h": SOME},
        {
            "torch": lambda i, h: getattr(torch.nn, name)(i, h),
            "paddle": lambda i, h: getattr(paddle.nn, {"RNNCell": "SimpleRNNCell"}.get(name, name))(i, h),
            "flax": lambda i, h: getattr(nnx, of_flax)(i, h, dtype=jnp.float64, rngs=rngs(), **FLAX),
        },
        lambda i, h: (2, i),
        run={
            "torch": lambda layer, x: layer(x)[0] if "LSTM" in name else layer(x),
            "paddle": lambda layer, x: layer(x, zeros(name, paddle.zeros((2, layer.hidden_size), x.dtype)))[0],
            "flax": lambda layer, x: layer(zeros(name, jnp.zeros((2, layer.hidden_features))), x)[1],
        },
        fix=without_inner_bias if name == "GRUCell" else lambda weights: weights,
    )  # fmt: skip


def zeros(name, state):
    return (state, state) if "LSTM" in name else state


def attend(query, key, value, **_):
    """Attention in float64; JAX's own takes the logits in float32, whatever the inputs."""
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(logits), value)


def attention(split=False):
    run = {
        "torch": lambda layer, x: layer(x[0], x[1], x[1], need_weights=False)[0],
        "paddle": lambda layer, x: layer(x[0], x[1], x[1]),
        "flax": lambda layer, x: layer(x[0], x[1], x[1], decode=False),
    }
    kv = SOME if split else st.just(0)

    def inner(h, d, kv, bias):
        return kv + h * d if split else h * d

    return Spec(
        {"h": FEW, "d": FEW, "kv": kv, "bias": YES},
        {
            "torch": lambda h, d, kv, bias: torch.nn.MultiheadAttention(
                h * d, h, bias=bias, batch_first=True, kdim=inner(h, d, kv, bias), vdim=inner(h, d, kv, bias)
            ),
            "paddle": lambda h, d, kv, bias: paddle.nn.MultiHeadAttention(
                h * d, h, kdim=inner(h, d, kv, bias), vdim=inner(h, d, kv, bias), bias_attr=None if bias else False
            ),
            "flax": lambda h, d, kv, bias: nnx.MultiHeadAttention(
                h, h * d, in_kv_features=inner(h, d, kv, bias), use_bias=bias, decode=False, attention_fn=attend, rngs=rngs(), **FLAX
            ),
        },
        lambda h, d, kv, bias: ((2, 3, h * d), (2, 4, inner(h, d, kv, bias))),
        run=run,
    )  # fmt: skip


def normed(kind, axis=None):
    """Weight norm or spectral norm of a convolution, or where an axis is given of a linear layer, the axis Paddle's."""
    linear = axis is not None
    build = {
        "torch": lambda o, i: getattr(torch.nn.utils if kind == "spectral_norm" else torch.nn.utils.parametrizations, kind)(
            torch.nn.Linear(i, o) if linear else torch.nn.Conv2d(i, o, (2, 3))
        ),
        "paddle": lambda o, i: getattr(paddle.nn.utils, kind)(
            paddle.nn.Linear(i, o) if linear else paddle.nn.Conv2D(i, o, (2, 3)), **({"dim": axis} if linear else {})
        ),
        "flax": lambda o, i: nnx.WeightNorm(
            nnx.Linear(i, o, rngs=rngs(), **FLAX) if linear else nnx.Conv(i, o, (2, 3), padding="VALID", rngs=rngs(), **FLAX),
            rngs=rngs(),
        ),
    }  # fmt: skip
    if kind == "spectral_norm":
        del build["flax"]
    return Spec(
        {"o": SOME, "i": SOME}, build, lambda o, i: (2, i) if linear else (2, i, 4, 5), last=not linear, fix=unit
    )


def unit(weights):
    """Unit vectors where a power iteration keeps them; for a weight norm long kernels and lengths above 2.

    Flax adds 1e-12 to a squared length, and norms what it normed before: a negative length turns the kernel each time.
    """
    fixed = {}
    for key, array in weights.items():
        if array.ndim == 1 and key.endswith(("weight_u", "weight_v")):
            array = array / np.linalg.norm(array)
        elif key.endswith("weight_v"):
            array = array * 10
        fixed[key] = np.abs(array) + 2 if key.endswith("weight_g") else array
    return fixed


def layer_norm(shape_of, only=("torch", "paddle", "flax")):
    build = {
        "torch": lambda a, b: torch.nn.LayerNorm(shape_of(a, b), EPS),
        "paddle": lambda a, b: paddle.nn.LayerNorm(list(shape_of(a, b)), EPS),
        "flax": lambda a, b: nnx.LayerNorm(b, epsilon=EPS, use_fast_variance=False, rngs=rngs(), **FLAX),
    }
    return Spec({"a": SOME, "b": SOME}, {name: build[name] for name in only}, lambda a, b: (2, a, b))


LAYERS = {
    "Conv1d": convolution(1),
    "Conv2d": convolution(2),
    "Conv3d": convolution(3),
    "ConvTranspose1d": transposed(1),
    "ConvTranspose2d": transposed(2),
    "ConvTranspose3d": transposed(3),
    "ConvTranspose2d, grouped": transposed(2, groups=True),
    "ConvTranspose2d, transpose_kernel": transposed(2, kept=True),
    "Linear": Spec(
        {"o": SOME, "i": SOME, "bias": YES},
        {
            "torch": lambda o, i, bias: torch.nn.Linear(i, o, bias),
            "paddle": lambda o, i, bias: paddle.nn.Linear(i, o, bias_attr=None if bias else False),
            "flax": lambda o, i, bias: nnx.Linear(i, o, use_bias=bias, rngs=rngs(), **FLAX),
        },
        lambda i, **_: (3, i),
    ),
    "Embedding": Spec(
        {"n": SOME, "d": SOME},
        {
            "torch": lambda n, d: torch.nn.Embedding(n, d),
            "paddle": lambda n, d: paddle.nn.Embedding(n, d),
            "flax": lambda n, d: nnx.Embed(n, d, rngs=rngs(), **FLAX),
        },
        lambda n, d: (2, 4),
        integers="n",
    ),
    "BatchNorm1d": batch_norm(1),
    "BatchNorm2d": batch_norm(2),
    "BatchNorm3d": batch_norm(3),
    "GroupNorm": Spec(
        {"g": FEW, "c": SOME},
        {
            "torch": lambda g, c: torch.nn.GroupNorm(g, g * c, EPS),
            "paddle": lambda g, c: paddle.nn.GroupNorm(g, g * c, epsilon=EPS),
            "flax": lambda g, c: nnx.GroupNorm(g * c, g, epsilon=EPS, use_fast_variance=False, rngs=rngs(), **FLAX),
        },
        lambda g, c: (2, g * c, 3, 4),
        last=True,
    ),
    "InstanceNorm2d": Spec(
        {"c": SOME},
        {
            "torch": lambda c: torch.nn.InstanceNorm2d(c, EPS, affine=True),
            "paddle": lambda c: paddle.nn.InstanceNorm2D(c, EPS),
            "flax": lambda c: nnx.InstanceNorm(c, epsilon=EPS, use_fast_variance=False, rngs=rngs(), **FLAX),
        },
        lambda c: (2, c, 3, 4),
        last=True,
    ),
    "LayerNorm": layer_norm(lambda a, b: (b,)),
    "LayerNorm over two axes": layer_norm(lambda a, b: (a, b), ("torch", "paddle")),
    "RMSNorm": Spec(
        {"c": SOME},
        {
            "torch": lambda c: torch.nn.RMSNorm(c, eps=EPS),
            "flax": lambda c: nnx.RMSNorm(c, epsilon=EPS, rngs=rngs(), **FLAX),
        },
        lambda c: (2, 3, c),
    ),
    "PReLU": Spec(
        {"n": st.just(1)},
        {
            "torch": lambda n: torch.nn.PReLU(n),
            "paddle": lambda n: paddle.nn.PReLU(n),
            "flax": lambda n: nnx.PReLU(param_dtype=jnp.float64),
        },
        lambda n: (2, 3, 4, 5),
    ),
    "PReLU for each channel": Spec(
        {"n": SOME},
        {"torch": lambda n: torch.nn.PReLU(n), "paddle": lambda n: paddle.nn.PReLU(n)},
        lambda n: (2, n, 4, 5),
    ),
    "MultiheadAttention": attention(),
    "MultiheadAttention, kdim and vdim": attention(split=True),
    "LSTM": recurrent("LSTM", "OptimizedLSTMCell"),
    "LSTM, Flax unfused": recurrent("LSTM", "LSTMCell"),
    "LSTM, both ways": recurrent("LSTM", "OptimizedLSTMCell", both=True),
    "LSTM, Flax unfused, both ways": recurrent("LSTM", "LSTMCell", both=True),
    "LSTM, two layers both ways": recurrent("LSTM", "", layers=2, both=True),
    "GRU": recurrent("GRU", "GRUCell", fix=without_inner_bias),
    "GRU, both ways": recurrent("GRU", "GRUCell", both=True, fix=without_inner_bias),
    "GRU, two layers": recurrent("GRU", "", layers=2),
    "RNN": recurrent("RNN", "SimpleCell"),
    "RNN, both ways": recurrent("RNN", "SimpleCell", both=True),
    "LSTMCell": cell("LSTMCell", "OptimizedLSTMCell"),
    "LSTMCell, Flax unfused": cell("LSTMCell", "LSTMCell"),
    "GRUCell": cell("GRUCell", "GRUCell"),
    "RNNCell": cell("RNNCell", "SimpleCell"),
    "weight norm, Conv2d": normed("weight_norm"),
    "weight norm, Linear": normed("weight_norm", axis=1),
    "spectral norm, Conv2d": normed("spectral_norm"),
    "spectral norm, Linear": normed("spectral_norm", axis=1),
}


def build(framework: str, spec: Spec, drawn: dict[str, Any]) -> Any:
    """A model that has the layer as `layer`, in float64."""
    if framework == "torch":
        return torch.nn.ModuleDict({"layer": spec.build["torch"](**drawn)}).double()
    if framework == "paddle":
        before = paddle.get_default_dtype()
        paddle.set_default_dtype("float64")
        try:
            return paddle.nn.Sequential(("layer", spec.build["paddle"](**drawn)))
        finally:
            paddle.set_default_dtype(before)
    # Nothing is initialised, for it would be compiled first.
    model = nnx.eval_shape(lambda: nnx.Dict(layer=spec.build["flax"](**drawn)))
    flax.reset_counters(model)
    for _, variable in flax.variables(model):
        flax.assign(variable, np.zeros(variable.shape))
    return model


def load(framework: str, model: Any, native: dict[str, np.ndarray]) -> None:
    """Put native arrays into the model with the framework's own loader, strictly."""
    if framework == "torch":
        model.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in native.items()}, strict=True)
    elif framework == "paddle":
        missing, unexpected = model.set_state_dict({key: np.array(array) for key, array in native.items()})
        assert not missing
        assert not unexpected
    else:
        tree: dict[Any, Any] = {}
        for key, array in native.items():
            *path, last = key.split(".")
            branch = tree
            for part in path:
                branch = branch.setdefault(part, {})
            branch[last] = jnp.asarray(np.array(array))
        if "scales" in tree["layer"]:
            tree["layer"]["scales"] = {("kernel",): tree["layer"]["scales"]["kernel"]}
        state = nnx.to_pure_dict(nnx.state(model, nnx.filterlib.Not(nnx.RngState)))
        assert keys(state) == keys(tree)
        nnx.update(model, nnx.State(tree))


def keys(tree: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return {path}
    return {found for key, value in tree.items() for found in keys(value, (*path, str(key)))}


def forward(framework: str, spec: Spec, model: Any, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """The layer's outputs in eval and in train mode, in PyTorch's order of axes."""
    call = (spec.run or {}).get(framework, lambda layer, x: layer(x))
    if framework == "flax":
        given = tuple(jnp.asarray(np.moveaxis(x, 1, -1) if spec.last else x) for x in inputs)
        outputs = _in_both_modes(call, model, given if len(given) > 1 else given[0])
        return [np.moveaxis(np.asarray(y), -1, 1) if spec.last else np.asarray(y) for y in outputs]
    library, make = (torch, torch.from_numpy) if framework == "torch" else (paddle, paddle.to_tensor)
    given = tuple(make(x) for x in inputs)
    layer, outputs = model["layer"] if framework == "torch" else model[0], []
    for train in (False, True):
        model.train() if train else model.eval()
        with library.no_grad():
            outputs.append(call(layer, given if len(given) > 1 else given[0]).numpy())
    return outputs


def _in_both_modes(call: Callable[..., Any], model: Any, given: Any) -> list[jax.Array]:
    """A Flax layer's outputs; where nothing in it knows of modes, they are one program, which runs once."""
    model.eval()
    structure, state = nnx.split(model)
    outputs = [_run(call, structure, state, given)]
    model.train()
    other, state = nnx.split(model)
    return outputs * 2 if other == structure else [*outputs, _run(call, other, state, given)]


def _run(call: Callable[..., Any], structure: Any, state: Any, given: Any) -> jax.Array:
    def run(state: Any, given: Any) -> jax.Array:
        return call(nnx.merge(structure, state).layer, given)

    # Each shape is another program: XLA is not to spend much time on it.
    return jax.jit(run, compiler_options=QUICKLY)(state, given)
