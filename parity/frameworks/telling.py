"""The layers that the arrays of a file are of, as far as names and shapes tell, and what must be asked."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache, lru_cache

import numpy as np

from ..errors import ParityError
from .kinds import KINDS, Kind
from .layers import BARE, Layer, find, join, measured, name_pattern, prefixes, resolve, spelled
from .table import FRAMEWORKS

_MAX_ASKED = 3
_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr|ho)(_l\d+)?(_reverse)?")


def tell(
    shapes: Mapping[str, Sequence[int]], framework: str, told: Mapping[str, "str | Layer"] | None = None
) -> dict[str, Layer]:
    """The layers that the arrays of a file are of, as far as names and shapes tell, and what is told besides.

    Args:
        shapes: the arrays' shapes by native key.
        framework: whose keys they are.
        told: for paths, in which `*` stands for anything, the kind and the sizes of the layer: "attention h=8".
    """
    given = {pattern: parse_layer(layer) for pattern, layer in (told or {}).items()}
    exact = {path: layer for path, layer in given.items() if "*" not in path}
    wild = {path: layer for path, layer in given.items() if "*" in path}
    names = [spelled(key, framework) for key in shapes]
    sides = dict(zip(names, shapes.values(), strict=True))
    layers: dict[str, Layer] = {}
    claimed: set[str] = set()

    def claim(path: str, layer: Layer) -> None:
        layers[path] = layer
        for name, _ in below(path):
            if find(layer.kind, name, framework) or not (layer.kind or "." in name):
                claimed.add(join(path, name))

    ordered = sorted(sides)
    arrays: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {}

    def below(path: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        if path not in arrays:
            head = path and f"{path}."
            # What begins with the path and a dot is before what begins with it and the character after the dot.
            start, end = (bisect_left(ordered, head), bisect_left(ordered, f"{path}/")) if path else (0, len(ordered))
            arrays[path] = tuple([(name[len(head) :], tuple(sides[name])) for name in ordered[start:end]])
        return arrays[path]

    def fits(path: str, kind: str) -> bool:
        return _fits(kind, below(path), framework)

    for path in dict.fromkeys(path for name in names for path in prefixes(name)) if given else ():
        mine = (
            [exact[path]] if path in exact else [each for pattern, each in wild.items() if fnmatchcase(path, pattern)]
        )
        for layer in mine:
            if layer.kind == BARE:
                claim(path, Layer("", extras=True))
                break
            # A pattern is for the layers that can be of that kind, among others that it matches too.
            known = any(find(layer.kind, name, framework) for name, _ in below(path))
            if known and (path in exact or fits(path, layer.kind)):
                claim(path, layer)
                break
    leaves: dict[str, list[str]] = {}
    for name in names:
        leaves.setdefault(name.rpartition(".")[2], []).append(name)
    for kind in KINDS.values():
        for name, path in _marked(leaves, kind, framework):
            if name in claimed or path in layers:
                continue
            if fits(path, kind.name):
                has_bias = join(path, "bias") in sides
                claim(path, Layer(kind.name, doubt=_doubt(kind.name, sides[name], has_bias, framework)))
    for name in names:
        path, _, last = name.rpartition(".")
        if name not in claimed and path not in layers and _is_reserved(last, framework):
            layers[path] = Layer("", extras=False)
    return layers


def parse_layer(text: "str | Layer") -> Layer:
    """A layer as rules write it: the kind and sizes, as in "attention h=8" or "layer-norm shape=5,4".

    Raises:
        ParityError: for an unknown kind, and for sizes that are none.
    """
    if isinstance(text, Layer):
        return text
    kind, *words = text.split() or [""]
    if kind != BARE and kind not in KINDS:
        raise ParityError(f"a layer must be one of {', '.join((*KINDS, BARE))}, got {kind!a}")
    sizes: dict[str, int] = {}
    for word in words:
        name, _, value = word.partition("=")
        numbers = value.split(",")
        if not all(number.isdigit() and 0 < len(number) < 10 for number in numbers) or (
            name != "shape" and (len(numbers) > 1 or not re.fullmatch(r"[a-z]", name))
        ):
            raise ParityError(f"a layer's sizes must be written as h=8 or shape=5,4, got {word!a}")
        if name == "shape":
            sizes.update({f"...{i}": int(number) for i, number in enumerate(numbers)})
        else:
            sizes[name] = int(value)
    return Layer(kind, sizes)


def ask(layers: Mapping[str, Layer], between: set[str]) -> None:
    """Raise ParityError where layers may be of two kinds, and it matters which.

    Args:
        layers: the layers by path.
        between: the frameworks that they are moved between.
    """
    doubtful = {
        path: layer
        for path, layer in layers.items()
        if layer.doubt and len(between) > 1 and (layer.kind == "linear" or "flax" in between)
    }
    if not doubtful:
        return
    path, first = next(iter(doubtful.items()))
    # Few, because a long message is cut in its middle, and the advice must stay.
    listed = ", ".join(path or "the file's own arrays" for path in list(doubtful)[:_MAX_ASKED])
    more = f" and {len(doubtful) - _MAX_ASKED} more" if len(doubtful) > _MAX_ASKED else ""
    raise ParityError(
        f"names and shapes do not tell whether {listed}{more} {'are' if len(doubtful) > 1 else 'is'} of the kind "
        f"{first.kind} or {first.doubt}: say it with --layer '{path or '*'}={first.doubt}', and --layer "
        f"'*={first.kind}' for the rest (layers=...)"
    )


def notes(weights: Mapping[str, np.ndarray], framework: str, layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Those of the layers, by path, that `tell` would not find in the weights' names and shapes."""
    shapes = {key: array.shape for key, array in weights.items()}
    told = tell(shapes, framework)
    sizes = {slot.path: measured(told[slot.path], slot).sizes for slot in resolve(shapes, framework, told).slots}
    return {
        path: layer
        for path, layer in layers.items()
        if not layer.doubt
        and (layer.kind or path in told)
        and (path not in told or told[path].doubt or told[path].kind != layer.kind or sizes.get(path) != layer.sizes)
    }


@cache
def marks(framework: str) -> frozenset[str]:
    """The last parts of names that only this framework gives."""
    others = set().union(*(_vocabulary(other) for other in FRAMEWORKS if other != framework))
    return _vocabulary(framework) - others | ({"num_batches_tracked"} if framework == "torch" else set())


@cache
def _vocabulary(framework: str) -> frozenset[str]:
    forms = [leaf.form(framework) for kind in KINDS.values() for leaf in kind.leaves]
    names = [name for form in forms if form for name in form.names]
    return frozenset(last for name in names if "{" not in (last := name.rpartition(".")[2]))


def _marked(leaves: Mapping[str, Sequence[str]], kind: Kind, framework: str) -> Iterator[tuple[str, str]]:
    """The names that may mark a layer of that kind, and its path; the names are given by their last parts."""
    if framework in kind.mute:
        return
    for last, part, pattern in _marks(kind.name, framework):
        # Only names with a number need a search.
        numbered = [leaf for leaf in leaves if leaf.startswith(part)] if part else [last]
        for leaf in numbered:
            for name in leaves.get(leaf, ()):
                if pattern is None:
                    yield name, name[: -len(last) - 1]
                elif found := pattern.fullmatch(name):
                    yield name, found["path"] or ""


@cache
def _marks(kind: str, framework: str) -> list[tuple[str, str, re.Pattern[str] | None]]:
    """The names of which every such layer has one: the last part, what it begins with before a number, the pattern."""
    forms = [KINDS[kind].leaves[row].form(framework) for row in KINDS[kind].marks]
    found = []
    for name in (form.names[0] for form in forms if form):
        last = name.rpartition(".")[2]
        pattern = None if name == last and "{" not in last else name_pattern(name, r"(?:(?P<path>.*)\.)?")
        found.append((last, last.partition("{")[0] if "{" in last else "", pattern))
    return found


@lru_cache(1 << 12)
def _is_reserved(name: str, framework: str) -> bool:
    """Whether only layers have arrays of that name, so that one which fits no layer is an error."""
    return name in _vocabulary(framework) - {"bias"} or _RECURRENT.fullmatch(name) is not None


# A file of many layers has few different ones.
@lru_cache(1 << 12)
def _fits(name: str, arrays: tuple[tuple[str, tuple[int, ...]], ...], framework: str) -> bool:
    """Whether arrays of these names and shapes are those of a layer of that kind."""
    kind, shapes = KINDS[name], dict(arrays)
    places = {name: find(kind.name, name, framework) for name in shapes}
    vocabulary = _vocabulary(framework)
    if any(place is None and "." not in name and name in vocabulary for name, place in places.items()):
        return False
    found = resolve({name: shapes[name] for name, place in places.items() if place}, framework, {"": Layer(kind.name)})
    if found.unknown or not found.slots:
        return False
    if kind.name == "layer-norm" and framework != "flax" and "bias" not in shapes:
        return False
    return not kind.square or all(slot.sizes.get("o") == slot.sizes.get("p") for slot in found.slots)


def _doubt(kind: str, shape: Sequence[int], has_bias: bool, framework: str) -> str:
    """The kind that a layer of a file may be instead."""
    if framework == "flax":
        return ""
    if kind == "linear" and not has_bias:
        return "embedding"
    # A transposed convolution's bias is as long as the second side; its kernels mostly have even sides.
    even = all(side % 2 == 0 for side in shape[2:])
    return "transposed" if kind == "convolution" and even and (not has_bias or shape[0] == shape[1]) else ""
