"""Weights of equal shapes, paired in the way by which the port gives what the original gives."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np

from ..arrays import largest
from ..verdict.judge import RELATIVE_LIMIT
from .axes import align
from .side import Arrays
from .weights import Pairing

# Of so many things of equal shapes all orders are tried, of more each two exchanged; and no more runs than this.
ALL = 4
RUNS = 60
SQUARE = "a square matrix, as it is or transposed"


@dataclass(frozen=True)
class Choice:
    """Arrays that may be paired in several ways.

    Attributes:
        what: In words, what is to be decided.
        options: For each way the original's key and array for each of the port's; the first is how they are paired now.
    """

    what: str
    options: tuple[dict[str, tuple[str, np.ndarray]], ...]


def by_running(walk: Any, pairing: Pairing, original: Arrays, port: Arrays, loose: frozenset[str]) -> tuple[str, ...]:
    """Put the way that reproduces the original's outputs into the pairing; what was decided, and what could not be.

    Args:
        walk: See `compare.Walk`.
        pairing: What was paired, with what is ambiguous in it; it is changed.
        original: The original's arrays.
        port: The port's own.
        loose: The port's keys of square matrices whose layout nothing tells.
    """
    choices = [*_orders(pairing, original, port), *_turns(pairing, loose)]
    if not choices:
        return ()
    walk.advance("deciding between weights of equal shapes")
    walk.original.ask("set_weights", weights=original)
    options: dict[str, Any] = {"dtype": "float64", "train": False, "layers": False, "gradients": False}
    theirs, _ = walk.original.ask("run", inputs=walk.inputs[0], **options)

    def distance(changed: dict[str, tuple[str, np.ndarray]]) -> float:
        arrays = {**port, **pairing.arrays, **{key: array for key, (_, array) in changed.items()}}
        walk.port.ask("set_weights", weights=arrays)
        ours, _ = walk.port.ask("run", inputs=walk.inputs[1], **options)
        return _distance(theirs, ours, walk.moved)

    best, runs, taken = distance({}), 1, dict.fromkeys(range(len(choices)), 0)
    for number, choice in enumerate(choices):
        others = [choices[i].options[j] for i, j in taken.items() if i != number]
        for way, option in enumerate(choice.options[1:], 1):
            if best <= RELATIVE_LIMIT or runs >= RUNS:
                break
            found, runs = distance({**{k: v for each in others for k, v in each.items()}, **option}), runs + 1
            if found < best:
                best, taken[number] = found, way
    if not best <= RELATIVE_LIMIT:
        return tuple(f"{choice.what}: running does not decide, so they stay as they were" for choice in choices)
    said = []
    for number, choice in enumerate(choices):
        for key, (source, array) in choice.options[taken[number]].items():
            pairing.keys[key], pairing.arrays[key], pairing.how[key] = source, array, "running"
        shown = ", ".join(f"{key} is {source}" for key, (source, _) in list(choice.options[taken[number]].items())[:4])
        turned = ", transposed" if choice.what == SQUARE and taken[number] else ""
        pairing.turned |= set(choice.options[0]) if turned else set()
        said.append(f"{choice.what}: decided by running, {shown}{turned}")
    return tuple(said)


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
    """How far the port's outputs are from the original's, relative to the largest value."""
    found = 0.0
    for name in (name for name in theirs if name.startswith("value||0|out|")):
        fit = align(theirs[name], ours[name], moved) if name in ours else None
        if fit is None:
            return float("inf")
        expected = fit.apply(theirs[name]).astype(np.float64)
        error = largest(ours[name].astype(np.float64) - expected) / (largest(expected) or 1.0)
        found = max(found, error if np.isfinite(error) else float("inf"))
    return found
