"""The same computation as `parity.workers.pool.compute`, spread over the machines of a Ray cluster.

Each framework's tasks become pieces of a precision and a few cases, which know nothing of each other. Ray starts a
piece where it finds room, hands a GPU to it where its backend wants one, and starts it again where its worker or its
machine is lost. A piece runs as it would here: in a process of its own with its own interpreter and switches.
"""

import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..catalogue import cases as catalogue
from ..catalogue.tasks import Plan, Task, WorkItem
from ..errors import ParityError
from ..frameworks import switches
from ..protocol import first
from . import pool
from .backend import Backend
from .interpreters import PACKAGES
from .outcome import Outcome

# Enough that a framework's start is a small part of a piece's time.
CASES = 10
RETRIES = 3
TICK = 0.2

Piece = Sequence[tuple[str, Sequence[Task]]]


def compute(
    address: str,
    backends: Sequence[Backend],
    arrays: Mapping[str, np.ndarray],
    jobs: Plan,
    *,
    meanwhile: Iterable[object] = (),
    advance: Callable[[], None] = lambda: None,
    timeout: float | None = None,
) -> list[Outcome]:
    """Compute each framework's tasks on the cluster at `address`; see `pool.compute`.

    Raises:
        ParityError: where Ray is not installed or not at the address, and what `parity.workers.pool.compute` raises.
    """
    if find_spec("ray") is None:
        raise ParityError("ray is not installed; `pip install 'attention-parity[ray]'` adds it")
    import ray

    _knock(address)
    try:
        # Ray takes folders for the whole job alone; what a piece asks for is added to them.
        shipped = {"py_modules": [str(Path(__file__).parent.parent.parent / name) for name in PACKAGES]}
        ray.init(address=address, runtime_env=shipped, log_to_driver=False, logging_level="ERROR")
    # Ray has a kind of exception for each way in which an address can be wrong.
    except Exception as error:
        raise ParityError(f"no Ray cluster answers at {address!r}: {str(error).partition(chr(10))[0]}") from None
    try:
        waiting = {}
        for i, backend in enumerate(backends):
            start = ray.remote(run_piece).options(**options(backend))
            for piece in cut(jobs[backend.framework]):
                waiting[start.remote(_portable(backend), _needed(arrays, piece), piece, timeout)] = i, piece
        found: list[list[tuple[Piece, Outcome]]] = [[] for _ in backends]
        steps: Iterator[object] = iter(meanwhile)
        busy = True
        while waiting or busy:
            busy = busy and next(steps, steps) is not steps
            ready, _ = ray.wait(list(waiting), timeout=0 if busy else TICK) if waiting else ([], [])
            for reference in ready:
                i, piece = waiting.pop(reference)
                found[i].append((piece, _fetch(ray, reference, backends[i])))
                for _ in piece:
                    advance()
        return [_join(backend, pieces) for backend, pieces in zip(backends, found, strict=True)]
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise ParityError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise ParityError(f"no Ray cluster answers at {address!r}: {error.strerror or error}") from None


def options(backend: Backend) -> dict[str, Any]:
    """The options of a piece of the backend for Ray: its switches, a GPU where it wants one, and retries."""
    variables = switches.switches(backend.framework, allow_tf32=backend.allow_tf32)
    return {
        "max_retries": RETRIES,
        "num_cpus": 1,
        "num_gpus": 0 if backend.device == "cpu" else 1,
        "runtime_env": {"env_vars": {name: value for name, value in variables.items() if value}},
    }


def cut(todo: Sequence[WorkItem]) -> Iterator[Piece]:
    """The tasks in pieces of one precision and at most CASES cases, cases by name."""
    for dtype in dict.fromkeys(task.dtype for item in todo for task in item.tasks):
        found = [(item.name, [task for task in item.tasks if task.dtype == dtype]) for item in todo]
        items = [piece for piece in found if piece[1]]
        for begin in range(0, len(items), CASES):
            yield items[begin : begin + CASES]


def run_piece(backend: Backend, arrays: dict[str, np.ndarray], piece: Piece, timeout: float | None) -> Outcome | str:
    """On a machine of the cluster: the piece's outcome, or in words why the backend cannot compute there."""
    known = {case.name: case for case in catalogue.EVERY}
    backend = replace(backend, python=backend.python or sys.executable)
    todo = [WorkItem(known[name], listed) for name, listed in piece]
    try:
        return pool.compute([backend], arrays, {backend.framework: todo}, timeout=timeout)[0]
    except ParityError as error:
        return str(error)


def _portable(backend: Backend) -> Backend:
    """The backend without this process's interpreter and cache, which other machines have elsewhere."""
    return replace(backend, python="" if backend.python == sys.executable else backend.python, cache="")


def _needed(arrays: Mapping[str, np.ndarray], piece: Piece) -> dict[str, np.ndarray]:
    names = {name for name, _ in piece}
    return {key: array for key, array in arrays.items() if first(key) in names}


def _fetch(ray: Any, reference: Any, backend: Backend) -> Outcome:
    try:
        outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        why = f"the {backend.framework} task was lost {RETRIES + 1} times: {type(error).__name__}"
        return Outcome(backend.framework, backend.framework, errors={("", ""): why})
    if isinstance(outcome, str):
        raise ParityError(outcome)
    return outcome


def _join(backend: Backend, pieces: Sequence[tuple[Piece, Outcome]]) -> Outcome:
    """The pieces of a backend as one outcome; where one computed nothing, its own tasks have the error."""
    joined = Outcome(backend.framework, backend.framework)
    known = {case.name: case for case in catalogue.EVERY}
    for piece, outcome in pieces:
        joined.facts = joined.facts or outcome.facts
        joined.notes += [note for note in outcome.notes if note not in joined.notes]
        joined.computed |= outcome.computed
        joined.errors |= {
            (name, task.key): why
            for name, listed in piece
            for task in listed
            if (why := outcome.error(WorkItem(known[name], listed), task))
        }
        device, other = (facts.get("device", {}).get("name", "") for facts in (joined.facts, outcome.facts))
        if other and device != other and not any(other in note for note in joined.notes):
            joined.notes.append(f"{backend.framework} ran on a {other} too, not only on a {device}")
    return joined
