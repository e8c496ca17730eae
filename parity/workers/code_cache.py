"""Compiled code from one run to the next: what JAX compiled, in one file in the user's cache folder.

A run unpacks the file into its own temporary folder, and packs what is there when it has come to its end. So runs at
the same time do not disturb each other, a run that is killed leaves the file as it was, and of a file that is damaged
nothing is used. It may be deleted at any time. A file is for the versions, the switches and the processor that made
it; within it JAX tells apart programs and options.
"""

import json
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import ParityError
from ..weights.files import atomic

# A file that would become larger begins anew.
MOST_BYTES = 1 << 29
_NAME = re.compile(r"\w[\w.-]{0,250}")
_DIGEST = 32


def default_folder() -> str:
    """The folder of this program in the user's cache folder, as the XDG standard has it; empty where there is none."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    with suppress(RuntimeError):
        return str((Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "attention-parity")  # noqa: PTH117
    return ""


@dataclass(frozen=True)
class CodeCache:
    """The file, the folder into which it is unpacked, and what came of it."""

    file: Path
    folder: Path
    unpacked: frozenset[str]

    @classmethod
    def open(cls, base: Path, folder: Path, facts: Mapping[str, Any]) -> "CodeCache":
        """Unpack the code that was compiled for what `facts` say, if there is any, into `folder`."""
        folder.mkdir(exist_ok=True)
        file = base / f"flax-{_key(facts)}.code"
        return cls(file, folder, frozenset(_unpack(file, folder)))

    def close(self) -> None:
        """Pack the folder, where there is anything new in it; what fails costs the next run its time."""
        names = {path.name for path in self.folder.iterdir()}
        if names <= self.unpacked:
            return
        with suppress(OSError, ParityError, SafetensorError):
            if sum((self.folder / name).stat().st_size for name in names) > MOST_BYTES:
                names -= self.unpacked
            content = save({name: np.frombuffer((self.folder / name).read_bytes(), np.uint8) for name in sorted(names)})
            # Compiled code runs: nobody else is to write there.
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic.write_file(self.file, force=True) as file:
                file.write(blake2b(content, digest_size=_DIGEST).digest())
                file.write(content)


def _unpack(file: Path, folder: Path) -> list[str]:
    """The names of what was unpacked: all or nothing."""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if status.st_uid != os.getuid() or status.st_size > 2 * MOST_BYTES:
                return []
            digest, content = opened.read(_DIGEST), opened.read()
        if blake2b(content, digest_size=_DIGEST).digest() != digest:
            return []
        items = {name: item for name, item in load(content).items() if _NAME.fullmatch(name)}
        for name, item in items.items():
            (folder / name).write_bytes(item.data)
    except (OSError, SafetensorError):
        return []
    return list(items)


def _key(facts: Mapping[str, Any]) -> str:
    """A digest of what changes code beside the program: versions, switches, device, and the processor and its cores."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [facts["versions"], facts["switches"], facts["device"], variables, platform.machine(), cores, _processor()]
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def _processor() -> list[str]:
    """The processor's model and what it can do, where the system tells: code for one may be no code for another."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return [platform.processor()]


def processor_digest() -> str:
    """A digest that tells processors apart whose code may not be each other's."""
    return blake2b(json.dumps([platform.machine(), _processor()]).encode(), digest_size=8).hexdigest()
