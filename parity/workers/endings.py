"""The end of a worker that did not finish, in words: its signal or exit code, and the end of its log."""

import signal
from pathlib import Path

LOG_LINES = 5
# Of a log only its end is read: a framework that floods it can make it large.
LOG_BYTES = 1 << 16


def describe(framework: str, code: int, stopped: str, log: Path) -> str:
    """One line on how the process of `framework` ended: with exit `code`, or `stopped` for a reason."""
    how = stopped or _code(code)
    return f"the {framework} process {how}: {tail(log)}"


def tail(log: Path) -> str:
    """The last lines of the log in one."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-LOG_LINES:]) or "its log is empty"


def _code(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if name == "SIGKILL":
        return "was killed (SIGKILL), as the system does when memory runs out"
    return f"crashed ({name})"
