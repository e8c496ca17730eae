"""Results for people (a table, and a line for each failure) and for programs (JSON)."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..verdict.batch import count_same_bits
from ..verdict.programs import of_programs, summarize
from ..verdict.results import Report, Result, Status

# Of the arrays in a line for people; the JSON has all.
NAMES = 4


def to_json(report: Report) -> str:
    """The report as JSON; an error that is not a finite number is null."""
    rows = [*report.results, *report.more]
    results = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in (result.as_dict() for result in rows)
    ]
    document = {
        "passed": report.passed,
        "environment": report.environment,
        "notes": report.notes,
        "results": results,
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def print_report(report: Report, console: Console, missing: Sequence[str] = (), *, verbose: bool = False) -> None:
    """The table with a row for each case and precision, then what failed and with what it ran."""
    frameworks = list(dict.fromkeys(result.framework for result in report.results))
    console.print(_table(report.results, frameworks))
    pairs = [result for result in report.more if not of_programs(result)]
    for line in (*_summaries(pairs), *summarize(report.more)):
        console.print(Text(line), soft_wrap=True)
    for result in (*report.results, *report.more):
        if not result.passed:
            where = f"{result.case} in {result.framework}, {result.dtype}, {result.check}"
            console.print(Text.assemble(("FAILED ", "bold red"), f"{where}: {result.why}"), soft_wrap=True)
    for line, found in describe_special(report.results).items():
        console.print(Text(f"{line} ({', '.join(found)})", "yellow"), soft_wrap=True)
    for line in _batches(report.results):
        console.print(Text(line), soft_wrap=True)
    failed = sum(not result.passed for result in (*report.results, *report.more))
    verdict = ("all the same", "bold green") if report.passed else (f"{failed} checks failed", "bold red")
    console.print(
        Text.assemble(verdict, f": {describe_extent(report)}"),
        soft_wrap=True,
    )
    print_environment(report.environment, console, verbose=verbose)
    for note in report.notes:
        console.print(Text(note, "yellow"), soft_wrap=True)
    if missing:
        console.print(f"not installed, so not run: {', '.join(missing)}", style="yellow", soft_wrap=True)


def print_environment(environment: Mapping[str, Any], console: Console, *, verbose: bool = False) -> None:
    """The versions in a line, then for each framework its device, what its products measured, and its switches.

    Of a framework on the processor all that is said with `verbose` alone; the JSON and `parity doctor` have it always.
    """
    versions = ", ".join(f"{key} {value}" for key, value in environment.items() if key != "backends")
    if versions:
        console.print(Text(versions, "dim"), soft_wrap=True)
    for name, facts in environment.get("backends", {}).items():
        if not facts or (facts["device"]["id"] == "cpu" and not verbose):
            continue
        device, measured = facts["device"], f"products within {max(facts['precision_probe'].values()):.2g} u"
        switches = " ".join(f"{key}={value}" for key, value in facts["switches"].items()) if verbose else ""
        line = f"{name} on {device['id']} ({device.get('name', 'unknown')}): {measured}"
        console.print(Text(f"{line}; {switches}" if switches else line, "dim"), soft_wrap=True)


def _summaries(pairs: Sequence[Result]) -> list[str]:
    """A line for each two runs and precision: how far apart they are at most."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in pairs:
        groups.setdefault((result.framework, result.dtype), []).append(result)
    lines = []
    for (names, dtype), group in groups.items():
        worst = max(group, key=lambda result: (not result.passed, result.error))
        if worst.limit == 0:
            lines.append(f"{names} in {dtype}: {worst.error:g} {worst.unit}, {len(group)} checks")
            continue
        limit = f"{worst.error:.2g} apart at most, limit {worst.limit:.2g} {worst.unit} ({worst.case}, {worst.check})"
        lines.append(f"{names} in {dtype}: {'the same' if worst.passed else 'DIFFER'}, {limit}")
    return lines


def _batches(results: Sequence[Result]) -> list[str]:
    """A line for each framework and precision: in which cases an image gives other bits among others than alone."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.check.startswith("batch ") and result.verdict is Status.SAME:
            groups.setdefault((result.framework, result.dtype), []).append(result)
    return [
        f"{framework} in {dtype}, alone and in a batch of eight: "
        + count_same_bits(group, "within noise, not bit for bit", lambda result: f"{result.case} {result.why}")
        for (framework, dtype), group in groups.items()
    ]


def describe_extent(report: Report) -> str:
    """The numbers of cases and checks, and the places: `2 cases, 16 checks, torch, flax on cpu`."""
    cases = len({result.case for result in report.results})
    return f"{cases} case{'s' * (cases != 1)}, {len(report.results)} checks, {describe_places(report.results)}"


def describe_places(results: Sequence[Result]) -> str:
    """The frameworks and their devices: `torch, flax on cpu`."""
    devices: dict[str, dict[str, None]] = {}
    for result in results:
        devices.setdefault(result.device, {})[result.framework] = None
    return "; ".join(f"{', '.join(frameworks)} on {device}" for device, frameworks in devices.items())


def describe_special(results: Sequence[Result]) -> dict[str, list[str]]:
    """The reasons why something could not be judged, each with where it holds."""
    lines: dict[str, list[str]] = {}
    for result in results:
        if result.verdict is Status.UNDETERMINED:
            line = f"UNDETERMINED {result.case}, {result.dtype}, {result.check}: {_shorten(result.why)}"
            lines.setdefault(line, []).append(result.framework)
        elif result.verdict is Status.UNSUPPORTED:
            line = f"UNSUPPORTED in {result.framework}, {result.dtype}, {result.check}: {result.why}"
            lines.setdefault(line, []).append(result.case)
    return {line: where if len(where) < 4 else [f"{len(where)} cases"] for line, where in lines.items()}


def _shorten(why: str) -> str:
    """The reason with no more than NAMES of the arrays that it begins with."""
    names, _, reason = why.partition(": ")
    listed = names.split(", ")
    more = f" and {len(listed) - NAMES} more" if len(listed) > NAMES else ""
    return f"{', '.join(listed[:NAMES])}{more}: {reason}"


def _table(results: Sequence[Result], frameworks: Sequence[str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        caption="error: the worst of all checks in eval and train mode",
        caption_justify="left",
    )
    table.add_column("case", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    for framework in frameworks:
        table.add_column(framework, justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if not result.judged:
            continue
        groups.setdefault((result.case, result.dtype, result.unit), []).append(result)
    previous = ""
    for (case, dtype, unit), group in groups.items():
        cells = [_cell([r for r in group if r.framework == framework]) for framework in frameworks]
        passed = all(result.passed for result in group)
        verdict = Text("same", "green") if passed else Text("DIFFERS", "bold red")
        limit = max(result.limit for result in group)
        table.add_row(case if case != previous else "", dtype, *cells, f"{limit:.2g}", unit, verdict)
        previous = case
    return table


def _cell(results: Sequence[Result]) -> Text:
    if not results:
        return Text("-", "dim")
    worst = max(results, key=lambda result: (not result.passed, result.error))
    return Text(f"{worst.error:.2g}", "" if worst.passed else "bold red")
