"""The GPUs to compile for: what a compiler asks about each, as text in `targets/`."""

import re
from pathlib import Path

_FOLDER = Path(__file__).parent / "targets"
# The first is the default.
TARGETS = ("h100", "a100", "b200")
# Not a GPU: the processor that compiles, with which the way of packed programs is rehearsed.
PROCESSOR = "cpu"


def describe(name: str) -> str:
    """The device's description as XLA's compiler reads it."""
    return (_FOLDER / f"{name}.txtpb").read_text()


def capability(name: str) -> str:
    """The device's compute capability, 9.0 for an H100."""
    return f"{_number(name, 'major')}.{_number(name, 'minor')}"


def architecture(name: str) -> str:
    """The device's architecture as PTX names it, sm_90 for an H100, without what only that one has."""
    return f"sm_{capability(name).replace('.', '')}"


def memory(name: str) -> int:
    """The device's memory in bytes."""
    return _number(name, "device_memory_size")


def title(name: str) -> str:
    """The device's full name."""
    found = re.search(r'device_description_str: "([^"]+)"', describe(name))
    assert found is not None, name
    return found[1]


def integers(name: str) -> dict[str, int]:
    """Every whole number of the description by its field; of several with a name the first, which is the device's."""
    pairs = re.findall(r"\b(\w+): (\d+)\b(?!\.)", describe(name))
    return {field: int(value) for field, value in reversed(pairs)}


def _number(name: str, field: str) -> int:
    found = re.search(rf"{re.escape(field)}: (\d+)", describe(name))
    assert found is not None, f"{field} of {name}"
    return int(found[1])
