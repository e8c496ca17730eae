"""The examination of a backend: it is started, switched and measured as for a run, and computes nothing."""

import time
from dataclasses import dataclass, field
from typing import Any

from ..errors import ParityError
from . import pool
from .backend import Backend


@dataclass(frozen=True)
class Finding:
    """The facts about a backend, as `parity.workers.startup` says them, and why no run would work, if none would."""

    backend: Backend
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    why: str = ""


def examine(backend: Backend, timeout: float | None = None) -> Finding:
    """Start the backend as a run would."""
    begin = time.perf_counter()
    facts: dict[str, Any] = {}
    try:
        (outcome,) = pool.compute([backend], {}, {backend.framework: []}, timeout=timeout)
        facts, why = outcome.facts, outcome.errors.get(("", ""), "")
    except ParityError as error:
        why = str(error)
    return Finding(backend, time.perf_counter() - begin, facts, why)
