"""Differences between operations: a tensor that was changed on its way to a layer, or another tensor in its place.

A layer's own code hands tensors to its children and to its caller. What stands for such a tensor on the other side is
held against each tensor that is known there, as it is and changed in the ways in which ports change them.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from math import isclose
from typing import Any

import numpy as np
from torch import Tensor

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
from .differences.activations import ACTIVATIONS

REPRODUCED = 1e-12
Fits = Callable[[Tensor], bool]


def near(got: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether the arrays are equal to 1e-12 of the largest value."""
    scale = float(np.abs(wanted).max()) if wanted.size else 0.0
    with np.errstate(all="ignore"):
        return not wanted.size or float(np.abs(got - wanted).max()) <= REPRODUCED * scale


def explain(name: str, target: str, wanted: np.ndarray, known: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """The ways in which the wanted array follows from the tensors that are known.

    Args:
        name: The tensor that is wanted otherwise, see `taps`.
        target: The call whose own code makes it, `path|number`.
        wanted: What the other side has there.
        known: What goes into the call and its children and comes out, by name; `name` among it.
    """
    mine = known[name].detach()
    what = "the result" if name.startswith(f"{target}|out|") else f"what {_called(name)} is given"

    def told(there: str, *words: str) -> dict[str, Any]:
        return {"what": what, "here": "as it is", "there": there, "words": [f"{_called(name)}(", *words]}

    if wanted.size and not wanted.any():
        yield told("left out, zeros", "zeros")
        return
    # Of few values many functions give the same: the plainest comes first.
    is_like = tuple(mine.shape) == wanted.shape and mine.is_floating_point()
    if is_like and (ratio := _constant(wanted, mine.numpy())) is not None:
        yield told(f"times {ratio:.6g}", "*", "/")
        return
    for there, words, compute in _changes(mine):
        try:
            changed = compute(mine)
        except (RuntimeError, IndexError):
            continue
        if tuple(changed.shape) == wanted.shape and near(changed.numpy(), wanted):
            yield told(there, *words)
            return
    for other, tensor in known.items():
        for text, words, compute in _forms(tensor.detach()) if other != name else ():
            if tuple((changed := compute(tensor.detach())).shape) == wanted.shape and near(changed.numpy(), wanted):
                yield told(_said(other, target) + text, _called(other), *words)
                return
    if not is_like:
        return
    for other, tensor in known.items():
        array = tensor.detach().numpy()
        for sign, text in ((1, "added"), (-1, "taken off")) if array.shape == wanted.shape and other != name else ():
            if near(mine.numpy() + sign * array, wanted):
                yield told(f"{_said(other, target)} {text}", "+" if sign > 0 else "-")
                return


def _changes(x: Tensor) -> Iterator[tuple[str, tuple[str, ...], Callable[[Tensor], Tensor]]]:
    if x.is_floating_point():
        for text, compute in ACTIVATIONS.items():
            word = text.partition(",")[0].replace(" ", "_")
            if text != "no activation":
                yield f"{text}, applied to it", (word, word.replace("_", "")), compute
        for axis in range(x.ndim):
            yield f"softmax over axis {axis - x.ndim}", ("softmax",), lambda x, d=axis: x.softmax(d)
            yield f"log_softmax over axis {axis - x.ndim}", ("log_softmax",), lambda x, d=axis: x.log_softmax(d)
    for axis in range(x.ndim):
        yield f"axis {axis} reversed", ("flip", "::-1", "reverse"), lambda x, d=axis: x.flip(d)
        if x.shape[axis] % 2 == 0 and x.shape[axis] > 2:
            half = x.shape[axis] // 2
            yield f"the halves of axis {axis} exchanged", ("cat",), lambda x, d=axis, h=half: x.roll(h, d)
    words = ("reshape", "permute", "transpose", "flatten")
    for order in permutations(range(x.ndim)) if x.ndim <= 4 else ():
        if order != tuple(range(x.ndim)):
            yield f"by axes {list(order)}", words, lambda x, o=order: x.permute(o).reshape(x.shape)


def _forms(x: Tensor) -> Iterator[tuple[str, tuple[str, ...], Callable[[Tensor], Tensor]]]:
    """A tensor as it is, with its channels at the other end, and each with its places reduced."""
    yield "", (), lambda x: x
    if x.ndim < 3 or not x.is_floating_point():
        return
    last, second = (0, *range(2, x.ndim), 1), (0, x.ndim - 1, *range(1, x.ndim - 1))
    for order in dict.fromkeys((last, second)):
        yield f", by axes {list(order)}", ("permute", "transpose"), lambda x, o=order: x.permute(o)
    for axes in (tuple(range(2, x.ndim)), tuple(range(1, x.ndim - 1))):
        for keep in (False, True):
            yield f", its mean over axes {axes}", ("mean", "pool"), lambda x, a=axes, k=keep: x.mean(a, k)
            yield f", its maximum over axes {axes}", ("max", "pool"), lambda x, a=axes, k=keep: x.amax(a, k)
            yield f", its sum over axes {axes}", ("sum",), lambda x, a=axes, k=keep: x.sum(a, k)


def _constant(wanted: np.ndarray, mine: np.ndarray) -> float | None:
    """The number that makes the one of the other, if there is one."""
    place = np.unravel_index(int(np.abs(mine).argmax()), mine.shape) if mine.size else ()
    if not mine.size or not mine[place]:
        return None
    ratio = float(wanted[place] / mine[place])
    return ratio if ratio and not isclose(ratio, 1) and near(mine * ratio, wanted) else None


def _called(name: str) -> str:
    """The attribute by which a layer is called."""
    return name.split("|")[0].rpartition(".")[2]


def _said(name: str, target: str) -> str:
    path, number, direction, _ = name.split("|")
    if f"{path}|{number}" == target:
        return "what the layer is given"
    return f"what {_called(name)} {'is given' if direction == 'in' else 'gives'}"


__all__ = ["explain", "near"]
