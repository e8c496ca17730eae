"""The environment of a worker: its framework's switches, what keeps it to its device, and where compiled code is kept.

The switches are data, in `table`. One that does not take is silent: the precision probe measures.
"""

import os
from pathlib import Path

from .table import TABLE

# JAX compiles each operation for each shape. On disk its code outlives `frameworks.flax.release` and serves all
# threads; a folder of the user's own keeps it from one run to the next.
COMPILED_CODE = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # XLA's own caches would put the folder's path, which is another in each run, into the key of every program.
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
}
# So that a run on the processor takes no memory of a GPU that it does not use.
PROCESSOR = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
# A JAX that is held to the processor sees no other device.
ACCELERATOR = {"JAX_PLATFORMS": ""}
# Options that the user may have set too, so ours are added.
JOINED = ("XLA_FLAGS",)


def switches(framework: str, *, allow_tf32: bool = False) -> dict[str, str]:
    """The environment variables of the framework's arithmetic; an empty value means that it must not be set."""
    row = TABLE[framework]
    return {**row.switches, **(row.tf32 if allow_tf32 else {})}


def environment(framework: str, device: str, *, allow_tf32: bool = False) -> dict[str, str]:
    """This process's environment with what a worker of `framework` on `device` needs."""
    wanted = switches(framework, allow_tf32=allow_tf32) | (PROCESSOR if device == "cpu" else ACCELERATOR)
    for name in JOINED:
        if name in wanted and os.environ.get(name):
            wanted[name] = f"{os.environ[name]} {wanted[name]}"
    # An empty CUDA_VISIBLE_DEVICES hides every device, an empty value of the others is that of none.
    gone = {name for name, value in wanted.items() if not value and not name.endswith("VISIBLE_DEVICES")}
    return {name: value for name, value in {**os.environ, **wanted}.items() if name not in gone}


def cache(framework: str, folder: Path) -> dict[str, str]:
    """The environment variables with which compiled code is kept in `folder`, where the user has named no other."""
    if framework != "flax":
        return {}
    wanted = {**COMPILED_CODE, "JAX_COMPILATION_CACHE_DIR": str(code_folder(folder))}
    return {name: os.environ.get(name) or value for name, value in wanted.items()}


def code_folder(folder: Path) -> Path:
    """The place of compiled code in a run's temporary folder."""
    return folder / "compiled"


def taken(framework: str, *, allow_tf32: bool = False) -> dict[str, str]:
    """The framework's switches as this process, the worker, finds them in its environment."""
    return {name: os.environ.get(name, "") for name in switches(framework, allow_tf32=allow_tf32)}
