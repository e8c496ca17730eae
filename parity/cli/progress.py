"""A progress bar for work that takes a while."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..weights.files.contents import Advance

_WORTH_A_BAR = 64 << 20
_RELEASE_EVERY = 16 << 20


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
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


def releasing(release: Callable[[], None], advance: Advance) -> Advance:
    """`advance`, which also lets go of the source's pages now and then: they count as this process's memory."""
    held = 0

    def counted(count: int) -> None:
        nonlocal held
        held += count
        if held >= _RELEASE_EVERY:
            release()
            held = 0
        advance(count)

    return counted
