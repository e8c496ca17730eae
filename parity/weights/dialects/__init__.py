"""Other systems' names and forms for the same modules, as data: a file of rules for each system.

A rule is a line `"their layer" = "our layer"`, under the name of the module. `{i}` stands for a number that both sides
share, `{n}` for how many values `{i}` takes. Words behind our layer say what else differs:

    linear      theirs is a Linear, ours a 1x1 convolution
    max-first   theirs takes [max, mean], ours [mean, max]
    no-bias     theirs has no bias, ours may go without
    zero-bias   theirs has no bias, ours does: zeros come in, and only zeros go out
    optional    the layer may be missing

Rules speak of canonical arrays, so that one file of rules serves a system's weights in every framework's format. What
else a rule can say, and a file of a user's own, is in `rules`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ParityError
from ...frameworks import FRAMEWORKS
from ...frameworks.telling import parse_layer
from .matching import Dialect, Match, apply, bare, forms
from .matching import match as match_rules
from .rules import Rule, bind, parse_rules

__all__ = [
    "AS_IS",
    "OURS",
    "Dialect",
    "Match",
    "apply",
    "bare",
    "find",
    "known",
    "match",
    "names",
    "parse",
    "recognise",
]

OURS = "parity"
AS_IS = "none"
# The names of whole residual networks, which `parity.weights.dialects.networks` reads.
RESNET = "resnet"
_FIRST = (OURS, "torchvision", "timm", "paddleclas", "moskomule")
_NEAR = 0.5
_MOST_LAYERS = 1000  # no module has nearly as many
_MAX_RULES = 1 << 20
_HEADERS = ("framework", "source", "to", "rest", "layers", "refused")


@cache
def known() -> dict[str, Dialect]:
    """The dialects that come with this package, by name: ours first, and then those whose names others took over."""
    found = {path.stem: parse(path.stem, path.read_text()) for path in sorted(Path(__file__).parent.glob("*.toml"))}
    return {**{name: found[name] for name in _FIRST}, **found}


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


def names() -> list[str]:
    """The names of the dialects, but for files of rules."""
    return [OURS, *sorted(known().keys() - {OURS}), RESNET, AS_IS]


def _find(name: str) -> Dialect:
    if name in known():
        return known()[name]
    path = Path(name)
    if path.suffix != ".toml":
        near = get_close_matches(name, names(), cutoff=0.4)
        raise ParityError(
            f"there is no dialect {name[:80]!a}{f', nearest is {near[0]}' if near else ''}; --help lists all, "
            "and a file of rules must end in .toml"
        )
    if not path.is_file():
        raise ParityError(f"{name}: there is no such file of rules")
    if path.stat().st_size > _MAX_RULES:
        raise ParityError(f"{name} must have at most {_MAX_RULES} bytes")
    try:
        return parse(path.stem, path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParityError(f"{name} is no TOML: {error}") from error


def parse(name: str, text: str) -> Dialect:
    """The dialect that a file of rules describes."""
    content = tomllib.loads(text)
    header = {key: content.pop(key) for key in _HEADERS if key in content}
    for key in ("framework", "to"):
        if header.get(key, "torch" if key == "to" else None) not in FRAMEWORKS:
            raise ParityError(f"{name}: {key} must be one of {', '.join(FRAMEWORKS)}, got {header.get(key)!a}")
    if header.get("rest", "keep") != "keep":
        raise ParityError(f'{name}: rest can be "keep", for keys that no rule knows, got {header["rest"]!a}')
    modules = {}
    for module, lines in content.items():
        if not _is_texts(lines) or not lines:
            raise ParityError(f'{name}: [{module}] must hold lines of the form "their layer" = "our layer"')
        modules[module] = tuple(rule for theirs, line in lines.items() for rule in parse_rules(name, theirs, line))
    if not modules:
        raise ParityError(f"{name}: there must be a table of rules for a module, such as [SE]")
    layers, refused = header.get("layers", {}), header.get("refused", {})
    if not _is_texts(layers) or not _is_texts(refused):
        raise ParityError(f'{name}: [layers] and [refused] must hold lines of the form "layer" = "text"')
    told = {path: parse_layer(layer) for path, layer in layers.items()}
    source, to = str(header.get("source", "")), header.get("to", "torch")
    return Dialect(name, header["framework"], source, modules, to, "rest" in header, told, refused)


def _is_texts(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(line, str) for line in table.values())


def recognise(weights: Mapping[str, np.ndarray], dialect: str | None, framework: str = "") -> Match | None:
    """Find how the canonical arrays' keys translate into ours; None where they keep their names.

    Args:
        weights: canonical arrays by a system's keys.
        dialect: the system; left out, every one is tried, and keys that are close to none keep their names.
        framework: whose file it is: of systems that say the same, one of that framework is named.

    Raises:
        ParityError: for keys that `dialect` does not know, and for keys that are close to a system's and not its own:
            one error that lists them and names the nearest; for keys that two systems read differently.
    """
    if dialect == AS_IS:
        return None
    candidates = [find(dialect)] if dialect else sorted(known().values(), key=lambda each: each.framework != framework)
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
        _refuse(weights, find(dialect or nearest.dialect))
        raise ParityError(_explain(nearest))
    return _one_of(complete)


def _refuse(weights: Mapping[str, np.ndarray], system: Dialect) -> None:
    """Raise ParityError where a layer gives away what has the system's names and is no module of ours."""
    for layer in dict.fromkeys(key.rpartition(".")[0] for key in weights):
        for pattern, reason in system.refused.items():
            if bind(pattern, layer) is not None:
                raise ParityError(
                    f"{layer} is of {reason}, as {system.name} has it: no module here; --dialect {AS_IS} "
                    f"(dialect={AS_IS!r}) keeps its names"
                )


def match(weights: Mapping[str, np.ndarray], dialect: Dialect, module: str, *, outward: bool = False) -> Match:
    """Translate the keys by one module's rules: theirs into ours, or outward, ours into theirs."""
    ours = dialect.name == OURS or module in find(OURS).modules or module in _VARIANTS
    return match_rules(weights, dialect, module, outward=outward, ours=ours)


# Second forms of our modules, in systems that have two.
_VARIANTS = ("SEConv", "SELayer", "SqueezeExcite")


def translate_outward(weights: Mapping[str, np.ndarray], dialect: Dialect) -> Match:
    """Translate our canonical keys into the system's.

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
    if len({(tuple(each.paths.items()), tuple(forms(each)), each.arrays) for each in matches}) > 1:
        names = ", ".join(f"{each.dialect}:{each.module}" for each in matches)
        raise ParityError(f"its keys fit {names}, which differ; give --dialect with one of these (dialect=...)")
    return matches[0]


def _may_have(rules: tuple[Rule, ...], layer: str) -> bool:
    """Whether a rule has the layer's path, which is quicker to see than whether all layers match."""
    return any(bind(side, layer) is not None for rule in rules for side in rule.theirs)


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
