"""What a file becomes in another format, framework or naming, before anything is written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ParityError
from .. import dialects, networks
from . import Opened, native, target_framework
from .formats import of_target


@dataclass(frozen=True)
class Moved:
    """Native arrays for the target, as views of the source, and in words what was done to their names."""

    arrays: dict[str, np.ndarray]
    framework: str
    metadata: dict[str, str]
    skipped: tuple[str, ...]
    said: str


def plan(opened: Opened, target: Path, *, to: str | None, dialect: str | None, prefix: str | None) -> Moved:
    """What `opened` becomes as the file `target`.

    A dialect that the file speaks is translated into our names; a file that has our names is translated into the
    dialect that is named. Where neither names nor framework change, arrays of layers that no table knows pass too.

    Raises:
        ParityError: for an unknown framework or dialect, keys that are not its own, a format that cannot hold them.
    """
    if dialect not in (None, dialects.AS_IS, networks.NAME):
        system = dialects.find(dialect)
        # Where a system's names are ours, both directions are one.
        if _is_ours(opened):
            return _outward(opened, target, to, system, prefix)
    opened = opened.below(prefix)
    framework = target_framework(target, to or _kept(target, opened.framework))
    try:
        checkpoint = opened.interpret(dialect)
    except ParityError:
        # Moved as they are, layers that the table of layouts does not know lose nothing.
        if framework != opened.framework or dialect not in (None, dialects.AS_IS) or _is_known(opened):
            raise
        checkpoint = None
    if checkpoint is None or (framework == opened.framework and checkpoint.dialect in (None, dialects.OURS)):
        return Moved(opened.arrays, framework, opened.metadata, opened.skipped, "names kept")
    arrays, metadata = native.from_canonical(checkpoint.weights, framework, checkpoint.metadata)
    said = f"names of {checkpoint.dialect} ({checkpoint.module})" if checkpoint.dialect else "names kept"
    return Moved(arrays, framework, metadata, checkpoint.skipped, said)


def _outward(opened: Opened, target: Path, to: str | None, system: dialects.Dialect, prefix: str | None) -> Moved:
    """Our names into the system's, below `prefix`."""
    several = len(of_target(target).frameworks) > 2
    framework = target_framework(target, to or (system.framework if several else None))
    weights, metadata = native.to_canonical(opened.arrays, opened.framework, opened.metadata)
    match = dialects.translate_outward(weights, system)
    head = f"{prefix.removesuffix('.')}." if prefix else ""
    weights = {head + key: array for key, array in dialects.apply(match, weights).items()}
    metadata = native.rename_counters(metadata, {ours: head + theirs for ours, theirs in match.paths.items()})
    arrays, metadata = native.from_canonical(weights, framework, metadata)
    return Moved(arrays, framework, metadata, opened.skipped, f"names for {match.dialect} ({match.module})")


def _is_ours(opened: Opened) -> bool:
    """Whether the file has the names of one of our modules."""
    if not _is_known(opened):
        return False
    weights, _ = native.to_canonical(opened.arrays, opened.framework, opened.metadata)
    ours = dialects.find(dialects.OURS)
    return any(dialects.match(weights, ours, module).complete for module in ours.modules)


def _is_known(opened: Opened) -> bool:
    """Whether the table of layouts knows every array."""
    try:
        native.to_canonical(opened.arrays, opened.framework, {})
    except ParityError:
        return False
    return True


def _kept(target: Path, framework: str) -> str | None:
    """The framework that the file has, where the target's format can hold it."""
    return framework if framework in of_target(target).frameworks else None
