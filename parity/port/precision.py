"""Honest computation: the port in a precision, as it is or compiled, against the original's float64, in noise units."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np

from ..errors import ParityError
from ..montecarlo.estimate import Estimate, select
from ..verdict.judge import Noise
from . import groups, layers, pictures, products
from .noise import unpack
from .remote import Asked
from .side import Arrays

HALF = ("bfloat16", "float16")
UNIT_ROUNDOFF = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}
# What frameworks add half precisions up in.
ACCUMULATOR = 2.0**-24
DRAWS = 6
# float64's own noise is measured with errors that float64 can show, and scaled down.
_SHOWN, _OWN = 2.0**-42, 2.0**-53


def refuse_half(walk: Any, dtypes: tuple[str, ...]) -> None:
    """Raise ParityError for a precision that the port's framework does not compute in here."""
    half = [dtype for dtype in dtypes if dtype in HALF]
    if half and walk.port.facts["framework"] == "paddle":
        raise ParityError(
            f"the port is Paddle's, which computes no {half[0]} on a processor: leave --dtype {half[0]} out"
        )


def measured_side(walk: Any) -> Asked | None:
    """The side whose noise can be measured; PyTorch's where there is one, which takes less time, else the original."""
    for framework in ("torch", "flax"):
        for side in (walk.original, walk.port):
            if side.facts["framework"] == framework:
                return side
    return None


def own_noise(walk: Any, train: bool, comparison: layers.Comparison, theirs: Arrays) -> dict[str, Estimate]:
    """float64's own rounding noise of each array, by the port's names; empty where it cannot be measured."""
    walk.advance("measuring the noise of float64")
    found = _measure(walk, comparison, theirs, train, unit_roundoff=_SHOWN, draws=3, layers=True)
    scale = _OWN / _SHOWN
    return {
        name: replace(each, noise=Noise(each.noise.rms * scale, each.noise.peak * scale))
        for name, each in found.items()
    }


def judge(
    walk: Any, mode: str, dtype: str, comparison: layers.Comparison, theirs: Arrays, executions: tuple[str, ...]
) -> None:
    """Put the verdicts on the port in a lower precision into the walk's checks.

    Args:
        walk: See `compare.Walk`.
        mode: "eval" or "train".
        dtype: The precision.
        comparison: The mode's passes in float64.
        theirs: The original's recording in float64.
        executions: Of "eager" and "compiled".
    """
    train = mode == "train"
    options: dict[str, Any] = {"train": train, "layers": walk.detail, "gradients": True}
    held = dtype if dtype in HALF else None
    if measured_side(walk) is None:
        walk.notes.append(f"{dtype} is not judged: neither side runs a framework whose rounding noise can be measured")
        return
    if held:
        # Both begin with what the precision holds of weights and inputs.
        theirs, _ = walk.original.ask("run", inputs=walk.inputs[0], dtype="float64", held=held, **options)
        comparison = comparison.of(theirs)
    given = groups.roots(theirs)
    for execution in executions:
        walk.advance(f"port in {mode} mode, {dtype}, {execution}")
        compiled = execution == "compiled"
        ours, _ = walk.port.ask(
            "run", inputs=walk.inputs[1], dtype=dtype, given=given, moved=walk.moved, compiled=compiled, **options
        )
        if compiled and not train and walk.port.facts["framework"] == "paddle":
            walk.notes.append("gradients are not judged where Paddle compiles in eval mode: it makes no backward pass")
            reference = {name: array for name, array in theirs.items() if name.startswith("value|")}
        else:
            reference = theirs
        noise = _noise(walk, mode, dtype, comparison, reference, ours)
        checks = groups.judge(walk, mode, dtype, comparison, reference, ours, noise, execution)
        walk.checks += checks
        if dtype == "float32" and not compiled and not all(check.passed for check in checks):
            units: dict[str, Any] = {"unit_roundoff": UNIT_ROUNDOFF[dtype], "draws": DRAWS, "layers": True}
            products.localise(
                walk, mode, comparison, theirs, select(_measure(walk, comparison, theirs, train, **units))
            )
        if walk.detail and not compiled:
            pictures.add_precision(walk, mode, dtype, comparison, ours, select(noise))


def _noise(
    walk: Any, mode: str, dtype: str, comparison: layers.Comparison, theirs: Arrays, ours: Arrays
) -> dict[str, Estimate]:
    """The noise by the port's names; where it is known from the other mode, and settles what the port gave, that."""
    computed = f"{dtype} {_digest(theirs)}"
    if walk.noise[0] == computed and all(
        check.passed for check in groups.judge(walk, mode, dtype, comparison, theirs, ours, walk.noise[1], "")
    ):
        return walk.noise[1]
    options: dict[str, Any] = {"unit_roundoff": UNIT_ROUNDOFF[dtype], "draws": DRAWS, "layers": walk.detail}
    if dtype in HALF:
        options |= {"held": dtype, "accumulator": ACCUMULATOR}
    names = _names(walk, comparison)
    errors = {
        names[name]: np.array([size.rms, size.peak])
        for name, size in groups.errors(walk, comparison, theirs, ours).items()
        if name in names
    }
    walk.advance(f"measuring the noise of {dtype} in {mode} mode")
    walk.noise = computed, _measure(walk, comparison, theirs, mode == "train", errors=errors, **options)
    return walk.noise[1]


def _measure(
    walk: Any, comparison: layers.Comparison, theirs: Arrays, train: bool, **options: Any
) -> dict[str, Estimate]:
    """The noise of an honest computation, by the port's names; empty where it cannot be measured."""
    side = measured_side(walk)
    if side is None:
        return {}
    mine = side is walk.original
    if not mine:
        options |= {"given": groups.roots(theirs), "moved": walk.moved}
    packed, facts = side.ask("noise", inputs=walk.inputs[0 if mine else 1], train=train, gradients=True, **options)
    for name in facts["unknown"]:
        walk.notes.append(f"the noise model does not know {name}: each of its values errs by one rounding")
    found = unpack(packed, facts["draws"])
    return {name: found[other] for name, other in _names(walk, comparison).items() if other in found}


def _names(walk: Any, comparison: layers.Comparison) -> Mapping[str, str]:
    """For each of the port's names that of the same array on the side that is measured."""
    mine = measured_side(walk) is walk.original
    found: dict[str, str] = {}
    for name, source in comparison.names.items():
        found |= {f"{kind}|{name}": f"{kind}|{source if mine else name}" for kind in ("value", "gradient")}
    for key, source in walk.pairing.keys.items():
        found |= {f"{kind}|{key}": f"{kind}|{source if mine else key}" for kind in ("parameter", "buffer")}
    return found


def _digest(recording: Arrays) -> str:
    """A digest that tells a recording from another."""
    digest = sha256()
    for name in sorted(recording):
        # Where train mode computes what eval mode does, it errs as that does.
        if not name.startswith("buffer|"):
            digest.update(name.encode() + recording[name].tobytes())
    return digest.hexdigest()
