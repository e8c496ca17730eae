"""The word in a file's metadata that says which framework its names and axes are of."""

from collections.abc import Mapping

_KEY = "format"
# What the frameworks' own libraries write into `.safetensors`.
_LABELS = {"torch": "pt", "paddle": "pd", "flax": "flax", "linen": "flax"}
_FRAMEWORKS = {"pt": "torch", "torch": "torch", "pd": "paddle", "paddle": "paddle", "flax": "flax"}


def label(metadata: Mapping[str, str], framework: str) -> dict[str, str]:
    """The metadata with the framework's word."""
    return {**metadata, _KEY: _LABELS[framework]}


def unlabel(metadata: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The metadata without the framework's word, and the framework; None where there is no such word."""
    framework = _FRAMEWORKS.get(metadata.get(_KEY, ""))
    return {key: value for key, value in metadata.items() if key != _KEY or framework is None}, framework
