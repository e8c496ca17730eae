"""From a file's own names to canonical ones and back, metadata and batch counters included."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ... import frameworks
from ...errors import ParityError
from ...frameworks import layout, telling
from ...frameworks.layers import Layer, Weights
from ...frameworks.layout import COUNTER, is_counter
from .formats import FRAMEWORKS

COLLECTIONS = ("params", "batch_stats")
# Where a file's metadata keeps what names and shapes do not tell of its layers.
LAYERS = "layers"
_STATISTICS = {"mean", "var"}


def tell_framework(arrays: Mapping[str, np.ndarray], hint: str | None, given: str | None) -> str:
    """The framework whose names and axes the arrays have: given, hinted at by the file, or told by the leaves.

    Raises:
        ParityError: where `given` is no framework, and where nothing tells: Linear weights without a norm look the
            same in torch and Paddle, and are each other's transposes.
    """
    if given is not None and given not in FRAMEWORKS:
        raise ParityError(f"framework must be one of {', '.join(FRAMEWORKS)}, got {given!a}")
    is_linen = bool(arrays) and all(key.partition(".")[0] in COLLECTIONS for key in arrays)
    if (known := given or hint) is not None:
        return "linen" if is_linen and known == "flax" else known
    leaves = {key.rpartition(".")[2] for key in arrays}
    found = [framework for framework in frameworks.FRAMEWORKS if leaves & telling.marks(framework)]
    if len(found) == 1:
        return "linen" if is_linen and found == ["flax"] else found[0]
    if not found and not any(array.ndim == 2 for array in arrays.values()):
        return "torch"  # and Paddle: their convolutions are the same
    reason = f"its names are of {' and '.join(found)}" if found else "a Linear's weight has no mark of its framework"
    raise ParityError(f"cannot tell the framework: {reason}; give --from {'|'.join(FRAMEWORKS)} (framework=...)")


def to_canonical(
    arrays: Mapping[str, np.ndarray],
    framework: str,
    metadata: Mapping[str, str],
    layers: Mapping[str, "str | Layer"] | None = None,
) -> tuple[Weights, dict[str, str]]:
    """Canonical views of the arrays with the layers that they are of, and the metadata with PyTorch's batch counters.

    A layer that may be two kinds is taken for one of them, and says so: see `layout.ask`.

    Args:
        arrays: native arrays by native key.
        framework: whose they are.
        metadata: the file's.
        layers: what is told of the layers; see `layout.convert`.
    """
    if framework == "linen":
        arrays = _without_collections(arrays)
    counters = {key: _count(key, array) for key, array in arrays.items() if is_counter(key, framework)}
    canonical, found = layout.carry(arrays, plain(framework), "torch", layers or {})
    rest = {key: value for key, value in metadata.items() if key != LAYERS}
    return Weights(canonical, found), {**rest, COUNTER: json.dumps(counters)} if counters else rest


def from_canonical(
    canonical: Weights, framework: str, metadata: Mapping[str, str], source: str = "torch"
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays under a framework's own names and axes, and the metadata that is left for the file.

    Args:
        canonical: canonical arrays, with what is known of their layers.
        framework: whose names and axes they get.
        metadata: text by text.
        source: the framework that they come from.
    """
    target = plain(framework)
    arrays: dict[str, np.ndarray] = canonical
    layers = canonical.layers
    if framework != "torch":
        arrays, layers = layout.carry(canonical, "torch", target, layers)
        telling.ask(layers, {plain(source), target})
    noted = {path: str(layer) for path, layer in telling.notes(arrays, target, layers).items()}
    rest = {**metadata, LAYERS: json.dumps(noted)} if noted else dict(metadata)
    if framework == "torch":
        rest.pop(COUNTER, None)
        return {**arrays, **_counters(metadata, canonical)}, rest
    if framework == "linen":
        arrays = {f"{COLLECTIONS[key.rpartition('.')[2] in _STATISTICS]}.{key}": a for key, a in arrays.items()}
    return dict(arrays), rest


def plain(framework: str) -> str:
    """The framework whose layouts those are."""
    return "flax" if framework == "linen" else framework


def parse_layers(metadata: Mapping[str, str]) -> dict[str, Layer]:
    """Read the layers by path from the metadata."""
    try:
        found = json.loads(metadata.get(LAYERS, "{}"))
    except (ValueError, RecursionError) as error:
        raise ParityError(f"the metadata {LAYERS!r} must be JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ParityError(f"the metadata {LAYERS!r} must be a JSON object of text")
    return {path: telling.parse_layer(text) for path, text in found.items()}


def rename_counters(metadata: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """The metadata with the counters' layers under their new names; those of layers without one are dropped."""
    if COUNTER not in metadata:
        return dict(metadata)
    found = _parse(metadata)
    renamed = {f"{paths[path]}.{COUNTER}": value for path, value in found.items() if path in paths}
    return {**metadata, COUNTER: json.dumps(renamed)}


def split_collection(key: str, framework: str) -> tuple[str, str]:
    """A Linen key's collection, with its dot, and the attribute path; there is no collection elsewhere."""
    if framework != "linen":
        return "", key
    collection, dot, path = key.partition(".")
    return collection + dot, path


def _count(key: str, array: np.ndarray) -> Any:
    """The counter's integer, or the list of one."""
    if array.shape not in ((), (1,)) or array.dtype.kind not in "iu":
        raise ParityError(f"{key} must be one integer, got {array.dtype} of shape {array.shape}")
    return array.tolist()


def _without_collections(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    stripped: dict[str, np.ndarray] = {}
    for key, array in arrays.items():
        collection, _, name = key.partition(".")
        if collection not in COLLECTIONS:
            raise ParityError(f"a Linen tree has the collections {' and '.join(COLLECTIONS)}, got {key}")
        if name in stripped:
            raise ParityError(f"{name} is in two collections")
        stripped[name] = array
    return stripped


def _counters(metadata: Mapping[str, str], canonical: Iterable[str]) -> dict[str, np.ndarray]:
    norms = {key.rpartition(".")[0] for key in canonical if key.rpartition(".")[2] == "running_mean"}
    return {
        f"{path}.{COUNTER}" if path else COUNTER: np.array(value, np.int64)
        for path, value in _parse(metadata).items()
        if path in norms
    }


def _parse(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The counters by their layer: each an integer, or one in a list."""
    try:
        found = json.loads(metadata.get(COUNTER, "{}"))
    except (ValueError, RecursionError) as error:
        raise ParityError(f"the metadata {COUNTER} must be JSON: {error}") from error
    if not isinstance(found, dict):
        raise ParityError(f"the metadata {COUNTER} must be a JSON object")
    for value in found.values():
        single = value[0] if isinstance(value, list) and len(value) == 1 else value
        if type(single) is not int or not 0 <= single < 1 << 63:
            raise ParityError(f"the metadata {COUNTER} must hold counts")
    return {key.rpartition(".")[0]: value for key, value in found.items()}
