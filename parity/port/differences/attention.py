"""Known differences of attention."""

from itertools import permutations
from math import sqrt
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
from torch import Tensor

from .change import Change, Changes, Hints, bind


def attention(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Scale, mask and order of attention."""
    a = bind(
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
