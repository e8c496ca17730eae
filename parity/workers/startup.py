"""What a worker does before its first task: import, switch, choose the device, measure the arithmetic, and say so."""

import platform
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from .. import frameworks
from ..errors import ParityError
from ..frameworks import devices, switches
from . import precision_probe as canary

Say = Callable[[dict[str, Any]], object]


def begin(name: str, settings: Mapping[str, Any], say: Say) -> tuple[ModuleType, Callable[[], None], dict[str, str]]:
    """Make the framework ready, or say why it cannot be and end the process.

    Args:
        name: the framework.
        settings: "device" and "allow_tf32" of its backend.
        say: takes what the parent is to hear: {"ready": facts} or {"refused": a line}.

    Returns:
        The framework's functions; what each thread calls once before it computes; why the device cannot compute in a
        precision, by precision, empty where it can.
    """
    with suppress(ImportError):
        import ml_dtypes  # noqa: F401  gives NumPy the name "bfloat16"
    try:
        start = time.perf_counter()
        framework, door = _load(name)
        facts: dict[str, Any] = {"versions": {**framework.versions()}, "import_seconds": time.perf_counter() - start}
        allow_tf32 = settings["allow_tf32"]
        facts["allow_tf32"] = allow_tf32
        facts["switches"] = {**switches.taken(name, allow_tf32=allow_tf32), **door.harden(allow_tf32=allow_tf32)}
        seen = door.available()
        device = devices.resolve(settings["device"], seen, name)
        door.select(device)
        precisions = devices.try_precisions(door.multiply)
        facts["device"] = {"id": device, **_processor(device), **door.describe(device)}
        facts |= {"devices": seen, "precisions": precisions, "python": sys.version.split()[0]}
        facts["canary"] = canary.measure(door, device)
        say({"ready": facts})
        if why := canary.verdict(name, facts["canary"], allow_tf32=allow_tf32):
            raise ParityError(why)
    except ParityError as error:
        say({"refused": str(error)})
        sys.exit(0)
    return framework, lambda: door.select(device), precisions


def _load(name: str) -> tuple[ModuleType, ModuleType]:
    try:
        return frameworks.load(name), devices.load(name)
    except ModuleNotFoundError as error:
        if error.name in frameworks.PACKAGES[name]:
            raise ParityError(f"{error.name}, which {name} needs, is not installed for {sys.executable}") from None
        raise


def _processor(device: str) -> dict[str, str]:
    return {"name": platform.processor() or platform.machine()} if device == "cpu" else {}
