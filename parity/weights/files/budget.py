"""The budget of a file: the memory and steps that reading it may cost; a reader pays for everything that it makes.

A file of n bytes may cost 64 MiB and 20 n of memory, and 2 s and 0.1 s for each MiB, whatever is in it. Most of
that is for the readers; the rest is for what is done with the arrays afterwards: copying, hashing, naming.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import ParityError

MEMORY = 40 << 20
MEMORY_PER_BYTE = 12
# Objects may take more than arrays, which are copied once more: what is paid for them is at least what they take.
OBJECTS = 12 << 20
OBJECTS_PER_BYTE = 4
STEPS = 1_200_000  # of a microsecond each, or less
STEPS_PER_BYTE = 0.15
# Steps keep the time; the clock is for machines on which a step takes far longer.
SECONDS = 20.0
SECONDS_PER_MIB = 1.0
_CLOCK = 10_000  # steps between two looks at the clock
# An array's objects in the reader and behind it: its view, its names, its entries in dictionaries, its line of output.
TENSOR_MEMORY = 512
TENSOR_STEPS = 6
_COMPACT = "save it again with its own program, without compression and each tensor with values of its own"


class Budget:
    """The rest of the memory and the steps that a file of `stored` bytes may cost its reader."""

    def __init__(self, stored: int) -> None:
        self.stored = stored
        self.memory = MEMORY + MEMORY_PER_BYTE * stored
        self.objects = OBJECTS + OBJECTS_PER_BYTE * stored
        self.steps = int(STEPS + STEPS_PER_BYTE * stored)
        self.unclocked = 0
        self.late = False
        self.end = time.thread_time() + SECONDS + SECONDS_PER_MIB * stored / (1 << 20)

    def grow(self, stored: int) -> None:
        """Allow what further files of so many bytes, which belong to this one, may cost."""
        self.stored += stored
        self.memory += MEMORY_PER_BYTE * stored
        self.objects += OBJECTS_PER_BYTE * stored
        self.steps += int(STEPS_PER_BYTE * stored)
        self.end += SECONDS_PER_MIB * stored / (1 << 20)

    def take(self, count: int) -> None:
        """Pay for `count` bytes of memory for objects, which are let go again before arrays are worked with."""
        self.memory -= count
        if self.memory < -self.objects:
            raise ParityError(
                f"would take far more memory than its {self.stored} bytes explain; if it is yours, {_COMPACT}"
            )

    def step(self, count: int = 1) -> None:
        """Pay for `count` steps of work."""
        self.steps -= count
        self.unclocked += count
        if self.unclocked > _CLOCK:
            self.unclocked = 0
            self.late = time.thread_time() > self.end
        if self.steps < 0 or self.late:
            raise ParityError(
                f"would take far more work than its {self.stored} bytes explain; if it is yours, {_COMPACT}"
            )

    def json(self, text: bytes) -> None:
        """Ask whether the values of a JSON text may be made, which take far more memory than their text."""
        values = 40 * text.count(b",") + 88 * text.count(b"[") + 240 * text.count(b"{") + 36 * text.count(b'"')
        if values + len(text) * (1 if text.isascii() else 4) > self.memory:
            self.take(self.memory + self.objects + 1)

    def tensors(self, count: int) -> None:
        """Pay for the objects of `count` tensors."""
        self.take(TENSOR_MEMORY * count)
        self.step(TENSOR_STEPS * count)

    def expand(self, total: int) -> None:
        """Pay for arrays of `total` bytes, which may be more than the file has."""
        if total > self.memory:
            raise ParityError(
                f"its arrays would take {total} bytes, but the file has {self.stored}: more than "
                f"{MEMORY_PER_BYTE} times as many; if it is yours, {_COMPACT}"
            )
        self.memory -= total


@contextmanager
def without_collector() -> Iterator[None]:
    """Make many objects without Python's search for cycles among them: there are none, and it takes as long again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
