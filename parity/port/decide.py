"""Weights of equal shapes, paired in the way by which the port gives what the original gives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Any

import numpy as np

from ..arrays import largest
from ..verdict.judge import RELATIVE_LIMIT
from ..weights.dialects.rules import move
from .axes import align
from .bundles import Bundle, template
from .fused import Family, describe
from .side import Arrays
from .weights import Pairing

# Of so many things of equal shapes all orders are tried, of more each two exchanged; and no more runs than this.
ALL = 4
RUNS = 60
# Of a way that reproduces the outputs it is looked whether others do: so many.
CHECKED = 12
# A way that comes so much nearer than the next is the right one, though something else is wrong.
CLEARLY = 0.1
SQUARE = "a square matrix, as it is or transposed"


@dataclass(frozen=True)
class Choice:
    """Arrays that may be paired in several ways.

    Attributes:
        what: In words, what is to be decided.
        options: For each way the original's key and array for each of the port's; the first is how they are paired now.
        bundles: For each way what is one on one side and several on the other; empty where all pair one to one.
    """

    what: str
    options: tuple[dict[str, tuple[str, np.ndarray]], ...]
    bundles: tuple[tuple[Bundle, ...], ...] = ()


@dataclass
class Trial:
    """The ways tried so far.

    Attributes:
        choices: What is to be decided.
        run: How far the port's outputs are from the original's, relative to the largest value, with such arrays.
        taken: For each choice the number of the way that came nearest.
        best: How near.
        runs: How often the port was run.
        distances: For each choice how near each way came.
    """

    choices: list[Choice]
    run: Callable[[dict[str, tuple[str, np.ndarray]]], float]
    taken: list[int] = field(default_factory=list)
    best: float = float("inf")
    runs: int = 0
    distances: list[dict[int, float]] = field(default_factory=list)

    def search(self) -> None:
        """Try the ways of each choice, the others being as they came nearest, until the outputs are the same."""
        self.taken, self.distances = [0] * len(self.choices), [{} for _ in self.choices]
        self.best = self.distance(0, 0)
        for number, choice in enumerate(self.choices):
            self.distances[number][self.taken[number]] = self.best
            for way in range(1, len(choice.options)):
                if self.solved or self.runs >= RUNS:
                    break
                found = self.distance(number, way)
                if found < self.best:
                    self.best, self.taken[number] = found, way

    def distance(self, number: int, way: int) -> float:
        """Run the port with that way of that choice: the distance of its outputs from the original's."""
        ways = {**dict(enumerate(self.taken)), number: way}
        self.runs += 1
        found = self.run({k: v for i, each in ways.items() for k, v in self.choices[i].options[each].items()})
        self.distances[number][way] = found
        return found

    @property
    def solved(self) -> bool:
        """Whether the port gives what the original gives."""
        return self.best <= RELATIVE_LIMIT


def by_running(walk: Any, pairing: Pairing, original: Arrays, port: Arrays, loose: frozenset[str]) -> tuple[str, ...]:
    """Put the way that reproduces the original's outputs into the pairing; what was decided, and what could not be.

    Args:
        walk: See `compare.Walk`.
        pairing: What was paired, with what is ambiguous in it; it is changed.
        original: The original's arrays.
        port: The port's own.
        loose: The port's keys of square matrices whose layout nothing tells.
    """
    families = [_family(family, original) for family in pairing.families]
    families = [_brought(choice, port, pairing, original) or choice for choice in families]
    choices = [*_orders(pairing, original, port), *_turns(pairing, loose), *families]
    choices = [choice for choice in choices if choice.options]
    if not choices:
        return ()
    walk.advance("deciding between weights of equal shapes")
    walk.original.ask("set_weights", weights=original)
    options: dict[str, Any] = {"dtype": "float64", "train": False, "layers": False, "gradients": False}
    theirs, _ = walk.original.ask("run", inputs=walk.inputs[0], **options)

    def run(changed: dict[str, tuple[str, np.ndarray]]) -> float:
        arrays = {**port, **pairing.arrays, **{key: array for key, (_, array) in changed.items()}}
        walk.port.ask("set_weights", weights={key: np.ascontiguousarray(array) for key, array in arrays.items()})
        ours, _ = walk.port.ask("run", inputs=walk.inputs[1], **options)
        return _distance(theirs, ours, walk.moved)

    trial = Trial(choices, run)
    trial.search()
    said = []
    for number, choice in enumerate(choices):
        if choice.bundles:
            said.append(_take_bundles(trial, number, pairing, original))
        elif trial.solved:
            said.append(_take(choice, trial.taken[number], pairing))
        else:
            said.append(f"{choice.what}: running does not decide, so they stay as they were")
    return tuple(said)


def _take(choice: Choice, way: int, pairing: Pairing) -> str:
    """Pair as that way of the choice has it."""
    for key, (source, array) in choice.options[way].items():
        pairing.keys[key], pairing.arrays[key], pairing.how[key] = source, array, "running"
    shown = ", ".join(f"{key} is {source}" for key, (source, _) in list(choice.options[way].items())[:4])
    turned = ", transposed" if choice.what == SQUARE and way else ""
    pairing.turned |= set(choice.options[0]) if turned else set()
    return f"{choice.what}: decided by running, {shown}{turned}"


def _take_bundles(trial: Trial, number: int, pairing: Pairing, original: Arrays) -> str:
    """Bundle as the way has it that reproduces the outputs, or comes nearest by far; how sure that is."""
    choice, found, way = trial.choices[number], trial.distances[number], trial.taken[number]
    count, by = len(choice.options), "running"
    if trial.solved:
        for other in range(count):
            if other != way and other not in found and len(found) < CHECKED:
                trial.distance(number, other)
        same = sum(distance <= RELATIVE_LIMIT for distance in found.values())
        tried = f"of {count} ways" if len(found) == count else f"of {len(found)} ways tried, of {count},"
        how = f"decided by running, 1 {tried} gives the original's outputs"
        if same > 1:
            how = f"ambiguous, {same} {tried} give the original's outputs; the likeliest of them is taken"
    else:
        near = sorted(found.values())
        if len(near) > 1 and not near[0] < CLEARLY * near[1]:
            way, by, how = 0, "likeness", f"running does not decide between {count} ways: the likeliest is taken"
        else:
            how = (
                f"none of {count} ways gives the original's outputs; taken is the nearest by far, off by {near[0]:.2g}"
            )
            how += f", the next by {near[1]:.2g}" if len(near) > 1 else ""
    pairing.take(choice.bundles[way], by, original)
    return f"{describe(choice.bundles[way])}: {how}"


def _family(family: Family, original: Arrays) -> Choice:
    return Choice("", tuple(_parts(bundles, original) for bundles in family.options), family.options)


def _parts(bundles: Sequence[Bundle], original: Arrays) -> dict[str, tuple[str, np.ndarray]]:
    """The port's arrays as the bundles make them of the original's."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    for rule in (bundle.rule for bundle in bundles):
        arrays = move(rule, [original[key] for key in rule.theirs], outward=False)
        found |= {key: (template(rule.theirs), array) for key, array in zip(rule.ours, arrays, strict=True)}
    return found


def _brought(choice: Choice, port: Arrays, pairing: Pairing, original: Arrays) -> Choice | None:
    """An empty choice where the port brings the values of one way, which is then taken; None where it does not."""
    for bundles, arrays in zip(choice.bundles, choice.options, strict=True):
        told = [key for key, (_, array) in arrays.items() if array.size > 1 and (port[key] != port[key].flat[0]).any()]
        if told and all(np.array_equal(port[key], arrays[key][1]) for key in told):
            pairing.take(bundles, "value", original)
            return Choice("", ())
    return None


def _orders(pairing: Pairing, original: Arrays, port: Arrays) -> Iterator[Choice]:
    for group in pairing.ambiguous:
        # Each of the group is what is exchanged as a whole: the keys of a layer, or one key.
        sources = [[pairing.keys[key] for key in keys] for keys in group]
        options = []
        for order in _permutations(len(group)):
            found = {}
            for keys, place in zip(group, order, strict=True):
                for key, source in zip(keys, sources[place], strict=True):
                    found[key] = source, original[source].reshape(port[key].shape)
            options.append(found)
        names = ", ".join(keys[0] for keys in group[:4]) + (f" and {len(group) - 4} more" if len(group) > 4 else "")
        yield Choice(f"equal shapes of {names}", tuple(options))


def _permutations(count: int) -> Iterator[tuple[int, ...]]:
    if count <= ALL:
        yield from permutations(range(count))
        return
    yield tuple(range(count))
    yield tuple(reversed(range(count)))
    for i, j in combinations(range(count), 2):
        order = list(range(count))
        order[i], order[j] = j, i
        yield tuple(order)


def _turns(pairing: Pairing, loose: frozenset[str]) -> Iterator[Choice]:
    for key in sorted(loose & pairing.keys.keys()):
        source, array = pairing.keys[key], pairing.arrays[key]
        yield Choice(SQUARE, ({key: (source, array)}, {key: (source, np.ascontiguousarray(array.T))}))


def _distance(theirs: Arrays, ours: Arrays, moved: int) -> float:
    """Measure how far the port's outputs are from the original's, relative to the largest value."""
    found = 0.0
    for name in (name for name in theirs if name.startswith("value||0|out|")):
        fit = align(theirs[name], ours[name], moved) if name in ours else None
        if fit is None:
            return float("inf")
        expected = fit.apply(theirs[name]).astype(np.float64)
        error = largest(ours[name].astype(np.float64) - expected) / (largest(expected) or 1.0)
        found = max(found, error if np.isfinite(error) else float("inf"))
    return found
