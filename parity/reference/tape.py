"""Reverse mode: what each operation did is kept on a tape and pulled back from the result to the leaves.

Arrays are told apart by identity, so an operation must return a new array, and a leaf must be handed to operations as
the very array whose gradient is wanted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# From the gradient of an operation's result to the gradient of one of its operands.
Pull = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Step:
    """One operation: its result, and each operand with its vector-Jacobian product."""

    result: np.ndarray
    operands: tuple[tuple[np.ndarray, Pull], ...]


class Tape:
    """The operations in the order they were done; nothing is kept until `start`."""

    def __init__(self) -> None:
        self.steps: list[Step] | None = None

    def start(self) -> None:
        """Forget what was recorded, and record from here."""
        self.steps = []

    def stop(self) -> None:
        """Forget what was recorded, and record no more."""
        self.steps = None

    def record(self, result: np.ndarray, *operands: tuple[Any, Pull]) -> np.ndarray:
        """Keep one operation and return its result; operands that are plain numbers have no gradient."""
        if self.steps is not None:
            arrays = tuple((operand, vjp) for operand, vjp in operands if isinstance(operand, np.ndarray))
            self.steps.append(Step(result, arrays))
        return result

    def accumulate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The sum of two contributions to one gradient."""
        return a + b

    def gradients(
        self, output: np.ndarray, cotangent: np.ndarray, leaves: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The gradient of sum(output * cotangent) with respect to each leaf; zeros for one that had no part."""
        found = {id(output): cotangent}
        for step in reversed(self.steps or ()):
            gradient = found.pop(id(step.result), None)
            if gradient is None:
                continue
            for operand, vjp in step.operands:
                part, known = vjp(gradient), found.get(id(operand))
                found[id(operand)] = part if known is None else self.accumulate(known, part)
        return {key: found[id(leaf)] if id(leaf) in found else np.zeros(leaf.shape) for key, leaf in leaves.items()}
