"""Each layer's arrays as a page shows them: what is off, in every precision, with a picture."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..page.pictures import Picture, take
from ..verdict.judge import Noise, largest
from . import layers
from .report import Error
from .side import Arrays

# The way a pass goes, the kind of array that shows it in a recording, and which end of a layer.
WAYS = (("forward", "value", "out"), ("backward", "gradient", "in"))


def of_layers(
    comparison: layers.Comparison,
    recording: Arrays,
    kind: str,
    errors: Mapping[str, Error],
    noise: Mapping[str, Noise],
) -> dict[str, Picture]:
    """A picture of each layer's array that is off most, by the layer's path."""
    expected = comparison.expected if kind == "value" else comparison.cotangents
    found = {}
    for path, error in errors.items():
        size = noise.get(f"{kind}|{error.worst}", Noise(0.0, 0.0))
        picture = take(expected[error.worst], recording[f"{kind}|{error.worst}"], size.rms)
        if picture is not None:
            found[path] = replace(picture, name="output" if kind == "value" else "gradient of its input")
    return found


def add_precision(
    walk: Any,
    mode: str,
    dtype: str,
    comparison: layers.Comparison,
    recording: Arrays,
    noise: Mapping[str, Noise],
) -> None:
    """Put what each layer is off by in a lower precision into the layers of the mode.

    Args:
        walk: See `compare.Walk`.
        mode: "eval" or "train".
        dtype: The precision.
        comparison: The pass in float64.
        recording: The port's pass in this precision.
        noise: The noise of this precision by the port's names.
    """
    errors = {
        way: _of_the_largest(
            layers.errors_by_layer(comparison, recording, kind, end, noise), comparison, recording, kind
        )
        for way, kind, end in WAYS
    }
    pictures = {way: of_layers(comparison, recording, kind, errors[way], noise) for way, kind, _ in WAYS}
    walk.layers[mode] = tuple(
        replace(
            layer,
            precisions={**layer.precisions, dtype: tuple(errors[way].get(layer.path) for way, _, _ in WAYS)},
            pictures={**layer.pictures, **_named(dtype, pictures, layer.path)},
        )
        for layer in walk.layers[mode]
    )


def _named(dtype: str, pictures: Mapping[str, Mapping[str, Picture]], path: str) -> dict[str, Picture]:
    return {f"{dtype} {way}": found[path] for way, found in pictures.items() if path in found}


def _of_the_largest(
    errors: Mapping[str, Error], comparison: layers.Comparison, recording: Arrays, kind: str
) -> dict[str, Error]:
    """The errors relative to the largest value alone: only float64 is judged by that, other precisions by units."""
    expected = comparison.expected if kind == "value" else comparison.cotangents
    found = {}
    for path, error in errors.items():
        truth = expected[error.worst]
        difference = np.asarray(recording[f"{kind}|{error.worst}"], np.float64) - truth
        found[path] = replace(error, relative=largest(difference) / (largest(truth) or 1.0), limit=float("inf"))
    return found
