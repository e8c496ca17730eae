"""Known differences of convolutions, linear layers, embeddings and products of matrices."""

from collections.abc import Callable, Sequence
from itertools import permutations, product
from math import prod, sqrt
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
import torch.nn.functional as F
from torch import Tensor

from .change import Change, Changes, Hints, bind, per_side


def convolution(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Padding, kernel orders, groups and bias of a convolution."""
    a = bind(
        "input weight bias stride padding dilation groups",
        args,
        kwargs,
        {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    )
    x, w, rank = a["input"], a["weight"], a["weight"].ndim - 2
    kernel, stride, dilation = w.shape[2:], per_side(a["stride"], rank), per_side(a["dilation"], rank)
    padding = a["padding"] if isinstance(a["padding"], str) else per_side(a["padding"], rank)

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
        widths = same(x.shape[2:], kernel, stride, spread)
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


def same(
    sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """The padding of "SAME" before and after each side: more after than before."""
    found = []
    for n, k, s, d in zip(sides, kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        found.append((total // 2, total - total // 2))
    return found


def transposed(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Kernel orders and place of a transposed convolution."""
    names = "input weight bias stride padding output_padding groups dilation"
    zeros = {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
    a = bind(names, args, kwargs, zeros)
    w = a["weight"]
    rank = w.ndim - 2
    spatial = tuple(range(2, w.ndim))
    sides = func(*(a[name] for name in names.split())).shape[2:]
    padding = per_side(a["padding"], rank)[0]

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
    a = bind("input weight bias", args, kwargs, {"bias": None})
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
