"""`parity matrix`."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ..catalogue import cases as catalogue
from ..catalogue.inputs import default_image, read_image
from ..catalogue.tasks import CHECKS, DTYPES
from ..runs.run import run as compute
from ..verdict.results import Report, Result
from .options import choose, choose_frameworks, split
from .run import console, progress

# From the best to the worst; a cell shows the worst of its checks.
MARKS = {
    "same": ("ok", "green"),
    "undetermined": ("?", "yellow"),
    "unsupported": ("-", "dim"),
    "differs": ("DIFFERS", "bold red"),
}


def matrix(
    case: Annotated[list[str] | None, typer.Option(help="A case, or a glob such as 'CBAM/*'; repeatable.")] = None,
    framework: Annotated[list[str] | None, typer.Option(help="torch, paddle or flax; repeatable, or a,b.")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help=f"{', '.join(DTYPES)}; repeatable, or a,b.")] = None,
    check: Annotated[list[str] | None, typer.Option(help=f"{', '.join(CHECKS)}; repeatable, or a,b.")] = None,
) -> None:
    """Show every verdict at a glance: a row for each case, a column for each framework, precision and mode.

    Exit code 0: nothing differs; 1: something does; 2: it could not run.

    \b
    parity matrix --case 'SE/*' --dtype float32,bfloat16
    """
    chosen = catalogue.select(split(case))
    present, _ = choose_frameworks(split(framework))
    dtypes = choose(split(dtype), DTYPES, "--dtype")
    checks = choose(split(check) or CHECKS[:2], CHECKS, "--check")
    with progress() as bar:
        task = bar.add_task("computing", total=len(chosen) * (len(present) + 1))
        image = read_image(default_image())
        report = compute(chosen, present, dtypes, image, checks=checks, advance=lambda: bar.advance(task))
    screen = console()
    for name in present:
        screen.print(_table(name, report, dtypes))
    screen.print("ok: the same; ?: rounding decides part of it; -: the framework cannot", style="dim")
    raise typer.Exit(0 if report.passed else 1)


def _table(framework: str, report: Report, dtypes: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=framework, title_justify="left")
    table.add_column("case", no_wrap=True)
    columns = [(dtype, mode) for dtype in dtypes for mode in ("eval", "train")]
    for dtype, mode in columns:
        table.add_column(f"{dtype} {mode}", justify="center")
    cells: dict[str, dict[tuple[str, str], list[Result]]] = {}
    for result in report.results:
        if result.framework == framework:
            mode = "eval" if "eval" in result.check.split() else "train"
            cells.setdefault(result.case, {}).setdefault((result.dtype, mode), []).append(result)
    for case, row in cells.items():
        table.add_row(case, *(_cell(row.get(column, [])) for column in columns))
    return table


def _cell(results: list[Result]) -> Text:
    if not results:
        return Text("")
    worst = max((result.verdict for result in results), key=list(MARKS).index)
    return Text(*MARKS[worst])
