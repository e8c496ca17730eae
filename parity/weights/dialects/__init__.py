"""Other systems' names and forms for the same modules, as data: a file of rules for each system.

A rule is a line `"their layer" = "our layer"`, under the name of the module. `{i}` stands for a number that both sides
share, `{n}` for how many values `{i}` takes. Words behind our layer say what else differs:

    linear      theirs is a Linear, ours a 1x1 convolution
    max-first   theirs takes [max, mean], ours [mean, max]
    no-bias     theirs has no bias, ours may go without
    zero-bias   theirs has no bias, ours does: zeros come in, and only zeros go out
    optional    the layer may be missing

Rules speak of canonical arrays, so that one file of rules serves a system's weights in every framework's format.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import ParityError
from ...frameworks.layout import FRAMEWORKS

OURS = "parity"
AS_IS = "none"
WORDS = {"linear", "max-first", "no-bias", "zero-bias", "optional"}
_NEAR = 0.5
_MOST_LAYERS = 1000  # no module has nearly as many
_MAX_RULES = 1 << 20


@dataclass(frozen=True)
class Rule:
    """One layer: its path there, its path here, and the words for what else differs."""

    theirs: str
    ours: str
    words: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Dialect:
    """A system: the rules for each of the modules that it has, its framework and where it comes from."""

    name: str
    framework: str
    source: str
    modules: Mapping[str, tuple[Rule, ...]]


@dataclass(frozen=True)
class Match:
    """How layers translate: each path's new one and its rule; what no rule knows; the rules that found nothing."""

    dialect: str
    module: str
    outward: bool
    paths: dict[str, str]
    rules: dict[str, Rule]
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    score: float = field(default=0.0, compare=False)

    @property
    def complete(self) -> bool:
        return not self.unknown and not self.missing


@cache
def known() -> dict[str, Dialect]:
    """The dialects that come with this package, by name, ours first."""
    found = {path.stem: parse(path.stem, path.read_text()) for path in sorted(Path(__file__).parent.glob("*.toml"))}
    return {OURS: found.pop(OURS), **found}


def find(name: str) -> Dialect:
    """The dialect of that name, or of that file of rules; of one of its modules alone where `:MODULE` follows.

    Raises:
        ParityError: for a name that is neither, a module that it does not have, and a file that is no set of rules.
    """
    name, colon, module = name.rpartition(":") if ":" in name else (name, "", "")
    system = _find(name)
    if not colon:
        return system
    if module not in system.modules:
        raise ParityError(f"{name} has the modules {', '.join(system.modules)}, got {module!a}")
    return replace(system, modules={module: system.modules[module]})


def _find(name: str) -> Dialect:
    if name in known():
        return known()[name]
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise ParityError(f"a dialect must be one of {', '.join(known())}, {AS_IS}, or a .toml file, got {name!a}")
    if path.stat().st_size > _MAX_RULES:
        raise ParityError(f"{name} must have at most {_MAX_RULES} bytes")
    try:
        return parse(path.stem, path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParityError(f"{name} is no TOML: {error}") from error


def parse(name: str, text: str) -> Dialect:
    """The dialect that a file of rules describes."""
    content = tomllib.loads(text)
    framework, source = content.pop("framework", None), content.pop("source", "")
    if framework not in FRAMEWORKS:
        raise ParityError(f"{name}: framework must be one of {', '.join(FRAMEWORKS)}, got {framework!a}")
    modules = {}
    for module, lines in content.items():
        if not isinstance(lines, dict) or not lines or not all(isinstance(line, str) for line in lines.values()):
            raise ParityError(f'{name}: [{module}] must hold lines of the form "their layer" = "our layer"')
        modules[module] = tuple(_rule(name, theirs, line) for theirs, line in lines.items())
    if not modules:
        raise ParityError(f"{name}: there must be a table of rules for a module, such as [SE]")
    return Dialect(name, framework, str(source), modules)


def recognise(weights: Mapping[str, np.ndarray], dialect: str | None) -> Match | None:
    """How the canonical arrays' keys translate into ours; None where they keep their names.

    Args:
        weights: canonical arrays by a system's keys.
        dialect: the system; left out, every one is tried, and keys that are close to none keep their names.

    Raises:
        ParityError: for keys that `dialect` does not know, and for keys that are close to a system's and not its own:
            one error that lists them and names the nearest; for keys that two systems read differently.
    """
    if dialect == AS_IS:
        return None
    candidates = [find(dialect)] if dialect else list(known().values())
    if dialect is None and len({key.rpartition(".")[0] for key in weights}) > _MOST_LAYERS:
        return None
    matches = [match(weights, each, module) for each in candidates for module in each.modules]
    complete = [each for each in matches if each.complete]
    if not complete:
        nearest = max(matches, key=lambda each: each.score)
        if dialect is None:
            _hint_at_prefix(weights)
        if dialect is None and nearest.score <= _NEAR:
            return None
        raise ParityError(_explain(nearest))
    return _one_of(complete)


def match(weights: Mapping[str, np.ndarray], dialect: Dialect, module: str, *, outward: bool = False) -> Match:
    """How the layers of the keys translate by one module's rules: theirs into ours, or outward, ours into theirs."""
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in weights))
    rules = dialect.modules[module]
    bindings = {
        rule: {layer: bound for layer in layers if (bound := _bind(rule, layer, weights, outward)) is not None}
        for rule in rules
    }
    # A number is an {i} where every rule with {i} finds it: torchvision's last number is the pooled branch.
    numbered = [{bound["i"] for bound in found.values()} for rule, found in bindings.items() if "{i}" in rule.ours]
    indices = set.intersection(*numbered) if numbered else set()
    count = str(len(indices))
    found: dict[str, tuple[Rule, dict[str, str]]] = {}
    for rule, layers_of_rule in bindings.items():
        for layer, bound in layers_of_rule.items():
            if bound.get("i") in {None, *indices} and bound.get("n") in {None, count}:
                found.setdefault(layer, (rule, bound))
    used = {rule for rule, _ in found.values()}
    missing = [_side(rule, outward) for rule in rules if rule not in used and "optional" not in rule.words]
    missing += [f"number {i}" for i in range(len(indices)) if str(i) not in indices]
    return Match(
        dialect.name,
        module,
        outward,
        {
            layer: _side(rule, not outward).replace("{i}", bound.get("i", "")).replace("{n}", count)
            for layer, (rule, bound) in found.items()
        },
        {layer: rule for layer, (rule, _) in found.items()},
        tuple(layer for layer in layers if layer not in found),
        tuple(missing),
        sum("optional" not in rule.words for rule, _ in found.values())
        / max(len(layers), len(found) + len(missing), 1),
    )


def _side(rule: Rule, ours: bool) -> str:
    return rule.ours if ours else rule.theirs


def _bind(rule: Rule, layer: str, weights: Mapping[str, np.ndarray], outward: bool) -> dict[str, str] | None:
    """The numbers of the rule's path in the layer's; None where the layer is not the rule's, by path or by form."""
    bound = _pattern(_side(rule, outward)).fullmatch(layer)
    if bound is None:
        return None
    if not outward:
        weight = weights.get(f"{layer}.weight" if layer else "weight")
        if weight is not None and (weight.ndim == 2) != ("linear" in rule.words):
            return None
        if rule.words & {"no-bias", "zero-bias"} and (f"{layer}.bias" if layer else "bias") in weights:
            return None
    return bound.groupdict()


def apply(how: Match, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The canonical arrays under their new keys and in their new forms, views where nothing is added.

    Raises:
        ParityError: for a spatial kernel that does not take two maps, and outward for a convolution that is not 1x1
            where theirs is a Linear, and for a bias that is not zero where theirs has none.
    """
    translate = _outward if how.outward else _inward
    translated: dict[str, np.ndarray] = {}
    for key, array in weights.items():
        layer, _, leaf = key.rpartition(".")
        for new_leaf, new in translate(key, leaf, array, how.rules[layer].words):
            new_key = f"{how.paths[layer]}.{new_leaf}" if how.paths[layer] else new_leaf
            if new_key in translated:
                raise ParityError(f"{key} and another key both become {new_key}")
            translated[new_key] = new
    return translated


def translate_outward(weights: Mapping[str, np.ndarray], dialect: Dialect) -> Match:
    """How our canonical keys translate into the system's.

    Raises:
        ParityError: where they are not those of a module that the system has.
    """
    matches = [match(weights, dialect, module, outward=True) for module in dialect.modules]
    complete = [each for each in matches if each.complete]
    if not complete:
        raise ParityError(_explain(max(matches, key=lambda each: each.score)))
    return _one_of(complete)


def _one_of(matches: list[Match]) -> Match:
    """The first, if all come to the same."""
    if len({(tuple(each.paths.items()), tuple(_forms(each))) for each in matches}) > 1:
        names = ", ".join(f"{each.dialect}:{each.module}" for each in matches)
        raise ParityError(f"its keys fit {names}, which differ; give --dialect with one of these (dialect=...)")
    return matches[0]


def _rule(name: str, theirs: str, line: str) -> Rule:
    ours, *words = line.split() or [""]
    if unknown := set(words) - WORDS:
        raise ParityError(f"{name}: unknown words {', '.join(sorted(unknown))}; known are {', '.join(sorted(WORDS))}")
    if not ours or theirs.count("{i}") != ours.count("{i}") or theirs.count("{i}") > 1:
        raise ParityError(f"{name}: {{i}} must be on both sides or on neither: {theirs!a} = {line!a}")
    return Rule("" if theirs == "." else theirs, "" if ours == "." else ours, frozenset(words))


def _may_have(rules: tuple[Rule, ...], layer: str) -> bool:
    """Whether a rule has the layer's path, which is quicker to see than whether all layers match."""
    return any(_pattern(rule.theirs).fullmatch(layer) for rule in rules)


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """A path as an expression: `{i}` and `{n}` are numbers, all else is itself."""
    parts = re.split(r"\{([in])\}", path)
    return re.compile("".join(rf"(?P<{p}>\d{{1,6}})" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def _forms(how: Match) -> Iterable[tuple[str, frozenset[str]]]:
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


def _explain(nearest: Match) -> str:
    said = [f"its keys are not those of a dialect; nearest is {nearest.dialect} ({nearest.module})"]
    if nearest.unknown:
        said.append(f"which does not know {_listed(nearest.unknown)}")
    if nearest.missing:
        said.append(f"which misses {_listed(nearest.missing)}")
    return "; ".join(said) + f"; give --dialect NAME, FILE.toml or {AS_IS}, or --prefix (dialect=..., prefix=...)"


def _listed(layers: tuple[str, ...]) -> str:
    return ", ".join(layer or "the file's own arrays" for layer in layers)


def _hint_at_prefix(weights: Mapping[str, np.ndarray]) -> None:
    """Raise ParityError where the keys would be known below a path that they all share."""
    paths = [key.split(".")[:-2] for key in weights]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    for length in range(1, len(shared) + 1):
        head = ".".join(shared[:length])
        below = {key.removeprefix(f"{head}."): array for key, array in weights.items()}
        first = next(iter(below)).rpartition(".")[0]
        for each in known().values():
            possible = (module for module, rules in each.modules.items() if _may_have(rules, first))
            if each.name != OURS and any(match(below, each, module).complete for module in possible):
                raise ParityError(f"its keys are those of {each.name} below {head}; give --prefix {head} (prefix=...)")
