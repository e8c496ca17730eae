"""Differences that only gradients show: which of several equal maxima gets the gradient, and derivatives at kinks.

As in `differences`, each function gives the ways in which a call may have been written otherwise; here all of them give
the same values.
"""

from collections.abc import Callable, Mapping
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
from torch import Tensor

from .differences.change import Change, Changes, Hints


def _first(x: Tensor, axes: tuple[int, ...], *, keep: bool, last: bool = False) -> Tensor:
    """The maximum over the axes, whose gradient goes to the first of several, or the last."""
    rest = tuple(axis for axis in range(x.ndim) if axis not in axes)
    flat = x.permute(*rest, *axes).flatten(len(rest))
    flat = flat.flip(-1) if last else flat
    y = flat.gather(-1, flat.argmax(-1, keepdim=True)).squeeze(-1)
    for axis in sorted(axes) if keep else ():
        y = y.unsqueeze(axis)
    return y


def amax(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """A maximum that shares its gradient."""
    x = args[0]
    dim = kwargs.get("dim", args[1] if len(args) > 1 else tuple(range(x.ndim)))
    keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    axes = tuple(axis % x.ndim for axis in ((dim,) if isinstance(dim, int) else dim))
    for there, last in (("to the first", False), ("to the last", True)):
        yield Change(
            "the gradient of equal maxima", "shared", there, ("max",), lambda e=last: _first(x, axes, keep=keep, last=e)
        )


def maximum_along(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """A maximum along an axis, which gives its gradient to the first."""
    x = args[0]
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if not isinstance(dim, int):
        return
    keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    places = func(x, dim, keep)[1]
    made: Callable[[Tensor], Any] = lambda y: torch.return_types.max((y, places))  # noqa: E731
    ways = {
        "shared": lambda: x.amax(dim, keep),
        "to the last": lambda: _first(x, (dim % x.ndim,), keep=keep, last=True),
    }
    for there, compute in ways.items():
        yield Change("the gradient of equal maxima", "to the first", there, ("max",), lambda c=compute: made(c()))


def pool(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """A maximum over a whole map, which gives its gradient to the first."""
    x = args[0]
    y = func(*args, **kwargs)
    axes = tuple(range(2, x.ndim))
    if tuple(y.shape[2:]) != (1,) * len(axes):
        return
    ways = {"shared": lambda: x.amax(axes, True), "to the last": lambda: _first(x, axes, keep=True, last=True)}
    for there, compute in ways.items():
        yield Change("the gradient of equal maxima", "to the first", there, ("max", "pool"), compute)


def relu(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The derivative of a ReLU at zero."""
    x = args[0].clone()
    for there, share in (("1/2", 0.5), ("1", 1.0)):
        yield Change(
            "the derivative at zero",
            "0",
            there,
            ("relu", "maximum"),
            lambda s=share: torch.where(x == 0, s * x, torch.relu(x)),
        )


def maximum(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The greater of two, or the smaller, which share the gradient where they are equal."""
    a, b = args[0], args[1]
    greater = func.__name__ == "maximum"
    ways = {"to the first": torch.ge if greater else torch.le, "to the second": torch.gt if greater else torch.lt}
    for there, first in ways.items():
        yield Change(
            "the gradient of equal operands",
            "shared",
            there,
            (func.__name__,),
            lambda f=first: torch.where(f(a, b), a, b),
        )


def clamp(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The derivative at the ends of a clamp."""
    x, y = args[0], func(*args, **kwargs)
    for there, share in (("0", 0.0), ("1/2", 0.5)):
        yield Change(
            "the derivative at the ends",
            "1",
            there,
            ("clip", "clamp", "relu6"),
            lambda s=share: _with_share(x, y, s),
        )


def _with_share(x: Tensor, y: Tensor, share: float) -> Tensor:
    """The clamp's values, with this derivative where x is at an end, 1 between them and 0 beyond."""
    low, high = y.min().detach(), y.max().detach()
    slope = torch.where(x == y, torch.where((x == low) | (x == high), share, 1.0), 0.0).detach()
    return y.detach() + slope * (x - x.detach())


GRADIENTS: Mapping[str, Callable[[Any, Any, Any, Hints], Changes]] = {
    "amax": amax,
    "max": maximum_along,
    "adaptive_max_pool1d": pool,
    "adaptive_max_pool2d": pool,
    "adaptive_max_pool3d": pool,
    "relu": relu,
    "relu_": relu,
    "maximum": maximum,
    "minimum": maximum,
    "clamp": clamp,
    "clip": clamp,
}
