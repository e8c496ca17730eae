"""The tasks of a case: a check, in a mode, a precision and an execution."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol import join
from .cases import Case
from .mutants import Mutant

CHECKS = ("forward", "gradients", "training", "batch")
DTYPES = ("float64", "float32", "bfloat16", "float16")
MODES = ("eval", "train")
# Executions of both passes as one program: compiled where it runs, or before that and packed into a capsule.
COMPILED, PACKED = "compiled", "packed"
PROGRAMS = (COMPILED, PACKED)


@dataclass(frozen=True)
class Abilities:
    """The abilities of a framework; of its executions, eager is each one's own way, an operation at a time."""

    executions: Collection[str]
    checks: Collection[str] = CHECKS
    modes: Collection[str] = MODES
    dtypes: Collection[str] = DTYPES
    programs: bool = False


@dataclass(frozen=True)
class Task:
    """One group of arrays to compute and to judge together."""

    check: str
    mode: str
    dtype: str
    execution: str = "eager"

    @property
    def key(self) -> str:
        """The name that tells it from the other tasks of its case."""
        return join(self.dtype, self.title)

    @property
    def title(self) -> str:
        """The check as people read it."""
        return f"{self.check} {self.mode}" + (f" {self.execution}" if self.execution != "eager" else "")


def list_tasks(
    case: Case, checks: Collection[str], dtypes: Collection[str], executions: Sequence[str], able: Abilities
) -> list[Task]:
    """The tasks of a case in a framework that is `able` to compute them, by precision, check and mode."""
    tasks = []
    for dtype in (dtype for dtype in dtypes if dtype in able.dtypes and case.fits(dtype)):
        for check in (check for check in checks if check in able.checks):
            if check == "training":
                tasks += list_training_tasks(case, dtype)
            else:
                tasks += [
                    Task(check, mode, dtype, execution)
                    for execution in executions
                    if execution in able.executions
                    for mode in case.modes
                    if mode in able.modes and is_shown(case, check, mode, execution)
                ]
    return tasks


def is_shown(case: Case, check: str, mode: str, execution: str) -> bool:
    """Whether an execution has this to show; what takes long to compile runs on one case of each module."""
    if check == "batch" and mode != "eval":
        return False  # in train mode a batch norm mixes the images
    if execution in ("torch.export", "folded") and (mode != "eval" or check == "gradients"):
        return False  # an exported program and a folded module are for inference
    return execution in ("eager", "channels-last", "folded") or case.compiled


def list_program_tasks(case: Case, checks: Collection[str], dtypes: Collection[str], able: Abilities) -> list[Task]:
    """The tasks of a case whose answers come out of programs; they are of float32, whose bits a compiler decides."""
    if not able.programs or "float32" not in dtypes or not case.fits("float32"):
        return []
    return [
        Task(check, mode, "float32", execution)
        for execution in PROGRAMS
        for check in checks
        if check in ("forward", "gradients")
        for mode in case.modes
    ]


def list_training_tasks(case: Case, dtype: str) -> list[Task]:
    """One task for each optimizer and loss; in float32 also the same steps each begun at the reference's weights.

    Training in half precision needs float32 master weights, which each framework keeps its own way: it is not compared.
    """
    if dtype not in ("float64", "float32"):
        return []
    checks = ("training",) if dtype == "float64" else ("training", "steps")
    return [Task(check, recipe, dtype) for check in checks for recipe in case.recipes]


@dataclass(frozen=True)
class WorkItem:
    """A case and what is to be computed of it, by an implementation with a mutant or by the true one."""

    case: Case
    tasks: Sequence[Task]
    mutant: Mutant | None = None
    # What is packed for it, as `parity.workers.executables` describes it.
    executables: Sequence[Mapping[str, Any]] = ()

    @property
    def name(self) -> str:
        """The name by which its results are found."""
        return self.case.name if self.mutant is None else f"{self.mutant.name} in {self.case.name}"


# The work items of each framework.
Plan = Mapping[str, Sequence[WorkItem]]
