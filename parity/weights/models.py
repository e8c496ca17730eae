"""Weights in and out of a model of any framework, through NumPy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import frameworks
from ..errors import ParityError
from ..frameworks import layers as known
from ..frameworks.adapter import Adapter
from ..frameworks.layers import Slot, Weights
from ..frameworks.layout import as_bits, is_counter


def get_weights(model: Any) -> Weights:
    """The parameters and buffers of a torch, Paddle or Flax NNX model as canonical NumPy arrays.

    Canonical is PyTorch's `state_dict`: its names and axis order, without `num_batches_tracked`. The layers of the
    framework's library are seen, not guessed: transposed convolutions, embeddings, attentions, recurrent layers and
    norms all have their own layouts. Arrays that belong to a module of your own are taken as they are.

    Args:
        model: an `nn.Module`, `nn.Layer` or `nnx.Module`; an `nnx.State` or Linen's nested dictionaries too, whose
            layers are told from the names.

    Returns:
        A dictionary of copies, each in the dtype that the model holds it in, bit for bit (bfloat16 as
        `ml_dtypes.bfloat16`). Its `layers` say what each layer is, which `save` and `convert` make use of.

    Raises:
        ParityError: where an array belongs to a layer whose layout is not known; all are named.
        TypeError: where `model` is of none of the three frameworks.
    """
    framework = frameworks.of(model)
    layers = framework.layers(model)
    found: dict[str, np.ndarray] = {}
    for place in _places(framework, model):
        found |= {key: np.array(array, order="C") for key, array in place.read().items()}
        if place.slot is not None:
            layers[place.slot.path] = known.measured(layers[place.slot.path], place.slot)
    return Weights(found, layers)


def set_weights(model: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Set every parameter and buffer of a torch, Paddle or Flax NNX model from canonical NumPy arrays.

    Each array's dtype becomes the model's: float64 arrays make a float64 model. PyTorch's batch counters become zero.
    A Flax model may be abstract, as `nnx.eval_shape` makes it: then nothing is initialised in vain. Of an array with
    two names (tied weights) one is enough. Flax's recurrent layers have one bias: they get the sum of the two.

    Args:
        model: see `get_weights`; an `nnx.State` and Linen's dictionaries are changed in place.
        weights: canonical arrays by canonical key; copied, never kept or changed.

    Raises:
        ParityError: for missing, unexpected and misshapen keys and for arrays that hold NaN, all of them named in one
            error, before anything is set; for a tied weight that is given twice and differs; see also `get_weights`.
        TypeError: where `model` is of none of the three frameworks.
    """
    framework = frameworks.of(model)
    given = {key: np.asarray(array) for key, array in weights.items() if not is_counter(key)}
    places = _needed(list(_places(framework, model)), given)
    expected = {key: shape for place in places for key, shape in place.shapes.items()}
    if faults := _faults(given, expected):
        raise ParityError(f"weights do not fit {type(model).__name__}: {'; '.join(faults)}")
    ready = [pair for place in places for pair in place.fill(given)]
    _check_tied(ready)
    for variable, array in ready:
        framework.assign(variable, np.array(array, order="C"))
    framework.reset_counters(model)


@dataclass(frozen=True)
class _Place:
    """The holders of one leaf of one layer in a model, or of an array of no layer.

    Attributes:
        framework: the model's.
        slot: the leaf; None for an array of no layer.
        variables: what holds the arrays, in the slot's order.
        shapes: the canonical arrays' shapes by canonical key.
    """

    framework: Adapter
    slot: Slot | None
    variables: tuple[Any, ...]
    shapes: dict[str, tuple[int, ...]]

    def read(self) -> dict[str, np.ndarray]:
        """The canonical arrays, as views."""
        arrays = [self.framework.to_numpy(variable) for variable in self.variables]
        if self.slot is None:
            return dict(zip(self.shapes, arrays, strict=True))
        return self.slot.move(arrays, self.framework.NAME, "torch")

    def fill(self, given: Mapping[str, np.ndarray]) -> Iterator[tuple[Any, np.ndarray]]:
        """The variables, and what each gets of the canonical arrays."""
        arrays = [given[key] for key in self.shapes]
        if self.slot is not None:
            arrays = list(self.slot.move(arrays, "torch", self.framework.NAME).values())
        return zip(self.variables, arrays, strict=False)  # aliases come last, and are the same variables


def _places(framework: Adapter, model: Any) -> Iterator[_Place]:
    """List the places of the model's arrays, in its order."""
    variables = dict(framework.variables(model))
    shapes = {key: tuple(map(int, variable.shape)) for key, variable in variables.items()}
    found = known.resolve(shapes, framework.NAME, framework.layers(model))
    if found.unknown:
        listed = ", ".join(f"{key} {shapes[key]}" for key in found.unknown)
        raise ParityError(f"no layout is known for these arrays of {type(model).__name__}: {listed}")
    slots = {slot.keys[0]: slot for slot in found.slots}
    bare = set(found.bare)
    for key in variables:
        if key in bare:
            yield _Place(framework, None, (variables[key],), {key: shapes[key]})
        elif key in slots:
            hollow = [np.broadcast_to(np.int8(0), shapes[each]) for each in slots[key].keys]
            moved = slots[key].move(hollow, framework.NAME, "torch")
            held = tuple(variables[each] for each in slots[key].keys)
            yield _Place(framework, slots[key], held, {name: array.shape for name, array in moved.items()})


def _needed(places: list[_Place], given: Mapping[str, np.ndarray]) -> list[_Place]:
    """The places less those that are not given, of arrays that are given by another name."""
    whole = [place for place in places if place.shapes.keys() <= given.keys()]
    held = {_identity(each) for place in whole for each in place.variables}
    return [
        place
        for place in places
        if place.shapes.keys() & given.keys() or not {_identity(each) for each in place.variables} <= held
    ]


def _check_tied(ready: list[tuple[Any, np.ndarray]]) -> None:
    """Raise ParityError where an array of two names is given twice, and not the same."""
    seen: dict[Any, np.ndarray] = {}
    for variable, array in ready:
        other = seen.setdefault(_identity(variable), array)
        if other is not array and (other.dtype != array.dtype or not np.array_equal(as_bits(other), as_bits(array))):
            raise ParityError(
                f"two names of one array, of shape {array.shape}, are given different values: the weights are tied in "
                "this model and not in the others"
            )


def _identity(variable: Any) -> Any:
    return getattr(variable, "identity", id(variable))


def _faults(given: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Describe what is wrong with the arrays given: one sentence for each fault."""
    faults = []
    if missing := [key for key in expected if key not in given]:
        faults.append(f"missing {', '.join(missing)}")
    if unexpected := [key for key in given if key not in expected]:
        faults.append(f"unexpected {', '.join(unexpected)}")
    for key in expected.keys() & given.keys():
        if given[key].shape != expected[key]:
            faults.append(f"{key} must have shape {expected[key]}, got {given[key].shape}")
        elif nans := int(np.count_nonzero(np.isnan(given[key].astype(np.float64)))):
            faults.append(f"{key} holds {nans} NaN in {given[key].size} values")
    return faults
