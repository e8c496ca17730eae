"""The word in a file's metadata that says which framework its names and axes are of."""

from collections.abc import Mapping

from ...frameworks import FRAMEWORKS, TABLE

_KEY = "format"
_LABELS = {name: TABLE[name].label for name in FRAMEWORKS}
# A framework's own name is understood too.
_FRAMEWORKS = {name: name for name in FRAMEWORKS} | {label: name for name, label in _LABELS.items()}


def label(metadata: Mapping[str, str], framework: str) -> dict[str, str]:
    """The metadata with the framework's word."""
    return {**metadata, _KEY: _LABELS["flax" if framework == "linen" else framework]}


def unlabel(metadata: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The metadata without the framework's word, and the framework; None where there is no such word."""
    framework = _FRAMEWORKS.get(metadata.get(_KEY, ""))
    return {key: value for key, value in metadata.items() if key != _KEY or framework is None}, framework
