"""The start of a worker, before its first task: import, switch, choose the device, and measure the arithmetic."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import frameworks
from ..errors import ParityError
from ..frameworks import devices, switches
from ..frameworks.adapter import Adapter
from . import precision_probe
from .code_cache import CodeCache


@dataclass(frozen=True)
class Session:
    """A framework that is ready.

    `enter` is what each thread calls once before it computes, `facts` say on what it runs, as `parity.protocol.FACTS`
    has them (in "precisions" why the device cannot compute in one, empty where it can), and `cache` keeps what it
    compiles, if anything does.
    """

    framework: Adapter
    enter: Callable[[], None]
    facts: dict[str, Any]
    cache: CodeCache | None


def begin(name: str, settings: Mapping[str, Any], folder: Path) -> Session:
    """Make the framework ready.

    Args:
        name: the framework.
        settings: its backend's, by name.
        folder: that of the run.

    Raises:
        ParityError: Where the framework is not installed, has no such device, or computes in a lower precision.
    """
    with suppress(ImportError):
        import ml_dtypes  # noqa: F401  gives NumPy the name "bfloat16"
    start = time.perf_counter()
    adapter = _load(name)
    facts: dict[str, Any] = {"versions": {**adapter.versions()}, "import_seconds": time.perf_counter() - start}
    allow_tf32 = settings["allow_tf32"]
    facts["allow_tf32"] = allow_tf32
    facts["switches"] = {
        **switches.taken(name, allow_tf32=allow_tf32),
        **adapter.set_numerics_flags(allow_tf32=allow_tf32),
    }
    seen = adapter.available()
    device = devices.resolve(settings["device"], seen, name)
    adapter.select(device)
    facts["device"] = {"id": device, **_processor(device), **adapter.describe(device)}
    cache = _open_cache(settings["cache"], folder, facts)
    facts |= {"devices": seen, "precisions": devices.try_precisions(adapter.multiply), "python": sys.version.split()[0]}
    facts["precision_probe"] = precision_probe.measure(adapter, device)
    if why := precision_probe.verdict(name, facts["precision_probe"], allow_tf32=allow_tf32):
        raise ParityError(why)
    return Session(adapter, lambda: adapter.select(device), facts, cache)


def _open_cache(base: str, run: Path, facts: Mapping[str, Any]) -> CodeCache | None:
    """JAX's compiled code, unless there is none, or the user has named a folder of their own for it."""
    folder = switches.code_folder(run)
    used = os.environ.get("JAX_COMPILATION_CACHE_DIR") == str(folder)
    return CodeCache.open(Path(base), folder, facts) if base and used else None


def _load(name: str) -> Adapter:
    try:
        return frameworks.load(name)
    except ModuleNotFoundError as error:
        if error.name in frameworks.TABLE[name].packages:
            raise ParityError(f"{error.name}, which {name} needs, is not installed for {sys.executable}") from None
        raise


def _processor(device: str) -> dict[str, str]:
    return {"name": platform.processor() or platform.machine()} if device == "cpu" else {}
