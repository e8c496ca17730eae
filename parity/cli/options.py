"""Options that several commands take, and what their values become."""

from collections.abc import Container, Sequence
from pathlib import Path

from .. import frameworks
from ..errors import ParityError
from ..weights.files import targets
from ..weights.files.atomic import check_target


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


def check_report(report: Path | None, *inputs: Path | None) -> None:
    """Raise ParityError where a report could not be written, or would replace what the command reads."""
    if report is None:
        return
    check_target(report, force=True)
    for path in inputs:
        if path is not None and path.exists() and report.exists() and report.samefile(path):
            raise targets.refusal(report, "this command reads it")
