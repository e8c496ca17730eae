"""The command line: `parity COMMAND`."""

import typer

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
