"""Coverage of behaviour: which sides of each branch of each module the catalogue's cases reach.

The reference computes every case once in each mode in an arithmetic that looks at its operands: where a ReLU, a hard
sigmoid or a sigmoid is entered, which maxima tie, which gammas and variances a batch norm has. A mistake that acts on
one side alone lives where no case comes.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np

from ..catalogue.cases import CASES, Case
from ..reference import modules as reference
from ..reference.arithmetic import Axes, Exact
from ..reference.evaluate import build
from .run import draw

# By module and branch: how many cases reach each side, the sides that none does with 0.
Coverage = dict[tuple[str, str], dict[str, int]]

# Its exponential overflows in float64.
SATURATED = 709.0
MAXIMA = {(2, 3): "maximum over the map", 1: "maximum over channels", (0, 1): "maximum of a window"}
SIDES: Mapping[str, Sequence[str]] = {
    "ReLU": ("below 0", "0", "to 1e-9", "above 0", "above 6", "over 1000"),
    "hard sigmoid": ("below 0", "0", "between", "1", "above 1"),
    "sigmoid": ("under -709", "negative", "positive", "over 709"),
    **dict.fromkeys(MAXIMA.values(), ("one place", "tie", "tie above 0", "under -1000", "below 0", "above 0")),
    "gamma": ("negative", "0", "positive"),
    "running variance": ("0", "under epsilon", "about 1", "over 1000"),
    "batch variance": ("0", "under epsilon", "above"),
    "batch": ("one image", "several"),
    "mode": ("eval", "train"),
}
# What cannot be: behind the ReLU in front of it no window's maximum is less than 0.
IMPOSSIBLE = {("SEResNet", "maximum of a window", side) for side in ("below 0", "under -1000")}


class Observer(Exact):
    """Float64 as it is, and what the operands of the branches were, by the module that called the operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, str, str]] = set()

    def note(self, branch: str, sides: Mapping[str, Any]) -> None:
        """Keep which sides were met: those that are true, or true somewhere."""
        owner = type(calling_module()).__name__
        self.seen |= {(owner, branch, side) for side, met in sides.items() if np.any(met)}

    def relu(self, x: np.ndarray) -> np.ndarray:
        """See `Exact.relu`."""
        self.note("batch", {"one image": len(x) == 1, "several": len(x) > 1})
        sides = {"below 0": x < 0, "0": x == 0, "above 0": x > 0, "above 6": x > 6}
        self.note("ReLU", sides | {"to 1e-9": (x > 0) & (x < 1e-9), "over 1000": x > 1000})
        return super().relu(x)

    def clip(self, x: np.ndarray, low: float, high: float) -> np.ndarray:
        """See `Exact.clip`."""
        between = (x > low) & (x < high)
        sides = {"below 0": x < low, "0": x == low, "between": between, "1": x == high, "above 1": x > high}
        self.note("hard sigmoid", sides)
        return super().clip(x, low, high)

    def sigmoid(self, x: np.ndarray) -> np.ndarray:
        """See `Exact.sigmoid`."""
        sides = {"under -709": x < -SATURATED, "negative": x < 0, "positive": x > 0, "over 709": x > SATURATED}
        self.note("sigmoid", sides)
        return super().sigmoid(x)

    def amax(self, x: np.ndarray, axes: Axes) -> np.ndarray:
        """See `Exact.amax`."""
        y = super().amax(x, axes)
        if x.ndim == 4:
            self.note("batch", {"one image": len(x) == 1, "several": len(x) > 1})
        tie = (x == y).sum(axes, keepdims=True) > 1
        sides = {"one place": ~tie, "tie": tie, "tie above 0": tie & (y > 0), "below 0": y < 0, "above 0": y > 0}
        sides["under -1000"] = y < -1000
        self.note(MAXIMA[axes], sides)
        return y

    def per_channel(self, x: np.ndarray) -> np.ndarray:
        """See `Exact.per_channel`; a batch norm calls it on its gamma, beta and running values."""
        norm = calling_module()
        if isinstance(norm, reference.BatchNorm):
            if x is norm.arrays["weight"]:
                self.note("gamma", {"negative": x < 0, "0": x == 0, "positive": x > 0})
            elif x is norm.arrays["running_var"]:
                small = (x > 0) & (x < reference.EPSILON)
                sides = {"0": x == 0, "under epsilon": small, "about 1": (x > 0.1) & (x < 10), "over 1000": x > 1000}
                self.note("running variance", sides)
        return super().per_channel(x)

    def standardise(self, x: np.ndarray, mean: np.ndarray, var: np.ndarray, epsilon: float) -> np.ndarray:
        """See `Exact.standardise`."""
        sides = {"0": var == 0, "under epsilon": (var > 0) & (var < epsilon), "above": var > epsilon}
        self.note("batch variance", sides)
        return super().standardise(x, mean, var, epsilon)


def calling_module() -> reference.Module | None:
    """The innermost module of the reference that is being computed."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, reference.Module):
            return owner
        frame = frame.f_back
    return None


def cover(image: np.ndarray, cases: Sequence[Case] = CASES) -> Coverage:
    """Count the cases that reach each side of each branch; the heavy ones only for the options that they have.

    Args:
        cases: those to look at.
        image: the photograph, (rows, columns, 3) bytes.
    """
    found: Coverage = {}
    for case in cases:
        seen = {(case.module, "mode", mode) for mode in case.modes}
        seen.add((case.module, "batch", "one image" if case.shape[0] == 1 else "several"))
        seen |= set() if case.heavy else observe(case, image)
        for module, branch in {(module, branch) for module, branch, _ in seen}:
            found.setdefault((module, branch), dict.fromkeys(SIDES[branch], 0))
        for module, branch, side in seen:
            found[module, branch][side] += 1
        for option, value in options_of(case).items():
            row = found.setdefault((case.module, f"option {option}"), {})
            row[value] = row.get(value, 0) + 1
    for module, branch, side in IMPOSSIBLE:
        found.get((module, branch), {}).pop(side, None)
    return dict(sorted(found.items()))


def observe(case: Case, image: np.ndarray) -> set[tuple[str, str, str]]:
    """The module, branch and side of everything that the case meets in its modes."""
    drawn = draw(case, image, 0)
    model, observer = build(case), Observer()
    for mode in case.modes:
        reference.set_weights(model, drawn.weights)
        model(drawn.x.astype(np.float64), observer, train=mode == "train")
    return observer.seen


def options_of(case: Case) -> dict[str, str]:
    """The value of every keyword of the case's module, defaults too, as Python writes it."""
    signature = inspect.signature(getattr(reference, case.module))
    if case.module in ("BasicBlock", "Bottleneck"):
        signature = inspect.signature(reference.Block)
    keywords = {name: p.default for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    keywords.pop("bottleneck", None)
    return {name: repr(case.kwargs.get(name, default)) for name, default in keywords.items()}


def gaps(coverage: Coverage) -> list[str]:
    """In words, the sides that no case reaches, and the options of which all cases have the same value."""
    missing = [
        f"{module}: {branch}: {side}"
        for (module, branch), sides in coverage.items()
        for side, count in sides.items()
        if not count
    ]
    one = [
        f"{module}: {branch} is always {next(iter(sides))}"
        for (module, branch), sides in coverage.items()
        if branch.startswith("option ") and len(sides) < 2
    ]
    return missing + one
