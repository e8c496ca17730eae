"""The report of `parity run --matrix`: every verdict at a glance."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..verdict.results import Report, Result, Status

# From the best to the worst; a cell shows the worst of its checks.
MARKS = {
    Status.SAME: ("ok", "green"),
    Status.UNDETERMINED: ("?", "yellow"),
    Status.UNSUPPORTED: ("-", "dim"),
    Status.DIFFERS: ("DIFFERS", "bold red"),
}


def print_matrix(report: Report, console: Console) -> None:
    """A table for each framework: a row for each case, a column for each precision and mode."""
    dtypes = list(dict.fromkeys(result.dtype for result in report.results))
    for name in dict.fromkeys(result.framework for result in report.results):
        console.print(_table(name, report, dtypes))
    console.print("ok: the same; ?: rounding decides part of it; -: the framework cannot", style="dim")
    for result in report.results:
        if not result.passed:
            where = f"{result.case} in {result.framework}, {result.dtype}, {result.check}"
            console.print(Text(f"FAILED {where}: {result.why}", "bold red"), soft_wrap=True)


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
