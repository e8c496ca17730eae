"""Read a pairing from a file of rules, and write one to such a file."""

from collections.abc import Sequence

from ..errors import ParityError
from ..weights import dialects
from ..weights.dialects.rules import Rule
from .bundles import Bundle
from .side import Arrays
from .weights import Pairing, add, owner


def bundles_of(rules: str, original: Arrays, natives: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Bundle]:
    """The bundles that a file of rules describes: its lines with axes.

    Args:
        rules: A dialect, or a file of rules.
        original: The original's arrays.
        natives: The port's native keys, and the canonical ones that they are.

    Raises:
        ParityError: where the port has no such arrays.
    """
    dialect = dialects.find(rules)
    match = _match(dialect, original)
    canonical = {key for _, keys in natives for key in keys}
    known = {key for keys, _ in natives for key in keys}
    found = []
    for rule, theirs, ours in match.arrays:
        native = dialect.to != "torch" and known >= {*ours}
        if rule.axes and (native or canonical >= {*ours}):
            found.append(Bundle(Rule(theirs, ours, rule.words, rule.axes, rule.sizes), native))
        elif rule.axes:
            raise ParityError(f"{rules}: the port has no {', '.join(name for name in ours if name not in canonical)}")
    return found


def _match(dialect: dialects.Dialect, original: Arrays) -> dialects.Match:
    return max((dialects.match(original, dialect, module) for module in dialect.modules), key=lambda each: each.score)


def pair(original: Arrays, port: Arrays, rules: str, bundles: Sequence[Bundle]) -> Pairing:
    """Pair the port's arrays with the original's as rules say; what they do not know, by name.

    Args:
        original: Canonical arrays by canonical key.
        port: The same of the port, which goes by the bundles.
        rules: A dialect, or a file of rules in the language of dialects, from the original's names to the port's.
        bundles: What `bundles_of` found in them.
    """
    match = _match(dialects.find(rules), original)
    named = {
        ours: theirs
        for rule, keys, names in match.arrays
        if not rule.axes
        for theirs, ours in zip(keys, names, strict=True)
    }
    taken = {key for _, keys, _ in match.arrays for key in keys}
    known = {key: original[key] for key in original if owner(key) in match.paths and key not in taken}
    translated = dialects.apply(match, known)
    back = {ours: theirs for theirs, ours in match.paths.items()}
    found = Pairing()
    for key in port:
        if key in named:
            add(found, key, named[key], "rules", original, port)
        elif key in translated and translated[key].size == port[key].size:
            layer, dot, leaf = key.rpartition(".")
            source = f"{back[layer]}{dot}{leaf}"
            found.keys[key], found.how[key] = (source if source in original else f"{back[layer]}"), "rules"
            found.arrays[key] = translated[key].reshape(port[key].shape)
        elif key in original and owner(key) not in match.paths and key not in taken:
            add(found, key, key, "name", original, port)
    paired = set(found.keys.values())
    found.only_original = [key for key in original if key not in paired]
    found.only_port = [key for key in port if key not in found.keys]
    found.take(tuple(bundles), "rules", original)
    return found


def written(found: Pairing, framework: str, name: str) -> str:
    """The pairs as a file of rules that a person can read and correct."""
    lines = [f'framework = "{framework}"', 'source = "written by parity port --write-rules"', "", f"[{name}]"]
    joined = {key for bundle in found.bundles for key in bundle.keys}
    alone = {key: source for key, source in found.keys.items() if key not in joined}
    layers: dict[tuple[str, str], list[str]] = {}
    for key, source in alone.items():
        same = key.removeprefix(owner(key)) == source.removeprefix(owner(source)) and owner(key)
        names = (owner(source), owner(key)) if same else (source, key)
        layers.setdefault(names, []).append(found.how[key])
    for (source, path), how in layers.items():
        said = "" if {*how} == {"name"} else f"  # by {', '.join(sorted({*how}))}"
        lines.append(f'"{source or "."}" = "{path or "."}"{said}')
    lines += [f"{bundle.line()}  # by {found.how[bundle.keys[0]]}" for bundle in found.bundles]
    return "\n".join(lines) + "\n"
