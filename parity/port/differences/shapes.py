"""Known differences of what moves values about: joins, reshapes, parts, orders, pads and rolls."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
import torch.nn.functional as F
from torch import Tensor

from .change import Change, Changes, Hints, bind


def concatenate(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The order in which arrays are joined."""
    a = bind("tensors dim", args, kwargs, {"dim": 0})
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
    """The place in the target where the block begins."""
    place = position = 0
    for theirs, ours in blocks:
        if position == start and theirs == into and ours == out:
            return place
        position, place = position + len(theirs), place + len(ours)
    return place


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
    """Other places and values of an array's padding."""
    a = bind("input pad mode value", args, kwargs, {"mode": "constant", "value": None})
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


def roll(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """The direction of a shift."""
    a = bind("input shifts dims", args, kwargs, {"dims": None})
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
    a = bind("input repeats dim", args, kwargs, {"dim": None})
    x, n, dim = a["input"], a["repeats"], a["dim"]
    if isinstance(n, int) and dim is not None:
        counts = [n if axis == dim % x.ndim else 1 for axis in range(x.ndim)]
        yield Change("what is repeated", "each value", "the whole", ("repeat", "tile"), lambda: x.repeat(counts))
