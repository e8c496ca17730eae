"""The table of layers: how each framework names and orders the arrays of each kind.

Canonical is PyTorch's column: the names of `state_dict` and the order of the axes there. Axes are named as in
`patterns`, so that every way from one column to another, and back, follows from the rows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Form:
    """A leaf in one framework: its names behind the layer's path, and the axes of the arrays stacked in their order.

    One name has no axis of its own. `aliases` are further names of the same arrays; `{k}` stands for a number.
    """

    names: tuple[str, ...]
    axes: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """One array of a layer, as each framework has it; None where a framework has no such array.

    Where `added` is set, Flax has one bias where the others have two: their sum. It says from which part of the
    second on a sum is not the same function, and the second must be zero.
    """

    torch: Form | None
    paddle: Form | None
    flax: Form | None
    added: float | None = None

    def form(self, framework: str) -> Form | None:
        """The leaf's form in `framework`."""
        return getattr(self, framework)


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        name: what rules call it.
        leaves: the table's rows.
        mute: the frameworks in whose files such a layer looks like another one, and must be told.
        square: whether the axes o and p are equally long.
        marks: the rows of which each such layer has one at least.
        ranks: the ranks that the first row's array can have, where `...` alone allows more.
    """

    name: str
    leaves: tuple[Leaf, ...]
    mute: tuple[str, ...] = ()
    square: bool = False
    marks: tuple[int, ...] = (0,)
    ranks: tuple[int, ...] = ()


def _kind(name: str, *rows: str, **options: Any) -> Kind:
    return Kind(name, tuple(_leaf(row) for row in rows), **options)


def _leaf(row: str, added: float | None = None) -> Leaf:
    """A row of the table: `names : axes` for PyTorch, Paddle and Flax, one for all three, `-` where there is none."""
    forms = [_form(part) for part in row.split("|")]
    torch, paddle, flax = forms * 3 if len(forms) == 1 else forms
    return Leaf(torch, paddle, flax, added)


def _form(text: str) -> Form | None:
    if text.strip() == "-":
        return None
    names, _, axes = text.partition(":")
    first, *aliases = names.split()
    return Form(expand(first), axes.strip(), tuple(name for alias in aliases for name in expand(alias)))


def expand(template: str) -> tuple[str, ...]:
    """The names that `{a,b}` in a name stands for.

    >>> expand("{q,k}_proj.weight")
    ('q_proj.weight', 'k_proj.weight')
    """
    found = re.search(r"\{([^{}]*,[^{}]*)\}", template)
    if found is None:
        return (template,)
    ends = (template[: found.start()], template[found.end() :])
    return tuple(name for part in found[1].split(",") for name in expand(f"{ends[0]}{part.strip()}{ends[1]}"))


# For each direction PyTorch's suffix, and the paths of its cell in Paddle's and Flax's layers.
_WAYS = {
    "-bidirectional": (("_reverse", "cell_bw", "backward_rnn.cell"), ("", "cell_fw", "forward_rnn.cell")),
    "": (("", "cell", "cell"),),
    "-cell": (("", "", ""),),
}


def _recurrent() -> Iterator[Kind]:
    """Layers and cells of LSTMs, GRUs and plain networks, one way and both, as PyTorch, Paddle and Flax have them.

    Flax has a bias in one of the two linear maps: the sum of the others' two, except that a GRU's second one stands
    inside `r * (...)` for the last gate.
    """
    for kind, gates, bias in (("lstm", 4, "dense_h"), ("gru", 3, "dense_i"), ("rnn", 1, "dense_i")):
        added = 2.0 if kind == "gru" else np.inf
        for form, ways in _WAYS.items():
            rows, plain = [], []
            for way, paddle, flax in ways:
                suffix, alias = ("", "") if form == "-cell" else (f"_l{{k}}{way}", f" {{k}}.{paddle}.")
                at = f"{flax}." if flax else ""
                for name, inner, hidden in (("ih", "i", "dense_i"), ("hh", "p", "dense_h")):
                    theirs = f"weight_{name}{suffix}{alias and f'{alias}weight_{name}'}"
                    axes = f"({gates} o) {inner}"
                    first = f"weight_{name}{suffix} : {axes} | {theirs} : {axes}"
                    rows.append(_leaf(f"{first} | {at}{hidden}.kernel : {inner} ({gates} o)"))
                    each = ",".join({"i": ("ii", "if_", "ig", "io"), "p": ("hi", "hf", "hg", "ho")}[inner])
                    plain.append(_leaf(f"{first} | {at}{{{each}}}.kernel : 4 {inner} o"))
                biases = f"{{bias_ih,bias_hh}}{suffix}"
                two = f"{biases} : 2 ({gates} o) | {biases}{alias and alias + '{bias_ih,bias_hh}'} : 2 ({gates} o)"
                rows.append(_leaf(f"{two} | {at}{bias}.bias : ({gates} o)", added=added))
                plain.append(_leaf(f"{two} | {at}{{hi,hf,hg,ho}}.bias : 4 o", added=added))
            yield Kind(f"{kind}{form}", tuple(rows), square=True)
            if kind == "lstm":
                yield Kind(f"unfused-lstm{form}", tuple(plain), mute=("torch", "paddle"), square=True)


# A transposed convolution has the kernel of the convolution whose gradient it is.
_GRADIENT = "weight : i o ... | weight : i o ..."

# Sizes: o out, i in (of one group), c channels, n entries, d features of one, h heads. What comes first is what a file
# is taken for where several kinds fit.
KINDS = {
    kind.name: kind
    for kind in (
        _kind(
            "attention",
            "in_proj_weight : (3 h d) i | {q,k,v}_proj.weight : 3 i (h d) | {query,key,value}.kernel : 3 i h d",
            "in_proj_bias : (3 h d) | {q,k,v}_proj.bias : 3 (h d) | {query,key,value}.bias : 3 h d",
            "out_proj.weight : o (h d) | out_proj.weight : (h d) o | out.kernel : h d o",
            "out_proj.bias : o | out_proj.bias : o | out.bias : o",
            mute=("paddle",),
        ),
        _kind(
            "split-attention",
            "q_proj_weight : (h d) i | q_proj.weight : i (h d) | query.kernel : i h d",
            "k_proj_weight : (h d) j | k_proj.weight : j (h d) | key.kernel : j h d",
            "v_proj_weight : (h d) l | v_proj.weight : l (h d) | value.kernel : l h d",
            "in_proj_bias : (3 h d) | {q,k,v}_proj.bias : 3 (h d) | {query,key,value}.bias : 3 h d",
            "out_proj.weight : o (h d) | out_proj.weight : (h d) o | out.kernel : h d o",
            "out_proj.bias : o | out_proj.bias : o | out.bias : o",
            mute=("paddle",),
        ),
        *_recurrent(),
        _kind("convolution", "weight : o i ... | weight : o i ... | kernel : ... i o", "bias : o", ranks=(3, 4, 5)),
        _kind("linear", "weight : o i | weight : i o | kernel : i o", "bias : o"),
        _kind(
            "norm",
            "weight : c | weight : c | scale : c",
            "bias : c",
            "running_mean : c | _mean : c | mean : c",
            "running_var : c | _variance : c | var : c",
            marks=(0, 2),
        ),
        _kind("layer-norm", "weight : ... | weight : (...) | scale : ...", "bias : ... | bias : (...) | bias : ..."),
        _kind("transposed", f"{_GRADIENT} | kernel : ~... i o", "bias : (g o)", ranks=(3, 4, 5)),
        _kind("transpose-kernel", f"{_GRADIENT} | kernel : ... o i", "bias : (g o)", ranks=(3, 4, 5)),
        _kind("embedding", "weight : n d | weight : n d | embedding : n d"),
        _kind("instance-norm", "weight : c | scale : c | scale : c", "bias : c"),
        _kind("prelu", "weight : c | _weight : c | negative_slope : "),
        _kind(
            "weight-norm",
            "weight_v : o i ... | weight_v : o i ... | layer_instance.kernel : ... i o",
            "weight_g : o 1 1... | weight_g : o | scales.kernel : o",
            "bias : b | bias : b | layer_instance.bias : b",
            ranks=(3, 4, 5),
        ),
        _kind(
            "weight-norm-linear",
            "weight_v : o i | weight_v : i o | layer_instance.kernel : i o",
            "weight_g : o 1 | weight_g : o | scales.kernel : o",
            "bias : o | bias : o | layer_instance.bias : o",
        ),
        # Flax's takes a step of its power iteration in eval mode too, and keeps no v: another function.
        _kind(
            "spectral-norm",
            "weight_orig : o i ... | weight_orig : o i ... | -",
            "weight_u : o | weight_u : o | -",
            "weight_v : (i ...) | weight_v : (i ...) | -",
            "bias : b | bias : b | -",
            ranks=(3, 4, 5),
        ),
        _kind(
            "spectral-norm-linear",
            "weight_orig : o i | weight_orig : i o | -",
            "weight_u : o | weight_u : o | -",
            "weight_v : i | weight_v : i | -",
            "bias : o | bias : o | -",
        ),
    )
}
