"""The match of a file's keys with a system's rules, and the arrays under their new names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...errors import ParityError
from ...frameworks.layers import BARE, Layer, Weights, join
from .rules import Bound, Rule, bind, fill, move

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Dialect:
    """A system: the rules for each of the modules that it has, its framework and where it comes from.

    Attributes:
        name: what it is called.
        framework: the framework that it is written for.
        source: where its code is.
        modules: the rules of each module.
        to: the framework whose names and axes stand on the right of rules with axes.
        keep: whether keys that no rule knows keep their names.
        layers: what names and shapes do not tell of its layers, by their paths there.
        refused: layers that give away what has the system's names and is no module of ours, and what it is.
    """

    name: str
    framework: str
    source: str
    modules: Mapping[str, tuple[Rule, ...]]
    to: str = "torch"
    keep: bool = False
    layers: Mapping[str, Layer] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def has_paths(self, heads: tuple[str, ...]) -> bool:
        """Whether names on either side of its rules begin with one of these."""
        rules = (rule for rules in self.modules.values() for rule in rules)
        return any(side.startswith(heads) for rule in rules for side in (*rule.theirs, *rule.ours))


@dataclass(frozen=True)
class Match:
    """A translation of keys by the rules of one module.

    Attributes:
        dialect: the system's name.
        module: the module's.
        outward: whether ours become theirs.
        paths: each layer's new path.
        rules: each layer's rule.
        arrays: rules for arrays, the keys that each takes and those that it gives.
        kept: keys that keep their names.
        unknown: layers that no rule knows.
        missing: the sides of rules that found nothing.
        to: the framework whose names stand on the right of rules with axes.
        score: how near it comes to a complete match, from 0 to 1.
    """

    dialect: str
    module: str
    outward: bool
    paths: dict[str, str]
    rules: dict[str, Rule]
    arrays: tuple[tuple[Rule, tuple[str, ...], tuple[str, ...]], ...] = ()
    kept: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    to: str = "torch"
    score: float = field(default=0.0, compare=False)

    @property
    def complete(self) -> bool:
        return not self.unknown and not self.missing


def match(weights: Arrays, dialect: Dialect, module: str, *, outward: bool = False, ours: bool = True) -> Match:
    """Translate the keys by one module's rules: theirs into ours, or outward, ours into theirs.

    Args:
        weights: canonical arrays by key.
        dialect: the system.
        module: one of its modules.
        outward: whether ours become theirs.
        ours: whether the module is one of ours, whose fully connected layers are 1x1 convolutions.
    """
    rules = dialect.modules[module]
    arrays = _arrays(weights, rules, outward)
    taken = {key for _, keys, _ in arrays for key in keys}
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in weights if key not in taken))
    bindings = {rule: _bindings(rule, layers, weights, outward, ours) for rule in rules if not rule.axes}
    # A number is an {i} where every rule with {i} finds it, those that may be missing only if they find any:
    # torchvision's last number is the pooled branch.
    numbered = [
        {bound["i"] for bound in found.values()}
        for rule, found in bindings.items()
        if "{i}" in rule.ours[0] and (found or "optional" not in rule.words)
    ]
    indices = set.intersection(*numbered) if numbered else set()
    count = str(len(indices))
    found: dict[str, tuple[Rule, Bound]] = {}
    for rule, layers_of_rule in bindings.items():
        for layer, bound in layers_of_rule.items():
            if bound.get("i") in {None, *indices} and bound.get("n") in {None, count}:
                found.setdefault(layer, (rule, bound))
    used = {rule for rule, _ in found.values()} | {rule for rule, _, _ in arrays}
    missing = [rule.side(outward)[0] for rule in rules if rule not in used and "optional" not in rule.words]
    missing += [f"number {i}" for i in range(len(indices)) if str(i) not in indices]
    unknown = tuple(layer for layer in layers if layer not in found)
    required = sum("optional" not in rule.words for rule, _ in found.values()) + len(arrays)
    return Match(
        dialect.name,
        module,
        outward,
        {layer: fill(rule.side(not outward)[0], {**bound, "n": count}) for layer, (rule, bound) in found.items()},
        {layer: rule for layer, (rule, _) in found.items()},
        arrays,
        tuple(key for key in weights if key not in taken and key.rpartition(".")[0] in unknown) if dialect.keep else (),
        () if dialect.keep else unknown,
        tuple(missing),
        dialect.to,
        required / max(len(layers), len(found) + len(missing), 1),
    )


def _bindings(rule: Rule, layers: Iterable[str], weights: Arrays, outward: bool, ours: bool) -> dict[str, Bound]:
    """The layers that are the rule's, and what its placeholders stand for in each."""
    bound = ((layer, _bind(rule, layer, weights, outward, ours)) for layer in layers)
    return {layer: each for layer, each in bound if each is not None}


def _arrays(
    weights: Arrays, rules: Iterable[Rule], outward: bool
) -> tuple[tuple[Rule, tuple[str, ...], tuple[str, ...]], ...]:
    """The rules that name arrays, the keys of each and their new names; the first rule that knows a key has it."""
    taken: set[str] = set()
    found = []
    for rule in rules:
        if rule.words - {"optional"}:
            continue
        groups: dict[tuple[tuple[str, str], ...], dict[int, str]] = {}
        for index, side in enumerate(rule.side(outward)):
            for key in weights:
                if key not in taken and (bound := bind(side, key)) is not None:
                    groups.setdefault(tuple(sorted(bound.items())), {}).setdefault(index, key)
        for letters, keys in groups.items():
            if len(keys) == len(rule.side(outward)):
                names = tuple(fill(side, dict(letters)) for side in rule.side(not outward))
                found.append((rule, tuple(keys[i] for i in range(len(keys))), names))
                taken.update(keys.values())
    return tuple(found)


def _bind(rule: Rule, layer: str, weights: Arrays, outward: bool, ours: bool) -> Bound | None:
    """The numbers of the rule's path in the layer's; None where the layer is not the rule's, by path or by form."""
    bound = bind(rule.side(outward)[0], layer)
    if bound is None:
        return None
    if not outward:
        weight = weights.get(join(layer, "weight"))
        if ours and weight is not None and (weight.ndim == 2) != ("linear" in rule.words):
            return None
        if rule.words & {"no-bias", "zero-bias"} and join(layer, "bias") in weights:
            return None
    return bound


def apply(how: Match, weights: Arrays) -> Weights:
    """The canonical arrays under their new keys and in their new forms, views where nothing is added.

    What is known of their layers goes with them. Arrays whose axes a rule gives for another framework than PyTorch are
    that framework's already, and bare.

    Raises:
        ParityError: for a spatial kernel that does not take two maps, and outward for a convolution that is not 1x1
            where theirs is a Linear, and for a bias that is not zero where theirs has none.
    """
    known: Mapping[str, Layer] = getattr(weights, "layers", {})
    moved = {keys[0]: (rule, keys, names) for rule, keys, names in how.arrays}
    done = {key for _, keys, _ in how.arrays for key in keys} - moved.keys()
    translated = Weights()
    for key, array in weights.items():
        layer, _, leaf = key.rpartition(".")
        if key in done:
            continue
        if key in moved:
            rule, keys, names = moved[key]
            arrays = move(rule, [weights[each] for each in keys], how.outward)
            found: Iterable[tuple[str, np.ndarray]] = zip(names, arrays, strict=True)
            foreign = rule.axes and how.to != "torch" and not how.outward
            paths = {name.rpartition(".")[0]: Layer("") if foreign else known.get(layer) for name in names}
        elif key in how.kept:
            found, paths = [(key, array)], {layer: known.get(layer)}
        else:
            words, path = how.rules[layer].words, how.paths[layer]
            forms = _outward(key, leaf, array, words) if how.outward else _inward(key, leaf, array, words)
            found = [(join(path, new_leaf), new) for new_leaf, new in forms]
            paths = {path: (Layer("linear") if how.outward else None) if "linear" in words else known.get(layer)}
        translated.layers |= {path: layer for path, layer in paths.items() if layer is not None}
        for new_key, new in found:
            if new_key in translated:
                raise ParityError(f"{key} and another key both become {new_key}")
            translated[new_key] = new
    return translated


def bare(dialect: Dialect, keys: Iterable[str]) -> dict[str, str]:
    """The paths whose arrays rules with axes name as `dialect.to` has them, so that no table may touch them."""
    rules = [rule for rules in dialect.modules.values() for rule in rules if rule.axes]
    sides = [side for rule in rules for side in rule.ours]
    return {key.rpartition(".")[0]: BARE for key in keys if any(bind(side, key) is not None for side in sides)}


def forms(how: Match) -> Iterable[tuple[str, frozenset[str]]]:
    """The changes to each layer's arrays."""
    return ((layer, rule.words - {"optional", "no-bias"}) for layer, rule in how.rules.items())


def _inward(key: str, leaf: str, array: np.ndarray, words: frozenset[str]) -> Iterable[tuple[str, np.ndarray]]:
    if leaf == "weight":
        if "linear" in words:
            array = array[:, :, None, None]  # o i 1 1
        if "max-first" in words:
            array = _swapped(key, array)
        if "zero-bias" in words:
            yield "bias", np.zeros(len(array), array.dtype)
    yield leaf, array


def _outward(key: str, leaf: str, array: np.ndarray, words: frozenset[str]) -> Iterable[tuple[str, np.ndarray]]:
    if leaf == "bias" and words & {"no-bias", "zero-bias"}:
        # Not a comparison of bits: minus zero adds nothing either.
        if np.any(array != 0):
            raise ParityError(f"{key} is not zero, and the layer has no bias in this dialect")
        return
    if leaf == "weight":
        if "linear" in words:
            if array.ndim != 4 or array.shape[2:] != (1, 1):
                raise ParityError(f"{key} must be a 1x1 convolution's to become a Linear's, got shape {array.shape}")
            array = array[:, :, 0, 0]  # o i
        if "max-first" in words:
            array = _swapped(key, array)
    yield leaf, array


def _swapped(key: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 4 or array.shape[1] != 2:
        raise ParityError(f"{key} must take two maps, the mean and the maximum, got shape {array.shape}")
    return array[:, ::-1]
