"""The conversion of a file to another format, framework or naming, before anything is written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ParityError
from ...frameworks.layers import Weights, prefixes
from .. import dialects
from . import Opened, is_system, native, target_framework
from .formats import of_target


@dataclass(frozen=True)
class Moved:
    """Native arrays for the target, as views of the source.

    Attributes:
        arrays: the arrays by native key.
        framework: whose names and axes they have.
        metadata: the target's.
        skipped: names of what the source holds besides.
        said: what was done to their names, in words.
        outward: whether our names became a system's.
        bare: keys of arrays that are of no layer, and have in another framework the axes that they had.
    """

    arrays: dict[str, np.ndarray]
    framework: str
    metadata: dict[str, str]
    skipped: tuple[str, ...]
    said: str
    outward: bool = False
    bare: tuple[str, ...] = ()


def way_back(
    opened: Opened, written: Opened, moved: Moved, *, dialect: str | None, prefix: str | None
) -> tuple[Weights, Weights]:
    """The canonical arrays of a file, and those that the file made of it gives back under the same names.

    Args:
        opened: the source.
        written: the target, read anew.
        moved: what was written.
        dialect: as given to `plan`.
        prefix: as given to `plan`.
    """
    if moved.outward:
        assert dialect is not None
        opened = opened.unwrapped(dialect)
        return opened.interpret(dialects.AS_IS).weights, written.below(prefix).interpret(dialect).weights
    opened = opened.below(prefix).unwrapped(dialect)
    if dialect is not None and is_system(dialect) and (system := dialects.find(dialect)).to != "torch":
        weights, _ = native.to_canonical(opened.arrays, opened.framework, {}, {**system.layers, **opened.layers})
        there, _ = _canonical(written, system)
        return weights, dialects.apply(dialects.translate_outward(there, system), there)
    given = opened.interpret(dialect, moved.framework).weights
    return given, written.interpret(dialects.AS_IS, moved.framework).weights


def plan(
    opened: Opened,
    target: Path,
    *,
    to: str | None,
    dialect: str | None,
    prefix: str | None,
    shard: str | None = None,
) -> Moved:
    """Plan what `opened` becomes as the file `target`, or as the files of at most `shard` in that directory.

    A dialect that the file speaks is translated into our names; a file that has our names is translated into the
    dialect that is named. Where neither names nor framework change, arrays of layers that no table knows pass too.

    Raises:
        ParityError: for an unknown framework or dialect, keys that are not its own, a format that cannot hold them.
    """
    if dialect is not None and is_system(dialect):
        system = dialects.find(dialect)
        # Where a system's names are ours, both directions are one.
        if _is_outward(unwrapped := opened.unwrapped(dialect), system):
            several = len(of_target(target, shard).frameworks) > 2
            framework = target_framework(target, to or (system.framework if several else None), shard)
            return _outward(unwrapped, framework, system, prefix)
    opened = opened.below(prefix).unwrapped(dialect)
    kept = opened.framework if opened.framework in of_target(target, shard).frameworks else None
    framework = target_framework(target, to or kept, shard)
    try:
        checkpoint = opened.interpret(dialect, framework)
    except ParityError:
        # Moved as they are, layers that the table of layouts does not know lose nothing.
        if framework != opened.framework or dialect not in (None, dialects.AS_IS) or _is_known(opened):
            raise
        checkpoint = None
    if checkpoint is None or (framework == opened.framework and checkpoint.dialect in (None, dialects.OURS)):
        return Moved(opened.arrays, framework, opened.metadata, opened.skipped, _said("names kept", opened))
    arrays, metadata = native.from_canonical(checkpoint.weights, framework, checkpoint.metadata, opened.framework)
    said = f"names of {checkpoint.dialect} ({checkpoint.module})" if checkpoint.dialect else "names kept"
    bare = _bare(checkpoint.weights) if native.plain(framework) != native.plain(opened.framework) else ()
    return Moved(arrays, framework, metadata, checkpoint.skipped, _said(said, opened), bare=bare)


def _bare(weights: Weights) -> tuple[str, ...]:
    """The keys of arrays with axes that are of no layer, nor told to be of none, nor laid out by a rule."""
    layers = weights.layers
    kinds = {path for path, layer in layers.items() if layer.kind}
    return tuple(
        key
        for key, array in weights.items()
        if array.ndim > 1 and key.rpartition(".")[0] not in layers and kinds.isdisjoint(prefixes(key))
    )


def _said(what: str, opened: Opened) -> str:
    """In words what was done to the names, and what was taken off them."""
    return f"{what}, taken out of {' and '.join(opened.wrappers)}" if opened.wrappers else what


def _outward(opened: Opened, framework: str, system: dialects.Dialect, prefix: str | None) -> Moved:
    """Our names into the system's, below `prefix`."""
    weights, metadata = _canonical(opened, system)
    match = dialects.translate_outward(weights, system)
    head = f"{prefix.removesuffix('.')}." if prefix else ""
    translated = dialects.apply(match, weights)
    layers = {head + path: layer for path, layer in translated.layers.items()}
    named = Weights({head + key: array for key, array in translated.items()}, layers)
    metadata = native.rename_counters(metadata, {ours: head + theirs for ours, theirs in match.paths.items()})
    arrays, metadata = native.from_canonical(named, framework, metadata)
    said = _said(f"names for {match.dialect} ({match.module})", opened)
    return Moved(arrays, framework, metadata, opened.skipped, said, True)


def _is_outward(opened: Opened, system: dialects.Dialect) -> bool:
    """Whether the file has the names on the right of the system's rules: one of our modules', or a user's own."""
    try:
        weights, _ = _canonical(opened, system)
    except ParityError:
        return False
    ours = dialects.find(dialects.OURS)
    if any(dialects.match(weights, ours, module).complete for module in ours.modules):
        return True
    if any(dialects.match(weights, system, module).complete for module in system.modules):
        return False
    return any(dialects.match(weights, system, module, outward=True).complete for module in system.modules)


def _canonical(opened: Opened, system: dialects.Dialect) -> tuple[Weights, dict[str, str]]:
    """The file's canonical arrays, those that the system's rules name for its framework left as they are."""
    framework = native.plain(opened.framework)
    left = dialects.bare(system, opened.arrays) if framework == system.to != "torch" else {}
    return native.to_canonical(opened.arrays, opened.framework, opened.metadata, {**left, **opened.layers})


def _is_known(opened: Opened) -> bool:
    """Whether the table of layouts knows every array."""
    try:
        native.to_canonical(opened.arrays, opened.framework, {})
    except ParityError:
        return False
    return True
