"""The pairing of the port's arrays with the original's: by name, by value, by structure, never in silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from zlib import crc32

import numpy as np

from ..errors import ParityError
from .bundles import Bundle
from .fused import Family, families
from .side import Arrays

# So many arrays of the port that hold the original's values mean that it was given them.
_BROUGHT = 0.5


@dataclass
class Pairing:
    """The pairs: for each key of the port the original's, how it was found, and the layers that follow from it."""

    keys: dict[str, str] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    only_original: list[str] = field(default_factory=list)
    only_port: list[str] = field(default_factory=list)
    # Groups of what may be exchanged: the keys of a layer, or one key.
    ambiguous: list[list[list[str]]] = field(default_factory=list)
    # What may be one on one side and several on the other, and what it was found or said to be.
    families: list[Family] = field(default_factory=list)
    bundles: tuple[Bundle, ...] = ()

    turned: set[str] = field(default_factory=set)

    def apply(self, key: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """An array of the original's, or a gradient, as the port's of that key has it."""
        return np.ascontiguousarray((array.T if key in self.turned else array).reshape(shape))

    def layers(self) -> dict[str, str]:
        """The original's layer for each layer of the port that owns paired arrays."""
        # The layers of several arrays and the layer of the one that they are compute other things.
        joined = {key for bundle in self.bundles if bundle.joins for key in bundle.keys}
        return {owner(key): owner(source) for key, source in self.keys.items() if key not in joined}

    def take(self, bundles: tuple[Bundle, ...], how: str, original: Arrays) -> None:
        """Pair the arrays of the bundles; the port must go by them from now on."""
        for bundle in bundles:
            for key, source in zip(bundle.keys, bundle.rule.theirs, strict=True):
                self.keys[key], self.how[key], self.arrays[key] = source, how, original[source]
            gone = {*bundle.rule.ours, *bundle.keys}
            self.only_port = [key for key in self.only_port if key not in gone]
        paired = set(self.keys.values())
        self.only_original = [key for key in self.only_original if key not in paired]
        self.bundles += bundles


def owner(key: str) -> str:
    """The path of the layer that owns the array."""
    return key.rpartition(".")[0]


def pair(
    original: Arrays,
    port: Arrays,
    calls: tuple[Sequence[str], Sequence[str]] | None,
    laid_out: frozenset[str] = frozenset(),
) -> Pairing:
    """Pair the port's arrays with the original's.

    Args:
        original: Canonical arrays by canonical key.
        port: The same of the port.
        calls: The paths of the original's and the port's layers in the order in which they were called; None leaves
            what names do not pair unpaired.
        laid_out: Keys of either side whose axes are known to be PyTorch's.
    """
    found = Pairing()
    for key in port:
        if key in original and original[key].size == port[key].size:
            add(found, key, key, "name", original, port)
            if key not in found.keys and port[key].ndim == 2 and original[key].shape == port[key].shape[::-1]:
                found.keys[key], found.how[key] = key, "name, transposed"
                found.arrays[key] = np.ascontiguousarray(original[key].T)
                found.turned.add(key)
    left = [key for key in original if key not in found.keys.values()]
    right = [key for key in port if key not in found.keys]
    if calls is not None and left and right:
        found.families = families(original, port, left, right, laid_out)
        for family in found.families:
            left, right = (
                [key for key in side if key not in gone] for side, gone in zip((left, right), family.sides, strict=True)
            )
        _by_value(found, original, port, left, right)
        _by_structure(found, original, port, left, right, calls)
    paired = set(found.keys.values())
    found.only_original = [key for key in original if key not in paired]
    found.only_port = [key for key in port if key not in found.keys]
    return found


def refuse_unpaired(found: Pairing, original: Arrays, port: Arrays) -> None:
    """Raise ParityError where a layer of the port has no weights, or nothing pairs; all arrays are named."""
    known = {owner(key) for key in found.keys}
    lone = [key for key in found.only_port if owner(key) not in known]
    if port and (lone or not found.keys):
        said = [f"only in the port: {_listed(lone or list(port), port)}"]
        if found.only_original:
            said.append(f"only in the original: {_listed(found.only_original, original)}")
        raise ParityError(
            f'weights do not pair: {"; ".join(said)}; give --rules FILE.toml with lines "their layer" = "our layer"'
        )


def _listed(keys: Sequence[str], arrays: Arrays) -> str:
    names = [f"{key} {arrays[key].shape}" for key in keys[:12]]
    return ", ".join(names) + (f" and {len(keys) - 12} more" if len(keys) > 12 else "")


def add(found: Pairing, key: str, source: str, how: str, original: Arrays, port: Arrays) -> None:
    """Pair two arrays of one shape, but for axes of one."""
    array = original[source]
    if array.shape != port[key].shape:
        # A bias or a token may carry axes of one; nothing else is the same after a reshape.
        if tuple(n for n in array.shape if n > 1) != tuple(n for n in port[key].shape if n > 1):
            return
        array, how = array.reshape(port[key].shape), f"{how}, reshaped"
    found.keys[key], found.how[key], found.arrays[key] = source, how, array


def _by_value(found: Pairing, original: Arrays, port: Arrays, left: Sequence[str], right: Sequence[str]) -> None:
    """Pair what holds the same values, in whatever order, and nothing else does: the port was given them."""
    sides: list[dict[bytes, list[str]]] = [{}, {}]
    for side, keys, arrays in zip(sides, (left, right), (original, port), strict=True):
        for key in keys:
            values = np.sort(arrays[key], None)
            if values.size > 1 and values[0] != values[-1]:
                side.setdefault(sha256(values.astype(np.float64).tobytes()).digest(), []).append(key)
    for digest, keys in sides[0].items():
        others = sides[1].get(digest, [])
        if len(keys) == len(others) == 1:
            add(found, others[0], keys[0], "value", original, port)


def _by_structure(
    found: Pairing,
    original: Arrays,
    port: Arrays,
    left: Sequence[str],
    right: Sequence[str],
    calls: tuple[Sequence[str], Sequence[str]],
) -> None:
    """Pair layers of the same leaves and shapes, in the order of their calls; several such are ambiguous.

    Where leaves have other names too, their shapes alone tell; several of one shape in a layer are ambiguous.
    """
    for named in (True, False):
        sides = [
            _signatures([key for key in keys if key not in known], arrays, order, named=named)
            for keys, known, arrays, order in (
                (left, set(found.keys.values()), original, calls[0]),
                (right, set(found.keys), port, calls[1]),
            )
        ]
        for signature, theirs in sides[0].items():
            ours = sides[1].get(signature, [])
            if len(theirs) != len(ours):
                continue
            how = "shape" if len(ours) == 1 else "order of calls"
            for sources, keys in zip(theirs, ours, strict=True):
                for source, key in zip(sources, keys, strict=True):
                    add(found, key, source, how, original, port)
            if len(ours) > 1:
                found.ambiguous.append([keys for keys in ours if all(key in found.keys for key in keys)])
            elif not named:
                found.ambiguous += _equal_shapes(ours[0], port)


def _signatures(
    keys: Sequence[str], arrays: Arrays, order: Sequence[str], *, named: bool
) -> dict[Any, list[list[str]]]:
    """The keys of each layer, sorted alike on both sides, by what they hold; in the order of the calls."""
    layers: dict[str, list[str]] = {}
    for key in keys:
        layers.setdefault(owner(key), []).append(key)
    position = {path: i for i, path in enumerate(order)}
    found: dict[Any, list[list[str]]] = {}
    for path in sorted(layers, key=lambda path: position.get(path, len(position))):
        marks = {key: (key.rpartition(".")[2] if named else "", arrays[key].shape) for key in layers[path]}
        ordered = sorted(layers[path], key=lambda key: marks[key])
        found.setdefault(tuple(marks[key] for key in ordered), []).append(ordered)
    return found


def _equal_shapes(keys: Sequence[str], arrays: Arrays) -> list[list[list[str]]]:
    """The keys of a layer whose shapes are equal, each for itself."""
    groups: dict[tuple[int, ...], list[list[str]]] = {}
    for key in keys:
        groups.setdefault(arrays[key].shape, []).append([key])
    return [group for group in groups.values() if len(group) > 1]


def redraw(weights: Arrays) -> tuple[Arrays, tuple[str, ...]]:
    """The weights with those that hold one value throughout drawn: zeros and ones would hide most mistakes.

    A bias of zeros shows no missing bias, a scale of ones no missing norm.
    """
    found, drawn = {}, []
    for key, array in weights.items():
        if array.dtype.kind == "f" and array.size > 1 and (array == array.flat[0]).all():
            rng = np.random.default_rng(crc32(key.encode()))
            zero = array.flat[0] == 0
            values = 0.5 * rng.standard_normal(array.shape) if zero else rng.uniform(0.5, 1.5, array.shape)
            found[key] = values.astype(np.float32).astype(array.dtype)
            drawn.append(key)
        else:
            found[key] = array
    return found, tuple(drawn)


def brings_own(pairing: Pairing, port: Arrays) -> bool:
    """Whether the port came with the original's values, each perhaps in another order."""
    told = [key for key, array in pairing.arrays.items() if array.size > 1 and (array != array.flat[0]).any()]
    same = [key for key in told if np.array_equal(np.sort(pairing.arrays[key], None), np.sort(port[key], None))]
    return bool(told) and len(same) >= _BROUGHT * len(told)


def what_was_done(expected: np.ndarray, got: np.ndarray) -> str:
    """Describe how the array that the port brought differs from the one that it must be."""
    for words, turned in _turns(expected):
        if turned.shape == got.shape and np.array_equal(turned, got):
            return words
    same = np.array_equal(np.sort(expected, None), np.sort(got, None))
    return "holds the same values in another order" if same else "holds other values"


def _turns(w: np.ndarray) -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    if w.ndim == 2:
        found.append(("is transposed", w.T))
    if w.ndim >= 3:
        spatial = tuple(range(2, w.ndim))
        found.append(("is flipped along its sides", np.flip(w, spatial)))
        found.append(("has inputs and outputs exchanged", w.swapaxes(0, 1)))
    if w.ndim == 4:
        found.append(("has height and width exchanged", w.swapaxes(2, 3)))
        found.append(("has height and width exchanged and is flipped", np.flip(w.swapaxes(2, 3), (2, 3))))
        found.append(("has inputs and outputs exchanged and is flipped", np.flip(w.swapaxes(0, 1), (2, 3))))
    for parts in (2, 3, 4):
        if w.ndim and w.shape[0] % parts == 0:
            pieces = np.split(w, parts)
            found += [
                (f"has its {parts} parts in the order {order}", np.concatenate([pieces[i] for i in order]))
                for order in _orders(parts)
            ]
    for groups in range(2, w.shape[0] if w.ndim else 0):
        if w.shape[0] % groups == 0:
            mixed = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)
            found.append((f"has the order of its {groups} groups of outputs exchanged", mixed))
    return found


def _orders(parts: int) -> list[tuple[int, ...]]:
    from itertools import permutations

    return [order for order in permutations(range(parts)) if order != tuple(range(parts))]


def shortage(found: Pairing, wrong: Mapping[str, str]) -> str:
    """Describe what is wrong with the structure of the weights."""
    said = []
    if found.only_original:
        said.append(f"the port has no {', '.join(found.only_original[:8])}")
    if found.only_port:
        said.append(f"the original has no {', '.join(found.only_port[:8])}")
    said += [f"{key} {what}" for key, what in list(wrong.items())[:8]]
    return "; ".join(said)
