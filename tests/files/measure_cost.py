"""Inspects, loads and converts files, each in a process of its own, and says what that cost over its imports.

Usage: measure_cost.py FILE ..., which prints lines of JSON for each; the processes may have 4 GiB of address space.

A second is that of a processor on which the yardstick takes YARDSTICK: the same code took from 20 to 58 ms of processor
time within 20 s on a shared machine with nothing else to do.
"""

import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import msgpack  # noqa: F401 -- so that no import is measured

import parity
from parity.cli.convert import convert
from parity.cli.inspect import inspect

ACTIONS: dict[str, Callable[[Path], object]] = {
    "inspect": lambda path: inspect(path, as_json=False),
    "load": lambda path: parity.load(path),
    "convert": lambda path: convert(path, path.with_name("converted.safetensors"), force=True),
}
YARDSTICK = 0.020


def yardstick() -> float:
    """The processor's seconds for the kind of work that readers do: objects, dictionaries and text."""
    start = time.process_time()
    made: dict[str, list[int]] = {}
    for i in range(40_000):
        made[f"layers.{i}.weight"] = [i]
    sum(len(name.rpartition(".")[0]) for name in made)
    return time.process_time() - start


def measure(action: str, path: Path) -> dict[str, object]:
    """The outcome, the bytes at its peak, those of a process that it started, and the processors' seconds."""
    pace = min(yardstick() for _ in range(3))
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start = time.process_time()
    outcome: dict[str, object] = {"error": None, "message": ""}
    try:
        with redirect_stdout(io.TextIOWrapper(open(os.devnull, "wb"))):  # noqa: PTH123
            ACTIONS[action](path)
    except BaseException as error:
        outcome = {"error": type(error).__name__, "message": str(error)}
    seconds = time.process_time() - start + sum(os.times()[2:4])
    peak = kilobytes("VmHWM")
    pace = (pace + min(yardstick() for _ in range(3))) / 2
    return {
        **outcome,
        "file": str(path),
        "action": action,
        "seconds": seconds / max(1.0, pace / YARDSTICK),
        "pace": pace,
        "bytes": 1024 * (peak - before),
        "child": 1024 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before),
    }


def kilobytes(field: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0])


def apart(action: str, path: Path) -> str:
    """The measure, taken in a fork that has the imports and nothing else."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        os.write(writer, json.dumps(measure(action, path)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:  # noqa: PTH123
        line = file.read()
    os.waitpid(child, 0)
    return line.decode() or json.dumps({"file": str(path), "action": action, "error": "died"})


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for action in ACTIONS:
            line = apart(action, Path(name))
            print(line, flush=True)
            # What cannot be read is read for nothing else either.
            if json.loads(line)["error"] is not None:
                break
