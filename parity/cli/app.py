"""The command line: `parity COMMAND`."""

import sys

import typer

from ..errors import ParityError
from . import calibrate, convert, diff, doctor, envs, export, inspect, matrix, mutants, records, run

app = typer.Typer(
    help="Is my port right? Check that PyTorch, Paddle and Flax compute the same, and move weights between them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("list")(run.list_cases)
app.command("matrix")(matrix.matrix)
app.command("mutants")(mutants.mutants)
app.command("calibrate")(calibrate.run)
app.command("export")(export.export)
app.command("plan")(records.plan)
app.command("record")(records.record)
app.command("compare")(records.compare)
app.command("doctor")(doctor.doctor)
app.command("envs")(envs.envs)
app.command("convert")(convert.convert)
app.command("inspect")(inspect.inspect)
app.command("diff")(diff.diff)


def main() -> None:
    """Run the command line; what is wrong with the user's input is one line, and exit code 2."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except typer.Abort:
        _end("interrupted", 130)
    except ParityError as error:
        _end(str(error), 2)
    except Exception as error:
        # Typer's errors of usage; older releases raise Click's, which share nothing but this method.
        if not hasattr(error, "format_message"):
            raise
        _end(f"{error.format_message().rstrip('.')}; see `parity --help`", 2)


def _end(message: str, code: int) -> None:
    print(f"parity: {message}", file=sys.stderr)
    sys.exit(code)
