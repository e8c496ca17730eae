"""JAX's programs for a GPU that is not there: traced on this processor, compiled for that device, never executed.

The compiler comes with JAX's plug-in for CUDA, which needs no driver for this. What it writes down goes to the folder
that `XLA_FLAGS` names; see `parity.lower.run`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import ParityError
from ..frameworks import flax as framework
from ..frameworks import flax_program as programs
from ..workers.code_cache import processor_digest
from . import hlo, ptx, targets
from .controls import Control
from .judge import Program, judge

NAME = "flax"
# The plug-in that compiles, by the name that it is imported by, and the package that brings it.
NEEDS = {"jax_plugins.xla_cuda12": "jax-cuda12-plugin and jax-cuda12-pjrt"}

Function = Callable[..., Any]


def lower_case(case: Mapping[str, Any], mode: str, target: str, dump: Path) -> list[Program]:
    """A module's forward pass and gradients in one mode, as one program."""
    program = _program(case, mode)
    return [lower(f"{case['name']} {mode}", program.function, programs.ask(program), target, dump)]


def pack_case(case: Mapping[str, Any], mode: str, target: str, dump: Path) -> tuple[dict[str, Any], bytes]:
    """The same program as bytes for a GPU or for this processor, with what it takes, gives, and needs to be run.

    Raises:
        ParityError: Where it has a fault, so that nobody should run it.
    """
    program, name = _program(case, mode), f"{case['name']} {mode}"
    if target == targets.PROCESSOR:
        compiled = programs.lower(program.function, programs.ask(program))
        made = programs.machine(targets.PROCESSOR, processor_digest())
    else:
        begin = time.perf_counter()
        compiled = programs.lower(program.function, programs.ask(program, _placement(target)))
        made = programs.compiled_for("cuda", targets.capability(target))
        if faults := _read(name, compiled, target, dump, begin).faults:
            raise ParityError(f"{name} for {target} is not packed, it has a fault: {next(iter(faults.values()))[0]}")
        if strays := _architectures(dump) - {targets.architecture(target)}:
            raise ParityError(f"{name} for {target} was compiled for {min(strays)}")
    shapes = {"arguments": program.arguments, "results": program.results}
    described = {
        key: [{"name": name, "shape": shape} for name, shape in named.items()] for key, named in shapes.items()
    }
    code = programs.pack(program, compiled)
    jax.clear_caches()
    return {"case": case["name"], "mode": mode, "target": target, "made": made, **described}, code


def _architectures(dump: Path) -> set[str]:
    """The GPUs that the generated kernels are for, such as sm_90."""
    return {name for path in dump.glob("*.ptx") for name in ptx.architectures(path.read_text())}


def _program(case: Mapping[str, Any], mode: str) -> programs.Program:
    model = framework.build(case["module"], case["args"], case["kwargs"])
    n, c, h, w = case["shape"]
    return programs.both_passes(model, (n, h, w, c), train=mode == "train")


def lower_own(made: Any, arguments: Sequence[Any], target: str, dump: Path) -> list[Program]:
    """A user's function with its arguments, or a module of NNX's with its inputs' shapes."""
    if not isinstance(made, nnx.Module):
        return [lower(getattr(made, "__name__", "function"), made, arguments, target, dump)]
    inputs = [_ask(*shape) for shape in arguments]
    name = type(made).__name__
    return [
        lower(f"{name} {mode}", *both_passes(made, *inputs, train=mode == "train"), target, dump)
        for mode in ("eval", "train")
    ]


def lower_control(control: Control, target: str, dump: Path) -> list[Program]:
    """A program with the fault in it that the control is to show."""
    make, options = CONTROLS[control.name]
    function, arguments = make()
    with jax.default_matmul_precision("default"):
        return [lower(control.title, function, arguments, target, dump, options)]


def both_passes(model: nnx.Module, *inputs: Any, train: bool) -> tuple[Function, Sequence[Any]]:
    """A function that gives a module's output, moved state and gradients, and the shapes of its arguments."""
    model.train() if train else model.eval()
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def forward(parameters: nnx.State, rest: nnx.State, *inputs: jax.Array) -> tuple[jax.Array, nnx.State]:
        model = nnx.merge(graph, parameters, rest, copy=True)
        return model(*inputs), nnx.split(model, nnx.Param, ...)[2]

    def both(parameters: nnx.State, rest: nnx.State, cotangent: jax.Array, *inputs: jax.Array) -> Any:
        y, back, moved = jax.vjp(lambda p, *x: forward(p, rest, *x), parameters, *inputs, has_aux=True)
        return y, moved, back(cotangent)

    output, _ = jax.eval_shape(forward, parameters, rest, *inputs)
    return both, (parameters, rest, output, *inputs)


def lower(
    name: str,
    function: Function,
    arguments: Sequence[Any],
    target: str,
    dump: Path,
    options: Mapping[str, Any] | None = None,
) -> Program:
    """The function compiled for the target, read, and judged."""
    begin = time.perf_counter()

    def lowered(*arguments: Any) -> Any:
        return function(*arguments)

    lowered.__name__ = programs.MARK
    shapes = jax.tree.map(lambda array: _shape(array, target), tuple(arguments))
    program = _read(name, programs.lower(lowered, shapes, options), target, dump, begin)
    jax.clear_caches()
    return program


def _read(name: str, compiled: jax.stages.Compiled, target: str, dump: Path, begin: float) -> Program:
    """The verdict on what was compiled and on what the compiler wrote down of it."""
    used = compiled.memory_analysis()
    memory = (
        used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes - used.alias_size_in_bytes
    )
    kernels = [kernel for path in sorted(dump.glob("*.ptx")) for kernel in ptx.read(path.read_text())]
    calls, seconds = hlo.read(compiled.as_text()), round(time.perf_counter() - begin, 2)
    return judge(name, NAME, target, calls=calls, kernels=kernels, memory=memory, seconds=seconds)


@cache
def _placement(target: str) -> NamedSharding:
    """Place a program's arrays on the one device of that kind, which is described and not there."""
    described = topologies.get_topology_desc(platform="cuda", target_config=targets.describe(target), topology="1x1x1")
    return NamedSharding(Mesh(np.array(described.devices).reshape(1), ("device",)), PartitionSpec())


def _shape(array: Any, target: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=_placement(target))


def _ask(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _module() -> tuple[Function, Sequence[Any]]:
    """SE_ASPP, whose convolutions are cuDNN's, in train mode."""
    model = framework.build("SE_ASPP", (4, 8), {"rates": (2, 3)})
    return both_passes(model, _ask(2, 9, 11, 4), train=True)


def _product() -> tuple[Function, Sequence[Any]]:
    return jnp.matmul, (_ask(256, 256), _ask(256, 256))


def _scatter() -> tuple[Function, Sequence[Any]]:
    """The gradient of a look-up: rows that are asked for twice are added up."""

    def add(x: jax.Array, places: jax.Array, values: jax.Array) -> jax.Array:
        return x.at[places].add(values)

    return add, (_ask(1000), _ask(5000, dtype=jnp.int32), _ask(5000))


def _maximum() -> tuple[Function, Sequence[Any]]:
    """A maximum's gradient if it computed its input anew: here the maximum is given."""

    def compare(x: jax.Array, maximum: jax.Array) -> jax.Array:
        return jnp.where(jax.nn.sigmoid(x) == maximum, x, 0)

    return compare, (_ask(2, 56, 56, 64), _ask(2, 1, 1, 64))


def _large() -> tuple[Function, Sequence[Any]]:
    return lambda x: x + 1, (_ask(1 << 36),)


# What makes each control's program, and the compiler's options that it needs to go wrong.
CONTROLS: Mapping[str, tuple[Callable[[], tuple[Function, Sequence[Any]]], Mapping[str, Any]]] = {
    "tf32": (_module, {}),
    "product": (_product, {}),
    "atomics": (_scatter, {"xla_gpu_deterministic_ops": False}),
    "fma": (_maximum, {}),
    "memory": (_large, {}),
}
