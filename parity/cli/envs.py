"""`parity envs`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ParityError
from ..frameworks import FRAMEWORKS, TABLE
from ..weights.files.atomic import check_target
from ..workers import config, environments
from .options import Frameworks, choose, split

KINDS = ("cpu", "gpu")


def envs(
    folder: Annotated[Path, typer.Argument(help="Where the environments are made, a folder each.")],
    device: Annotated[str, typer.Option(help="cpu, or gpu for one by NVIDIA.")] = "cpu",
    framework: Frameworks = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run the commands of --device gpu, not only show them.")] = False,
    lower: Annotated[
        bool, typer.Option("--lower", help="With the compilers of `parity lower`: flax and torch.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder's parity.toml if it exists.")] = False,
) -> None:
    """Make an environment for each framework.

    The parity.toml beside them names their interpreters. Every command is shown before it runs. Those for a GPU
    download gigabytes, so they run only with --yes.

    \b
    parity envs envs --device gpu --yes
    parity run --config envs/parity.toml
    """
    known = [name for name in FRAMEWORKS if TABLE[name].pip_lower or not lower]
    chosen = choose(split(framework), known, "--framework")
    if lower and device != "cpu":
        raise ParityError("--lower is for machines without a GPU; leave --device out")
    if device not in KINDS:
        raise ParityError(f"--device must be one of {', '.join(KINDS)}, got {device!r}")
    if folder.exists() and not folder.is_dir():
        raise ParityError(f"{folder} must be a folder, or nothing yet")
    todo = [command for name in chosen for command in environments.commands(folder, name, device, lower=lower)]
    if device == "gpu" and not yes:
        for command in todo:
            _show(command)
        typer.echo("nothing was run: --yes runs these commands", err=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    check_target(folder / config.NAME, force=force)
    environments.make(todo, _show)
    command = f"lower --framework {','.join(chosen)}" if lower else "run"
    typer.echo(f"parity {command} --config {environments.write_config(folder, chosen, device, force=force)}")


def _show(command: environments.Command) -> None:
    typer.echo(f"$ {shlex.join(command)}")
