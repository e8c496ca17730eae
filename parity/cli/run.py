"""`parity run` and `parity list`."""

from functools import partial
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from ..catalogue import cases as catalogue
from ..catalogue.inputs import default_image, read_image
from ..catalogue.tasks import CHECKS, DTYPES
from ..errors import ParityError
from ..frameworks import EXECUTIONS
from ..page.render import render
from ..runs.run import run as compute
from ..weights.files.atomic import write_bytes
from ..workers import pool, ray_pool
from .matrix import print_matrix
from .options import (
    PATIENCE,
    AllowTF32,
    Cases,
    Checks,
    Config,
    Devices,
    Dtypes,
    Frameworks,
    Html,
    Image,
    Json,
    NoCache,
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
from .report import print_report, to_json
from .terminal import cases_bar, console


def run(
    case: Cases = None,
    framework: Frameworks = None,
    dtype: Dtypes = None,
    check: Checks = None,
    compile: Annotated[list[str] | None, typer.Option(help=f"{', '.join(EXECUTIONS)}, or all; repeatable.")] = None,
    image: Image = None,
    all: Annotated[bool, typer.Option("--all", help="The heavy cases too; naming a case runs it anyway.")] = False,
    seed: Seed = 0,
    device: Devices = None,
    python: Pythons = None,
    config: Config = None,
    allow_tf32: AllowTF32 = False,
    timeout: Timeout = PATIENCE,
    no_cache: NoCache = False,
    repeat: Annotated[int, typer.Option(min=1, help="Run each framework so often; every bit must be the same.")] = 1,
    ray: Annotated[str | None, typer.Option(help="Compute on the Ray cluster at this address; auto finds one.")] = None,
    json: Json = None,
    html: Html = None,
    matrix: Annotated[bool, typer.Option("--matrix", help="A verdict for each case, precision and mode.")] = False,
    verbose: Verbose = False,
) -> None:
    """Compare the frameworks with the reference, case by case.

    Each framework gets the same weights and the same input and runs in a process of its own. float64 shows that they
    are the same function (error relative to the largest value), float32 that they compute it honestly (error in units
    of the rounding noise that float32 must make). Exit code 0: all the same; 1: something differs; 2: it could not run.

    \b
    parity run
    parity run --case 'CBAM/*' --framework torch,flax --image cat.jpg --json result.json
    parity run --check forward,gradients --html result.html
    parity run --matrix          every precision, outputs and gradients, a word for each verdict
    parity run --case '*/real-size' --dtype float32      at the sizes that people use: minutes, and 8 GB
    """
    chosen = catalogue.select(split(case), heavy=all)
    backends, missing = choose_backends(framework, device, python, config, allow_tf32=allow_tf32, no_cache=no_cache)
    dtypes = choose(split(dtype) or (DTYPES if matrix else DTYPES[:2]), DTYPES, "--dtype")
    checks = choose(split(check) or CHECKS[: 2 if matrix else 1], CHECKS, "--check")
    executions = choose(
        list(EXECUTIONS) if split(compile) == ["all"] else split(compile) or ["eager"], list(EXECUTIONS), "--compile"
    )
    output = check_reports({"--json": json, "--html": html}, image, config)
    pixels = read_image(image or default_image())
    screen = console(output)
    with cases_bar() as bar:
        task = bar.add_task("computing", total=len(chosen) * (len(backends) * repeat + 1))
        report = compute(
            chosen,
            [backend.framework for backend in backends],
            dtypes,
            pixels,
            checks=checks,
            executions=executions,
            seed=seed,
            backends={backend.framework: backend for backend in backends},
            timeout=timeout,
            runs=repeat,
            detail=html is not None,
            compute=pool.compute if ray is None else partial(ray_pool.compute, ray),
            advance=lambda: bar.advance(task),
        )
    if not report.results:
        raise ParityError(
            "nothing to compute: onnx runs forward in eval mode and float32 alone, training is of few cases, and "
            "float16 does not hold those called far"
        )
    if matrix:
        print_matrix(report, screen)
    else:
        print_report(report, screen, missing if not framework else (), verbose=verbose)
    if json is not None:
        write_bytes(json, to_json(report).encode(), force=True)
    if html is not None:
        cases = {case.name: case for case in chosen}
        write_bytes(html, render(to_page(report, cases)), force=True)
    raise typer.Exit(0 if report.passed else 1)


def list_cases(case: Cases = None) -> None:
    """Show the catalogue of cases and what each can show.

    \b
    parity list --case 'SE/*'
    """
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("case", "module", "input", "why"):
        table.add_column(column, no_wrap=column == "case")
    for item in catalogue.select(split(case)) if case else catalogue.EVERY:
        shape = " x ".join(map(str, item.shape))
        weights = "" if item.weights == "tame" else f", {item.weights} weights"
        table.add_row(item.name, item.call, f"{item.input} {shape}{weights}", item.why)
    console().print(table)
