"""The other end of a side's process: `ask` it what `side.Side` can do, and it is as if it were here."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors.numpy import load_file, save_file

from ..errors import ParityError
from ..frameworks import switches
from ..workers import endings, interpreters
from . import load
from .opening import open_model
from .side import Arrays

# Both sides' frameworks are known only after their files are imported, so each process gets every switch.
EVERY = ("torch", "paddle", "flax")


class Asked(Protocol):
    """A side that answers, wherever it is."""

    name: str
    facts: dict[str, Any]

    def ask(self, method: str, **arguments: Any) -> tuple[Arrays, dict[str, Any]]:
        """Call the side's method of that name: it gives arrays, and what JSON can hold."""
        ...


class Remote:
    """A side in a process of its own.

    Args:
        name: "original" or "port".
        factory: See `load`.
        python: The interpreter.
        folder: Where arrays go through.
        share: The part of the processor's cores that it may use.
    """

    def __init__(self, name: str, factory: str, python: str, folder: Path, share: int) -> None:
        self.name = name
        self.folder = folder
        self.count = 0
        self.log = folder / f"{name}.log"
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                [python, "-m", "parity.port.worker", str(folder), name, factory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                errors="replace",
                env=_environment(folder, share),
            )
        self.facts: dict[str, Any] = {}

    def begin(self) -> None:
        """Wait for the model."""
        self.facts = self._answer()

    def ask(self, method: str, **arguments: Any) -> tuple[Arrays, dict[str, Any]]:
        """Call the side's method of that name: it gives arrays, and what JSON can hold."""
        files, plain = {}, {}
        for key, value in arguments.items():
            arrays = (
                dict(zip(map(str, range(len(value))), value, strict=True))
                if key == "inputs" and not isinstance(value, int)
                else value
            )
            if (
                isinstance(arrays, dict)
                and all(isinstance(each, np.ndarray) for each in arrays.values())
                and key != "hints"
            ):
                path = self.folder / f"{self.name}-{self.count}-{key}.safetensors"
                save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
                files[key] = str(path)
            else:
                plain[key] = value
        assert self.process.stdin is not None
        self.count += 1
        try:
            self.process.stdin.write(json.dumps({"ask": method, "arguments": plain, "files": files}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says how it ended
        answer = self._answer()
        file = Path(answer["file"])
        found = load_file(file)
        for path in (file, *map(Path, files.values())):
            path.unlink()
        return found, answer["facts"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise ParityError(endings.describe(self.name, self.process.returncode, "", self.log))
        message = json.loads(line)
        if "refused" in message:
            raise ParityError(f"{self.name}: {message['refused']}")
        if "failed" in message:
            raise ParityError(f"{self.name}: {message['failed']}; {endings.tail(self.log)}")
        return message["answer"]


@contextmanager
def both(sources: Mapping[str, Any], pythons: Mapping[str, str], folder: Path) -> Iterator[tuple[Asked, Asked]]:
    """The two sides, built at the same time: a factory's name in a process, which is not left at the end; else here."""
    remotes: list[Remote] = []
    sides: dict[str, Asked] = {}
    try:
        for name, source in sources.items():
            if isinstance(source, str):
                remotes.append(Remote(name, source, pythons.get(name, sys.executable), folder, len(sources)))
                sides[name] = remotes[-1]
        for name, source in sources.items():
            if not isinstance(source, str):
                sides[name] = Local(name, source)
        at_once([remote.begin for remote in remotes])
        yield sides["original"], sides["port"]
    finally:
        for remote in remotes:
            remote.process.kill()
            remote.process.wait()
            for stream in (remote.process.stdin, remote.process.stdout):
                if stream is not None:
                    stream.close()


class Local:
    """A side in this process.

    Args:
        name: "original" or "port".
        source: A model, which is copied, or a function without arguments that gives one.

    Raises:
        ParityError: where it gives none, or JAX was imported without float64.
    """

    def __init__(self, name: str, source: Any) -> None:
        self.name = name
        self.side = open_model(lambda: load.copy_or_build(source, name))
        if self.side.framework.NAME == "flax":
            _check_x64(name)
        versions = {**self.side.framework.versions(), "python": sys.version.split()[0]}
        self.facts: dict[str, Any] = {**self.side.describe(), "versions": versions}

    def ask(self, method: str, **arguments: Any) -> tuple[Arrays, dict[str, Any]]:
        """Call the side's method of that name."""
        found = getattr(self.side, method)(**arguments)
        return found if isinstance(found, tuple) else (found or {}, {})


def _check_x64(name: str) -> None:
    import jax

    if not jax.config.jax_enable_x64:
        raise ParityError(
            f"{name}: JAX computes in float32 alone here; set JAX_ENABLE_X64=1 before it is imported,"
            " or give FILE.py:FACTORY, which runs in a process of its own"
        )


def at_once(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the tasks side by side; the error of the first task that failed is raised."""
    return [future.result() for future in [meanwhile(task) for task in tasks]]


def meanwhile(task: Callable[[], Any]) -> Future[Any]:
    """Begin the task beside what follows."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(task())
        except BaseException as error:
            future.set_exception(error)

    # Who presses Ctrl-C need not wait for it.
    threading.Thread(target=run, daemon=True).start()
    return future


def _environment(folder: Path, share: int) -> dict[str, str]:
    found = dict(os.environ)
    for framework in EVERY:
        found |= switches.environment(framework, "cpu")
    found.pop("PYTHONHOME", None)
    return {
        **found,
        **switches.cache("flax", folder),
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // share)),
        "PYTHONPATH": interpreters.search_path(folder),
        "PYTHONWARNINGS": "ignore",
    }
