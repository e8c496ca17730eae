"""The commands, in groups, and what `parity --help` and `parity --version` say."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from shutil import get_terminal_size
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command

# Each command's function, by the module of this package that has it.
GROUPS: Mapping[str, Mapping[str, str]] = {
    "Prove": {
        "run": "run.run",
        "port": "port.port",
        "lower": "lower.lower",
        "list": "run.list_cases",
        "mutants": "mutants.mutants",
        "calibrate": "calibrate.run",
    },
    "Move weights": {
        "convert": "convert.convert",
        "inspect": "inspect.inspect",
        "diff": "diff.diff",
        "export": "export.export",
    },
    "Many machines": {
        "doctor": "doctor.doctor",
        "envs": "envs.envs",
        "plan": "records.plan",
        "record": "records.record",
        "compare": "records.compare",
        "capsule": "capsule.capsule",
        "answer": "capsule.answer",
    },
}


class Commands(Mapping[str, Any]):
    """The commands by name, each imported when it is wanted: all of them take longer than a small conversion."""

    functions: ClassVar = {name: path for group in GROUPS.values() for name, path in group.items()}

    def __getitem__(self, name: str) -> Any:
        module, function = self.functions[name].split(".")
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        # Its own parser knows its options, so that it needs no Typer.
        passed_on = {"allow_extra_args": True, "ignore_unknown_options": True} if name == "answer" else None
        single.command(name, context_settings=passed_on)(getattr(import_module(f".{module}", __package__), function))
        return get_command(single)

    def __iter__(self) -> Iterator[str]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)


class Grouped(TyperGroup):
    """A group that lists its commands under their headings, each with its whole first sentence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": Commands()})

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
