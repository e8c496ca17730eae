"""A model's weights by canonical key, those of layers that the table of layouts does not know as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ParityError
from ..frameworks import layers
from ..frameworks.adapter import Adapter
from ..frameworks.telling import tell


@dataclass(frozen=True)
class Slot:
    """One array of a model.

    Attributes:
        native: Its native key.
        key: Its canonical key.
        framework: The model's framework.
        leaf: What the table of layouts knows of it; None for an array that is the same everywhere.
        variable: What holds it.
    """

    native: str
    key: str
    framework: str
    leaf: layers.Slot | None
    variable: Any

    def inward(self, array: np.ndarray) -> np.ndarray:
        """A native array, or a gradient of it, as canonical."""
        return self._moved(array, self.framework, "torch")

    def outward(self, array: np.ndarray) -> np.ndarray:
        """A canonical array as native."""
        return self._moved(array, "torch", self.framework)

    def _moved(self, array: np.ndarray, source: str, target: str) -> np.ndarray:
        return array if self.leaf is None else next(iter(self.leaf.move([array], source, target).values()))


def slots(framework: Adapter, model: Any, aliases: Mapping[str, str]) -> list[Slot]:
    """Every array of the model; `aliases` are layers' paths as another framework would say them.

    What is one array here and several elsewhere, as in an attention, stays as it is.
    """
    variables = dict(framework.variables(model))
    shapes = {key: tuple(map(int, variable.shape)) for key, variable in variables.items()}
    # Linen's layers are told by their arrays' names.
    told = tell(shapes, framework.NAME) if hasattr(model, "linen") else framework.layers(model)
    found = layers.resolve(shapes, framework.NAME, told).slots
    alone = {slot.keys[0]: slot for slot in found if len(slot.keys) == len(slot.named("torch")[0]) == 1}
    return [
        Slot(
            native,
            _aliased(alone[native].named("torch")[0][0] if native in alone else native, aliases),
            framework.NAME,
            alone.get(native),
            variable,
        )
        for native, variable in variables.items()
    ]


def read(framework: Adapter, found: list[Slot]) -> dict[str, np.ndarray]:
    """Copies of the arrays by canonical key."""
    return {slot.key: np.array(slot.inward(framework.to_numpy(slot.variable)), order="C") for slot in found}


def write(framework: Adapter, found: list[Slot], weights: Mapping[str, np.ndarray], dtype: str) -> None:
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
