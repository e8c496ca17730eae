"""The findings as plain data, from which a page, a terminal, JSON and JUnit are made."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..page.pictures import Picture

# The version of the JSON, as report.schema.json has it; it changes where a field is renamed or means something else.
SCHEMA = 1


@dataclass(frozen=True)
class Place:
    """A line of code, with its text."""

    file: str
    line: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Model:
    """One side: the factory, its framework with versions, and its class."""

    factory: str
    framework: str
    name: str
    versions: Mapping[str, str]
    parameters: int


@dataclass(frozen=True)
class Check:
    """One comparison: the worst of a group of arrays.

    Attributes:
        mode: "eval" or "train".
        dtype: The precision computed in.
        what: "structure", "outputs", "input gradients", "parameter gradients" or "buffers".
        error: The worst array's error, in `unit`.
        limit: What it may be.
        worst: The worst array.
        index: The place of its worst element.
        bits: Its significant bits, of how many this precision has.
        expected_bits: How many an honest computation has.
        interval: The least and the most that the error may be in noise units, known from `draws` draws of the noise.
        draws: How many random draws the noise was measured from.
        execution: "eager" or "compiled".
    """

    mode: str
    dtype: str
    what: str
    error: float
    limit: float
    unit: str
    why: str = ""
    worst: str = ""
    index: tuple[int, ...] = ()
    bits: float | None = None
    expected_bits: float | None = None
    interval: tuple[float, float] | None = None
    draws: int = 0
    execution: str = "eager"

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong; an error that is not a number is."""
        return self.error <= self.limit and not self.why


@dataclass(frozen=True)
class Error:
    """The error of a layer's arrays: the largest relative to the largest value, and in float64 noise units."""

    relative: float
    units: float | None = None
    worst: str = ""
    index: tuple[int, ...] = ()
    limit: float = 0.0

    @property
    def differs(self) -> bool:
        """Whether it is more than rounding; what is not a number is."""
        return not self.relative <= self.limit


@dataclass(frozen=True)
class Layer:
    """One layer of the port and its partner, in one mode.

    Attributes:
        path: Its path in the port; empty for the model itself.
        original: Its partner's path; None where it has none.
        depth: How deep it lies.
        classes: Both classes, the original's first.
        config: Both configurations, by the names that PyTorch has for them.
        made: The line that makes it, in the port, and in the original.
        forward: The first line of what computes it.
        shape: The shape of its output, in the port.
        inherited: The error of its output as the port runs.
        added: The error of what it makes of the original's own input, its children giving what the original's give.
        inherited_backward: The same of its inputs' gradients.
        added_backward: The same, from the original's own cotangents.
        precisions: In other precisions than float64, the errors of its output and of its inputs' gradients, as the
            port runs.
        pictures: Of its array that is off most, by precision and way, as in "float64 forward".
    """

    path: str
    original: str | None
    depth: int
    classes: tuple[str, str]
    config: tuple[Mapping[str, Any], Mapping[str, Any]]
    made: tuple[Place, Place]
    forward: Place
    shape: tuple[int, ...] = ()
    inherited: Error | None = None
    added: Error | None = None
    inherited_backward: Error | None = None
    added_backward: Error | None = None
    precisions: Mapping[str, tuple[Error | None, ...]] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True)
class Cause:
    """A known difference that, made in the one side, gives what the other gives.

    Attributes:
        what: The difference, in words.
        original: What the original has there.
        port: What the port has.
        place: The line of the port to change.
        original_place: The line of the original that says it.
        together: Whether it is one of several that are needed together, each for another part of what the layer makes.
    """

    what: str
    original: str
    port: str
    place: Place
    original_place: Place
    together: bool = False


@dataclass(frozen=True)
class Difference:
    """The first layer that adds a difference.

    Attributes:
        layer: The path in the port, or of the layer in whose own code it is.
        mode: "eval" or "train".
        direction: "forward", "backward" or "buffers".
        where: In words: the layer, or between which layers of whose code.
        place: The line of the port.
        inherited: What it was given.
        added: What it adds to that.
        causes: What reproduces it; several where they do so equally, none where nothing does.
        tried: How many known differences were tried.
        also: Other layers that add a difference, in order.
    """

    layer: str
    mode: str
    direction: str
    where: str
    place: Place
    inherited: float
    added: float
    causes: tuple[Cause, ...] = ()
    tried: int = 0
    also: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """The way in which the port got the original's weights.

    Attributes:
        pairs: For each array of the port, the original's and how they were paired.
        only_original: Arrays of the original without a partner.
        only_port: Arrays of the port without a partner, left as they are.
        drawn: Arrays that held one value throughout and got drawn ones.
        own: Whether the port came with the original's values itself; they were left in it.
        wrong: Arrays that the port brought and that differ, with what was done to them.
        decided: What names and shapes left open, and how running decided it.
    """

    pairs: Mapping[str, tuple[str, str]]
    only_original: tuple[str, ...] = ()
    only_port: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    own: bool = False
    wrong: Mapping[str, str] = field(default_factory=dict)
    decided: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that `parity port` found."""

    original: Model
    port: Model
    inputs: tuple[str, ...]
    weights: Weights
    checks: tuple[Check, ...]
    layers: Mapping[str, tuple[Layer, ...]]
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there was something to check and all of it passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def difference(self) -> Difference | None:
        """The first layer that adds a difference, None where none does."""
        return self.differences[0] if self.differences else None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        checks = [{**asdict(check), "passed": check.passed} for check in self.checks]
        return {"schema": SCHEMA, "passed": self.passed, **asdict(self), "checks": checks}


def to_json(report: Report) -> str:
    """The report as JSON; a number that is not finite is null, and the pixels of pictures are for a page alone."""
    return json.dumps(_plain(report.to_dict()), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if not isinstance(item, np.ndarray)}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
