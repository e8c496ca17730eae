"""Both passes of a Flax module as one XLA program on a list of arrays: compiled, packed as bytes, loaded, executed.

The bytes are those of XLA's own format, and what they take and give is a list of names and shapes; nothing is pickled.
Loading such bytes runs code.
"""

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from flax import nnx
from jaxlib import xla_client

from ..errors import ParityError
from ..protocol import join
from . import flax as framework
from .layout import relayout

# The name of a program whose kernels the compiler is asked to write down; see `parity.lower.run`.
MARK = "lowered"
# What compiles for CUDA, of which JAX has one package for each major version.
PLUGINS = ("jax-cuda12-pjrt", "jax-cuda13-pjrt")
_SIGNATURE = re.compile(r"entry_computation_layout=\{\((.*?)\)->\((.*?)\)\}")
_TYPE = re.compile(r"(\w+)\[([\d,]*)\]")

Shapes = Mapping[str, tuple[int, ...]]
Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Program:
    """A function of float32 arrays in this order, and the names and shapes of what it takes and gives.

    It takes "weights|KEY", "input" and "cotangent", and gives "output", "moved|KEY" for each running value,
    "gradient|KEY" for each parameter, and "input gradient"; keys are Flax's, and maps have their channels last.
    """

    function: Callable[..., tuple[jax.Array, ...]]
    arguments: Shapes
    results: Shapes


def both_passes(model: nnx.Module, shape: tuple[int, ...], *, train: bool) -> Program:
    """The output, the moved running values and the gradients of a module, whose input has the shape (n, h, w, c).

    Random streams are constants in it: no module of the catalogue draws from one where it is compared.
    """
    model.train() if train else model.eval()
    variables = dict(framework.variables(model))
    parameters = sorted(key for key, variable in variables.items() if isinstance(variable, nnx.Param))
    running = sorted(variables.keys() - parameters)
    graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)

    def forward(weights: Mapping[str, jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        leaves = [(path, _filled(".".join(map(str, path)), variable, weights)) for path, variable in flat]
        copy = nnx.merge(graph, nnx.from_flat_state(leaves), copy=True)
        y = copy(x)
        after = dict(framework.variables(copy))
        return y, [framework.value_of(after[key]) for key in running]

    def both(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        *given, x, cotangent = arrays
        weights = dict(zip(sorted(variables), given, strict=True))
        fixed = {key: weights[key] for key in running}
        y, back, moved = jax.vjp(
            lambda p, x: forward({**p, **fixed}, x), {key: weights[key] for key in parameters}, x, has_aux=True
        )
        to_parameters, to_x = back(cotangent)
        return (y, *moved, *(to_parameters[key] for key in parameters), to_x)

    both.__name__ = MARK
    shapes = {key: tuple(framework.value_of(variables[key]).shape) for key in sorted(variables)}
    output, _ = jax.eval_shape(forward, {key: _ask(shapes[key]) for key in shapes}, _ask(shape))
    arguments = {**{join("weights", key): shapes[key] for key in shapes}, "input": shape, "cotangent": output.shape}
    results = {
        "output": output.shape,
        **{join("moved", key): shapes[key] for key in running},
        **{join("gradient", key): shapes[key] for key in parameters},
        "input gradient": shape,
    }
    return Program(both, arguments, results)


def _filled(key: str, variable: Any, weights: Mapping[str, jax.Array]) -> Any:
    return variable.replace(weights[key]) if key in weights else variable


def _ask(shape: tuple[int, ...], sharding: Any = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)


def lower(
    function: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any] | None = None
) -> jax.stages.Compiled:
    """The function compiled for where its arguments' shapes lie, with every argument, needed or not."""
    return jax.jit(function, keep_unused=True).lower(*arguments).compile(dict(options or {}))


def ask(program: Program, sharding: Any = None) -> list[jax.ShapeDtypeStruct]:
    """The shapes of a program's arguments, on a device if one is given."""
    return [_ask(shape, sharding) for shape in program.arguments.values()]


def pack(program: Program, compiled: jax.stages.Compiled) -> bytes:
    """The compiled program in XLA's own format.

    Raises:
        ParityError: Where it takes or gives something else than the program says.
    """
    _check_signature(program, compiled.as_text() or "")
    return bytes(compiled.runtime_executable().serialize())


def machine(name: str, processor: str) -> dict[str, str]:
    """The platform, capability and versions of a device's executables; `processor` tells one from another."""
    device = framework.devices_by_name()[name]
    kind = framework.kind(device)
    return compiled_for(kind, str(device.compute_capability) if kind == "cuda" else processor)


def compiled_for(platform: str, capability: str) -> dict[str, str]:
    """The platform, the compute capability or the processor, and the versions of the compiler."""
    made = {"platform": platform, "capability": capability, "jax": jax.__version__, "jaxlib": jaxlib.__version__}
    for name in PLUGINS if platform == "cuda" else ():
        with suppress(importlib.metadata.PackageNotFoundError):
            made[name] = importlib.metadata.version(name)
    return made


def compile_here(program: Program) -> Run:
    """The program as JAX compiles it for the device that is selected."""
    compiled = lower(program.function, ask(program))
    return lambda arrays: [np.asarray(array) for array in compiled(*arrays)]


def load(program: Program, code: bytes) -> Run:
    """The packed program, which is code, made ready to run on the device that is selected.

    Raises:
        ParityError: Where XLA cannot load it, or where it takes or gives something else than the program says.
    """
    device = jax.config.jax_default_device
    try:
        devices = xla_client.DeviceList((device,))
        executable = device.client.deserialize_executable(code, devices, compile_options=_assigned(device))
        text = executable.hlo_modules()[0].to_string()
    except Exception as error:
        raise ParityError(f"cannot be loaded: {str(error).splitlines()[0][:200] if str(error) else error!r}") from None
    _check_signature(program, text)
    return partial(_execute, program, executable, device)


def _assigned(device: jax.Device) -> Any:
    """The options that move an executable, compiled for the first device, to another; none for the first."""
    if device.id == 0:
        return None
    options = xla_client.CompileOptions()
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id]]))
    return options


def _execute(program: Program, executable: Any, device: jax.Device, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    placed = [jax.device_put(array, device) for array in arrays]
    given = executable.execute_sharded(placed).disassemble_into_single_device_arrays()
    found = [np.asarray(shards[0]) for shards in given]
    if [array.shape for array in found] != list(program.results.values()):
        raise ParityError("gave arrays of other shapes than it says")
    return found


def _check_signature(program: Program, text: str) -> None:
    """Hold the types that a compiled program states in its text to those of the program."""
    found = _SIGNATURE.search(text.partition("\n")[0])
    stated = [_TYPE.findall(part) for part in found.groups()] if found else [[], []]
    for word, types, shapes in zip(("take", "give"), stated, (program.arguments, program.results), strict=True):
        wanted = [("f32", ",".join(map(str, shape))) for shape in shapes.values()]
        if types != wanted:
            other = next((i for i, pair in enumerate(zip(types, wanted, strict=False)) if pair[0] != pair[1]), -1)
            what = f"{len(types)} arrays" if other < 0 else "{}[{}] as {}".format(*types[other], list(shapes)[other])
            must = f"{len(wanted)}" if other < 0 else "{}[{}]".format(*wanted[other])
            raise ParityError(f"must {word} {must}, but its text has {what}")


def run(
    program: Program, execute: Run, model: nnx.Module, x: np.ndarray, cotangent: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The output for `x` (n, c, h, w), and the gradients as the adapter has them; the model's running values move."""
    variables = dict(framework.variables(model))
    maps = [relayout(array, "nchw", "nhwc") if array.ndim == 4 else array for array in (x, cotangent)]
    arrays = [*(framework.to_numpy(variables[key]) for key in sorted(variables)), *maps]
    found = dict(zip(program.results, execute([np.ascontiguousarray(array) for array in arrays]), strict=True))
    for name in program.results:
        kind, _, key = name.partition("|")
        if kind == "moved":
            framework.assign(variables[key], found[name])
    output, to_input = found["output"], relayout(found["input gradient"], "nhwc", "nchw")
    gradients = {name.removeprefix("gradient|"): found[name] for name in found if name.startswith("gradient|")}
    return relayout(output, "nhwc", "nchw") if output.ndim == 4 else output, {"input": to_input, **gradients}
