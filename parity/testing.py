"""For test suites: a port that is not its original fails, and the failure says where and why."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from .port.compare import USUAL, USUAL_MODES, port
from .port.report import Report
from .port.text import print_report

WIDTH = 120
# What `parity.pytest_plugin` collects: every report that was made, passed or not.
REPORTS: list[Report] = []


def assert_same(
    original: Any,
    port_of_it: Any,
    inputs: Sequence[np.ndarray],
    *,
    modes: Sequence[str] = USUAL_MODES,
    dtypes: Sequence[str] = USUAL,
    rules: str | None = None,
    axes: Mapping[int, str] | None = None,
    own_weights: bool = False,
) -> Report:
    """Compare a port with its original as `parity.port` does, and raise AssertionError where they differ.

    Args:
        original: A model, a function without arguments that gives one, or a factory's name, see `parity.port`.
        port_of_it: The same of the port.
        inputs: The models' arguments, in the original's order of axes.
        modes: Of "eval", "train" and "training", which makes ten steps.
        dtypes: Of "float64", "float32", "bfloat16" and "float16".
        rules: A file of rules, or a dialect, from the original's names to the port's.
        axes: For an input's number how the port's axes follow from the original's.
        own_weights: Whether both keep the weights that they come with, as after folding or fusing.

    Returns:
        The report, where they are the same.

    Raises:
        AssertionError: with the report as text, where they differ.
        ParityError: where they cannot be compared.
    """
    report = port(
        original, port_of_it, inputs, modes=modes, dtypes=dtypes, rules=rules, axes=axes, own_weights=own_weights
    )
    REPORTS.append(report)
    if not report.passed:
        raise AssertionError(f"the port is not its original\n{to_text(report)}")
    return report


def to_text(report: Report) -> str:
    """The report as `parity port` prints it, without colours."""
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=WIDTH, no_color=True))
    return stream.getvalue()
