"""An environment for each framework: their GPU builds pin CUDA libraries that cannot share one.

The GPU commands are those of each framework's own installation page: PyTorch's wheels for Linux carry CUDA 13, JAX has
them as an extra, and Paddle's are on its own index alone.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import ParityError
from ..frameworks import TABLE
from ..weights.files.atomic import write_bytes
from . import config

# What the worker needs besides its framework; ml_dtypes is for bfloat16.
WORKER = ("numpy", "safetensors", "ml_dtypes")
CONSTRAINTS = "constraints.txt"

Command = Sequence[str]


def constraints() -> Path:
    """The file of versions that work together: inside the installed package, or at the root of the repository.

    Raises:
        ParityError: where there is neither.
    """
    here = Path(__file__).parent.parent
    for folder in (here, here.parent):
        if (folder / CONSTRAINTS).is_file():
            return folder / CONSTRAINTS
    raise ParityError(f"{CONSTRAINTS}, which has the versions to install, is not beside this package")


def commands(folder: Path, framework: str, device: str, *, lower: bool = False) -> list[Command]:
    """The commands that make the environment of `framework` for "cpu" or "gpu" in a folder named for it.

    With `lower` it gets what compiles for a GPU that is not there, too.
    """
    python = str(interpreter(folder, framework))
    pins = constraints()
    versions = dict(line.split("==") for line in pins.read_text().splitlines() if "==" in line)
    install = [python, "-m", "pip", "install", "--constraint", str(pins)]
    row = TABLE[framework]
    packages = [part.format(**versions) for part in (row.pip_gpu if device == "gpu" else row.pip)]
    return [
        [sys.executable, "-m", "venv", str(folder / framework)],
        [*install, *WORKER],
        [*install, *packages],
        *([[*install, "--no-deps", *(part.format(**versions) for part in row.pip_lower)]] if lower else []),
    ]


def interpreter(folder: Path, framework: str) -> Path:
    """The path of the environment's interpreter."""
    return folder.absolute() / framework / "bin" / "python"


def make(todo: Sequence[Command], show: Callable[[Command], None]) -> None:
    """Run the commands, each shown before it runs.

    Raises:
        ParityError: for a command that fails; those after it are not run.
    """
    for command in todo:
        show(command)
        if code := subprocess.run(command, check=False).returncode:
            raise ParityError(f"{' '.join(command[:5])} ... ended with code {code}; what it printed says why")


def write_config(folder: Path, frameworks: Sequence[str], device: str, *, force: bool = False) -> Path:
    """Write parity.toml beside the environments, for `--config`; one that is there is replaced with `force` alone."""
    path = folder / config.NAME
    lines = ["[python]", *(f"{name} = {json.dumps(f'{name}/bin/python')}" for name in frameworks)]
    lines += ["", "[device]", *(f"{name} = {json.dumps(device)}" for name in frameworks)]
    write_bytes(path, ("\n".join(lines) + "\n").encode(), force=force)
    return path
