"""Options that several commands take, each defined once, and what their values become."""

import sys
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from .. import frameworks
from ..catalogue.tasks import CHECKS, DTYPES
from ..errors import ParityError
from ..frameworks import devices
from ..weights.files import targets
from ..weights.files.atomic import check_target
from ..workers import config, interpreters
from ..workers.backend import Backend
from ..workers.code_cache import default_folder

_COLUMNS = ", ".join(frameworks.COLUMNS)

Cases = Annotated[list[str] | None, typer.Option(help="A case, or a glob such as 'CBAM/*'; repeatable.")]
Checks = Annotated[list[str] | None, typer.Option(help=f"{', '.join(CHECKS)}; repeatable, or a,b.")]
Dtypes = Annotated[list[str] | None, typer.Option(help=f"{', '.join(DTYPES)}; repeatable, or a,b.")]
Image = Annotated[Path | None, typer.Option(help="Your photograph instead of the one that is built in.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the weights and the drawn inputs.")]
Json = Annotated[
    Path | None,
    typer.Option(help="Write the results to this file too, in place of one that is there; - is standard output."),
]
Html = Annotated[
    Path | None,
    typer.Option(help="Write a page with the tree of what was compared to this file too; it needs no network."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write; - is standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say how each framework was switched, too.")]
Frameworks = Annotated[list[str] | None, typer.Option(help=f"{_COLUMNS}; repeatable, or a,b.")]
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


def split(values: Sequence[str] | None) -> list[str]:
    """The values of an option that may be given several times, with commas, or both; each once."""
    return list(dict.fromkeys(part.strip() for value in values or () for part in value.split(",") if part.strip()))


def choose(values: Sequence[str], known: Sequence[str], option: str) -> list[str]:
    """The values in the order of `known`, all of them for none.

    Raises:
        ParityError: for a value that is not known.
    """
    for value in values:
        if value not in known:
            raise ParityError(f"{option} must be one of {', '.join(known)}, got {value!r}")
    return [value for value in known if not values or value in values]


def choose_frameworks(values: Sequence[str], elsewhere: Container[str] = ()) -> tuple[list[str], list[str]]:
    """The frameworks to run, and those left out because they are neither installed here nor `elsewhere`.

    Raises:
        ParityError: for an unknown name, one asked for that is not installed, or where none is installed.
    """
    for value in values:
        frameworks.check_column(value)
    missing = [name for name in frameworks.COLUMNS if name not in elsewhere and not frameworks.installed(name)]
    wanted = [name for name in frameworks.COLUMNS if not values or name in values]
    if absent := [name for name in wanted if name in missing and values]:
        raise ParityError(
            f"{', '.join(absent)} is not installed; `pip install 'attention-parity[{absent[0]}]'` adds it"
        )
    present = [name for name in wanted if name not in missing]
    if not present:
        raise ParityError("no framework is installed; `pip install 'attention-parity[torch]'` adds one")
    return present, missing


def check_reports(reports: Mapping[str, Path | None], *inputs: Path | None) -> Path | None:
    """The one report that has standard output for itself, where there is one.

    Args:
        reports: The files to write, by the option that names each.
        inputs: What the command reads.

    Raises:
        ParityError: where a report could not be written, would replace what the command reads, or is named twice.
    """
    places: dict[str, str] = {}
    found = None
    for option, path in reports.items():
        if path is None:
            continue
        check_report(path, *inputs)
        standard = targets.is_standard_output(path)
        found = path if standard else found
        place = "" if standard else str(path.resolve())
        if place in places and (standard or not path.exists() or path.is_file()):
            raise ParityError(f"{places[place]} and {option} must be two files, both are {path}")
        places[place] = option
    return found


def check_report(report: Path | None, *inputs: Path | None) -> None:
    """Raise ParityError where a report could not be written, or would replace what the command reads."""
    if report is None:
        return
    check_target(report, force=True)
    for path in inputs:
        if path is not None and path.exists() and report.exists() and report.samefile(path):
            raise targets.refusal(report, "this command reads it")
