"""The layer that computes in a lower precision than it says, where float64 is the same: products of rounded operands.

TF32 and bfloat16 products round what they multiply and add in float32. The port is right in float64 then and outside
of its noise in float32: the first layer that, given the original's own tensors, errs by more than float32 may is named,
and the precision whose rounding of the operands, made in float64 on PyTorch's side, gives the port's errors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..verdict.judge import NOISE_LIMIT, Noise
from . import accuse, layers, verdict
from .report import Cause, Difference, Place
from .side import Arrays

# The significant bits of what is multiplied, and whether the others are rounded or cut off.
PRECISIONS = {
    "TF32, 11 bits": (11, False),
    "TF32, 11 bits, cut off": (11, True),
    "bfloat16, 8 bits": (8, False),
    "bfloat16, 8 bits, cut off": (8, True),
}
# Rounded operands are the cause where they leave no more than this of the error's root mean square.
EXPLAINED = 0.25


def localise(walk: Any, mode: str, comparison: layers.Comparison, theirs: Arrays, noise: Mapping[str, Noise]) -> None:
    """Put the first layer whose float32 is no honest one, and the precision of its products, into the walk's report.

    Args:
        walk: See `compare.Walk`.
        mode: "eval" or "train".
        comparison: Both passes in float64.
        theirs: The original's recording in float64.
        noise: float32's noise of each layer's arrays, by the port's names.
    """
    walk.advance(f"feeding each layer of the port in {mode} mode, float32")
    roots = {f"|0|in|{i}": array for i, array in enumerate(walk.inputs[1])}
    given = {name: _single(array) for name, array in {**comparison.expected, **roots}.items()}
    count = len(walk.inputs[1])
    train = mode == "train"
    fed, info = walk.port.ask("feed", given=given, cotangents={}, inputs=count, dtype="float32", train=train)
    for name in (name for name in dict.fromkeys(info["order"]) if name in comparison.expected):
        if f"value|{name}" in fed and f"value|{name}" in noise:
            error = verdict.error(fed[f"value|{name}"], comparison.expected[name], noise[f"value|{name}"])
            if error.units is not None and error.units > NOISE_LIMIT:
                event = layers.Event(name, layers.maker(name, info, "in"), "forward", error, None)
                walk.differences.append(_difference(walk, mode, event, comparison, theirs, fed, info))
                return


def _single(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _difference(
    walk: Any,
    mode: str,
    event: layers.Event,
    comparison: layers.Comparison,
    theirs: Arrays,
    fed: Arrays,
    info: Mapping[str, Any],
) -> Difference:
    path, _, number = event.layer.rpartition("|")
    layer = next(layer for layer in walk.port.facts["layers"] if layer["path"] == path)
    where, line, _ = accuse.where(event, layer, info)
    causes: tuple[Cause, ...] = ()
    tried = 0
    side = next((side for side in (walk.original, walk.port) if side.facts["framework"] == "torch"), None)
    if side is not None and path in walk.pairs:
        mine = side is walk.port
        target = event.layer if mine else f"{walk.pairs[path]}|{number}"
        name = event.name if mine else comparison.names[event.name]
        sources = comparison.expected if mine else {n: theirs[f"value|{n}"] for n in comparison.names.values()}
        roots = {f"|0|in|{i}": array for i, array in enumerate(walk.inputs[1 if mine else 0])}
        options = {"target": target, "given": {**sources, **roots}, "inputs": len(roots), "train": mode == "train"}
        came, expected, fit = fed[f"value|{event.name}"], comparison.expected[event.name], comparison.fits[event.name]
        sizes = {}
        for text, (bits, cut) in PRECISIONS.items():
            rounded, _ = side.ask("round_products", bits=bits, cut=cut, **options)
            array = rounded[name] if mine else fit.apply(rounded[name])
            sizes[text] = Noise.of(np.asarray(came, np.float64) - array).rms
        best, tried = min(sizes, key=lambda text: sizes[text]), len(sizes)
        if sizes[best] <= EXPLAINED * Noise.of(np.asarray(came, np.float64) - expected).rms:
            causes = (Cause("the precision of products", "float32", best, line, Place("", 0)),)
    return Difference(
        path, mode, "forward", f"{where}, in float32 alone", line, 0.0, event.added.relative, causes, tried, ()
    )
