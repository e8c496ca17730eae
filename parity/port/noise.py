"""A side's rounding noise: how far an honest computation of a precision must err, by Monte Carlo arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ParityError
from ..montecarlo import estimate
from ..montecarlo.estimate import Estimate
from ..verdict.judge import NOISE_LIMIT
from .side import Arrays, Side
from .taps import Probe

# What moves in jumps: a ReLU that rounding opens or shuts changes the gradients behind it, and no value.
JUMPING = ("gradient|", "parameter|")
Draw = Callable[[int], Arrays]


def measure(
    side: Side,
    inputs: Sequence[np.ndarray],
    *,
    unit_roundoff: float,
    accumulator: float | None = None,
    draws: int,
    errors: Arrays | None = None,
    **options: Any,
) -> tuple[Arrays, dict[str, Any]]:
    """The noise of each array of `Side.run`, packed for a file, see `unpack`; and the operations that are unknown.

    Args:
        side: The side to measure on.
        inputs: The model's arguments.
        unit_roundoff: Of the precision that is simulated.
        accumulator: The unit roundoff that it adds up with, where that is another.
        draws: How many random draws of the errors to begin with.
        errors: Root mean square and largest element of what is to be judged, by name: while the noise so far finds
            something wrong that may be a jump of a gradient or too few draws, the draws are doubled.
        options: Of `Side.run`, but for the precision.

    Raises:
        ParityError: where the framework's operations cannot be made to err.
    """
    if side.framework.NAME not in DRAWN:
        raise ParityError(f"the noise of {side.framework.NAME} cannot be measured")
    exact, _ = side.run(inputs, dtype="float64", **options)
    truth = {name: array for name, array in exact.items() if array.dtype.kind == "f" and array.size}
    unknown: set[str] = set()
    draw = DRAWN[side.framework.NAME](side, inputs, exact, unit_roundoff, accumulator, unknown, options)
    found = estimate.measure(truth, draw, draws, doubt=lambda found: is_in_doubt(errors or {}, found))
    packed = {
        name: np.array([each.noise.rms, each.noise.peak, each.size, each.freedom]) for name, each in found.items()
    }
    return packed, {"unknown": sorted(unknown), "draws": max((each.draws for each in found.values()), default=draws)}


def unpack(packed: Arrays, draws: int) -> dict[str, Estimate]:
    """Unpack what `measure` found from its arrays."""
    return {
        name: Estimate(estimate.Noise(float(rms), float(peak)), float(size), draws, float(freedom))
        for name, (rms, peak, size, freedom) in packed.items()
    }


def is_in_doubt(errors: Arrays, found: Mapping[str, Estimate]) -> bool:
    """Whether something is beyond the limit, and nothing surely so."""
    beyond = {}
    for name, (rms, peak) in errors.items():
        noise = found[name].noise if name in found else estimate.Noise(0.0, 0.0)
        ratios = [
            error / size if size else float("inf") for error, size in ((rms, noise.rms), (peak, noise.peak)) if error
        ]
        units = max(ratios, default=0.0)
        if not units <= NOISE_LIMIT:
            beyond[name] = units / found[name].interval[1] if name in found else float("inf")
    surely = [name for name, units in beyond.items() if not name.startswith(JUMPING) and units > NOISE_LIMIT]
    return bool(beyond) and not surely


def _in_torch(
    side: Side,
    inputs: Sequence[np.ndarray],
    exact: Arrays,
    unit_roundoff: float,
    accumulator: float | None,
    unknown: set[str],
    options: Mapping[str, Any],
) -> Draw:
    from ..montecarlo.torch_engine import MonteCarlo

    def draw(seed: int) -> Arrays:
        with MonteCarlo(unit_roundoff, seed, accumulator) as engine:
            noisy, _ = side.run(inputs, dtype="float64", **options)
        unknown.update(engine.unknown)
        return noisy

    return draw


def _in_flax(
    side: Side,
    inputs: Sequence[np.ndarray],
    exact: Arrays,
    unit_roundoff: float,
    accumulator: float | None,
    unknown: set[str],
    options: Mapping[str, Any],
) -> Draw:
    from ..montecarlo.jax_engine import noisy

    side.begin("float64", options["train"], options.get("held"))
    tensors = side.leaves(inputs, "float64", options.get("held"))
    names = [name.removeprefix("gradient|") for name in exact if name.startswith("gradient|")]
    cotangents = {name: exact[f"gradient|{name}"] for name in names if name.startswith("|0|out|")}
    if options["layers"]:
        tensors |= {f"probe|{name}": np.zeros(exact[f"gradient|{name}"].shape) for name in names}
    parameters, function, finish = side.tools.as_function(side.model, _probed(side), tensors, cotangents or None)
    errs = noisy(function, unit_roundoff, accumulator)

    def draw(seed: int) -> Arrays:
        values, to_tensors, gradients = finish(errs(seed, parameters, tensors))
        unknown.update(errs.unknown)
        gone = {f"gradient|{name.removeprefix('probe|')}": array for name, array in to_tensors.items()}
        found = {f"value|{name}": array for name, array in values.items()} | gone | side.parameters(gradients)
        return {**exact, **found, **(side.buffers() if options["train"] else {})}

    return draw


def _probed(side: Side) -> Callable[[Any, Mapping[str, Any]], dict[str, Any]]:
    """The function that runs the model, giving every tensor on its way whose gradient there is room for."""

    def function(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        probe = Probe(side.tools, zeros=tensors)
        # Without room for any the layers are not looked at.
        probe.only = None if any(name.startswith("probe|") for name in tensors) else {""}
        return {**side.recorded(probe)(model, tensors), **probe.come}

    return function


DRAWN: Mapping[str, Callable[..., Draw]] = {"torch": _in_torch, "flax": _in_flax}
