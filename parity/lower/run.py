"""The parent of the processes that compile: what they are to compile, and what they say."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from ..catalogue.cases import Case
from ..errors import ParityError
from ..frameworks import switches
from ..workers import endings, interpreters
from ..workers.executables import Executable
from .controls import CONTROLS
from .judge import Program

# Those whose compiler works without the device, each in a file of its name.
FRAMEWORKS = ("flax", "torch")
# What XLA writes down of a program; its name begins with the mark, see `parity.lower.flax`.
DUMP = "--xla_dump_to={folder} --xla_dump_hlo_module_re=lowered"

# Where Inductor and Triton keep what they have compiled, which is read and thrown away.
CODE = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@dataclass(frozen=True)
class Order:
    """The programs to compile: cases, a user's factory, and whether the controls too; for which devices."""

    targets: Sequence[str]
    cases: Sequence[Case] = ()
    controls: bool = True
    # FILE.py:FACTORY, and the shapes of its model's inputs.
    own: str = ""
    shapes: Sequence[Sequence[int]] = ()
    # A folder where the compilers' own files are kept.
    keep: str = ""
    # Whether the cases' programs are wanted as bytes; see `pack`.
    pack: bool = False

    def programs(self, framework: str) -> int:
        """The number of programs, as far as it is known before."""
        controls = sum(each.framework == framework for each in CONTROLS) if self.controls else 0
        return len(self.targets) * (controls + sum(len(case.modes) for case in self.cases) + bool(self.own))


@dataclass
class Findings:
    """The programs that were compiled, the controls among them apart, and what could not be compiled and why."""

    programs: list[Program] = field(default_factory=list)
    controls: dict[str, list[Program]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, framework: str, message: Mapping[str, Any]) -> None:
        """Take what a process said of a program."""
        if "failed" in message:
            self.failed[f"{message['failed']} in {framework}"] = message["why"]
            return
        program = Program(**message["program"])
        title = f"{framework} {program.name}"
        if any(title == f"{each.framework} {each.title}" for each in CONTROLS):
            self.controls.setdefault(title, []).append(program)
        else:
            self.programs.append(program)

    @property
    def missed(self) -> list[str]:
        """The controls whose fault was not found: what this command says is worth nothing then."""
        return [
            f"{control.title} ({control.framework}, {program.target}): {control.fault}"
            for control in CONTROLS
            for program in self.controls.get(f"{control.framework} {control.title}", ())
            if control.fault not in program.faults
        ]

    @property
    def passed(self) -> bool:
        """Whether there is a program, every one could be compiled, none has a fault, and every control has its own."""
        return (
            bool(self.programs or self.controls)
            and not self.failed
            and not self.missed
            and not any(program.faults for program in self.programs)
        )


def distinct(cases: Sequence[Case]) -> list[Case]:
    """The first case of each program: a compiler sees neither the weights nor the input, only their shapes."""
    found: dict[str, Case] = {}
    for case in cases:
        found.setdefault(case.program, case)
    return list(found.values())


def lower(
    order: Order, pythons: Mapping[str, str], frameworks: Sequence[str], *, advance: Callable[[], None] = lambda: None
) -> Findings:
    """Compile what is ordered in a process for each framework and device, as many at once as there are cores.

    Raises:
        ParityError: Where a framework's compiler is not there, or its process dies.
    """
    parts = [(framework, target) for framework in frameworks for target in order.targets]
    started = _Started()

    def say(framework: str, target: str) -> list[dict[str, Any]]:
        said = []
        for message in _messages(framework, pythons[framework], replace(order, targets=[target]), started):
            advance()
            said.append(message)
        return said

    with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) as pool:
        try:
            todo = [pool.submit(say, *part) for part in parts]
            # One that is refused stops the others, and so does whatever ends this process.
            for done in wait(todo, return_when=FIRST_EXCEPTION).done:
                done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            started.stop()
    findings = Findings()
    for (framework, _), part in zip(parts, todo, strict=True):
        for message in part.result():
            findings.add(framework, message)
    return findings


def pack(
    cases: Sequence[Case], targets: Sequence[str], python: str, *, advance: Callable[[], None] = lambda: None
) -> list[Executable]:
    """Flax's programs of the cases, both passes in one, compiled for each target and read; see `lower` for the rest.

    Raises:
        ParityError: Where a compiler is not there, or a program has a fault.
    """
    found = []
    order = Order(targets, distinct(cases), controls=False, pack=True)
    for message in _messages("flax", python, order):
        found.append(Executable(**message["packed"], code=message["code"]))
        advance()
    return found


class _Started:
    """The processes that compile; stopped, they are killed, and no other is started."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._processes: list[subprocess.Popen[Any]] = []
        self._stopped = False

    def start(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        with self._lock:
            if self._stopped:
                raise ParityError("stopped")
            process = subprocess.Popen(command, **options)
            self._processes.append(process)
            return process

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()


def _messages(framework: str, python: str, order: Order, started: _Started | None = None) -> Iterator[dict[str, Any]]:
    """Yield what the process of a framework says of each program."""
    with tempfile.TemporaryDirectory(prefix="parity-lower-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(_job(order)))
        log = folder / "log"
        ours, its = os.pipe()
        with log.open("w") as output, os.fdopen(ours) as lines:
            try:
                process = (started or _Started()).start(
                    [python, "-m", "parity.lower.worker", str(its), framework, name],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[its],
                    env=_environment(framework, folder),
                )
            except OSError as error:
                raise ParityError(f"the interpreter {python} cannot be started: {error.strerror}") from None
            finally:
                os.close(its)
            try:
                done = False
                for line in lines:
                    message = json.loads(line)
                    if "refused" in message:
                        raise ParityError(message["refused"])
                    if "done" in message:
                        done = True
                        continue
                    if "packed" in message:
                        file = folder / message["file"]
                        message["code"] = file.read_bytes()
                        file.unlink()
                    yield message
            finally:
                process.kill() if not done else None
                process.wait()
            if not done:
                raise ParityError(endings.describe(framework, process.returncode, "", log))


def _job(order: Order) -> dict[str, Any]:
    fields = ("name", "module", "args", "shape", "modes")
    cases = [{**{key: getattr(case, key) for key in fields}, "kwargs": dict(case.kwargs)} for case in order.cases]
    return {**vars(order), "cases": cases}


def _environment(framework: str, folder: Path) -> dict[str, str]:
    """A process's environment: the honest switches, no device, and the path to this package."""
    environment = switches.environment(framework, "cpu")
    environment.pop("PYTHONHOME", None)
    if framework == "flax":
        environment["XLA_FLAGS"] += f" {DUMP.format(folder=folder / 'dump')}"
        environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
        # What XLA for processors loads from JAX's cache it packs without some of its functions.
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    if framework == "torch":
        environment |= {name: str(folder / "code") for name in CODE}
    return {
        **environment,
        "PYTHONPATH": interpreters.search_path(folder),
        "TMPDIR": str(folder),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
