"""The terminal: how wide it is, and bars for work that takes a while."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ..weights.files import targets
from ..weights.files.contents import Advance

_WORTH_A_BAR = 64 << 20


# What a table needs where there is no terminal to measure.
WIDTH = 120


def console(output: Path | None = None) -> Console:
    """Standard output, as wide as the terminal, or as the variable COLUMNS says.

    It is standard error where `output` has standard output for itself.
    """
    screen = Console(stderr=targets.is_standard_output(output))
    sized = screen.is_terminal or os.environ.get("COLUMNS", "").isdecimal()
    return screen if sized else Console(width=WIDTH, stderr=screen.stderr)


@contextmanager
def bytes_bar(title: str, total: int) -> Iterator[Advance]:
    """A function to tell how many more bytes are done; on a terminal, and for work that is long, it moves a bar."""
    if total < _WORTH_A_BAR or not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)


def cases_bar() -> Progress:
    """A bar on a terminal, on standard error; nothing elsewhere."""
    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
