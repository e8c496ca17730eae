"""`python -m parity` and the script `parity`: the command line, and what it says and returns when it cannot go on.

Little is imported here before signals are caught, so that Ctrl-C in the first second is answered like any other.
"""

import os
import signal
import sys
import time

from .errors import ParityError, printable, shortened

# `typing` itself takes a fifth of the time until signals are caught.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

# What ends a command as its user wants it to: Ctrl-C, `kill`, and a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds in which the same signal again does not disturb the clearing up.
CLEARING = 2.0
MAX_LINE = 300  # characters of an error


class Stopped(BaseException):
    """A signal has come; whatever is open is cleared up on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def start() -> None:
    """The whole program: `main`, with signals caught."""
    _catch_signals()
    _prepare_streams()
    main()


def main() -> None:
    """Run the command line.

    What is wrong with the user's input, or with the machine, is one line and exit code 2; a signal's exit code is 128
    and its number, as a shell has it.
    """
    try:
        code = _run()
        sys.stdout.flush()
    except Stopped as stop:
        words = "interrupted" if stop.number == signal.SIGINT else f"stopped by {signal.Signals(stop.number).name}"
        _end(words, 128 + stop.number)
    except ParityError as error:
        _end(str(error), 2)
    except BrokenPipeError:
        # Who reads, as `head` does, has enough.
        _end("", 128 + signal.SIGPIPE)
    except OSError as error:
        _end(f"{error.filename or 'standard output'}: {error.strerror or error}", 2)
    except MemoryError:
        _end("there is not enough memory", 2)
    except Exception as error:
        if os.environ.get("PARITY_TRACEBACK"):
            raise
        _end(f"{_describe(error)}; this is a mistake in parity: PARITY_TRACEBACK=1 shows where, please report it", 2)
    sys.exit(code)


def _run() -> int | None:
    if sys.argv[1:2] == ["answer"]:
        # It is for machines where neither Typer nor Rich needs to be.
        from .answer import main as answer

        return answer(sys.argv[2:])
    import typer

    from .cli.app import app

    try:
        return app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except typer.Abort:
        raise Stopped(signal.SIGINT) from None
    except SystemExit:
        # Rich's answer to a closed pipe is exit code 1, which would say that something differs.
        raise BrokenPipeError from None
    except Exception as error:
        # Typer's errors of usage; older releases raise Click's, which share nothing but this method.
        if not hasattr(error, "format_message"):
            raise
        raise ParityError(f"{error.format_message().rstrip('.')}; see `parity --help`") from None


def _catch_signals() -> None:
    """Turn the signals into an exception; those that the parent has us ignore, as `nohup` does, stay ignored."""
    last = -CLEARING

    def stop(number: int, frame: "FrameType | None") -> None:
        nonlocal last
        if time.monotonic() - last > CLEARING:
            last = time.monotonic()
            raise Stopped(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _prepare_streams() -> None:
    """Put something where a standard stream is closed: the next file to be opened would take its place."""
    closed = sys.stdout is None
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what no encoding can say
    if closed:
        _end("standard output is closed", 2)


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {ascii(text[:120])[1:-1]}"


def _end(message: str, code: int) -> "NoReturn":
    """Say it on standard error and end, whatever became of standard output."""
    from contextlib import suppress

    try:
        sys.stdout.flush()
    except OSError:
        # What is left in its buffer would be an error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if message:
        with suppress(OSError):
            print(shortened(f"parity: {printable(message)}", MAX_LINE), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    start()
