"""How each framework names and orders the arrays of a layer: the one table, and what follows from it.

The canonical form of a weight is PyTorch's: the name it has in `state_dict` and the order of its axes there. Attribute
paths are the same in all frameworks, so only the last part of a name, its leaf, differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ParityError

FRAMEWORKS = ("torch", "paddle", "flax")


@dataclass(frozen=True)
class Form:
    """A leaf's name in one framework and its axes, a letter each: o out, i in, c channels, d h w the kernel's sides."""

    name: str
    axes: str


@dataclass(frozen=True)
class Leaf:
    """One kind of array that a layer owns, as each framework has it; `kind` is the layer's."""

    kind: str
    torch: Form
    paddle: Form
    flax: Form

    def form(self, framework: str) -> Form:
        """The leaf's form in `framework`."""
        return getattr(self, framework)


def _convolution(sides: str) -> Leaf:
    outer = Form("weight", f"oi{sides}")
    return Leaf("convolution", outer, outer, Form("kernel", f"{sides}io"))


# The layouts of grouped kernels are these too, with i the inputs of one group.
LEAVES = (
    _convolution("w"),
    _convolution("hw"),
    _convolution("dhw"),
    Leaf("linear", Form("weight", "oi"), Form("weight", "io"), Form("kernel", "io")),
    Leaf("norm", Form("weight", "c"), Form("weight", "c"), Form("scale", "c")),
    Leaf("norm", Form("running_mean", "c"), Form("_mean", "c"), Form("mean", "c")),
    Leaf("norm", Form("running_var", "c"), Form("_variance", "c"), Form("var", "c")),
    Leaf("any", Form("bias", "c"), Form("bias", "c"), Form("bias", "c")),
)

# PyTorch counts the batches that a norm has seen; nobody else does, so it is left out and restored as zero.
COUNTER = "num_batches_tracked"

_TABLE = {
    framework: {(leaf.form(framework).name, len(leaf.form(framework).axes)): leaf for leaf in LEAVES}
    for framework in FRAMEWORKS
}


def find_leaf(key: str, rank: int, framework: str) -> Leaf | None:
    """The table's row for the native `key` of an array of `rank` axes, or None."""
    return _TABLE[framework].get((key.rpartition(".")[2], rank))


def rename(key: str, leaf: Leaf, target: str) -> str:
    """`key` with its last part as `target` names that leaf."""
    path, dot, _ = key.rpartition(".")
    return f"{path}{dot}{leaf.form(target).name}"


def relayout(array: np.ndarray, source: str, target: str) -> np.ndarray:
    """A view of `array` with its axes, named in order by the letters of `source`, in the order of `target`.

    >>> relayout(np.zeros((8, 4, 3, 5)), "oihw", "hwio").shape
    (3, 5, 4, 8)
    """
    if len(set(source)) != len(source) or sorted(source) != sorted(target):
        raise ParityError(f"source and target must hold the same letters once each, got {source!r} and {target!r}")
    if array.ndim != len(source):
        raise ParityError(f"the array must have the {len(source)} axes {source!r}, got shape {array.shape}")
    return array.transpose([source.index(axis) for axis in target])


def convert(weights: Mapping[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
    """One framework's flat dictionary of weights as another's: new names and axis orders, every value bit for bit.

    A key is the attribute path and the leaf, joined by dots (`branches.0.conv.weight`, in Flax
    `branches.0.conv.kernel`). The layout follows from the leaf's name and the array's rank alone, so only layers of
    the table can be told apart here: a transposed convolution or an embedding that calls its array `weight` looks like
    a convolution or a linear layer. `get_weights` sees the layer itself and refuses those.

    Args:
        weights: native arrays by native key; left as it is.
        source: the framework that the keys and axes are of: "torch", "paddle" or "flax".
        target: the framework whose they become.

    Returns:
        A new dictionary; its arrays may be views of those given. PyTorch's batch counters are left out.

    Raises:
        ParityError: for an unknown framework, for keys that the table does not know, all named, and for two keys that
            become one.
    """
    for framework in (source, target):
        check_framework(framework)
    converted: dict[str, np.ndarray] = {}
    unknown = []
    for key, array in weights.items():
        if source == "torch" and key.rpartition(".")[2] == COUNTER:
            continue
        leaf = find_leaf(key, array.ndim, source)
        if leaf is None:
            unknown.append(f"{key} {array.shape}")
            continue
        new_key = rename(key, leaf, target)
        if new_key in converted:
            raise ParityError(f"{key} and another key both become {new_key} in {target}")
        converted[new_key] = relayout(array, leaf.form(source).axes, leaf.form(target).axes)
    if unknown:
        raise ParityError(
            f"no layout is known for these {source} arrays: {', '.join(unknown)}; known: {_known(source)}"
        )
    return converted


def check_framework(name: str) -> str:
    """Return `name` if it is a framework's; raise ParityError otherwise."""
    if name not in FRAMEWORKS:
        raise ParityError(f"framework must be one of {', '.join(FRAMEWORKS)}, got {name!r}")
    return name


def _known(framework: str) -> str:
    forms = dict.fromkeys(leaf.form(framework) for leaf in LEAVES)
    return ", ".join(f"{form.name} ({form.axes})" for form in forms)
