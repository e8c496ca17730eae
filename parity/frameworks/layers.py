"""The layers of a model or file, and what their arrays become in another framework.

Attribute paths are the same in all frameworks, so only what follows a layer's path, its leaves, differs: see `kinds`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from ..errors import ParityError
from .kinds import KINDS, Form, Leaf
from .patterns import bind, names_of, parse, rearrange

BARE = "bare"

# Names that one framework alone gives to more than one thing, or two to one.
_SYNONYMS = {
    "torch": (
        (re.compile(r"parametrizations\.(\w+)\.original0$"), r"\1_g"),
        (re.compile(r"parametrizations\.(\w+)\.original1$"), r"\1_v"),
        (re.compile(r"parametrizations\.(\w+)\.original$"), r"\1_orig"),
        (re.compile(r"parametrizations\.(\w+)\.0\._([uv])$"), r"\1_\2"),
    )
}


@dataclass(frozen=True)
class Layer:
    """A layer of a model or file.

    Attributes:
        kind: one of KINDS; empty for a layer of a framework's library that the table does not know.
        sizes: sizes of axes that the arrays' shapes do not tell, such as the number of heads.
        extras: whether arrays that the kind does not know may be moved as they are.
        doubt: the kind that the layer may be instead, for all that names and shapes tell.
    """

    kind: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    extras: bool = True
    doubt: str = ""

    def __str__(self) -> str:
        """The layer as rules write it."""
        shape = [str(size) for name, size in sorted(self.sizes.items()) if name.startswith("...")]
        named = [f"{name}={size}" for name, size in self.sizes.items() if not name.startswith("...")]
        return " ".join([self.kind or BARE, *named, *([f"shape={','.join(shape)}"] if shape else [])])


class Weights(dict[str, np.ndarray]):
    """Canonical arrays by canonical key, and what is known of the layers that have them, by path."""

    def __init__(self, arrays: Mapping[str, np.ndarray] = {}, layers: Mapping[str, Layer] | None = None) -> None:
        super().__init__(arrays)
        self.layers = dict(getattr(arrays, "layers", {}) if layers is None else layers)


@dataclass(frozen=True)
class Place:
    """The place of a name in a kind: the leaf's row, which of its names it is, whether it is an alias, and its {k}."""

    row: int
    index: int
    alias: bool
    k: str


@dataclass(frozen=True)
class Slot:
    """The arrays of a model or file that one leaf of one layer is made of.

    Attributes:
        path: the layer's.
        kind: the layer's.
        leaf: the table's row.
        k: the number that its names have.
        keys: the arrays' keys, in the order of the form's names.
        aliases: further keys of the same arrays, in the same order where they are there.
        sizes: the sizes of the layer's axes.
    """

    path: str
    kind: str
    leaf: Leaf
    k: str
    keys: tuple[str, ...]
    aliases: tuple[str, ...]
    sizes: Mapping[str, int]

    def named(self, framework: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The keys that the leaf has in `framework`, and their aliases."""
        form = self.leaf.form(framework)
        if form is None or (self.k not in ("", "0") and not any("{k}" in name for name in form.names)):
            raise ParityError(f"{framework} has no counterpart of {', '.join(self.keys)}")
        names, aliases = ([name.replace("{k}", self.k or "0") for name in side] for side in (form.names, form.aliases))
        return tuple(join(self.path, name) for name in names), tuple(join(self.path, name) for name in aliases)

    def move(self, arrays: Sequence[np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
        """The arrays, in the order of `keys`, as `target` names and orders them; views wherever they can be had.

        Raises:
            ParityError: where `target` has no such array, or needs a size that nothing tells.
        """
        have, want = self.leaf.form(source), self.leaf.form(target)
        assert have is not None
        if have is want and not have.aliases and self.keys[0] == spelled(self.keys[0], source):
            return dict(zip(self.keys, arrays, strict=True))
        keys, aliases = self.named(target)
        assert want is not None
        if have is want or (have.axes == want.axes and len(have.names) == len(want.names)):
            moved: Sequence[np.ndarray] = arrays
        else:
            stacked = np.stack(arrays) if len(arrays) > 1 else arrays[0]
            moved = self._rearranged(stacked, source, target, have.axes, want.axes, len(want.names))
        return {**dict(zip(keys, moved, strict=True)), **dict(zip(aliases, moved, strict=False))}

    def _rearranged(
        self, stacked: np.ndarray, source: str, target: str, have: str, want: str, count: int
    ) -> Sequence[np.ndarray]:
        # What one side alone has is of size 1: the slope of a PReLU is a number in Flax.
        sizes = {**dict.fromkeys(names_of(want) - names_of(have), 1), **self.sizes}
        if "h" in names_of(have) and "h" not in sizes:
            if "h" in parse(want):
                told = f"{self.path}={self.kind} h=NUMBER"
                raise ParityError(f"how many heads {self.path or 'the layer'} has must be told: --layer '{told}'")
            sizes = {**sizes, "h": 1}
        if self.leaf.added is not None and target == "flax":
            summed = _sum(stacked, self.leaf.added, sizes.get("o", 0), self.keys)
            stacked, have = summed, have.removeprefix("2 ")
        if self.leaf.added is not None and source == "flax":
            whole = rearrange(stacked, have, want.removeprefix("2 "), sizes)
            return [whole, np.zeros_like(whole)]
        moved = rearrange(stacked, have, want, sizes)
        return list(moved) if count > 1 else [moved]


@dataclass
class Resolution:
    """The arrays of a model or file: those of layers, those of none, and those that the table cannot place."""

    slots: list[Slot] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    layers: dict[str, Layer] = field(default_factory=dict)


def resolve(shapes: Mapping[str, Sequence[int]], framework: str, layers: Mapping[str, Layer]) -> Resolution:
    """Find the layer that each array belongs to, where the layers are known by their paths.

    The outermost layer that knows an array has it, so that a linear layer within an attention is the attention's.

    Args:
        shapes: the arrays' shapes by native key.
        framework: whose keys they are.
        layers: the layers by path.
    """
    found = Resolution(layers=dict(layers))
    rows: dict[tuple[str, str, int], dict[tuple[bool, int], str]] = {}
    for key in shapes:
        name = spelled(key, framework)
        owner = _owner(name, layers, framework)
        if owner is not None:
            path, place = owner
            rows.setdefault((path, place.k, place.row), {})[place.alias, place.index] = key
            continue
        layer = layers.get(name.rpartition(".")[0])
        (found.bare if layer is None or layer.extras else found.unknown).append(key)
    sizes: dict[tuple[str, str], dict[str, int]] = {}
    for path, k, row in sorted(rows, key=lambda item: item[2]):
        keys = rows[path, k, row]
        form = KINDS[layers[path].kind].leaves[row].form(framework)
        assert form is not None
        known = sizes.setdefault((path, k), dict(layers[path].sizes))
        mine = [keys.get((False, i), "") for i in range(len(form.names))]
        ranks = KINDS[layers[path].kind].ranks if row == 0 else ()
        fits = all(mine) and (not ranks or len(shapes[mine[0]]) in ranks)
        bound = bind_all(form, [shapes[key] for key in mine], known) if fits else None
        if bound is None:
            found.unknown += [key for key in keys.values() if key]
            rows[path, k, row] = {}
        else:
            known.update(bound)
    for (path, k, row), keys in rows.items():
        if keys:
            kind = layers[path].kind
            first, aliases = (
                tuple(key for (alias, _), key in sorted(keys.items()) if alias is side) for side in (False, True)
            )
            found.slots.append(Slot(path, kind, KINDS[kind].leaves[row], k, first, aliases, sizes[path, k]))
    return found


def bind_all(form: Form, shapes: Sequence[Sequence[int]], known: Mapping[str, int]) -> dict[str, int] | None:
    """The sizes of the axes of a leaf whose arrays have those shapes; None where they are not a leaf's."""
    if any(tuple(shape) != tuple(shapes[0]) for shape in shapes):
        return None
    stacked = (len(shapes), *shapes[0]) if len(shapes) > 1 else tuple(shapes[0])
    return bind(form.axes, stacked, known)


def measured(layer: Layer, slot: Slot) -> Layer:
    """The layer with the sizes that not all frameworks' shapes tell: the heads, and the sides of a layer norm."""
    further = [name for name in slot.sizes if name.startswith("...")] if slot.kind == "layer-norm" else []
    names = [name for name in ("h",) if name in slot.sizes] + (further if len(further) > 1 else [])
    sizes = {name: slot.sizes[name] for name in names}
    return layer if sizes == layer.sizes else replace(layer, sizes=sizes)


def normed(kind: str, names: Iterable[str]) -> str:
    """The kind of a layer with those leaves: another one where its weight is normed."""
    names = set(names)
    for mark, normed in (("weight_g", "weight-norm"), ("weight_orig", "spectral-norm")):
        if mark in names:
            return f"{normed}-linear" if kind == "linear" else normed
    return kind


def find(kind: str, name: str, framework: str) -> Place | None:
    """Find the place of a name behind a layer's path in the rows of a kind."""
    exact, numbered = _places(kind, framework)
    if name in exact:
        return exact[name]
    for pattern, place in numbered:
        if found := pattern.fullmatch(name):
            return replace(place, k=found["k"])
    return None


def join(path: str, name: str) -> str:
    """The key of a name below a path."""
    return f"{path}.{name}" if path else name


def prefixes(name: str) -> Iterator[str]:
    """The paths that a key lies below, the outermost first."""
    yield ""
    position = name.find(".")
    while position >= 0:
        yield name[:position]
        position = name.find(".", position + 1)


def spelled(key: str, framework: str) -> str:
    """The key with the name that the table has for it."""
    for pattern, name in _SYNONYMS.get(framework, ()) if "parametrizations." in key else ():
        key = pattern.sub(name, key)
    return key


def _sum(two: np.ndarray, zero_from: float, width: int, keys: Sequence[str]) -> np.ndarray:
    """The sum of two biases, and where one is zero the other, bit for bit."""
    first, second = two
    if zero_from * width < len(second) and np.any(second[int(zero_from * width) :] != 0):
        raise ParityError(
            f"the last third of {keys[1]} is not zero: it stands inside r * (W h + b), where Flax's GRU has no bias"
        )
    with np.errstate(all="ignore"):
        return np.where(second == 0, first, np.where(first == 0, second, first + second))


def _owner(name: str, layers: Mapping[str, Layer], framework: str) -> tuple[str, Place] | None:
    """The path of the outermost layer that knows the array, and where its name stands there."""
    for path in prefixes(name):
        layer = layers.get(path)
        if layer is not None and layer.kind and (place := find(layer.kind, name[len(path) :].lstrip("."), framework)):
            return path, place
    return None


@cache
def _places(kind: str, framework: str) -> tuple[dict[str, Place], list[tuple[re.Pattern[str], Place]]]:
    """The places of the kind's names, and of those with a number."""
    exact, numbered = {}, []
    for row, leaf in enumerate(KINDS[kind].leaves if kind else ()):
        form = leaf.form(framework)
        for alias, names in ((False, form.names), (True, form.aliases)) if form else ():
            for index, name in enumerate(names):
                place = Place(row, index, alias, "")
                if "{k}" in name:
                    numbered.append((name_pattern(name), place))
                else:
                    exact[name] = place
    return exact, numbered


def name_pattern(name: str, before: str = "") -> re.Pattern[str]:
    """A name of the table as an expression, in which `{k}` is a number."""
    return re.compile(before + re.escape(name).replace(r"\{k\}", r"(?P<k>\d{1,4})"))
