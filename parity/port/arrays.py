"""A model's weights by canonical key, those of layers that the table of layouts does not know as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import ParityError
from ..frameworks.layout import find_leaf, relayout, rename


@dataclass(frozen=True)
class Slot:
    """One array of a model: its native and its canonical key, its axes in both (empty where they are the same)."""

    native: str
    key: str
    axes: str
    canonical: str
    variable: Any

    def inward(self, array: np.ndarray) -> np.ndarray:
        """A native array, or a gradient of it, as canonical."""
        return relayout(array, self.axes, self.canonical) if self.axes else array

    def outward(self, array: np.ndarray) -> np.ndarray:
        """A canonical array as native."""
        return relayout(array, self.canonical, self.axes) if self.axes else array


def slots(framework: ModuleType, model: Any, aliases: Mapping[str, str]) -> list[Slot]:
    """Every array of the model; `aliases` are layers' paths as another framework would say them."""
    found = []
    for native, kind, variable in framework.variables(model):
        leaf = find_leaf(native, len(variable.shape), framework.NAME)
        path, _, name = native.rpartition(".")
        if leaf is not None and kind is not None and leaf.kind in ("any", kind):
            form = leaf.form(framework.NAME)
            key, axes, canonical = rename(native, leaf, "torch"), form.axes, leaf.torch.axes
        else:
            key, axes, canonical = native, "", ""
            if name == "embedding" and kind is None:
                key = f"{path}.weight" if path else "weight"
        found.append(Slot(native, _aliased(key, aliases), axes, canonical, variable))
    return found


def read(framework: ModuleType, found: list[Slot]) -> dict[str, np.ndarray]:
    """Copies of the arrays by canonical key."""
    return {slot.key: np.array(slot.inward(framework.to_numpy(slot.variable)), order="C") for slot in found}


def write(framework: ModuleType, found: list[Slot], weights: Mapping[str, np.ndarray], dtype: str) -> None:
    """Set the arrays from canonical ones, floating-point ones in `dtype`."""
    for slot in found:
        array = weights[slot.key]
        if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
            array = array.astype(dtype)
        native = np.array(slot.outward(array), order="C")
        if native.shape != tuple(slot.variable.shape):
            raise ParityError(f"{slot.native} must have shape {tuple(slot.variable.shape)}, got {native.shape}")
        framework.assign(slot.variable, native)


def _aliased(key: str, aliases: Mapping[str, str]) -> str:
    """The key with the longest known path before it as the alias says."""
    path, _, rest = key.rpartition(".")
    while path:
        if path in aliases:
            alias = aliases[path]
            return f"{alias}.{rest}" if alias else rest
        path, _, last = path.rpartition(".")
        rest = f"{last}.{rest}"
    return key
