"""A framework's process: what it is given, how it is started, what it says and what it leaves."""

import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from .. import protocol
from ..catalogue.inputs import Drawn
from ..catalogue.recipes import LOSSES, OPTIMIZERS, STEPS
from ..catalogue.tasks import Plan, Task, WorkItem
from ..catalogue.training import TrainingData
from ..errors import ParityError
from ..frameworks import switches
from ..protocol import Done, Failed, Finished, Message, Ready, Refused, join
from . import endings, interpreters
from .backend import Backend
from .outcome import Outcome

# How often a worker is looked at that says nothing.
TICK = 0.5
# How long a worker that has closed its channel may take to end.
PATIENCE = 60


@dataclass
class Worker:
    """A framework's process, and what it has given so far."""

    backend: Backend
    process: subprocess.Popen[bytes]
    folder: Path
    outcome: Outcome
    # The keys of its tasks by work item; it may speak of no other.
    items: Mapping[str, Sequence[str]]
    done: bool = False
    stopped: str = ""
    ended: bool = False
    heard: float = field(default_factory=time.monotonic)

    @property
    def framework(self) -> str:
        """The framework that it runs."""
        return self.backend.framework

    def collect(self) -> None:
        """Read what the process wrote; where it did not come to that, how it ended is the error of every task.

        Raises:
            ParityError: Where it ended before its first case, so that nothing at all was computed.
        """
        framework = self.backend.framework
        log = self.folder / f"{framework}.log"
        ending = endings.describe(framework, self.process.returncode, self.stopped, log)
        if not self.outcome.facts:
            raise ParityError(f"{ending}; that was before its first case: does `{self.backend.python}` work?")
        if not self.done:
            self.outcome.errors["", ""] = ending
            return
        self.outcome.computed = load_file(self.folder / f"{framework}.safetensors")
        if self.process.returncode:
            self.outcome.notes.append(f"after its last result {ending}")

    def kill(self) -> None:
        """End the process, and what it started in turn."""
        # Its group has its number for as long as it was not waited for.
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Messages = queue.Queue[tuple[Worker, bytes | None]]


def list_arrays(drawn: Mapping[str, Drawn], training_data: Mapping[str, TrainingData]) -> dict[str, np.ndarray]:
    """The arrays that every process reads, by name."""
    arrays = list_inputs(drawn)
    for name, data in training_data.items():
        for i in range(STEPS):
            arrays[join(name, "data", "input", i)] = data.inputs[i]
            arrays |= {join(name, "data", loss, i): data.targets[loss][i] for loss in LOSSES}
        for recipe, steps in data.start_weights.items():
            for i, step in enumerate(steps):
                arrays |= {join(name, "start_weights", recipe, i, key): array for key, array in step.items()}
    return arrays


def list_inputs(drawn: Mapping[str, Drawn]) -> dict[str, np.ndarray]:
    """The arrays that the cases compute on in one pass, by name."""
    arrays: dict[str, np.ndarray] = {}
    for name, item in drawn.items():
        arrays |= {join(name, "input"): item.x, join(name, "cotangent"): item.cotangent}
        arrays |= {join(name, "weights", key): array for key, array in item.weights.items()}
    return arrays


def write_job(folder: Path, backend: Backend, items: Sequence[WorkItem]) -> None:
    """Write what the process of a framework is to compute, and where."""
    todo = [
        {
            "name": item.name,
            "case": item.case.name,
            "module": item.case.module,
            "args": item.case.args,
            "kwargs": dict(item.case.kwargs),
            "tasks": [_describe(task) for task in item.tasks],
            "executables": list(item.executables),
            "mutant": (item.mutant.file, *item.mutant.edits[backend.framework]) if item.mutant else None,
        }
        for item in items
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
    """Compute each framework's work items, each backend in a process of its own at the same time.

    The steps of `meanwhile` are taken in this process while the others start and compute; for the rest see `follow`.
    """
    with start_all(backends, arrays, jobs) as (workers, lines):
        for _ in meanwhile:
            follow(workers, lines, advance, wait=False)
        follow(workers, lines, advance, timeout=timeout)
    return [worker.outcome for worker in workers]


@contextmanager
def running(
    jobs: Plan, drawn: Mapping[str, Drawn], training_data: Mapping[str, TrainingData]
) -> Iterator[tuple[list[Worker], Messages]]:
    """One process for each framework of `jobs`, at work on the processor; none of them is left at the end."""
    with start_all([Backend(framework) for framework in jobs], list_arrays(drawn, training_data), jobs) as started:
        yield started


@contextmanager
def start_all(
    backends: Sequence[Backend], arrays: Mapping[str, np.ndarray], jobs: Plan
) -> Iterator[tuple[list[Worker], Messages]]:
    """One process for each backend, at work; none of them is left at the end, nor is their folder."""
    with _temporary_folder() as folder:
        with _about_room(folder):
            save_file(dict(arrays), folder / "arrays.safetensors")
        lines: Messages = queue.Queue()
        workers: list[Worker] = []
        try:
            for backend in backends:
                with _about_room(folder):
                    write_job(folder, backend, jobs[backend.framework])
                workers.append(start(backend, folder, len(backends), jobs[backend.framework], lines))
            yield workers, lines
        finally:
            for worker in workers:
                worker.kill()


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="parity-")
    except OSError as error:
        raise ParityError(f"no temporary folder can be made: {error.strerror}; make room, or set TMPDIR") from None
    with folder as name:
        yield Path(name)


@contextmanager
def _about_room(folder: Path) -> Iterator[None]:
    """Say which folder cannot be written to, as when it is full."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ParityError(f"cannot write to {folder.parent}: {error}; make room, or set TMPDIR") from None


def start(backend: Backend, folder: Path, workers: int, items: Sequence[WorkItem], lines: Messages) -> Worker:
    """Start the process of a framework, one of so many `workers`; what it says goes to `lines`, None at its end.

    Raises:
        ParityError: Where the interpreter cannot be started.
    """
    ours, its = socket.socketpair()
    with its, (folder / f"{backend.framework}.log").open("w") as log:
        try:
            process = subprocess.Popen(
                [backend.python, "-m", "parity.workers.worker", str(its.fileno()), backend.framework, str(folder)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[its.fileno()],
                # In a group of its own, Ctrl-C reaches the parent alone, which ends the group.
                process_group=0,
                env=_environment(backend, folder, workers),
            )
        except OSError as error:
            ours.close()
            raise ParityError(f"the interpreter {backend.python} cannot be started: {error.strerror}") from None
    known = {item.name: [task.key for task in item.tasks] for item in items}
    worker = Worker(backend, process, folder, Outcome(backend.framework, backend.framework), known)
    take = partial(_put, lines, worker)
    threading.Thread(target=protocol.receive, args=(ours, take), daemon=True).start()
    return worker


def _put(lines: Messages, worker: Worker, line: bytes | None) -> None:
    lines.put((worker, line))


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
        ParityError: where a worker's device, packages or arithmetic are not what they must be, where it ends before its
            first case, or says what is no message.
    """
    while not all(worker.ended for worker in workers):
        try:
            worker, line = lines.get(timeout=TICK) if wait else lines.get_nowait()
        except queue.Empty:
            if not wait:
                return
            for silent in (worker for worker in workers if _is_silent(worker, timeout)):
                silent.stopped = f"said nothing for {timeout:g} seconds (--timeout) and was stopped"
                silent.kill()
                _end(silent)
            continue
        if worker.ended:
            continue
        worker.heard = time.monotonic()
        if line is None:
            _end(worker)
        else:
            _take_in(worker, _read(worker, line), advance)


def _read(worker: Worker, line: bytes) -> Message:
    """The message that a worker has sent, if it is one that this worker may send."""
    try:
        message = protocol.decode(line)
    except ParityError as error:
        raise ParityError(f"the {worker.framework} process sent what is no message of a worker: {error}") from None
    match message:
        case Finished(item) if item not in worker.items:
            raise ParityError(f"the {worker.framework} process finished what it was not given: {item[:80]!a}")
        case Failed(item, task) if task not in worker.items.get(item, ()):
            raise ParityError(f"the {worker.framework} process failed in what it was not given: {item[:80]!a}")
    return message


def _take_in(worker: Worker, message: Message, advance: Callable[[], None]) -> None:
    match message:
        case Refused(why):
            raise ParityError(why)
        case Ready(facts):
            worker.outcome.facts = facts
        case Failed(item, task, error):
            worker.outcome.errors[item, task] = error
        case Finished(whole=True):
            advance()
        case Done():
            worker.done = True


def _is_silent(worker: Worker, timeout: float | None) -> bool:
    return not worker.ended and timeout is not None and time.monotonic() - worker.heard > timeout


def _end(worker: Worker) -> None:
    with suppress(subprocess.TimeoutExpired):
        worker.process.wait(PATIENCE)
    worker.kill()
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
        # What the framework leaves there goes with the folder.
        "TMPDIR": str(folder),
        # So that its log is whole when it is killed.
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
