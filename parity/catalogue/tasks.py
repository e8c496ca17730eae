"""What can be computed of a case: a check, in a mode, a precision and a execution."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..protocol import join
from .cases import Case
from .mutants import Mutant

CHECKS = ("forward", "gradients", "training")
DTYPES = ("float64", "float32", "bfloat16", "float16")
# How a framework executes, and the framework that can; eager is each one's own way, an operation at a time.
EXECUTIONS = {
    "eager": ("torch", "paddle", "flax"),
    "torch.compile": ("torch",),
    "torch.export": ("torch",),
    "channels-last": ("torch",),
    "paddle.jit.to_static": ("paddle",),
    "nnx.jit": ("flax",),
    "folded": ("torch", "paddle", "flax"),
}


@dataclass(frozen=True)
class Task:
    """One group of arrays to compute and to judge together."""

    check: str
    mode: str
    dtype: str
    execution: str = "eager"

    @property
    def key(self) -> str:
        """What tells it from the other tasks of its case."""
        return join(self.dtype, self.title)

    @property
    def title(self) -> str:
        """The check as people read it."""
        return f"{self.check} {self.mode}" + (f" {self.execution}" if self.execution != "eager" else "")


def list_tasks(
    case: Case, checks: Collection[str], dtypes: Collection[str], executions: Sequence[str], framework: str
) -> list[Task]:
    """The tasks of a case in a framework, by precision, check and mode; an ONNX graph knows float32 and eval alone."""
    if framework == "onnx":
        wanted = "forward" in checks and "float32" in dtypes and "eval" in case.modes and "eager" in executions
        return [Task("forward", "eval", "float32")] if wanted else []
    tasks = []
    for dtype in dtypes:
        for check in checks:
            if check == "training":
                tasks += list_training_tasks(case, dtype)
            else:
                tasks += [
                    Task(check, mode, dtype, execution)
                    for execution in executions
                    if framework in EXECUTIONS[execution]
                    for mode in case.modes
                    if is_shown(case, check, mode, execution)
                ]
    return tasks


def is_shown(case: Case, check: str, mode: str, execution: str) -> bool:
    """Whether an execution has this to show; what takes long to compile runs on one case of each module."""
    if execution in ("torch.export", "folded") and (check, mode) != ("forward", "eval"):
        return False  # an exported program and a folded module are for inference
    return execution in ("eager", "channels-last", "folded") or case.compiled


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

    @property
    def name(self) -> str:
        """What its results are found by."""
        return self.case.name if self.mutant is None else f"{self.mutant.name} in {self.case.name}"


# The work items of each framework.
Plan = Mapping[str, Sequence[WorkItem]]
