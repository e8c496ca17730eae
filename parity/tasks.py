"""What can be computed of a case: a check, in a mode, a precision and a form of execution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .cases import Case

CHECKS = ("forward", "gradients")
DTYPES = ("float64", "float32", "bfloat16", "float16")
# How a framework executes, and the framework that can; eager is each one's own way, an operation at a time.
FORMS = {
    "eager": ("torch", "paddle", "flax"),
    "torch.compile": ("torch",),
    "torch.export": ("torch",),
    "channels-last": ("torch",),
    "paddle.jit.to_static": ("paddle",),
    "nnx.jit": ("flax",),
}


@dataclass(frozen=True)
class Task:
    """One group of arrays to compute and to judge together."""

    check: str
    mode: str
    dtype: str
    form: str = "eager"

    @property
    def key(self) -> str:
        """What tells it from the other tasks of its case."""
        return f"{self.dtype}|{self.title}"

    @property
    def title(self) -> str:
        """The check as people read it."""
        return f"{self.check} {self.mode}" + (f" {self.form}" if self.form != "eager" else "")


def plan(case: Case, checks: Iterable[str], dtypes: Iterable[str], forms: Sequence[str], framework: str) -> list[Task]:
    """The tasks of a case in a framework, by precision, check and mode."""
    return [
        Task(check, mode, dtype, form)
        for dtype in dtypes
        for check in checks
        for mode in case.modes
        for form in forms
        if framework in FORMS[form]
    ]
