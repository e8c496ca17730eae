"""A plugin of pytest: what `parity.testing.assert_same` found, in a few lines after the tests, and all of it in a file.

pytest --parity-report reports.json
"""

import json
import sys
from pathlib import Path
from typing import Any


def pytest_addoption(parser: Any) -> None:
    """The option that names the file."""
    parser.addoption("--parity-report", default=None, metavar="FILE", help="write the reports of ports as JSON")


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """A line for each port that was compared; the file, where one is asked for."""
    testing = sys.modules.get("parity.testing")
    reports = testing.REPORTS if testing is not None else []
    for report in reports:
        verdict = "same" if report.passed else "DIFFERS"
        where = f" in {report.difference.where}" if report.difference is not None else ""
        terminalreporter.write_line(f"parity: {report.original.factory} and {report.port.factory}: {verdict}{where}")
    if (path := config.getoption("--parity-report")) is not None:
        from parity.port.report import to_json

        Path(path).write_text(json.dumps([json.loads(to_json(report)) for report in reports], indent=2) + "\n")
