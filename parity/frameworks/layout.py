"""One framework's weights as another's."""

from collections.abc import Mapping

import numpy as np

from ..errors import ParityError
from .kinds import KINDS
from .layers import Layer, Slot, Weights, measured, resolve
from .table import FRAMEWORKS
from .telling import ask, tell

# PyTorch counts the batches that a norm has seen; nobody else does, so it is left out and restored as zero.
COUNTER = "num_batches_tracked"
_MAX_LISTED = 10


def convert(
    weights: Mapping[str, np.ndarray],
    source: str,
    target: str,
    *,
    layers: Mapping[str, "str | Layer"] | None = None,
) -> Weights:
    """One framework's flat dictionary of weights as another's: new names and axis orders, every value bit for bit.

    A key is the attribute path and the leaf, joined by dots (`branches.0.conv.weight`, in Flax
    `branches.0.conv.kernel`). Which layer it is follows from names and shapes, as far as they tell; arrays whose names
    no layer has, such as `pos_embed`, are moved as they are. `get_weights` sees the layers themselves.

    Two biases of a recurrent layer become their sum in Flax; on the way back the first is that sum and the second zero.

    Args:
        weights: native arrays by native key; left as it is.
        source: the framework that the keys and axes are of: "torch", "paddle" or "flax".
        target: the framework to convert to.
        layers: what names and shapes do not tell, by path, in which `*` stands for anything: "embedding", "linear",
            "transposed", "attention h=8"; see KINDS.

    Returns:
        A new dictionary, whose `layers` say what each layer was taken for; its arrays may be views of those given.
        PyTorch's batch counters are left out.

    Raises:
        ParityError: for an unknown framework, for layers that the table does not know or that may be two kinds, all
            named, and for two keys that become one.
    """
    for framework in (source, target):
        check_framework(framework)
    told = {**getattr(weights, "layers", {}), **(layers or {})}
    converted, found = carry(weights, source, target, told)
    if source != target:
        ask(found, {source, target})
    return Weights(converted, found)


def carry(
    weights: Mapping[str, np.ndarray], source: str, target: str, told: Mapping[str, "str | Layer"]
) -> tuple[dict[str, np.ndarray], dict[str, Layer]]:
    """The weights in `target`, and the layers that they were taken for; see `convert`."""
    arrays = {key: array for key, array in weights.items() if not is_counter(key, source)}
    shapes = {key: array.shape for key, array in arrays.items()}
    layers = tell(shapes, source, told)
    found = resolve(shapes, source, layers)
    if found.unknown:
        listed = ", ".join(f"{key} {shapes[key]}" for key in found.unknown[:_MAX_LISTED])
        more = f" and {len(found.unknown) - _MAX_LISTED} more" if len(found.unknown) > _MAX_LISTED else ""
        raise ParityError(f"no layout is known for these {source} arrays: {listed}{more}; known: {_known(source)}")
    moved = {key: {key: arrays[key]} for key in found.bare}
    for slot in found.slots:
        layers[slot.path] = measured(layers[slot.path], slot)
        _check_aliases(slot, arrays)
        moved[slot.keys[0]] = slot.move([arrays[key] for key in slot.keys], source, target)
    converted: dict[str, np.ndarray] = {}
    for key in arrays:
        for new_key, array in moved.get(key, {}).items():
            if new_key in converted:
                raise ParityError(f"{key} and another key both become {new_key} in {target}")
            converted[new_key] = array
    return converted, layers


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


def is_counter(key: str, framework: str = "torch") -> bool:
    """Whether the key is that of PyTorch's count of the batches that a norm has seen."""
    return framework == "torch" and key.rpartition(".")[2] == COUNTER


def check_framework(name: str) -> str:
    """Return `name` if it is a framework's; raise ParityError otherwise."""
    if name not in FRAMEWORKS:
        raise ParityError(f"framework must be one of {', '.join(FRAMEWORKS)}, got {name!r}")
    return name


def as_bits(array: np.ndarray) -> np.ndarray:
    """The array's values as integers, by which NaN equals itself and 0 differs from -0."""
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")


def _check_aliases(slot: Slot, arrays: Mapping[str, np.ndarray]) -> None:
    for key, alias in zip(slot.keys, slot.aliases, strict=False):
        one, other = arrays[key], arrays[alias]
        if one.dtype != other.dtype or one.shape != other.shape or not np.array_equal(as_bits(one), as_bits(other)):
            raise ParityError(f"{key} and {alias} are one array's names and must be equal, bit for bit")


def _known(framework: str) -> str:
    return ", ".join(kind for kind in KINDS if KINDS[kind].leaves[0].form(framework) is not None)
