"""`parity plan`, `parity record` and `parity compare`."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..catalogue import cases as catalogue
from ..catalogue.inputs import default_image, read_image
from ..catalogue.tasks import CHECKS, DTYPES
from ..errors import ParityError
from ..page.render import render
from ..runs import record as recording
from ..runs import record_file as records
from ..weights.files import atomic
from .options import (
    PATIENCE,
    AllowTF32,
    Cases,
    Checks,
    Config,
    Devices,
    Dtypes,
    Force,
    Frameworks,
    Html,
    Image,
    Json,
    NoCache,
    Output,
    Pythons,
    Seed,
    Timeout,
    Verbose,
    check_reports,
    choose,
    choose_backends,
    split,
)
from .page import to_page
from .report import print_environment, print_report, to_json
from .terminal import cases_bar
from .terminal import console as console_for


def plan(
    output: Output,
    case: Cases = None,
    dtype: Dtypes = None,
    check: Checks = None,
    image: Image = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write the weights and inputs for every machine, once.

    So all of them compute on the same bytes.

    \b
    parity plan -o all.plan
    """
    atomic.check_target(output, force=force)
    records.write(output, draw_plan(case, dtype, check, image, seed), force=force)


def record(
    output: Output,
    planned: Annotated[Path | None, typer.Option("--plan", help="What `parity plan` wrote; else it is drawn.")] = None,
    case: Cases = None,
    framework: Frameworks = None,
    dtype: Dtypes = None,
    check: Checks = None,
    image: Image = None,
    seed: Seed = 0,
    device: Devices = None,
    python: Pythons = None,
    config: Config = None,
    allow_tf32: AllowTF32 = False,
    timeout: Timeout = PATIENCE,
    no_cache: NoCache = False,
    force: Force = False,
    verbose: Verbose = False,
) -> None:
    """Compute on this machine and write it to one file.

    `parity compare` judges that file on any machine.

    \b
    parity record --plan all.plan --framework torch --device gpu -o torch.record
    """
    atomic.check_target(output, force=force)
    if planned is not None and (case or dtype or check or image or seed):
        raise ParityError("--plan says the cases, precisions, checks, image and seed; leave those options out")
    backends, missing = choose_backends(framework, device, python, config, allow_tf32=allow_tf32, no_cache=no_cache)
    todo = records.read(planned) if planned is not None else draw_plan(case, dtype, check, image, seed)
    with cases_bar() as bar:
        task = bar.add_task("computing", total=len(todo.cases) * len(backends))
        advance = partial(bar.advance, task)
        done = recording.record(replace(todo, outcomes=[]), backends, timeout=timeout, advance=advance)
    records.write(output, done, force=force)
    console = console_for(output)
    print_environment(
        {"backends": {outcome.name: outcome.facts for outcome in done.outcomes}}, console, verbose=verbose
    )
    failed = [line for outcome in done.outcomes for line in dict.fromkeys(outcome.errors.values())]
    for line in [*failed, *(note for outcome in done.outcomes for note in outcome.notes)]:
        console.print(line, style="yellow", soft_wrap=True, markup=False)
    if missing and not framework:
        console.print(f"not installed, so not run: {', '.join(missing)}", style="yellow", soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def compare(
    record: Annotated[list[Path], typer.Argument(help="Files that `parity record` wrote, on any machines.")],
    json: Json = None,
    html: Html = None,
    verbose: Verbose = False,
) -> None:
    """Judge records against the reference and each other.

    The exit code is that of `parity run`, and so is the page.

    \b
    parity compare torch.record paddle.record flax.record
    parity compare torch.record flax.record --html records.html
    """
    output = check_reports({"--json": json, "--html": html}, *record)
    if len(set(record)) < len(record):
        raise ParityError("a record cannot be compared with itself; a file is named twice")
    found = [records.read(path) for path in record]
    with cases_bar() as bar:
        task = bar.add_task("judging", total=len(found[0].cases))
        report = recording.compare(record, found, detail=html is not None, advance=partial(bar.advance, task))
    print_report(report, console_for(output), verbose=verbose)
    if json is not None:
        atomic.write_bytes(json, to_json(report).encode(), force=True)
    if html is not None:
        cases = {case.name: case for case in found[0].cases}
        held = [(str(path), _describe(each)) for path, each in zip(record, found, strict=True)]
        atomic.write_bytes(html, render(to_page(report, cases, records=held)), force=True)
    raise typer.Exit(0 if report.passed else 1)


def _describe(record: records.Record) -> str:
    """A line on a record: its frameworks, their devices, and when it was made."""
    runs = [f"{outcome.framework} on {outcome.device}" for outcome in record.outcomes]
    return f"{', '.join(runs)}, made {record.made}"


def draw_plan(
    case: list[str] | None, dtype: list[str] | None, check: list[str] | None, image: Path | None, seed: int
) -> records.Record:
    """The plan that the options say."""
    chosen = catalogue.select(split(case))
    dtypes = choose(split(dtype) or DTYPES[:2], DTYPES, "--dtype")
    checks = choose(split(check) or CHECKS[:1], CHECKS, "--check")
    return recording.plan(chosen, read_image(image or default_image()), seed, checks, dtypes)
