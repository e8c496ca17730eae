"""The command line: `parity COMMAND`."""

import sys

import typer

from .commands import calibrate, matrix, mutants, run
from .errors import ParityError

app = typer.Typer(
    help="Is my port right? Check that PyTorch, Paddle and Flax compute the same, and move weights between them.",
    no_args_is_help=True,
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


def main() -> None:
    """Run the command line; what is wrong with the user's input is one line, and exit code 2."""
    try:
        app()
    except ParityError as error:
        print(f"parity: {error}", file=sys.stderr)
        sys.exit(2)
