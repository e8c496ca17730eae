"""The parent of the processes that compile: what they are to compile, and what they say."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..catalogue.cases import Case
from ..errors import ParityError
from ..frameworks import switches
from ..workers import endings, interpreters
from .controls import CONTROLS
from .judge import Program

# Those whose compiler works without the device, each in a file of its name.
FRAMEWORKS = ("flax",)
# What XLA writes down of a program; its name begins with the mark, see `parity.lower.flax`.
DUMP = "--xla_dump_to={folder} --xla_dump_hlo_module_re=lowered"


@dataclass(frozen=True)
class Order:
    """What is to be compiled: cases, a user's factory, and whether the controls too; for which devices."""

    targets: Sequence[str]
    cases: Sequence[Case] = ()
    controls: bool = True
    # FILE.py:FACTORY, and the shapes of its model's inputs.
    own: str = ""
    shapes: Sequence[Sequence[int]] = ()
    # A folder where the compilers' own files are kept.
    keep: str = ""

    def programs(self, framework: str) -> int:
        """How many programs that is, as far as it is known before."""
        controls = sum(each.framework == framework for each in CONTROLS) if self.controls else 0
        return len(self.targets) * (controls + sum(len(case.modes) for case in self.cases) + bool(self.own))


@dataclass
class Findings:
    """The programs that were compiled, the controls among them apart, and what could not be compiled and why."""

    programs: list[Program] = field(default_factory=list)
    controls: dict[str, list[Program]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

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
        found.setdefault(f"{case.call} {case.shape} {case.modes}", case)
    return list(found.values())


def lower(
    order: Order, pythons: Mapping[str, str], frameworks: Sequence[str], *, advance: Callable[[], None] = lambda: None
) -> Findings:
    """Compile what is ordered in a process for each framework, one after the other: compilers use all cores.

    Raises:
        ParityError: Where a framework's compiler is not there, or its process dies.
    """
    findings = Findings()
    for framework in frameworks:
        for message in _messages(framework, pythons[framework], order):
            advance()
            if "failed" in message:
                findings.failed[f"{message['failed']} in {framework}"] = message["why"]
                continue
            program = Program(**message["program"])
            title = f"{framework} {program.name}"
            if any(title == f"{each.framework} {each.title}" for each in CONTROLS):
                findings.controls.setdefault(title, []).append(program)
            else:
                findings.programs.append(program)
    return findings


def _messages(framework: str, python: str, order: Order) -> Iterator[dict[str, Any]]:
    """What the process of a framework says of each program."""
    with tempfile.TemporaryDirectory(prefix="parity-lower-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(_job(order)))
        log = folder / "log"
        ours, its = os.pipe()
        with log.open("w") as output, os.fdopen(ours) as lines:
            try:
                process = subprocess.Popen(
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
                    else:
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
    environment["XLA_FLAGS"] += f" {DUMP.format(folder=folder / 'dump')}"
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    return {
        **environment,
        "PYTHONPATH": interpreters.search_path(folder),
        "TMPDIR": str(folder),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
