"""Known differences between ports and their originals: what else an operation of PyTorch might have been written as.

Each function takes a call as it was made and gives the ways in which ports get it wrong, each with both values, the
words to look for on the line to change, and what computes it. Nothing here decides: `causes` tries them all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import prod, sqrt
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
import torch.nn.functional as F
from torch import Tensor

EPSILONS = (1e-5, 1e-6, 1e-3, 1e-12, 1e-8, 1e-4, 1e-2, 1e-7, 2e-5, 0.0)
MOMENTA = (0.1, 0.01, 0.9, 0.99, 0.001, 0.003, 0.05, 0.0, 1.0)


@dataclass(frozen=True)
class Change:
    """One way in which a call may be otherwise.

    Attributes:
        what: What differs, in words.
        here: What it is in this call.
        there: What it would be.
        words: Any of these stands on the line that says it.
        compute: The call made so.
    """

    what: str
    here: str
    there: str
    words: tuple[str, ...]
    compute: Callable[[], Any]


Hints = Mapping[str, Any]
Changes = Iterator[Change]


def _bind(names: str, args: Sequence[Any], kwargs: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The call's arguments by name."""
    return {**defaults, **dict(zip(names.split(), args, strict=False)), **kwargs}


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value) * (rank if len(value) == 1 else 1)


def convolution(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Padding, kernel orders, groups and bias of a convolution."""
    a = _bind(
        "input weight bias stride padding dilation groups",
        args,
        kwargs,
        {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    )
    x, w, rank = a["input"], a["weight"], a["weight"].ndim - 2
    kernel, stride, dilation = w.shape[2:], _tuple(a["stride"], rank), _tuple(a["dilation"], rank)
    padding = a["padding"] if isinstance(a["padding"], str) else _tuple(a["padding"], rank)

    def conv(**other: Any) -> Tensor:
        b = {**a, **other}
        return func(*(b[k] for k in ("input", "weight", "bias", "stride", "padding", "dilation", "groups")))

    words = ("conv",)
    if a["bias"] is not None:
        yield Change("the convolution's bias", "added", "left out", words, lambda: conv(bias=None))
    halves = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    plain = tuple((k - 1) // 2 for k in kernel)
    near = [] if isinstance(padding, str) else [tuple(max(p + d, 0) for p in padding) for d in (-1, 1)]
    for other in dict.fromkeys(((0,) * rank, halves, plain, tuple(k - 1 for k in kernel), *near)):
        if other != padding:
            yield Change("padding", str(padding), str(other), ("padding", *words), lambda p=other: conv(padding=p))
    for spread in dict.fromkeys((dilation, (1,) * rank)):
        widths = _same(x.shape[2:], kernel, stride, spread)
        flat = [n for pair in reversed(widths) for n in pair]
        text = '"SAME"' + (f", padded {widths}" if spread == dilation else f" with dilation {spread}")
        yield Change(
            "padding",
            str(padding),
            text,
            ("padding", "same", *words),
            lambda f=flat, s=spread: conv(input=F.pad(x, f), padding=0, dilation=s),
        )
    for spread in ((n,) * rank for n in (1, 2, 3, 4) if prod(kernel) > 1 and (n,) * rank != dilation):
        wider = tuple(n * (k - 1) // 2 for n, k in zip(spread, kernel, strict=True))
        yield Change(
            "dilation",
            str(dilation),
            str(spread),
            ("dilation", *words),
            lambda d=spread, p=wider: conv(dilation=d, padding=p),
        )
    if not isinstance(padding, str) and any(padding):
        flat = [n for p in reversed(padding) for n in (p, p)]
        for mode in ("circular", "reflect", "replicate"):
            yield Change(
                "what is padded",
                "zeros",
                mode,
                ("padding", mode, *words),
                lambda m=mode, f=flat: conv(input=F.pad(x, f, mode=m), padding=0),
            )
    spatial = tuple(range(2, w.ndim))
    turns: list[tuple[str, Callable[[Tensor], Tensor]]] = []
    if prod(kernel) > 1:
        turns.append(("flipped", lambda w: w.flip(spatial)))
    if rank == 2 and kernel[0] == kernel[1] > 1:
        turns.append(("with height and width exchanged", lambda w: w.transpose(2, 3)))
        turns.append(("with height and width exchanged and flipped", lambda w: w.transpose(2, 3).flip(spatial)))
        turns += [("turned by 90 degrees", lambda w, k=k: w.rot90(k, (2, 3))) for k in (1, 3)]
    if w.shape[0] == w.shape[1] and a["groups"] == 1:
        turns.append(("with inputs and outputs exchanged", lambda w: w.transpose(0, 1)))
        if prod(kernel) > 1:
            turns.append(("with inputs and outputs exchanged and flipped", lambda w: w.transpose(0, 1).flip(spatial)))
    g = a["groups"]
    if g > 1 and w.shape[0] // g > 1:
        swap = lambda w: w.unflatten(0, (g, -1)).transpose(0, 1).reshape(w.shape)  # noqa: E731
        back = lambda w: w.unflatten(0, (-1, g)).transpose(0, 1).reshape(w.shape)  # noqa: E731
        turns += [("in another order of its groups", swap), ("in another order of its groups", back)]
    for text, turn in turns:
        there = Change("the kernel", "as it is", text, ("kernel", *words), lambda t=turn: conv(weight=t(w)))
        yield there
    if g > 1 and w.shape[0] // g > 1:
        mixed = lambda y: y.unflatten(1, (g, -1)).transpose(1, 2).flatten(1, 2)  # noqa: E731
        yield Change("the order of the groups' outputs", "group by group", "interleaved", words, lambda: mixed(conv()))


def _same(
    sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """What "SAME" pads before and after each side: more after than before."""
    found = []
    for n, k, s, d in zip(sides, kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        found.append((total // 2, total - total // 2))
    return found


def transposed(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Kernel orders and place of a transposed convolution."""
    names = "input weight bias stride padding output_padding groups dilation"
    zeros = {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
    a = _bind(names, args, kwargs, zeros)
    w = a["weight"]
    rank = w.ndim - 2
    spatial = tuple(range(2, w.ndim))
    sides = func(*(a[name] for name in names.split())).shape[2:]
    padding = _tuple(a["padding"], rank)[0]

    def conv(**other: Any) -> Tensor:
        b = {**a, **other}
        return func(*(b[name] for name in names.split()))

    def placed(weight: Tensor, start: int) -> Tensor:
        whole = conv(weight=weight, bias=None, padding=0, output_padding=0)
        short = [max(0, start + n - have) for n, have in zip(sides, whole.shape[2:], strict=True)]
        whole = F.pad(whole, [n for s in reversed(short) for n in (0, s)])
        for axis, n in enumerate(sides):
            whole = whole.narrow(2 + axis, start, n)
        return whole if a["bias"] is None else whole + a["bias"].view(-1, *[1] * rank)

    words = ("conv", "transpose")
    turns: list[tuple[str, Callable[[Tensor], Tensor]]] = [("as it is", lambda w: w)]
    if prod(w.shape[2:]) > 1:
        turns.append(("flipped", lambda w: w.flip(spatial)))
    if rank == 2 and w.shape[2] == w.shape[3] > 1:
        turns.append(("with height and width exchanged", lambda w: w.transpose(2, 3)))
    if w.shape[0] == w.shape[1] and a["groups"] == 1:
        turns.append(("with inputs and outputs exchanged", lambda w: w.transpose(0, 1)))
        turns.append(("with inputs and outputs exchanged and flipped", lambda w: w.transpose(0, 1).flip(spatial)))
    for text, turn in turns:
        for start in range(w.shape[2]):
            if start == padding and text == "as it is":
                continue
            what = "the kernel" if start == padding else "the padding" if text == "as it is" else "kernel and padding"
            here, there = ("as it is", text) if start == padding else (f"{padding} before", f"{start} before")
            if what == "kernel and padding":
                here, there = f"as it is, {padding} before", f"{text}, {start} before"
            yield Change(what, here, there, words, lambda t=turn, s=start: placed(t(w), s))
    for more, less in product(range(max(w.shape[2:])), (0, 1)):
        here, there = (f"{p}, of the output {o}" for p, o in ((a["padding"], a["output_padding"]), (more, less)))
        yield Change("the padding", here, there, words, lambda p=more, o=less: conv(padding=p, output_padding=o))
    if a["bias"] is not None:
        yield Change("the convolution's bias", "added", "left out", words, lambda: conv(bias=None))


def linear(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Orders and bias of a linear layer."""
    a = _bind("input weight bias", args, kwargs, {"bias": None})
    x, w, b = a["input"], a["weight"], a["bias"]
    words = ("linear", "dense", "proj", "qkv", "fc", "@")
    if b is not None:
        yield Change("the linear layer's bias", "added", "left out", words, lambda: func(x, w, None))
    if w.ndim == 2 and w.shape[0] == w.shape[1]:
        yield Change("the matrix", "as it is", "transposed", words, lambda: func(x, w.t(), b))
    for parts, names in ((3, "qkv"), (2, "ab"), (4, "abcd")):
        if w.shape[0] % parts or w.shape[0] == parts:
            continue
        for order in permutations(range(parts)):
            if order != tuple(range(parts)):
                text = "".join(names[i] for i in order)
                yield Change(
                    f"the order of the {parts} parts",
                    names,
                    text,
                    words,
                    lambda o=order, p=parts: torch.cat([func(x, w, b).chunk(p, -1)[i] for i in o], -1),
                )
    if w.shape[0] % 3 == 0:
        width = w.shape[0] // 3
        for heads in (n for n in range(2, min(width, 33)) if width % n == 0):
            yield Change(
                "the order of query, key and value",
                "one after another",
                f"for each of {heads} heads",
                ("qkv", "reshape", *words),
                lambda h=heads: func(x, w, b).unflatten(-1, (h, 3, -1)).transpose(-3, -2).flatten(-3),
            )


def _epsilons(eps: float, hints: Hints) -> list[float]:
    own = [hints["eps"]] if isinstance(hints.get("eps"), float) else []
    # Paddle keeps the nearest that float32 holds.
    values = [near for value in (*own, *EPSILONS) for near in (value, torch.tensor(value, dtype=torch.float32).item())]
    return [value for value in dict.fromkeys(values) if f"{value:g}" != f"{eps:g}"]


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def batch_norm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Epsilon, momentum, mode and running variance of a batch norm."""
    names = "input running_mean running_var weight bias training momentum eps"
    a = _bind(names, args, kwargs, {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5})
    words = ("norm", "bn")

    def norm(**other: Any) -> Tensor:
        b = {**a, **other}
        return func(*(b[name] for name in names.split()))

    for eps in _epsilons(a["eps"], hints):
        yield Change("epsilon", _number(a["eps"]), _number(eps), ("eps", *words), lambda e=eps: norm(eps=e))
    if a["weight"] is not None:
        yield Change("the norm's scale", "applied", "left out", words, lambda: norm(weight=None))
    if a["bias"] is not None:
        yield Change("the norm's bias", "added", "left out", words, lambda: norm(bias=None))
        yield Change("the norm's scale and bias", "applied", "left out", words, lambda: norm(weight=None, bias=None))
    yield Change(
        "the norm's mode",
        _mode(a["training"]),
        _mode(not a["training"]),
        ("train", "eval", "running", *words),
        lambda: norm(training=not a["training"]),
    )
    yield Change("the norm", "there", "left out", words, lambda: a["input"])
    if not a["training"] or a["running_mean"] is None:
        return
    own = [hints["momentum"]] if isinstance(hints.get("momentum"), float) else []
    momenta = [m for m in dict.fromkeys((*own, *MOMENTA, 1 - a["momentum"])) if m != a["momentum"]]
    for momentum in momenta:
        text = (_number(a["momentum"]), _number(momentum))
        yield Change("momentum, of the new value,", *text, ("momentum", *words), lambda m=momentum: norm(momentum=m))
    for momentum in (a["momentum"], *momenta):
        same = momentum == a["momentum"]
        what = "the running variance" if same else "the running variance and momentum, of the new value,"
        here, there = ("n - 1", "n") if same else (f"n - 1, {_number(a['momentum'])}", f"n, {_number(momentum)}")
        yield Change(
            what,
            f"of {here}",
            f"of {there}",
            ("momentum", *words),
            lambda m=momentum: _biased(lambda: norm(momentum=m), a["running_var"], a["input"], m),
        )


def _biased(norm: Callable[[], Tensor], running: Tensor, x: Tensor, momentum: float) -> Tensor:
    before = running.clone()
    y = norm()
    axes = [0, *range(2, x.ndim)]
    running.copy_(before + momentum * (x.detach().var(axes, correction=0) - before))
    return y


def _mode(training: bool) -> str:
    return "train: the batch's statistics" if training else "eval: running statistics"


def layer_norm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Epsilon, scale, bias and variance of a layer norm."""
    names = "input normalized_shape weight bias eps"
    a = _bind(names, args, kwargs, {"weight": None, "bias": None, "eps": 1e-5})
    x, count = a["input"], len(a["normalized_shape"])
    axes = tuple(range(-count, 0))
    yield from _norm(func, names, a, hints)

    def unbiased() -> Tensor:
        y = (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=1, keepdim=True) + a["eps"]).sqrt()
        y = y if a["weight"] is None else y * a["weight"]
        return y if a["bias"] is None else y + a["bias"]

    yield Change("the variance", "over n", "over n - 1", ("norm", "var"), unbiased)
    bias, scale = (default if a[name] is None else a[name] for name, default in (("bias", 0.0), ("weight", 1.0)))
    bare = lambda: func(x, a["normalized_shape"], a["weight"], None, a["eps"])  # noqa: E731
    yield Change(
        "epsilon",
        "inside the root",
        "outside of it",
        ("eps", "norm"),
        lambda: bare() * _outside(x, axes, a["eps"]) + bias,
    )
    for axis in range(1, x.ndim - count) if count == 1 else ():
        yield Change(
            "the axis normalised",
            "-1",
            str(axis - x.ndim),
            ("norm",),
            lambda d=axis: _standard(x, (d,), a["eps"]) * scale + bias,
        )
    others = tuple(range(1, x.ndim))
    if others != tuple(axis % x.ndim for axis in axes):
        yield Change(
            "the axes normalised",
            str(axes),
            "all but the first",
            ("norm",),
            lambda: _standard(x, others, a["eps"]) * scale + bias,
        )

    def uncentred() -> Tensor:
        y = x / (x.square().mean(axes, keepdim=True) + a["eps"]).sqrt()
        y = y if a["weight"] is None else y * a["weight"]
        return y if a["bias"] is None else y + a["bias"]

    yield Change("the mean", "taken off", "kept, as in an RMS norm", ("norm",), uncentred)


def _standard(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + eps).sqrt()


def instance_norm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Epsilon, scale, bias and groups of an instance norm."""
    names = "input running_mean running_var weight bias use_input_stats momentum eps"
    none = {"running_mean": None, "running_var": None, "weight": None, "bias": None, "use_input_stats": True}
    a = _bind(names, args, kwargs, {**none, "momentum": 0.1, "eps": 1e-5})
    yield from _norm(func, names, a, hints)
    x, channels = a["input"], a["input"].shape[1]
    for groups in (n for n in range(1, channels) if channels % n == 0):
        yield Change(
            "the number of groups",
            "one for each channel",
            str(groups),
            ("group", "norm"),
            lambda g=groups: F.group_norm(x, g, a["weight"], a["bias"], a["eps"]),
        )
    yield Change(
        "the norm",
        "of each instance",
        "of the batch",
        ("norm",),
        lambda: F.batch_norm(x, None, None, a["weight"], a["bias"], True, 0.1, a["eps"]),
    )


def group_norm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Epsilon, scale, bias and number of groups of a group norm."""
    names = "input num_groups weight bias eps"
    a = _bind(names, args, kwargs, {"weight": None, "bias": None, "eps": 1e-5})
    yield from _norm(func, names, a, hints)
    channels = a["input"].shape[1]
    for groups in (n for n in range(1, channels + 1) if channels % n == 0 and n != a["num_groups"]):
        yield Change(
            "the number of groups",
            str(a["num_groups"]),
            str(groups),
            ("group", "norm"),
            lambda g=groups: func(*({**a, "num_groups": g}[name] for name in names.split())),
        )


def rms_norm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Epsilon and scale of an RMS norm."""
    names = "input normalized_shape weight eps"
    a = _bind(names, args, kwargs, {"weight": None, "eps": None})
    if a["eps"] is None:
        a["eps"] = torch.finfo(a["input"].dtype).eps
    yield from _norm(func, names, a, hints)


def _norm(func: Any, names: str, a: dict[str, Any], hints: Hints) -> Changes:
    def norm(**other: Any) -> Tensor:
        b = {**a, **other}
        return func(*(b[name] for name in names.split()))

    for eps in _epsilons(a["eps"], hints):
        yield Change("epsilon", _number(a["eps"]), _number(eps), ("eps", "norm"), lambda e=eps: norm(eps=e))
    if a["weight"] is not None:
        yield Change("the norm's scale", "applied", "left out", ("norm",), lambda: norm(weight=None))
    if a.get("bias") is not None:
        yield Change("the norm's bias", "added", "left out", ("norm",), lambda: norm(bias=None))
        yield Change(
            "the norm's scale and bias", "applied", "left out", ("norm",), lambda: norm(weight=None, bias=None)
        )
    yield Change("the norm", "there", "left out", ("norm",), lambda: a["input"])


def _outside(x: Tensor, axes: tuple[int, ...], eps: float, variance: Tensor | None = None) -> Tensor:
    """1 / (sqrt(variance) + eps) over 1 / sqrt(variance + eps)."""
    variance = x.var(axes, correction=0, keepdim=True) if variance is None else variance
    return (variance + eps).sqrt() / (variance.sqrt() + eps)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "no activation": lambda x: x,
    "relu": torch.relu,
    "gelu, erf": lambda x: F.gelu(x),
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu, sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu6": F.relu6,
    "hard swish": F.hardswish,
    "hard sigmoid, slope 1/6": F.hardsigmoid,
    "hard sigmoid, slope 0.2": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "leaky relu, slope 0.01": lambda x: F.leaky_relu(x, 0.01),
    "leaky relu, slope 0.2": lambda x: F.leaky_relu(x, 0.2),
    "leaky relu, slope 0.1": lambda x: F.leaky_relu(x, 0.1),
    "leaky relu, slope 0.3": lambda x: F.leaky_relu(x, 0.3),
    "elu": F.elu,
    "selu": F.selu,
    "mish": F.mish,
    "softplus": F.softplus,
    "x sigmoid, slope 0.2": lambda x: x * (0.2 * x + 0.5).clamp(0, 1),
    "square of relu": lambda x: torch.relu(x).square(),
    "softsign": F.softsign,
    "hard tanh": lambda x: F.hardtanh(x),
}


def activation(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Another activation, or none."""
    x = args[0] if args else kwargs["input"]
    name = func.__name__.rstrip("_")
    here = f"{name}{', ' + ('tanh' if kwargs.get('approximate') == 'tanh' else 'erf') if name == 'gelu' else ''}"
    # What writes into its operand would spoil it for the next attempt.
    y = func(x.clone(), *args[1:], **{key: value for key, value in kwargs.items() if key != "input"})
    for there, compute in ACTIVATIONS.items():
        if not torch.equal(compute(x), y):
            word = there.partition(",")[0].replace(" ", "_")
            words = (word, word.replace("_", ""), word.rpartition("_")[2]) if there != "no activation" else (name,)
            yield Change("the activation", here, there, words, lambda c=compute: c(x))


def softmax(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Another axis of a softmax."""
    kwargs = {key: value for key, value in kwargs.items() if key != "_stacklevel"}
    a = _bind("input dim", args, kwargs, {"dim": None})
    x, dim = a["input"], a["dim"]
    if dim is None:
        return
    for axis in range(x.ndim):
        if axis != dim % x.ndim:
            yield Change(
                "the softmax's axis",
                str(dim),
                str(axis - x.ndim),
                ("softmax",),
                lambda d=axis: torch.softmax(x, d) if "log" not in func.__name__ else torch.log_softmax(x, d),
            )
    yield Change("the softmax", "there", "left out", ("softmax",), lambda: x)
    yield Change("the softmax", "softmax", "sigmoid", ("sigmoid",), lambda: x.sigmoid())
    other = torch.log_softmax if "log" not in func.__name__ else torch.softmax
    yield Change("the softmax", func.__name__, other.__name__, ("softmax",), lambda: other(x, dim))
    if x.ndim > 2 and x.shape[-1] == x.shape[-2]:
        later = torch.ones(x.shape[-2:], dtype=torch.bool).triu(1)
        words = ("mask", "causal", "tri", "softmax")
        yield Change("the causal mask", "none", "there", words, lambda: func(x.masked_fill(later, -torch.inf), dim))


def max_pool(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Rounding, padding and kind of a window pool."""
    names = "input kernel_size stride padding dilation ceil_mode"
    a = _bind(names, args, kwargs, {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False})
    if not isinstance(a["kernel_size"], int | tuple | list):
        return
    rank = a["input"].ndim - 2
    pool = getattr(F, f"max_pool{rank}d")
    average = getattr(F, f"avg_pool{rank}d")

    def again(**other: Any) -> Tensor:
        b = {**a, **other}
        return pool(b["input"], b["kernel_size"], b["stride"], b["padding"], b["dilation"], b["ceil_mode"])

    yield from _pool_paddings(a, rank, again, float("-inf"))
    yield Change(
        "ceil_mode",
        str(a["ceil_mode"]),
        str(not a["ceil_mode"]),
        ("ceil", "pool"),
        lambda: again(ceil_mode=not a["ceil_mode"]),
    )
    if _tuple(a["dilation"], rank) == (1,) * rank:
        for include in (True, False) if any(_tuple(a["padding"], rank)) else (True,):
            yield Change(
                "the pool",
                "maximum",
                f"average{'' if include else ', padding not counted'}",
                ("pool",),
                lambda i=include: average(a["input"], a["kernel_size"], a["stride"], a["padding"], a["ceil_mode"], i),
            )


def average_pool(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Rounding, padding and kind of an average pool."""
    names = "input kernel_size stride padding ceil_mode count_include_pad"
    a = _bind(names, args, kwargs, {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True})
    rank = a["input"].ndim - 2
    pool, largest = getattr(F, f"avg_pool{rank}d"), getattr(F, f"max_pool{rank}d")

    def again(**other: Any) -> Tensor:
        b = {**a, **other}
        return pool(*(b[name] for name in names.split()))

    include, ceil = a["count_include_pad"], a["ceil_mode"]
    words = ("pool",)
    yield Change(
        "count_include_pad",
        str(include),
        str(not include),
        ("count", "exclusive", *words),
        lambda: again(count_include_pad=not include),
    )
    yield Change("ceil_mode", str(ceil), str(not ceil), ("ceil", *words), lambda: again(ceil_mode=not ceil))
    yield from _pool_paddings(a, rank, again, 0.0)
    yield Change(
        "the pool",
        "average",
        "maximum",
        words,
        lambda: largest(a["input"], a["kernel_size"], a["stride"], a["padding"], 1, ceil),
    )
    size = prod(_tuple(a["kernel_size"], rank))
    yield Change("the pool", "average", "sum", words, lambda: again() * size)


def _pool_paddings(a: dict[str, Any], rank: int, again: Callable[..., Tensor], value: float) -> Changes:
    kernel = _tuple(a["kernel_size"], rank)
    stride = kernel if a["stride"] in (None, []) else _tuple(a["stride"], rank)
    widths = _same(a["input"].shape[2:], kernel, stride, (1,) * rank)
    flat = [n for pair in reversed(widths) for n in pair]
    padding = _tuple(a["padding"], rank)
    for fill in dict.fromkeys((value, 0.0)):
        yield Change(
            "padding",
            str(padding),
            f'"SAME", padded {widths}' + (" with zeros" if fill != value else ""),
            ("padding", "same", "pool"),
            lambda v=fill: again(input=F.pad(a["input"], flat, value=v), padding=0),
        )
    if value and any(padding):
        around = [n for p in reversed(padding) for n in (p, p)]
        yield Change(
            "what is padded",
            "nothing that a maximum sees",
            "zeros",
            ("pad", "pool"),
            lambda: again(input=F.pad(a["input"], around), padding=0),
        )
    for other in ((0,) * rank, tuple(k // 2 for k in kernel)):
        if other != padding:
            yield Change("padding", str(padding), str(other), ("padding", "pool"), lambda p=other: again(padding=p))
    x, words = a["input"], ("pool", "::", "interpolate", "resize")
    here = f"{kernel}, stride {stride}, padding {padding}"
    for k, s, p in ((2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 1, 0)):
        there = f"{(k,) * rank}, stride {(s,) * rank}, padding {(p,) * rank}"
        if there != here:
            ways = {"padding": p, "ceil_mode": False}
            yield Change(
                "the window",
                here,
                there,
                words,
                lambda k=k, s=s, w=ways: again(kernel_size=k, stride=s, **w),
            )
    every = (..., *(slice(None, None, n) for n in stride))
    yield Change("the pool", "a window", f"every value at {stride}", words, lambda: x[every])
    yield Change("the pool", "there", "left out", words, lambda: x)


def adaptive_pool(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Kind of a pool over the whole map."""
    a = _bind("input output_size", args, kwargs, {})
    x, size = a["input"], a["output_size"]
    rank = x.ndim - 2
    average = "avg" in func.__name__
    other = getattr(F, f"adaptive_{'max' if average else 'avg'}_pool{rank}d")
    names = ("average", "maximum") if average else ("maximum", "average")
    yield Change("the pool", *names, ("pool", "mean", "max"), lambda: other(x, size))
    if average and set(_tuple(size, rank)) == {1}:
        axes = tuple(range(2, x.ndim))
        yield Change("the pool", "mean", "sum", ("sum", "pool"), lambda: x.sum(axes, keepdim=True))


def interpolate(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Mode, corners and antialiasing of a change of size."""
    names = "input size scale_factor mode align_corners recompute_scale_factor antialias"
    none = {"size": None, "scale_factor": None, "mode": "nearest", "align_corners": None, "antialias": False}
    a = _bind(names, args, kwargs, {**none, "recompute_scale_factor": None})
    size = tuple(func(**a).shape[2:])
    here = _resize(a["mode"], a["align_corners"], a["antialias"])
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area", "linear", "trilinear"):
        corners = (False, True) if mode in ("bilinear", "bicubic", "linear", "trilinear") else (None,)
        for corner, smooth in product(corners, (False, True)):
            there = _resize(mode, corner, smooth)
            if there == here or (smooth and (mode not in ("bilinear", "bicubic") or corner)):
                continue
            yield Change(
                "the interpolation",
                here,
                there,
                ("interpolate", "resize", "upsample"),
                lambda m=mode, c=corner, s=smooth: F.interpolate(
                    a["input"], size=size, mode=m, align_corners=c, antialias=s
                ),
            )


def _resize(mode: str, corners: bool | None, antialias: bool) -> str:
    return mode + (", align_corners" if corners else "") + (", antialias" if antialias else "")


def attention(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Scale, mask and order of attention."""
    a = _bind(
        "query key value attn_mask dropout_p is_causal",
        args,
        kwargs,
        {"attn_mask": None, "dropout_p": 0.0, "is_causal": False, "scale": None},
    )
    q, k, v = a["query"], a["key"], a["value"]
    scale = a["scale"] if a["scale"] is not None else 1 / sqrt(q.shape[-1])

    def attend(**other: Any) -> Tensor:
        b = {**a, **other}
        first = (b.pop("query"), b.pop("key"), b.pop("value"))
        return func(*first, **b)

    words = ("scale", "attention", "sqrt")
    for there, value in _scales(scale, q).items():
        yield Change("attention's scale", f"{scale:.6g}", there, words, lambda s=value: attend(scale=s))
    causal = a["is_causal"]
    yield Change(
        "the causal mask", str(causal), str(not causal), ("causal", "mask"), lambda: attend(is_causal=not causal)
    )
    if a["attn_mask"] is not None:
        yield Change("attention's mask", "applied", "left out", ("mask",), lambda: attend(attn_mask=None))
    for order in permutations("qkv"):
        if "".join(order) != "qkv":
            taken = dict(zip("qkv", (q, k, v), strict=True))
            given = {name: taken[letter] for name, letter in zip(("query", "key", "value"), order, strict=True)}
            yield Change(
                "query, key and value",
                "qkv",
                "".join(order),
                ("attention", "qkv"),
                lambda g=given: attend(scale=scale, **g),
            )


def _scales(scale: float, q: Tensor) -> dict[str, float]:
    width = q.shape[-1]
    heads = q.shape[-3] if q.ndim > 3 else 1
    found = {
        "left out": 1.0,
        f"1/{width}": 1 / width,
        f"1/sqrt({width})": 1 / sqrt(width),
        f"1/sqrt({width * heads}), of all heads": 1 / sqrt(width * heads),
        f"sqrt({width})": sqrt(width),
    }
    return {text: value for text, value in found.items() if abs(value - scale) > 1e-12}


def concatenate(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The order in which arrays are joined."""
    a = _bind("tensors dim", args, kwargs, {"dim": 0})
    parts = list(a["tensors"])
    if not 2 <= len(parts) <= 5:
        return
    for order in permutations(range(len(parts))):
        if order != tuple(range(len(parts))):
            yield Change(
                "the order of concatenation",
                str(list(range(len(parts)))),
                str(list(order)),
                ("concat", "cat", "stack"),
                lambda o=order: func([parts[i] for i in o], a["dim"]),
            )


def reshape(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The order in which axes are merged or split: maps of other axes, heads, query, key and value."""
    x = args[0]
    y = func(*args, **kwargs)
    source, target = tuple(x.shape), tuple(y.shape)
    words = ("reshape", "flatten", "view", "ravel", "rearrange")
    offset = 0
    for into, out in _blocks(source, target):
        start, offset = offset, offset + len(into)
        if 2 <= len(into) <= 4:
            for order in permutations(range(len(into))):
                if order == tuple(range(len(into))):
                    continue
                axes = (*range(start), *(start + i for i in order), *range(start + len(into), x.ndim))
                yield Change(
                    "the order in which axes are merged",
                    str([into[i] for i in range(len(into))]),
                    f"{[into[i] for i in order]}, by axes {list(order)}",
                    words,
                    lambda p=axes: x.permute(p).reshape(target),
                )
        if 2 <= len(out) <= 4:
            place = _place_of(target, out, _blocks(source, target), into, start)
            for order in permutations(range(len(out))):
                if order == tuple(range(len(out))):
                    continue
                shape = (*target[:place], *(out[i] for i in order), *target[place + len(out) :])
                back = sorted(range(len(out)), key=lambda i: order[i])
                axes = (*range(place), *(place + i for i in back), *range(place + len(out), len(target)))
                yield Change(
                    "the order in which an axis is split",
                    str(list(out)),
                    f"{[out[i] for i in order]}, by axes {list(order)}",
                    words,
                    lambda s=shape, p=axes: x.reshape(s).permute(p),
                )


def _blocks(source: tuple[int, ...], target: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The axes of both shapes in groups of the same number of values, each as small as can be."""
    found = []
    i = j = 0
    while i < len(source) or j < len(target):
        a, b = i, j
        m = source[i] if i < len(source) else 1
        n = target[j] if j < len(target) else 1
        i, j = min(i + 1, len(source)), min(j + 1, len(target))
        while m != n:
            if m < n and i < len(source):
                m, i = m * source[i], i + 1
            elif j < len(target):
                n, j = n * target[j], j + 1
            else:
                break
        found.append((source[a:i], target[b:j]))
    return found


def _place_of(target: Any, out: Any, blocks: Any, into: Any, start: int) -> int:
    """Where in the target the block begins."""
    place = position = 0
    for theirs, ours in blocks:
        if position == start and theirs == into and ours == out:
            return place
        position, place = position + len(theirs), place + len(ours)
    return place


def reduction(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Mean, sum or maximum for one another."""
    x, rest = args[0], args[1:]
    dim = kwargs.get("dim", rest[0] if rest else None)
    if isinstance(dim, bool) or (func.__name__ == "max" and isinstance(dim, int)):
        return
    keep = kwargs.get("keepdim", rest[1] if len(rest) > 1 else False)
    axes = tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    kinds: Mapping[str, Callable[[], Tensor]] = {
        "mean": lambda: x.mean(axes, keep),
        "sum": lambda: x.sum(axes, keep),
        "amax": lambda: x.amax(axes, keep),
    }
    for name, compute in kinds.items():
        if name != func.__name__:
            yield Change("the reduction", func.__name__, name, (name.removeprefix("a"), "mean", "sum"), compute)
    for i, place in ((0, "the first"), (-1, "the last")) if len(axes) == 1 and not keep else ():
        taken = lambda n=i: x.select(axes[0], n % x.shape[axes[0]])  # noqa: E731
        yield Change("the reduction", func.__name__, f"{place} alone", (f"{i}]", "["), taken)
    others = [other for n in range(1, x.ndim) for other in _axes(x.ndim, n) if len(other) == len(axes)]
    for other in others:
        if sorted(other) != sorted(axis % x.ndim for axis in axes):
            yield Change(
                "the axes reduced", str(axes), str(other), (func.__name__,), lambda o=other: func(x, o, keepdim=keep)
            )


def _axes(rank: int, count: int) -> list[tuple[int, ...]]:
    return sorted({tuple(sorted(order[:count])) for order in permutations(range(rank))}) if rank < 6 else []


def variance(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The divisor of a variance or deviation."""
    x, rest = args[0], args[1:]
    dim = kwargs.get("dim", rest[0] if rest and not isinstance(rest[0], bool) else None)
    unbiased = kwargs.get("unbiased", rest[1] if len(rest) > 1 else True)
    correction = kwargs.get("correction", int(bool(unbiased)))
    keep = kwargs.get("keepdim", rest[2] if len(rest) > 2 else False)
    text = {0: "over n", 1: "over n - 1"}
    yield Change(
        "the variance",
        text.get(correction, f"correction {correction}"),
        text[int(not correction)],
        ("var", "std"),
        lambda: func(x, dim, correction=int(not correction), keepdim=keep),
    )


def arithmetic(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """A term or factor left out, another operation, another constant."""
    if len(args) < 2 or kwargs:
        return
    a, b = args[0], args[1]
    name = func.__name__.strip("_")
    symbol = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "radd": "+", "rmul": "*", "rsub": "-"}
    words = (symbol.get(name, name),)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        yield Change(f"the second operand of {words[0]}", "there", "left out", words, lambda: a.clone())
        yield Change(f"the first operand of {words[0]}", "there", "left out", words, lambda: b.clone())
        for other, compute in (("+", torch.add), ("*", torch.mul), ("-", torch.sub), ("max", torch.maximum)):
            if other != words[0]:
                yield Change("the operation", words[0], other, (other,), lambda c=compute: c(a, b))
        return
    number, tensor = (b, a) if isinstance(a, Tensor) else (a, b)
    if not isinstance(number, int | float) or isinstance(number, bool) or not isinstance(tensor, Tensor):
        return
    if not tensor.is_floating_point() or not number:
        return
    first = isinstance(a, Tensor)
    here = float(number)
    others = {"left out": 1.0 if words[0] in "*/" else 0.0, "its square": here**2, "its root": sqrt(abs(here)),
              "its inverse": 1 / here, "0.2": 0.2, "1/6": 1 / 6, "its negative": -here}  # fmt: skip
    if words[0] in "*/" and tensor.ndim == 4:
        heads = sqrt(tensor.shape[1])
        others["of all heads"] = here / heads if words[0] == "*" else here * heads
    for text, value in others.items():
        if value != here:
            yield Change(
                f"the constant of {words[0]}",
                f"{here:.6g}",
                f"{text}, {value:.6g}",
                words,
                lambda v=value: func(tensor.clone(), v) if first else func(v, tensor),
            )


def parts(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The order in which the parts of an array are taken."""
    found = tuple(func(*args, **kwargs))
    if not 2 <= len(found) <= 4:
        return
    # An unpacked tensor is gone through, a chunked one is there at once.
    shape: Callable[[Any], Any] = iter if func.__name__ == "__iter__" else tuple
    names = "qkv" if len(found) == 3 else "abcd"[: len(found)]
    for order in permutations(range(len(found))):
        if order != tuple(range(len(found))):
            yield Change(
                "the order of the parts",
                names,
                "".join(names[i] for i in order),
                ("chunk", "split", "unbind", "="),
                lambda o=order: shape(found[i] for i in o),
            )


def item(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The first for the last, or the mean."""
    x, index = args
    indices = index if isinstance(index, tuple) else (index,)
    for i, each in enumerate(indices):
        if not isinstance(each, int) or isinstance(each, bool) or any(not isinstance(n, int | slice) for n in indices):
            continue
        axis = i
        for other in (0, -1):
            if other % x.shape[axis] != each % x.shape[axis]:
                new = (*indices[:i], other, *indices[i + 1 :])
                yield Change("the place taken", str(each), str(other), ("[",), lambda n=new: x[n])
        whole = (*indices[:i], slice(None), *indices[i + 1 :])
        gone = sum(isinstance(n, int) for n in indices[:i])
        yield Change(
            "what is taken", f"place {each}", "the mean", ("mean", "["), lambda w=whole, d=axis - gone: x[w].mean(d)
        )


def pad(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Where and with what an array is padded."""
    a = _bind("input pad mode value", args, kwargs, {"mode": "constant", "value": None})
    x, widths = a["input"], list(a["pad"])
    value = a["value"] or 0.0
    pairs = [widths[i : i + 2] for i in range(0, len(widths), 2)]
    others = {"before and after exchanged": [n for pair in pairs for n in pair[::-1]],
              "axes exchanged": [n for pair in pairs[::-1] for n in pair]}  # fmt: skip
    for text, other in others.items():
        if other != widths:
            yield Change("padding", str(widths), f"{other}, {text}", ("pad",), lambda o=other: F.pad(x, o, value=value))
    for mode in ("constant", "circular", "reflect", "replicate"):
        if mode != a["mode"]:
            yield Change("what is padded", a["mode"], mode, ("pad",), lambda m=mode: F.pad(x, widths, mode=m))


def lstm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Gate order, biases and direction of an LSTM."""
    x, state, weights, biased, *rest = args
    names = "ifgo"
    batch_first = rest[-1]
    axis = 1 if batch_first else 0

    def run(change: Callable[[Tensor], Tensor]) -> Any:
        return func(x, state, [change(w) for w in weights], biased, *rest)

    for order in permutations(range(4)):
        if order != (0, 1, 2, 3):
            yield Change(
                "the order of the gates",
                names,
                "".join(names[i] for i in order),
                ("lstm", "rnn"),
                lambda o=order: run(lambda w: torch.cat([w.chunk(4, 0)[i] for i in o])),
            )
    yield Change(
        "the direction",
        "forward",
        "backward",
        ("reverse", "lstm", "rnn"),
        lambda: (
            func(x.flip(axis), state, weights, biased, *rest)[0].flip(axis),
            *func(x.flip(axis), state, weights, biased, *rest)[1:],
        ),
    )
    layers, both_ways = rest[0], rest[3]
    if both_ways:
        for text, way, turn in (("first the backward one", -1, True), ("the backward one not turned back", 1, False)):
            yield Change(
                "the directions",
                "forward and backward",
                text,
                ("bidirectional", "lstm", "rnn"),
                lambda o=way, t=turn: _both_ways(func, x, state, weights, biased, layers, batch_first, o, t),
            )
    if biased:
        more = [w + (torch.arange(len(w)) // (len(w) // 4) == 1) if i % 4 == 2 else w for i, w in enumerate(weights)]
        yield Change(
            "the forget gate's bias", "as it is", "1 more", ("lstm", "rnn"), lambda: func(x, state, more, biased, *rest)
        )
        for which, text in ((2, "without the input's bias"), (3, "without the state's bias")):
            yield Change(
                "the biases",
                "both added",
                text,
                ("bias", "lstm", "rnn"),
                lambda k=which: func(
                    x, state, [torch.zeros_like(w) if i % 4 == k else w for i, w in enumerate(weights)], biased, *rest
                ),
            )


def _both_ways(
    func: Any, x: Tensor, state: Any, weights: Any, biased: bool, layers: int, batch_first: bool, order: int, turn: bool
) -> Any:
    """The layers one by one, the two directions joined in that order, the backward one turned back or not."""
    each, axis = 4 if biased else 2, 1 if batch_first else 0
    last: list[Any] = []
    for k in range(layers):
        halves = []
        for way in (0, 1):
            i = 2 * k + way
            start = [s[i : i + 1] for s in state] if isinstance(state, list | tuple) else state[i : i + 1]
            given = x.flip(axis) if way else x
            y, *h = func(given, start, weights[each * i : each * (i + 1)], biased, 1, 0.0, False, False, batch_first)
            halves.append(y.flip(axis) if way and turn else y)
            last.append(h)
        x = torch.cat(halves[::order], -1)
    return (x, *(torch.cat(parts) for parts in zip(*last, strict=True)))


def gru(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Gate order, directions and meaning of a GRU's update gate."""
    x, state, weights, biased, layers, dropout, train, both_ways, batch_first = args
    rest = (biased, layers, dropout, train, both_ways, batch_first)
    words = ("gru", "rnn")
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            yield Change(
                "the order of the gates",
                "rzn",
                "".join("rzn"[i] for i in order),
                words,
                lambda o=order: func(x, state, [torch.cat([w.chunk(3, 0)[i] for i in o]) for w in weights], *rest),
            )
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=x.dtype)
    other = [torch.cat([sign * part for sign, part in zip(signs, w.chunk(3, 0), strict=True)]) for w in weights]
    yield Change("the update gate", "of the old state", "of the new", words, lambda: func(x, state, other, *rest))
    if both_ways:
        for text, way, turn in (("first the backward one", -1, True), ("the backward one not turned back", 1, False)):
            yield Change(
                "the directions",
                "forward and backward",
                text,
                words,
                lambda o=way, t=turn: _both_ways(func, x, state, weights, biased, layers, batch_first, o, t),
            )


def embedding(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The scale of an embedding."""
    y = func(*args, **kwargs)
    width = y.shape[-1]
    yield Change("the embedding's scale", "1", f"sqrt({width})", ("embed", "sqrt"), lambda: y * sqrt(width))
    indices, weight = args[0], args[1]
    for row in (0, len(weight) - 1):
        blank = (indices != row).unsqueeze(-1)
        yield Change(
            "the row of padding", "as it is", f"row {row} zeros", ("padding_idx", "embed"), lambda b=blank: y * b
        )


def matmul(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """An operand transposed."""
    a, b = args[0], args[1]
    if isinstance(b, Tensor) and b.ndim >= 2 and b.shape[-1] == b.shape[-2]:
        yield Change("the second operand", "as it is", "transposed", ("@", "matmul"), lambda: func(a, b.mT))
    if isinstance(a, Tensor) and a.ndim >= 2 and a.shape[-1] == a.shape[-2]:
        yield Change("the first operand", "as it is", "transposed", ("@", "matmul"), lambda: func(a.mT, b))


def clamp(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The ends of a clamp."""
    a = _bind("input min max", args, kwargs, {"min": None, "max": None})
    x, low, high = a["input"], a["min"], a["max"]
    yield Change("the clamp", "there", "left out", ("clip", "clamp"), lambda: x.clone())
    if low is not None and high is not None:
        yield Change("the upper end", str(high), "none", ("clip", "clamp"), lambda: x.clamp(min=low))
        yield Change("the upper end", str(high), "6", ("clip", "clamp"), lambda: x.clamp(low, 6))
        yield Change("the lower end", str(low), "none", ("clip", "clamp"), lambda: x.clamp(max=high))


def roll(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The direction of a shift."""
    a = _bind("input shifts dims", args, kwargs, {"dims": None})
    other = -a["shifts"] if isinstance(a["shifts"], int) else tuple(-n for n in a["shifts"])
    yield Change("the shift", str(a["shifts"]), str(other), ("roll",), lambda: torch.roll(a["input"], other, a["dims"]))
    yield Change("the shift", str(a["shifts"]), "left out", ("roll", "shift"), lambda: a["input"].clone())


def order(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """An exchange of axes left out where the shape does not tell."""
    x = args[0]
    if not isinstance(x, Tensor):
        return
    words = ("transpose", "permute", "swapaxes")
    yield Change("the exchange of axes", "there", "left out", words, lambda: x)
    y = func(*args, **kwargs)
    for turn in permutations(range(y.ndim)) if y.ndim <= 4 else ():
        if turn != tuple(range(y.ndim)) and y.permute(turn).shape == y.shape:
            yield Change(
                "the order of axes",
                str(list(range(y.ndim))),
                f"{list(turn)} of these",
                words,
                lambda t=turn: func(*args, **kwargs).permute(t),
            )


def repeat(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Copies of the whole, or of each value."""
    x = args[0]
    counts = tuple(args[1:]) if isinstance(args[1], int) else tuple(args[1])
    words = ("repeat", "tile")

    def each() -> Tensor:
        y = x
        for axis, n in enumerate(counts[-x.ndim :]):
            y = y.repeat_interleave(n, axis)
        return y.expand(*counts[: -x.ndim], *y.shape)

    yield Change("what is repeated", "the whole", "each value", words, each)


def repeat_each(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Copies of each value, or of the whole."""
    a = _bind("input repeats dim", args, kwargs, {"dim": None})
    x, n, dim = a["input"], a["repeats"], a["dim"]
    if isinstance(n, int) and dim is not None:
        counts = [n if axis == dim % x.ndim else 1 for axis in range(x.ndim)]
        yield Change("what is repeated", "each value", "the whole", ("repeat", "tile"), lambda: x.repeat(counts))


def attention_layer(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The number of heads of PyTorch's own attention layer."""
    width, heads = args[3:5]
    for other in (n for n in range(1, width + 1) if width % n == 0 and n != heads):
        yield Change(
            "the number of heads",
            str(heads),
            str(other),
            ("heads", "attention"),
            lambda n=other: func(*args[:4], n, *args[5:], **kwargs),
        )


TABLE: Mapping[str, Callable[[Any, Any, Any, Hints], Changes]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), transposed),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), average_pool),
    **dict.fromkeys(
        (f"adaptive_{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3)), adaptive_pool
    ),
    **dict.fromkeys(
        ("relu", "relu_", "relu6", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "leaky_relu", "elu",
         "mish", "softplus", "hardtanh", "selu", "sigmoid_", "tanh_"), activation),
    **dict.fromkeys(("softmax", "log_softmax"), softmax),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack"), concatenate),
    **dict.fromkeys(("reshape", "view", "flatten", "unflatten"), reshape),
    **dict.fromkeys(("mean", "sum", "amax"), reduction),
    **dict.fromkeys(("var", "std"), variance),
    **dict.fromkeys(
        ("add", "sub", "mul", "div", "add_", "mul_", "__add__", "__mul__", "__radd__", "__rmul__", "__sub__",
         "__rsub__", "true_divide", "__truediv__", "maximum"), arithmetic),
    **dict.fromkeys(("chunk", "split", "unbind", "tensor_split", "__iter__"), parts),
    **dict.fromkeys(("matmul", "bmm", "__matmul__", "mm"), matmul),
    **dict.fromkeys(("clamp", "clip", "clamp_"), clamp),
    **dict.fromkeys(("transpose", "permute", "swapaxes", "mT"), order),
    "linear": linear,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "rms_norm": rms_norm,
    "interpolate": interpolate,
    "scaled_dot_product_attention": attention,
    "__getitem__": item,
    "pad": pad,
    "lstm": lstm,
    "embedding": embedding,
    "roll": roll,
    "repeat": repeat,
    "tile": repeat,
    "repeat_interleave": repeat_each,
    "instance_norm": instance_norm,
    "multi_head_attention_forward": attention_layer,
    "gru": gru,
}  # fmt: skip
