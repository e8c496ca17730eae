"""`parity lower`."""

import json as json_format
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..catalogue import cases as catalogue
from ..errors import ParityError
from ..lower import run as lowering
from ..lower.controls import CONTROLS
from ..lower.judge import FAULTS
from ..lower.targets import TARGETS
from ..port import load
from ..port.inputs import from_shapes
from ..weights.files.atomic import write_bytes
from ..workers import config as configuration
from ..workers import interpreters
from .options import Cases, Config, Json, Pythons, check_report, choose, split
from .terminal import cases_bar
from .terminal import console as console_for

# "Compiled and read" is all that a verdict here says.
CLAIM = "compiled for {} and read; never executed"


def lower(
    own: Annotated[
        str | None, typer.Argument(help="Your FILE.py:FACTORY instead: a model, or (function, (argument, ...)).")
    ] = None,
    case: Cases = None,
    target: Annotated[list[str] | None, typer.Option(help=f"{', '.join(TARGETS)}, or all; repeatable.")] = None,
    framework: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(lowering.FRAMEWORKS)}; repeatable, or a,b.")
    ] = None,
    all: Annotated[
        bool, typer.Option("--all", help="Every case and not one of each module; the heavy ones too.")
    ] = False,
    shape: Annotated[
        list[str] | None, typer.Option(help="An input of your model, 2,3,64,64, as it takes it; repeatable.")
    ] = None,
    controls: Annotated[bool, typer.Option("--controls", help="The negative controls alone.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep what the compilers wrote in this folder.")] = None,
    python: Pythons = None,
    config: Config = None,
    json: Json = None,
) -> None:
    """Compile for GPUs that are not there, and read what came out.

    Of each case the forward pass and the gradients, in eval and train mode, as XLA compiles Flax and Inductor PyTorch:
    every product in full float32, no TF32 or bfloat16 on tensor cores, no atomics, no fused product and sum between a
    maximum's input and its comparison, and the memory. Each run begins with programs that are wrong on purpose; if one
    of their faults is not found, it fails.
    Nothing is executed: what a library computes is not seen. Exit code 0: no fault; 1: a fault; 2: it could not run.

    \b
    parity envs lower --lower
    parity lower --config lower/parity.toml --target all
    parity lower net.py:build --shape 2,3,64,64 --config lower/parity.toml --framework torch
    """
    named = {**configuration.find(config).python, **interpreters.parse(python or ())}
    chosen = choose(split(framework) or _named(named), lowering.FRAMEWORKS, "--framework")
    targets = list(TARGETS) if split(target) == ["all"] else choose(split(target) or TARGETS[:1], TARGETS, "--target")
    check_report(json, config, Path(own.rpartition(":")[0]) if own else None)
    if own is not None and (case or all):
        raise ParityError("--case and --all are of the catalogue; leave them out for a factory of yours")
    if own is not None:
        load.check_form(own)
        if len(chosen) > 1:
            raise ParityError(f"--framework must say whose {own} is: {' or '.join(chosen)}")
    elif shape:
        raise ParityError("--shape is for a factory of yours: parity lower net.py:build --shape 2,3,64,64")
    if keep is not None and keep.exists() and not keep.is_dir():
        raise ParityError(f"{keep} must be a folder, or nothing yet")
    order = lowering.Order(
        targets,
        [] if own or controls else _cases(split(case), all=all),
        controls=True,
        own="" if own is None or controls else _absolute(own),
        shapes=[array.shape for array in from_shapes(shape or [], 0)],
        keep=str(keep.absolute()) if keep else "",
    )
    pythons = {**dict.fromkeys(chosen, sys.executable), **named}
    with cases_bar() as bar:
        task = bar.add_task("compiling", total=sum(order.programs(name) for name in chosen))
        findings = lowering.lower(order, pythons, chosen, advance=partial(bar.advance, task))
    _print(findings, targets, console_for(json))
    if json is not None:
        write_bytes(json, (json_format.dumps(_document(findings, targets), indent=2) + "\n").encode(), force=True)
    raise typer.Exit(0 if findings.passed else 1)


def _named(pythons: Mapping[str, str]) -> list[str]:
    """The frameworks that have an interpreter of their own, or all."""
    return [name for name in lowering.FRAMEWORKS if name in pythons] or list(lowering.FRAMEWORKS)


def _cases(patterns: list[str], *, all: bool) -> list[catalogue.Case]:
    """The cases that are named, every one, or one of each module."""
    if patterns or all:
        return lowering.distinct(catalogue.select(patterns, heavy=all))
    first: dict[str, catalogue.Case] = {}
    for case in catalogue.CASES:
        if case.module not in first or (case.compiled and not first[case.module].compiled):
            first[case.module] = case
    return list(first.values())


def _absolute(own: str) -> str:
    """The factory's name, its file's path made absolute."""
    source, _, name = own.rpartition(":")
    return f"{Path(source).absolute()}:{name}" if source.endswith(".py") else own


def _document(findings: lowering.Findings, targets: list[str]) -> dict[str, Any]:
    return {
        "passed": findings.passed,
        "claim": CLAIM.format(", ".join(targets)),
        "programs": [program.as_dict() for program in findings.programs],
        "controls": [program.as_dict() for group in findings.controls.values() for program in group],
        "missed": findings.missed,
        "failed": findings.failed,
    }


def _print(findings: lowering.Findings, targets: list[str], console: Console) -> None:
    if findings.programs:
        console.print(_table(findings))
    for control in CONTROLS:
        for program in findings.controls.get(f"{control.framework} {control.title}", ()):
            if shown := program.faults.get(control.fault):
                where = f"{control.title} ({control.framework}, {program.target})"
                console.print(
                    Text.assemble(("found ", "green"), f"{control.fault} in {where}: {shown[0]}"), soft_wrap=True
                )
    for line in findings.missed:
        console.print(Text.assemble(("MISSED ", "bold red"), f"{line} was not found"), soft_wrap=True)
    for program in findings.programs:
        for fault, shown in program.faults.items():
            where = f"{program.name} in {program.framework} for {program.target}"
            more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
            line = f"{where}: {FAULTS[fault]}: {shown[0]}{more}"
            console.print(Text.assemble(("FAULT ", "bold red"), line), soft_wrap=True)
    for title, why in findings.failed.items():
        console.print(Text.assemble(("FAILED ", "bold red"), f"{title}: {why}"), soft_wrap=True)
    verdict = ("no fault", "bold green") if findings.passed else ("not as it must be", "bold red")
    count = f"{len(findings.programs)} programs, {sum(map(len, findings.controls.values()))} negative controls"
    console.print(Text.assemble(verdict, f": {count}; {CLAIM.format(', '.join(targets))}"), soft_wrap=True)


def _table(findings: lowering.Findings) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("program", "framework", "target"):
        table.add_column(column, no_wrap=True)
    for column in ("products", "kernels", "memory", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for program in findings.programs:
        verdict = Text(", ".join(program.faults), "bold red") if program.faults else Text("no fault", "green")
        table.add_row(
            program.name,
            program.framework,
            program.target,
            str(program.products),
            str(program.kernels),
            f"{program.memory / 2**20:.3g} MiB",
            f"{program.seconds:.1f}",
            verdict,
        )
    return table
