"""A backend: the interpreter, the device and the arithmetic with which one framework computes."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Backend:
    """A framework with the interpreter that has it and the device that is asked of it."""

    framework: str
    device: str = "cpu"
    python: str = sys.executable
    allow_tf32: bool = False
    # The folder in which compiled code is kept for the next run; none where it is empty.
    cache: str = ""
