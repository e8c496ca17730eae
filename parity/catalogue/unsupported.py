"""The refusals of frameworks, told apart from what they do wrong: by their own words, and by nothing broader."""

from dataclasses import dataclass

from .tasks import Task


@dataclass(frozen=True)
class Unsupported:
    """A kind of task that a framework refuses, and words of the error that it does so with."""

    framework: str
    words: str
    dtypes: tuple[str, ...]
    checks: tuple[str, ...] = ("forward", "gradients")
    modes: tuple[str, ...] = ("eval", "train")
    executions: tuple[str, ...] = ()

    def explains(self, framework: str, task: Task, error: str) -> bool:
        """Whether this is why the task ended with the error."""
        return self.covers(framework, task) and self.words in error

    def covers(self, framework: str, task: Task) -> bool:
        """Whether the task is of this kind."""
        return (
            framework == self.framework
            and task.dtype in self.dtypes
            and task.check in self.checks
            and task.mode in self.modes
            and (not self.executions or task.execution in self.executions)
        )


HALF = ("bfloat16", "float16")
UNSUPPORTED = (
    # What the modules and the networks begin with.
    Unsupported("paddle", "of kernel `mean` is not registered", HALF),
    Unsupported("paddle", "of kernel `conv2d` is not registered", HALF),
    # A program may have a kernel where there is none for single operations, but not all that it needs.
    Unsupported("paddle", "Paddle runs no program in half precision", HALF, executions=("paddle.jit.to_static",)),
    # A program compiled in eval mode has no backward pass.
    Unsupported(
        "paddle",
        "does not appear in the backward graph",
        ("float64", "float32"),
        checks=("gradients",),
        modes=("eval",),
        executions=("paddle.jit.to_static",),
    ),
)


def is_unsupported(framework: str, task: Task, error: str) -> bool:
    """Whether the framework has said that it cannot do this task."""
    return any(item.explains(framework, task, error) for item in UNSUPPORTED)
