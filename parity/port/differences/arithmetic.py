"""Known differences of sums, means, variances and of arithmetic."""

from collections.abc import Callable, Mapping
from itertools import permutations
from math import sqrt
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
from torch import Tensor

from .change import Change, Changes, Hints


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
