"""A framework's process: what it is given, how it is started, what it says and what it leaves."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from .cases import Case
from .expect import Drawn
from .tasks import Task

LOG_LINES = 5


@dataclass
class Worker:
    """A framework's process, what it has said so far, and when it has ended what it computed."""

    framework: str
    process: subprocess.Popen[str]
    folder: Path
    versions: dict[str, str] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)
    computed: dict[str, np.ndarray] = field(default_factory=dict)

    def arrays(self, case: str, task: Task) -> dict[str, np.ndarray]:
        """What it computed for a task, by name."""
        prefix = f"{case}|{task.key}|"
        return {key.removeprefix(prefix): array for key, array in self.computed.items() if key.startswith(prefix)}

    def error(self, case: str, task: Task) -> str:
        """Why it computed nothing for a task, or an empty string."""
        return self.errors.get((case, task.key), self.errors.get(("", ""), ""))

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


def write_arrays(folder: Path, drawn: Mapping[str, Drawn]) -> None:
    """Write what every process reads."""
    arrays = {}
    for name, item in drawn.items():
        arrays |= {f"{name}|input": item.x, f"{name}|cotangent": item.cotangent}
        arrays |= {f"{name}|weights|{key}": array for key, array in item.weights.items()}
    save_file(arrays, folder / "arrays.safetensors")


def write_job(folder: Path, framework: str, tasks: Sequence[tuple[Case, Sequence[Task]]]) -> None:
    """Write what the process of `framework` is to compute."""
    job = [
        {
            "case": case.name,
            "module": case.module,
            "args": case.args,
            "kwargs": dict(case.kwargs),
            "tasks": [{**asdict(task), "key": task.key} for task in todo],
        }
        for case, todo in tasks
    ]
    (folder / f"{framework}.json").write_text(json.dumps(job))


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
            worker.errors[message["case"], message["task"]] = message["error"]
        else:
            advance()


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
