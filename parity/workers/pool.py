"""A framework's process: what it is given, how it is started, what it says and what it leaves."""

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from ..catalogue.entry import Entry
from ..catalogue.tasks import Task
from ..catalogue.training import LOSSES, OPTIMIZERS, STEPS, Lesson
from ..errors import ParityError
from ..frameworks import switches
from ..verdict.expect import Drawn
from ..verdict.results import Plan
from . import endings, interpreters
from .backend import Backend
from .outcome import Outcome

# How often a worker is looked at that says nothing.
TICK = 0.5


@dataclass
class Worker:
    """A framework's process, and what it has given so far."""

    backend: Backend
    process: subprocess.Popen[str]
    folder: Path
    outcome: Outcome
    done: bool = False
    stopped: str = ""
    ended: bool = False
    heard: float = field(default_factory=time.monotonic)

    @property
    def framework(self) -> str:
        """The framework that it runs."""
        return self.backend.framework

    def collect(self) -> None:
        """Read what the process wrote; where it did not come to that, how it ended is the error of every task."""
        framework = self.backend.framework
        log = self.folder / f"{framework}.log"
        ending = endings.describe(framework, self.process.returncode, self.stopped, log)
        if not self.done:
            self.outcome.errors["", ""] = ending
            return
        self.outcome.computed = load_file(self.folder / f"{framework}.safetensors")
        if self.process.returncode:
            self.outcome.notes.append(f"after its last result {ending}")


Messages = queue.Queue[tuple[Worker, str | None]]


def list_arrays(drawn: Mapping[str, Drawn], lessons: Mapping[str, Lesson]) -> dict[str, np.ndarray]:
    """What every process reads, by name."""
    arrays: dict[str, np.ndarray] = {}
    for name, item in drawn.items():
        arrays |= {f"{name}|input": item.x, f"{name}|cotangent": item.cotangent}
        arrays |= {f"{name}|weights|{key}": array for key, array in item.weights.items()}
    for name, lesson in lessons.items():
        for i in range(STEPS):
            arrays[f"{name}|lesson|input|{i}"] = lesson.inputs[i]
            arrays |= {f"{name}|lesson|{loss}|{i}": lesson.targets[loss][i] for loss in LOSSES}
        for recipe, steps in lesson.synced.items():
            for i, step in enumerate(steps):
                arrays |= {f"{name}|synced|{recipe}|{i}|{key}": array for key, array in step.items()}
    return arrays


def write_job(folder: Path, backend: Backend, entries: Sequence[Entry]) -> None:
    """Write what the process of a framework is to compute, and where."""
    todo = [
        {
            "name": entry.name,
            "case": entry.case.name,
            "module": entry.case.module,
            "args": entry.case.args,
            "kwargs": dict(entry.case.kwargs),
            "tasks": [_describe(task) for task in entry.tasks],
            "slip": (entry.mutant.file, *entry.mutant.edits[backend.framework]) if entry.mutant else None,
        }
        for entry in entries
    ]
    job = {"backend": asdict(backend), "cases": todo}
    (folder / f"{backend.framework}.json").write_text(json.dumps(job))


def _describe(task: Task) -> dict[str, Any]:
    """A task for a process that knows no optimizer's hyper-parameters."""
    description = {**asdict(task), "key": task.key}
    if task.check in ("training", "steps"):
        optimizer, loss = task.mode.split()
        description |= {"optimizer": optimizer, "loss": loss, "options": dict(OPTIMIZERS[optimizer]), "steps": STEPS}
    return description


def compute(
    backends: Sequence[Backend],
    arrays: Mapping[str, np.ndarray],
    jobs: Plan,
    *,
    meanwhile: Iterable[object] = (),
    advance: Callable[[], None] = lambda: None,
    timeout: float | None = None,
) -> list[Outcome]:
    """What each backend computes of its framework's entries, each in a process of its own at the same time.

    The steps of `meanwhile` are taken in this process while the others start and compute; for the rest see `follow`.
    """
    with start_all(backends, arrays, jobs) as (workers, lines):
        for _ in meanwhile:
            follow(workers, lines, advance, wait=False)
        follow(workers, lines, advance, timeout=timeout)
    return [worker.outcome for worker in workers]


@contextmanager
def running(
    jobs: Plan, drawn: Mapping[str, Drawn], lessons: Mapping[str, Lesson]
) -> Iterator[tuple[list[Worker], Messages]]:
    """One process for each framework of `jobs`, at work on the processor; none of them is left at the end."""
    with start_all([Backend(framework) for framework in jobs], list_arrays(drawn, lessons), jobs) as started:
        yield started


@contextmanager
def start_all(
    backends: Sequence[Backend], arrays: Mapping[str, np.ndarray], jobs: Plan
) -> Iterator[tuple[list[Worker], Messages]]:
    """One process for each backend, at work; none of them is left at the end."""
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        save_file(dict(arrays), folder / "arrays.safetensors")
        lines: Messages = queue.Queue()
        workers: list[Worker] = []
        try:
            for backend in backends:
                write_job(folder, backend, jobs[backend.framework])
                workers.append(start(backend, folder, len(backends), lines))
            yield workers, lines
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()


def start(backend: Backend, folder: Path, workers: int, lines: Messages) -> Worker:
    """Start the process of a framework, one of so many `workers`; what it says goes to `lines`, None at its end."""
    with (folder / f"{backend.framework}.log").open("w") as stderr:
        process = subprocess.Popen(
            [backend.python, "-m", "parity.workers.worker", backend.framework, str(folder)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            env=_environment(backend, folder, workers),
        )
    worker = Worker(backend, process, folder, Outcome(backend.framework, backend.framework))

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put((worker, line))
        lines.put((worker, None))

    threading.Thread(target=read, daemon=True).start()
    return worker


def follow(
    workers: Sequence[Worker],
    lines: Messages,
    advance: Callable[[], None],
    *,
    wait: bool = True,
    timeout: float | None = None,
) -> None:
    """Take in what the workers say.

    Args:
        workers: all that were started.
        lines: what they say.
        advance: called once for each case finished.
        wait: until all have ended; or else only for what is there.
        timeout: seconds after which a worker that says nothing is stopped.

    Raises:
        ParityError: where a worker's device, packages or arithmetic are not what they must be.
    """
    while not all(worker.ended for worker in workers):
        try:
            worker, line = lines.get(timeout=TICK) if wait else lines.get_nowait()
        except queue.Empty:
            if not wait:
                return
            for silent in (worker for worker in workers if _is_silent(worker, timeout)):
                silent.stopped = f"said nothing for {timeout:g} seconds (--timeout) and was stopped"
                silent.process.kill()
                _end(silent)
            continue
        if worker.ended:
            continue
        worker.heard = time.monotonic()
        if line is None:
            _end(worker)
        else:
            _take_in(worker, line, advance)


def _take_in(worker: Worker, line: str, advance: Callable[[], None]) -> None:
    try:
        message = json.loads(line)
        kind = next(kind for kind in ("ready", "refused", "error", "done", "name") if kind in message)
    except (ValueError, TypeError, StopIteration):
        if line.strip() and not worker.outcome.notes:
            worker.outcome.notes.append(
                f"the {worker.backend.framework} process printed to standard output: {line.strip()[:200]}"
            )
        return
    if kind == "refused":
        raise ParityError(message["refused"])
    if kind == "ready":
        worker.outcome.facts = message["ready"]
    elif kind == "error":
        worker.outcome.errors[message["name"], message["task"]] = message["error"]
    elif kind == "done":
        worker.done = True
    elif message["finished"]:
        advance()


def _is_silent(worker: Worker, timeout: float | None) -> bool:
    return not worker.ended and timeout is not None and time.monotonic() - worker.heard > timeout


def _end(worker: Worker) -> None:
    worker.process.wait()
    worker.collect()
    worker.ended = True


def _environment(backend: Backend, folder: Path, workers: int) -> dict[str, str]:
    """A worker's environment: its switches, the path to this package, and a fair share of the cores."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    inherited = switches.environment(backend.framework, backend.device, allow_tf32=backend.allow_tf32)
    # It would lead another interpreter to this one's library.
    inherited.pop("PYTHONHOME", None)
    return {
        **inherited,
        **switches.cache(backend.framework, folder),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": interpreters.search_path(folder),
        "PYTHONWARNINGS": "ignore",
    }
