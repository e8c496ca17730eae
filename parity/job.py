"""A framework's process: what it is given, how it is started, what it says and what it leaves."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from .cases import Case
from .expect import Drawn
from .mutants import Mutant
from .tasks import Task
from .training import LOSSES, OPTIMIZERS, STEPS, Lesson

LOG_LINES = 5


@dataclass(frozen=True)
class Entry:
    """A case and what is to be computed of it, by an implementation with a slip or by the true one."""

    case: Case
    tasks: Sequence[Task]
    mutant: Mutant | None = None

    @property
    def name(self) -> str:
        """What its results are found by."""
        return self.case.name if self.mutant is None else f"{self.mutant.name} in {self.case.name}"


@dataclass
class Worker:
    """A framework's process, what it has said so far, and when it has ended what it computed."""

    framework: str
    process: subprocess.Popen[str]
    folder: Path
    versions: dict[str, str] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)
    computed: dict[str, np.ndarray] = field(default_factory=dict)

    def arrays(self, entry: Entry, task: Task) -> dict[str, np.ndarray]:
        """What it computed for a task, by name."""
        prefix = f"{entry.name}|{task.key}|"
        return {key.removeprefix(prefix): array for key, array in self.computed.items() if key.startswith(prefix)}

    def error(self, entry: Entry, task: Task) -> str:
        """Why it computed nothing for a task, or an empty string."""
        return self.errors.get((entry.name, task.key), self.errors.get(("", ""), ""))

    def collect(self) -> None:
        """Read what the process wrote; where there is nothing, its last words are the error of every task."""
        path = self.folder / f"{self.framework}.safetensors"
        if path.exists():
            self.computed = load_file(path)
            return
        tail = (self.folder / f"{self.framework}.log").read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
        code = self.process.returncode
        self.errors["", ""] = f"the {self.framework} process ended with code {code}: {' | '.join(tail)}"


Messages = queue.Queue[tuple[Worker, str | None]]


def write_arrays(folder: Path, drawn: Mapping[str, Drawn], lessons: Mapping[str, Lesson]) -> None:
    """Write what every process reads."""
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
    save_file(arrays, folder / "arrays.safetensors")


def write_job(folder: Path, framework: str, entries: Sequence[Entry]) -> None:
    """Write what the process of `framework` is to compute."""
    job = [
        {
            "name": entry.name,
            "case": entry.case.name,
            "module": entry.case.module,
            "args": entry.case.args,
            "kwargs": dict(entry.case.kwargs),
            "tasks": [_describe(task) for task in entry.tasks],
            "slip": (entry.mutant.file, *entry.mutant.edits[framework]) if entry.mutant else None,
        }
        for entry in entries
    ]
    (folder / f"{framework}.json").write_text(json.dumps(job))


def _describe(task: Task) -> dict[str, Any]:
    """A task for a process that knows no optimizer's hyper-parameters."""
    description = {**asdict(task), "key": task.key}
    if task.check in ("training", "steps"):
        optimizer, loss = task.mode.split()
        description |= {"optimizer": optimizer, "loss": loss, "options": dict(OPTIMIZERS[optimizer]), "steps": STEPS}
    return description


def start(framework: str, folder: Path, workers: int, lines: Messages) -> Worker:
    """Start the process of `framework`, one of so many `workers`; what it says goes to `lines`, None at its end."""
    with (folder / f"{framework}.log").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "parity.worker", framework, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=_environment(workers),
        )
    worker = Worker(framework, process, folder)

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put((worker, line))
        lines.put((worker, None))

    threading.Thread(target=read, daemon=True).start()
    return worker


def follow(workers: Sequence[Worker], lines: Messages, advance: Callable[[], None]) -> None:
    """Take in what the workers say until each has ended; `advance` is called for each case finished."""
    running = len(workers)
    while running:
        worker, line = lines.get()
        if line is None:
            running -= 1
            worker.process.wait()
            worker.collect()
            continue
        message: dict[str, Any] = json.loads(line)
        if "versions" in message:
            worker.versions |= message["versions"]
        elif "error" in message:
            worker.errors[message["name"], message["task"]] = message["error"]
        else:
            advance()


@contextmanager
def running(
    jobs: Mapping[str, Sequence[Entry]], drawn: Mapping[str, Drawn], lessons: Mapping[str, Lesson]
) -> Iterator[tuple[list[Worker], Messages]]:
    """One process for each framework of `jobs`, at work; none of them is left at the end."""
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        write_arrays(folder, drawn, lessons)
        lines: Messages = queue.Queue()
        workers: list[Worker] = []
        try:
            for framework, entries in jobs.items():
                write_job(folder, framework, entries)
                workers.append(start(framework, folder, len(jobs), lines))
            yield workers, lines
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()


def _environment(workers: int) -> dict[str, str]:
    """The switches of a worker: the processor alone, float64 in JAX, and a fair share of the cores."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    switches = {
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONWARNINGS": "ignore",
    }
    return {**os.environ, **switches}
