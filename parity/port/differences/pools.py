"""Known differences of pools and of resizing."""

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch.nn.functional as F
from torch import Tensor

from .change import Change, Changes, Hints, bind, per_side
from .products import same


def max_pool(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Rounding, padding and kind of a window pool."""
    names = "input kernel_size stride padding dilation ceil_mode"
    a = bind(names, args, kwargs, {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False})
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
    if per_side(a["dilation"], rank) == (1,) * rank:
        for include in (True, False) if any(per_side(a["padding"], rank)) else (True,):
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
    a = bind(names, args, kwargs, {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True})
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
    size = prod(per_side(a["kernel_size"], rank))
    yield Change("the pool", "average", "sum", words, lambda: again() * size)


def _pool_paddings(a: dict[str, Any], rank: int, again: Callable[..., Tensor], value: float) -> Changes:
    kernel = per_side(a["kernel_size"], rank)
    stride = kernel if a["stride"] in (None, []) else per_side(a["stride"], rank)
    widths = same(a["input"].shape[2:], kernel, stride, (1,) * rank)
    flat = [n for pair in reversed(widths) for n in pair]
    padding = per_side(a["padding"], rank)
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
    a = bind("input output_size", args, kwargs, {})
    x, size = a["input"], a["output_size"]
    rank = x.ndim - 2
    average = "avg" in func.__name__
    other = getattr(F, f"adaptive_{'max' if average else 'avg'}_pool{rank}d")
    names = ("average", "maximum") if average else ("maximum", "average")
    yield Change("the pool", *names, ("pool", "mean", "max"), lambda: other(x, size))
    if average and set(per_side(size, rank)) == {1}:
        axes = tuple(range(2, x.ndim))
        yield Change("the pool", "mean", "sum", ("sum", "pool"), lambda: x.sum(axes, keepdim=True))


def interpolate(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Mode, corners and antialiasing of a change of size."""
    names = "input size scale_factor mode align_corners recompute_scale_factor antialias"
    none = {"size": None, "scale_factor": None, "mode": "nearest", "align_corners": None, "antialias": False}
    a = bind(names, args, kwargs, {**none, "recompute_scale_factor": None})
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
