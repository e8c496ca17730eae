"""Weights in and out of a model of any framework, through NumPy."""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from .. import frameworks
from ..errors import ParityError
from ..frameworks.layout import COUNTER, Leaf, find_leaf, relayout, rename


def get_weights(model: Any) -> dict[str, np.ndarray]:
    """The parameters and buffers of a torch, Paddle or Flax NNX model as canonical NumPy arrays.

    Canonical is PyTorch's `state_dict`: its names and axis order, without `num_batches_tracked`.

    Args:
        model: an `nn.Module`, `nn.Layer` or `nnx.Module` whose arrays are owned by convolutions, linear layers and
            norms.

    Returns:
        Copies, each in the dtype that the model holds it in, bit for bit (bfloat16 as `ml_dtypes.bfloat16`).

    Raises:
        ParityError: where an array belongs to a layer whose layout is not known; all are named.
        TypeError: where `model` is of none of the three frameworks.
    """
    framework = frameworks.of(model)
    return {key: _read(framework, leaf, variable) for key, leaf, variable in _slots(framework, model)}


def set_weights(model: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Set every parameter and buffer of a torch, Paddle or Flax NNX model from canonical NumPy arrays.

    Each array's dtype becomes the model's: float64 arrays make a float64 model. PyTorch's batch counters become zero.

    Args:
        model: see `get_weights`.
        weights: canonical arrays by canonical key; copied, never kept or changed.

    Raises:
        ParityError: for missing, unexpected and misshapen keys and for arrays that hold NaN, all of them named in one
            error, before anything is set; see also `get_weights`.
        TypeError: where `model` is of none of the three frameworks.
    """
    framework = frameworks.of(model)
    slots = list(_slots(framework, model))
    given = {key: np.asarray(array) for key, array in weights.items() if key.rpartition(".")[2] != COUNTER}
    expected = {key: _canonical_shape(framework, leaf, variable) for key, leaf, variable in slots}
    if faults := _faults(given, expected):
        raise ParityError(f"weights do not fit {type(model).__name__}: {'; '.join(faults)}")
    for key, leaf, variable in slots:
        axes = leaf.form(framework.NAME).axes
        framework.assign(variable, np.array(relayout(given[key], leaf.torch.axes, axes), order="C"))
    framework.reset_counters(model)


def _slots(framework: ModuleType, model: Any) -> Iterator[tuple[str, Leaf, Any]]:
    """Each array of the model: its canonical key, its row of the table, and the variable that holds it."""
    unknown = []
    slots = []
    for key, kind, variable in framework.variables(model):
        leaf = find_leaf(key, len(variable.shape), framework.NAME)
        if leaf is None or kind is None or leaf.kind not in ("any", kind):
            unknown.append(f"{key} {tuple(variable.shape)}")
        else:
            slots.append((rename(key, leaf, "torch"), leaf, variable))
    if unknown:
        raise ParityError(
            f"no layout is known for these arrays of {type(model).__name__}: {', '.join(unknown)}; "
            "known are those of convolutions, linear layers and norms"
        )
    return iter(slots)


def _read(framework: ModuleType, leaf: Leaf, variable: Any) -> np.ndarray:
    array = relayout(framework.to_numpy(variable), leaf.form(framework.NAME).axes, leaf.torch.axes)
    return np.array(array, order="C")


def _canonical_shape(framework: ModuleType, leaf: Leaf, variable: Any) -> tuple[int, ...]:
    sides = dict(zip(leaf.form(framework.NAME).axes, variable.shape, strict=True))
    return tuple(int(sides[axis]) for axis in leaf.torch.axes)


def _faults(given: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is wrong with the arrays given, in words: one sentence for each fault."""
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
