"""The walk of `parity run`: draw, compute in one process per framework and in the reference, judge."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from . import reference
from .cases import Case
from .compare import RELATIVE, Verdict, judge
from .expect import build, expect
from .inputs import draw_input, draw_weights
from .worker import tensor_name

DTYPES = ("float64", "float32")
LOG_LINES = 5


@dataclass(frozen=True)
class Result:
    """One check of one case in one framework: how far off it is, in which unit, and what may be."""

    case: str
    framework: str
    device: str
    dtype: str
    check: str
    error: float
    limit: float
    unit: str
    passed: bool
    why: str


@dataclass(frozen=True)
class Report:
    """All results, and what they were computed with."""

    results: list[Result]
    environment: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether there are results and every one passed."""
        return bool(self.results) and all(result.passed for result in self.results)


@dataclass
class Worker:
    """A framework's process and what it has said so far."""

    framework: str
    process: subprocess.Popen[str]
    log: Path
    versions: dict[str, str]
    errors: dict[str, str]


def run(
    cases: Sequence[Case],
    frameworks: Sequence[str],
    dtypes: Sequence[str],
    image: np.ndarray,
    *,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Compute every case in every framework and judge it against the reference.

    Args:
        cases: what to compute.
        frameworks: installed ones, each run in a process of its own at the same time.
        dtypes: precisions, of DTYPES.
        image: the photograph, (rows, columns, 3) bytes.
        seed: of the weights and the inputs that are drawn.
        advance: called once for each case finished in a framework or in the reference.

    Returns:
        The results by case, framework, dtype and check.
    """
    inputs = {case.name: draw_input(case, image, seed) for case in cases}
    weights = {case.name: draw_weights(case, reference.shapes(build(case)), seed) for case in cases}
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        _write_job(folder, cases, dtypes, inputs, weights)
        lines: queue.Queue[tuple[Worker, str | None]] = queue.Queue()
        workers = [_start(framework, folder, len(frameworks), lines) for framework in frameworks]
        try:
            expected = {}
            for case in cases:
                for mode in case.modes:
                    expected[case.name, mode] = expect(
                        case, weights[case.name], inputs[case.name], train=mode == "train", dtypes=tuple(dtypes)
                    )
                advance()
            _follow(workers, lines, advance)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
        results = []
        for worker in workers:
            path = folder / f"{worker.framework}.safetensors"
            computed = load_file(path) if path.exists() else {}
            for case in cases:
                if not path.exists():
                    worker.errors.setdefault(case.name, _last_words(worker))
                results += _judge_case(worker, case, dtypes, computed, expected)
    order = {case.name: i for i, case in enumerate(cases)}
    results.sort(key=lambda result: order[result.case])
    versions = {key: value for worker in workers for key, value in worker.versions.items()}
    environment = {**versions, "numpy": np.__version__, "python": sys.version.split()[0], "seed": seed}
    return Report(results, environment)


def _write_job(
    folder: Path,
    cases: Sequence[Case],
    dtypes: Sequence[str],
    inputs: Mapping[str, np.ndarray],
    weights: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    arrays = {f"{name}|input": x for name, x in inputs.items()}
    for name, drawn in weights.items():
        arrays |= {f"{name}|weights|{key}": array for key, array in drawn.items()}
    save_file(arrays, folder / "arrays.safetensors")
    tasks = [
        {
            "case": case.name,
            "module": case.module,
            "args": case.args,
            "kwargs": dict(case.kwargs),
            "modes": case.modes,
            "dtypes": tuple(dtypes),
        }
        for case in cases
    ]
    (folder / "job.json").write_text(json.dumps(tasks))


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


def _start(framework: str, folder: Path, workers: int, lines: "queue.Queue[tuple[Worker, str | None]]") -> Worker:
    log = folder / f"{framework}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "parity.worker", framework, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=_environment(workers),
        )
    worker = Worker(framework, process, log, {}, {})

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put((worker, line))
        lines.put((worker, None))

    threading.Thread(target=read, daemon=True).start()
    return worker


def _follow(
    workers: Sequence[Worker], lines: "queue.Queue[tuple[Worker, str | None]]", advance: Callable[[], None]
) -> None:
    """Take in what the workers say until each has ended."""
    running = len(workers)
    while running:
        worker, line = lines.get()
        if line is None:
            running -= 1
            worker.process.wait()
            continue
        message = json.loads(line)
        if "versions" in message:
            worker.versions |= message["versions"]
        else:
            advance()
            if "error" in message:
                worker.errors[message["case"]] = message["error"]


def _last_words(worker: Worker) -> str:
    tail = worker.log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
    return f"the {worker.framework} process ended with code {worker.process.returncode}: {' | '.join(tail)}"


def _judge_case(
    worker: Worker, case: Case, dtypes: Sequence[str], computed: Mapping[str, np.ndarray], expected: Mapping[Any, Any]
) -> list[Result]:
    results = []
    for dtype in dtypes:
        for mode in case.modes:
            if case.name in worker.errors:
                verdict = Verdict(float("inf"), 0.0, RELATIVE, worker.errors[case.name])
            else:
                prefix = tensor_name(case.name, dtype, mode, "")
                arrays = {k.removeprefix(prefix): v for k, v in computed.items() if k.startswith(prefix)}
                truth = expected[case.name, mode]
                verdict = judge(arrays, truth.arrays, dtype, truth.noise.get(dtype, {}))
            results.append(
                Result(case.name, worker.framework, "cpu", dtype, mode, **asdict(verdict), passed=verdict.passed)
            )
    return results
