"""Ten steps of training on both sides: what a single pass does not show, such as a layer that one side does not train.

The steps are made here, by gradient descent with momentum, so that nothing but the models can differ. Each step has
cotangents of its own. Their length is a share of that of the weights, so that nothing diverges.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import log2
from typing import Any

import numpy as np

from ..montecarlo.estimate import Estimate, estimate
from ..verdict.judge import Noise
from . import groups, layers
from .remote import Asked
from .side import Arrays

STEPS = 10
WHAT = {"parameter gradients": "weights"}
MOMENTUM = 0.875
# A step's length over that of the weights.
SHARE = 2.0**-7
# float64's own noise is found by errors that float64 can show, put into the weights before each step, and scaled down.
DRAWS = 3
SHOWN, OWN = 2.0**-42, 2.0**-53


def judge(walk: Any, comparison: layers.Comparison) -> None:
    """Put the verdicts on ten steps in float64 into the walk's checks.

    Args:
        walk: See `compare.Walk`; its models hold the weights to begin with.
        comparison: Of any pass: it says how the original's outputs become the port's.
    """
    walk.advance(f"original, {STEPS} steps of training")
    start, _ = walk.original.ask("get_weights")
    frozen = set(walk.original.facts["frozen"])
    theirs, cotangents, rate = _train(walk.original, walk.inputs[0], start, frozen, None, None, 0)
    walk.advance(f"port, {STEPS} steps of training")
    own, _ = walk.port.ask("get_weights")
    ours, _, _ = _train(walk.port, walk.inputs[1], own, set(walk.port.facts["frozen"]), rate, cotangents, walk.moved)
    walk.original.ask("set_weights", weights=start)
    walk.port.ask("set_weights", weights=own)
    checks = groups.judge(walk, "training", "float64", comparison, theirs, ours, {})
    if not all(check.passed for check in checks):
        noise = _noise(walk, comparison, start, frozen, rate, theirs)
        walk.original.ask("set_weights", weights=start)
        checks = groups.judge(walk, "training", "float64", comparison, theirs, ours, noise)
    for key, source in walk.pairing.keys.items():
        if (source in frozen) != (key in walk.port.facts["frozen"]):
            walk.notes.append(
                f"{key} is not trained in the {'original' if source in frozen else 'port'}: it is frozen there"
            )
    summed = {side.name for side in (walk.original, walk.port) if side.facts["summed"]}
    if len(summed) == 1:
        walk.notes.append(
            f"{summed.pop()}: one bias of a recurrent layer is the sum of the other side's two, and moves as they do"
            " here; trained alone it goes half as far"
        )
    known = {check.what for check in walk.checks if check.mode == "train" and not check.passed}
    named = [replace(check, what=WHAT.get(check.what, check.what)) for check in checks]
    walk.checks += [check for check in named if check.what not in known and check.what != "input gradients"]


def _train(
    side: Asked,
    inputs: list[np.ndarray],
    weights: Arrays,
    frozen: set[str],
    rate: float | None,
    given: list[Arrays] | None,
    moved: int,
    errors: np.random.Generator | None = None,
) -> tuple[Arrays, list[Arrays], float]:
    """Train a side: the last step's arrays, weights under "parameter|" and their keys; the cotangents; and the rate.

    Args:
        side: The side.
        inputs: Its arguments.
        weights: Those to begin with.
        frozen: The keys of those that its author does not train.
        rate: The learning rate; None for one that makes the first step SHARE of the weights long.
        given: Of each step the other side's outputs and cotangents; None draws them.
        moved: What brings the other side's axes here.
        errors: What draws errors of the weights before each step, of SHOWN of each.
    """
    weights, roots = dict(weights), []
    found: Arrays = {}
    velocity: Arrays = {}
    for step in range(STEPS):
        if errors is not None:
            weights = {key: _shaken(array, errors) for key, array in weights.items()}
        side.ask("set_weights", weights={key: np.ascontiguousarray(array) for key, array in weights.items()})
        found, _ = side.ask(
            "run", inputs=inputs, dtype="float64", train=True, layers=False, gradients=True, moved=moved,
            given=None if given is None else given[step], salt=f"{step}|",
        )  # fmt: skip
        roots.append(groups.roots(found))
        gradients = {key: found[f"parameter|{key}"] for key in weights if f"parameter|{key}" in found}
        gradients = {key: array for key, array in gradients.items() if key not in frozen}
        if rate is None:
            rate = _first_rate(weights, gradients)
        velocity = {key: MOMENTUM * velocity.get(key, 0.0) + array for key, array in gradients.items()}
        weights |= {key: np.asarray(weights[key], np.float64) - rate * array for key, array in velocity.items()}
        weights |= {key: found[f"buffer|{key}"] for key in weights if f"buffer|{key}" in found}
    kept = {name: array for name, array in found.items() if not name.startswith("gradient|")}
    kept |= {name: array for name, array in found.items() if name.startswith("gradient||0|out|")}
    trained = {
        f"parameter|{key}": np.asarray(weights[key], np.float64) for key in weights if f"parameter|{key}" in found
    }
    return kept | trained, roots, rate or 0.0


def _first_rate(weights: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> float:
    """The power of two that makes a step about SHARE of the weights long."""
    length = sum(float(np.sum(np.square(weights[key], dtype=np.float64))) for key in gradients) ** 0.5
    steep = sum(float(np.sum(np.square(array, dtype=np.float64))) for array in gradients.values()) ** 0.5
    return 2.0 ** round(log2(SHARE * (length or 1.0) / steep)) if steep else SHARE


def _shaken(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return array * (1 + SHOWN * rng.uniform(-1, 1, array.shape)) if array.dtype.kind == "f" else array


def _noise(
    walk: Any, comparison: layers.Comparison, start: Arrays, frozen: set[str], rate: float, theirs: Arrays
) -> dict[str, Estimate]:
    """Measure how far rounding each step's weights drives what the last one gives, by the port's names."""
    walk.advance("measuring how far rounding drives the training")
    draws: dict[str, list[Noise]] = {}
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        shaken, _, _ = _train(walk.original, walk.inputs[0], start, frozen, rate, None, 0, rng)
        for name, array in theirs.items():
            if array.dtype.kind == "f" and array.size:
                size = Noise.of(shaken[name] - array)
                draws.setdefault(name, []).append(Noise(size.rms * OWN / SHOWN, size.peak * OWN / SHOWN))
    names: dict[str, str] = {}
    for key, source in walk.pairing.keys.items():
        names |= {f"{kind}|{key}": f"{kind}|{source}" for kind in ("parameter", "buffer")}
    names |= {f"value|{name}": f"value|{source}" for name, source in comparison.names.items()}
    return {name: estimate(theirs[other], draws[other]) for name, other in names.items() if other in draws}
