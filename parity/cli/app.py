"""The commands, in groups, and what `parity --help` and `parity --version` say."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import calibrate, capsule, convert, diff, doctor, envs, export, inspect, lower, mutants, port, records, run

GROUPS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "Prove": {
        "run": run.run,
        "port": port.port,
        "lower": lower.lower,
        "list": run.list_cases,
        "mutants": mutants.mutants,
        "calibrate": calibrate.run,
    },
    "Move weights": {
        "convert": convert.convert,
        "inspect": inspect.inspect,
        "diff": diff.diff,
        "export": export.export,
    },
    "Many machines": {
        "doctor": doctor.doctor,
        "envs": envs.envs,
        "plan": records.plan,
        "record": records.record,
        "compare": records.compare,
        "capsule": capsule.capsule,
        "answer": capsule.answer,
    },
}


class Grouped(TyperGroup):
    """A group that lists its commands under their headings, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(1000)) for name in names])


app = typer.Typer(
    cls=Grouped,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # Left to itself it takes no terminal for narrower than 50 columns.
        "terminal_width": min(get_terminal_size().columns, 100),
    },
)
for commands in GROUPS.values():
    for name, function in commands.items():
        # Its own parser knows its options, so that it needs no Typer.
        passed_on = {"allow_extra_args": True, "ignore_unknown_options": True} if name == "answer" else None
        app.command(name, context_settings=passed_on)(function)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"parity {version('attention-parity')}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Is my port right? Check that PyTorch, Paddle and Flax compute the same, and move weights between them.

    `parity COMMAND --help` has each command's options and examples.
    """
