"""A plugin of pytest: what `parity.testing.assert_same` found, in a few lines after the tests, and all of it in a file.

pytest --parity-report reports.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

# What the processes of pytest-xdist found, in which the tests run where there are any.
_FOUND_ELSEWHERE: list[list[str]] = []


def pytest_addoption(parser: Any) -> None:
    """The option that names the file."""
    parser.addoption("--parity-report", default=None, metavar="FILE", help="write the reports of ports as JSON")


def pytest_sessionfinish(session: Any) -> None:
    """In a process of pytest-xdist, hand over to the one that reports."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["parity"] = _found(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process of pytest-xdist handed over."""
    _FOUND_ELSEWHERE.extend(getattr(node, "workeroutput", {}).get("parity", ()))


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """A line for each port that was compared; the file, where one is asked for."""
    found = [*_FOUND_ELSEWHERE, *_found(config)]
    for line, _ in found:
        terminalreporter.write_line(line)
    if (path := config.getoption("--parity-report")) is not None:
        Path(path).write_text(json.dumps([json.loads(report) for _, report in found], indent=2) + "\n")


def _found(config: Any) -> list[list[str]]:
    """The line and, where a file is asked for, the JSON of each report that was made in this process."""
    testing = sys.modules.get("parity.testing")
    found = []
    for report in testing.REPORTS if testing is not None else []:
        verdict = "same" if report.passed else "DIFFERS"
        where = f" in {report.difference.where}" if report.difference is not None else ""
        line = f"parity: {report.original.factory} and {report.port.factory}: {verdict}{where}"
        found.append([line, _to_json(report) if config.getoption("--parity-report") is not None else ""])
    return found


def _to_json(report: Any) -> str:
    from parity.port.report import to_json

    return to_json(report)
