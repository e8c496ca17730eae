"""A model's weights by canonical key, those of layers that the table of layouts does not know as they are."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ParityError
from ..frameworks import layers
from ..frameworks.adapter import Adapter
from ..frameworks.telling import tell
from ..weights.dialects.rules import move
from .bundles import Bundle

# Linen calls a gate what no attribute of Python's can be called.
_LINEN_IF = re.compile(r"((?:^|\.))if\.(?=kernel$)")


@dataclass(frozen=True, eq=False)
class Slot:
    """The arrays of a model that the table of layouts moves together: mostly one, and one in PyTorch's form too.

    Attributes:
        natives: Their native keys.
        keys: The canonical keys of what they become.
        framework: The model's framework.
        leaf: What the table of layouts knows of them; None for an array that is the same everywhere.
        variables: What holds them.
    """

    natives: tuple[str, ...]
    keys: tuple[str, ...]
    framework: str
    leaf: layers.Slot | None
    variables: tuple[Any, ...]

    def inward(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The native arrays as canonical."""
        return self._moved(arrays, self.framework, "torch")

    def outward(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The canonical arrays as native."""
        return self._moved(arrays, "torch", self.framework)

    def spread(self, gradients: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The gradients of the native arrays as those of the canonical ones, by key.

        Of two biases whose sum is one here each has the sum's whole gradient. PyTorch's second one of a GRU is no mere
        summand, and has none.
        """
        found = dict(zip(self.keys, self.inward(gradients), strict=True))
        if self.leaf is None or self.leaf.leaf.added is None or self.framework != "flax":
            return found
        whole = found[self.keys[0]]
        is_summand = self.leaf.leaf.added * self.leaf.sizes["o"] >= whole.size
        return dict.fromkeys(self.keys if is_summand else self.keys[:1], whole)

    @property
    def is_sum(self) -> bool:
        """Whether one bias here is two in PyTorch's form."""
        return self.leaf is not None and self.leaf.leaf.added is not None and self.framework == "flax"

    def _moved(self, arrays: Sequence[np.ndarray], source: str, target: str) -> list[np.ndarray]:
        if self.leaf is None or source == target:
            return list(arrays)
        count = len(self.keys if target == "torch" else self.natives)
        named = self.leaf if target == "torch" else replace(self.leaf, keys=self.keys)
        # Behind them come further names of the same arrays.
        return list(named.move(arrays, source, target).values())[:count]


@dataclass(frozen=True, eq=False)
class Bundled:
    """Arrays of a model that are, taken together, arrays of another model's: they go by its forms.

    Attributes:
        bundle: How they become the other's.
        slots: The slots of them all, in the bundle's order.
    """

    bundle: Bundle
    slots: tuple[Slot, ...]
    leaf: None = None
    is_sum: bool = False

    @property
    def natives(self) -> tuple[str, ...]:
        return tuple(native for slot in self.slots for native in slot.natives)

    @property
    def variables(self) -> tuple[Any, ...]:
        return tuple(variable for slot in self.slots for variable in slot.variables)

    @property
    def keys(self) -> tuple[str, ...]:
        return self.bundle.keys

    def inward(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The native arrays in the other model's forms."""
        rest = iter(arrays)
        parts: list[np.ndarray] = []
        for slot in self.slots:
            mine = [next(rest) for _ in slot.natives]
            parts += mine if self.bundle.native else slot.inward(mine)
        return move(self.bundle.rule, parts, outward=True)

    def spread(self, gradients: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The gradients of the native arrays in the other model's forms, by key."""
        return dict(zip(self.keys, self.inward(gradients), strict=True))

    def outward(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Arrays of the other model's forms as native."""
        parts = iter(move(self.bundle.rule, list(arrays), outward=False))
        return [each for slot in self.slots for each in self._native(slot, [next(parts) for _ in self._names(slot)])]

    def _native(self, slot: Slot, parts: list[np.ndarray]) -> list[np.ndarray]:
        return parts if self.bundle.native else slot.outward(parts)

    def _names(self, slot: Slot) -> tuple[str, ...]:
        return slot.natives if self.bundle.native else slot.keys


def slots(
    framework: Adapter, model: Any, aliases: Mapping[str, str], bundles: Sequence[Bundle] = ()
) -> list[Slot | Bundled]:
    """Every array of the model, those of a layer that the table knows in PyTorch's forms.

    Args:
        framework: The model's framework.
        model: The model.
        aliases: Layers' paths as another framework would say them.
        bundles: What goes by another model's forms instead.
    """
    plain = list(_slots(framework, model, aliases))
    found: list[Slot | Bundled] = []
    for bundle in bundles:
        named = {name: slot for slot in plain for name in (slot.natives if bundle.native else slot.keys)}
        taken = tuple(dict.fromkeys(named[name] for name in bundle.rule.ours))
        whole = [name for slot in taken for name in (slot.natives if bundle.native else slot.keys)]
        if whole != list(bundle.rule.ours):
            raise ParityError(f"{', '.join(whole)} are one in the model: a rule must name all of them in that order")
        plain = [slot for slot in plain if slot not in taken]
        found.append(Bundled(bundle, taken))
    return [*plain, *found]


def _slots(framework: Adapter, model: Any, aliases: Mapping[str, str]) -> Iterator[Slot]:
    variables = dict(framework.variables(model))
    # Linen's layers are told by their arrays' names.
    of_linen = hasattr(model, "linen")
    spelled = {key: _LINEN_IF.sub(r"\1if_.", key) if of_linen else key for key in variables}
    natives = {name: key for key, name in spelled.items()}
    shapes = {spelled[key]: tuple(map(int, variable.shape)) for key, variable in variables.items()}
    told = tell(shapes, framework.NAME) if of_linen else framework.layers(model)
    known = {natives[slot.keys[0]]: slot for slot in layers.resolve(shapes, framework.NAME, told).slots}
    inside = {natives[key] for slot in known.values() for key in slot.keys[1:]}
    for native, variable in variables.items():
        if native in known:
            leaf = known[native]
            keys = tuple(_aliased(key, aliases) for key in leaf.named("torch")[0])
            mine = tuple(natives[key] for key in leaf.keys)
            yield Slot(mine, keys, framework.NAME, leaf, tuple(variables[key] for key in mine))
        elif native not in inside:
            yield Slot((native,), (_aliased(native, aliases),), framework.NAME, None, (variable,))


def read(framework: Adapter, found: Iterable[Slot | Bundled]) -> dict[str, np.ndarray]:
    """Copies of the arrays by canonical key."""
    arrays: dict[str, np.ndarray] = {}
    for slot in found:
        values = slot.inward([framework.to_numpy(variable) for variable in slot.variables])
        arrays |= {key: np.array(array, order="C") for key, array in zip(slot.keys, values, strict=True)}
    return arrays


def write(framework: Adapter, found: Iterable[Slot | Bundled], weights: Mapping[str, np.ndarray], dtype: str) -> None:
    """Set the arrays from canonical ones, floating-point ones in `dtype`."""
    for slot in found:
        arrays = slot.outward([_cast(weights[key], dtype) for key in slot.keys])
        for native, variable, array in zip(slot.natives, slot.variables, arrays, strict=True):
            if array.shape != tuple(variable.shape):
                raise ParityError(f"{native} must have shape {tuple(variable.shape)}, got {array.shape}")
            framework.assign(variable, np.array(array, order="C"))


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(dtype) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


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
