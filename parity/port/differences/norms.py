"""Known differences of batch, layer, instance, group and root-mean-square norms."""

from collections.abc import Callable
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
import torch.nn.functional as F
from torch import Tensor

from .change import Change, Changes, Hints, bind, number

EPSILONS = (1e-5, 1e-6, 1e-3, 1e-12, 1e-8, 1e-4, 1e-2, 1e-7, 2e-5, 0.0)


MOMENTA = (0.1, 0.01, 0.9, 0.99, 0.001, 0.003, 0.05, 0.0, 1.0)


def _epsilons(eps: float, hints: Hints) -> list[float]:
    own = [hints["eps"]] if isinstance(hints.get("eps"), float) else []
    # Paddle keeps the nearest that float32 holds.
    values = [near for value in (*own, *EPSILONS) for near in (value, torch.tensor(value, dtype=torch.float32).item())]
    return [value for value in dict.fromkeys(values) if f"{value:g}" != f"{eps:g}"]


def batch_norm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Epsilon, momentum, mode and running variance of a batch norm."""
    names = "input running_mean running_var weight bias training momentum eps"
    a = bind(names, args, kwargs, {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5})
    words = ("norm", "bn")

    def norm(**other: Any) -> Tensor:
        b = {**a, **other}
        return func(*(b[name] for name in names.split()))

    for eps in _epsilons(a["eps"], hints):
        yield Change("epsilon", number(a["eps"]), number(eps), ("eps", *words), lambda e=eps: norm(eps=e))
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
        text = (number(a["momentum"]), number(momentum))
        yield Change("momentum, of the new value,", *text, ("momentum", *words), lambda m=momentum: norm(momentum=m))
    for momentum in (a["momentum"], *momenta):
        same = momentum == a["momentum"]
        what = "the running variance" if same else "the running variance and momentum, of the new value,"
        here, there = ("n - 1", "n") if same else (f"n - 1, {number(a['momentum'])}", f"n, {number(momentum)}")
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
    a = bind(names, args, kwargs, {"weight": None, "bias": None, "eps": 1e-5})
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
    a = bind(names, args, kwargs, {**none, "momentum": 0.1, "eps": 1e-5})
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
    a = bind(names, args, kwargs, {"weight": None, "bias": None, "eps": 1e-5})
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
    a = bind(names, args, kwargs, {"weight": None, "eps": None})
    if a["eps"] is None:
        a["eps"] = torch.finfo(a["input"].dtype).eps
    yield from _norm(func, names, a, hints)


def _norm(func: Any, names: str, a: dict[str, Any], hints: Hints) -> Changes:
    def norm(**other: Any) -> Tensor:
        b = {**a, **other}
        return func(*(b[name] for name in names.split()))

    for eps in _epsilons(a["eps"], hints):
        yield Change("epsilon", number(a["eps"]), number(eps), ("eps", "norm"), lambda e=eps: norm(eps=e))
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
