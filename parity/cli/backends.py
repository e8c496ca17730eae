"""The options that say where each framework computes, and what they become."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..frameworks import devices
from ..workers import config, interpreters
from ..workers.backend import Backend
from ..workers.code_cache import default_folder
from .options import choose_frameworks, split

Frameworks = Annotated[list[str] | None, typer.Option(help="torch, paddle or flax; repeatable, or a,b.")]
Devices = Annotated[
    list[str] | None, typer.Option(help="cpu, gpu, auto, or such as cuda:1; for one framework flax=gpu; repeatable.")
]
Pythons = Annotated[
    list[str] | None, typer.Option(help="A framework's own interpreter, torch=ENV/bin/python; repeatable.")
]
Config = Annotated[Path | None, typer.Option(help="parity.toml, with the interpreters and devices.")]
AllowTF32 = Annotated[bool, typer.Option("--allow-tf32", help="Compute float32 in TF32, and judge it as TF32.")]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Neither use nor keep the code that JAX compiled in other runs.")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds that a framework's process may say nothing.")]

# Compiling one case for a GPU can take minutes.
PATIENCE = 900.0


def choose_backends(
    framework: Sequence[str] | None,
    device: Sequence[str] | None,
    python: Sequence[str] | None,
    path: Path | None,
    *,
    allow_tf32: bool,
    no_cache: bool = False,
) -> tuple[list[Backend], list[str]]:
    """The backends that the options and the configuration say, and the frameworks left out as not installed.

    Raises:
        ParityError: for what is unknown, not there, or asked for and not installed.
    """
    written = config.find(path)
    pythons = {**written.python, **interpreters.parse(python or ())}
    places = devices.parse(split(device), written.device)
    present, missing = choose_frameworks(split(framework), elsewhere=pythons)
    cache = "" if no_cache else default_folder()
    backends = [Backend(name, places[name], pythons.get(name, sys.executable), allow_tf32, cache) for name in present]
    return backends, missing
