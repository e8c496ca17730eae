"""PyTorch's programs for a GPU that is not there: what `torch.compile` makes of them, never executed."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config

from ..frameworks import torch as framework
from . import inductor
from .controls import Control
from .judge import Program, judge

NAME = "torch"
# Inductor's kernels are Triton's.
NEEDS = {"triton": "triton"}

# Functions with their arguments, which are compiled one by one.
Passes = Sequence[tuple[Callable[..., Any], Sequence[Any]]]


def lower_case(case: Mapping[str, Any], mode: str, target: str, dump: Path) -> list[Program]:
    """A module's forward pass and gradients in one mode, as one program."""
    model = framework.build(case["module"], case["args"], case["kwargs"])
    return [lower(f"{case['name']} {mode}", both_passes(model, [case["shape"]], train=mode == "train"), target, dump)]


def lower_own(made: Any, arguments: Sequence[Any], target: str, dump: Path) -> list[Program]:
    """A user's function with its arguments, or a module with its inputs' shapes."""
    if not isinstance(made, nn.Module):
        name = getattr(made, "__name__", "function")
        return [lower(name, [(made, [_without_memory(each) for each in arguments])], target, dump)]
    name = type(made).__name__
    return [
        lower(f"{name} {mode}", both_passes(made, arguments, train=mode == "train"), target, dump)
        for mode in ("eval", "train")
    ]


def lower_control(control: Control, target: str, dump: Path) -> list[Program]:
    """A program with the fault in it that the control is to show."""
    make, allow_tf32, deterministic, options = CONTROLS[control.name]
    passes = make()
    framework.set_numerics_flags(allow_tf32=allow_tf32)
    torch.use_deterministic_algorithms(deterministic)
    try:
        with config.patch(options):
            return [lower(control.title, passes, target, dump)]
    finally:
        framework.set_numerics_flags(allow_tf32=False)


def lower(name: str, passes: Passes, target: str, dump: Path) -> Program:
    """The functions compiled for the target, read, and judged as one program."""
    begin = time.perf_counter()
    found = inductor.Compiled(dump)
    for function, arguments in passes:
        inductor.compile_(function, arguments, target, found)
    seconds = round(time.perf_counter() - begin, 2)
    return judge(name, NAME, target, calls=found.calls, kernels=found.kernels, memory=found.memory, seconds=seconds)


def both_passes(model: nn.Module, shapes: Sequence[Sequence[int]], *, train: bool) -> Passes:
    """A module with inputs that want gradients; in eval mode it is called without any too, which takes other ways."""
    model = model.to("meta").train(train)
    inputs = [_ask(*shape, gradient=True) for shape in shapes]
    return [(model, inputs)] if train else [(torch.no_grad()(model.forward), inputs), (model, inputs)]


def _without_memory(argument: Any) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    return argument.detach().to("meta").requires_grad_(argument.requires_grad)


def _ask(*shape: int, dtype: Any = torch.float32, gradient: bool = False) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta", requires_grad=gradient)


def _module() -> Passes:
    """SE_ASPP, whose convolutions are cuDNN's, in train mode."""
    return both_passes(framework.build("SE_ASPP", (4, 8), {"rates": (2, 3)}), [(2, 4, 9, 11)], train=True)


def _product() -> Passes:
    return [(torch.matmul, (_ask(256, 256), _ask(256, 256)))]


def _scatter() -> Passes:
    """The gradient of a look-up: rows that are asked for twice are added up."""

    def add(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
        return x.index_put((places,), values, accumulate=True)

    return [(add, (_ask(1000), _ask(5000, dtype=torch.int64), _ask(5000)))]


def _maximum() -> Passes:
    """A maximum's gradient if it computed its input, a batch norm, anew: the maximum is given."""

    def compare(x: Tensor, scale: Tensor, shift: Tensor, maximum: Tensor) -> Tensor:
        return torch.where(x * scale + shift == maximum, x, 0)

    return [(compare, (_ask(2, 64, 56, 56), _ask(64, 1, 1), _ask(64, 1, 1), _ask(2, 64, 1, 1)))]


def _large() -> Passes:
    return [(lambda x: x + 1, (_ask(1 << 36),))]


# What makes each control's program, whether TF32 and deterministic algorithms are on, and Inductor's options.
CONTROLS: Mapping[str, tuple[Callable[[], Passes], bool, bool, Mapping[str, Any]]] = {
    "tf32": (_module, True, True, {}),
    # Otherwise a product of matrices is cuBLAS's.
    "product": (_product, True, True, {"triton.native_matmul": True}),
    "atomics": (_scatter, False, False, {}),
    "fma": (_maximum, False, True, {}),
    "memory": (_large, False, True, {}),
}

# As `parity run` has them; a user's file, which is loaded later, may set others.
framework.set_numerics_flags(allow_tf32=False)
