"""The GPUs to compile for: what a compiler asks about each, as text in `targets/`."""

import re
from pathlib import Path

_FOLDER = Path(__file__).parent / "targets"
# The first is the default.
TARGETS = ("h100", "a100", "b200")


def describe(name: str) -> str:
    """The device's description as XLA's compiler reads it."""
    return (_FOLDER / f"{name}.txtpb").read_text()


def memory(name: str) -> int:
    """The device's memory in bytes."""
    return _number(name, "device_memory_size")


def _number(name: str, field: str) -> int:
    found = re.search(rf"{re.escape(field)}: (\d+)", describe(name))
    assert found is not None, f"{field} of {name}"
    return int(found[1])
