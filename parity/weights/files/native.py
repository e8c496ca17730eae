"""From a file's own names to canonical ones and back, metadata and batch counters included."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import ParityError
from ...frameworks.layout import COUNTER, LEAVES, convert
from .formats import FRAMEWORKS

COLLECTIONS = ("params", "batch_stats")
_MARKS = {
    "torch": {COUNTER, "running_mean", "running_var"},
    "paddle": {"_mean", "_variance"},
    "flax": {"kernel", "scale", "mean", "var"},
}
_STATISTICS = {leaf.flax.name for leaf in LEAVES if leaf.torch.name.startswith("running_")}


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
    found = [framework for framework, marks in _MARKS.items() if leaves & marks]
    if len(found) == 1:
        return "linen" if is_linen and found == ["flax"] else found[0]
    if not found and not any(array.ndim == 2 for array in arrays.values()):
        return "torch"  # and Paddle: their convolutions are the same
    reason = f"its names are of {' and '.join(found)}" if found else "a Linear's weight has no mark of its framework"
    raise ParityError(f"cannot tell the framework: {reason}; give --from {'|'.join(FRAMEWORKS)} (framework=...)")


def to_canonical(
    arrays: Mapping[str, np.ndarray], framework: str, metadata: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Canonical views of the arrays, and the metadata, in which PyTorch's batch counters are kept."""
    if framework == "linen":
        arrays = _without_collections(arrays)
    counters = {key: _count(key, array) for key, array in arrays.items() if framework == "torch" and is_counter(key)}
    canonical = convert(arrays, "flax" if framework == "linen" else framework, "torch")
    return canonical, {**metadata, COUNTER: json.dumps(counters)} if counters else dict(metadata)


def from_canonical(
    canonical: Mapping[str, np.ndarray], framework: str, metadata: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays under a framework's own names and axes, and the metadata that is left for the file."""
    if framework == "torch":
        rest = {key: value for key, value in metadata.items() if key != COUNTER}
        return {**canonical, **_counters(metadata, canonical)}, rest
    arrays = convert(canonical, "torch", "flax" if framework == "linen" else framework)
    if framework == "linen":
        arrays = {f"{COLLECTIONS[key.rpartition('.')[2] in _STATISTICS]}.{key}": a for key, a in arrays.items()}
    return arrays, dict(metadata)


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


def is_counter(key: str) -> bool:
    """Whether the key is that of PyTorch's count of the batches that a norm has seen."""
    return key.rpartition(".")[2] == COUNTER


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
