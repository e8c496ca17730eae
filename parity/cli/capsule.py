"""`parity capsule` and `parity answer`."""

import sys
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from .. import answer as answering
from ..errors import ParityError
from ..lower.run import distinct, pack
from ..runs import capsule as capsules
from ..runs.executables import CHOICES
from ..weights.files import atomic
from ..workers import config as configuration
from ..workers import interpreters
from .options import Cases, Checks, Config, Dtypes, Force, Image, Output, Pythons, Seed, choose, split
from .records import draw_plan
from .terminal import cases_bar


def capsule(
    output: Output,
    case: Cases = None,
    dtype: Dtypes = None,
    check: Checks = None,
    image: Image = None,
    seed: Seed = 0,
    compiled: Annotated[
        list[str] | None, typer.Option(help=f"Pack executables for {', '.join(CHOICES)}; repeatable, or a,b.")
    ] = None,
    python: Pythons = None,
    config: Config = None,
    force: Force = False,
) -> None:
    """Write a question that anyone's GPU can answer: inputs, weights, and what must come out.

    The file is plain data. Whoever has it and one of the frameworks runs `parity answer FILE`, learns at once whether
    all is the same, and sends back a record, which `parity compare` judges.

    With --compiled it holds Flax's programs too, both passes in one, compiled in the environment that
    `parity envs --lower` makes. They are code, and run only where `parity answer --run-compiled` asks for it.

    \b
    parity capsule --check forward,gradients -o all.capsule
    parity capsule --check forward,gradients --compiled h100 --config lower/parity.toml -o h100.capsule
    """
    if other := [name for name in split(check) if name == "training"]:
        raise ParityError(f"--check of a capsule must be {', '.join(capsules.ASKED)}, got {other[0]!r}")
    atomic.check_target(output, force=force)
    targets = choose(split(compiled), CHOICES, "--compiled") if compiled else []
    planned = draw_plan(case, dtype, check, image, seed)
    if targets and "float32" not in planned.dtypes:
        raise ParityError("--compiled is of float32; add it to --dtype, or leave --compiled out")
    if targets and not {"forward", "gradients"} & {*planned.checks}:
        raise ParityError("--compiled is of forward and gradients; add one to --check, or leave --compiled out")
    interpreter = {**configuration.find(config).python, **interpreters.parse(python or ())}.get("flax", sys.executable)
    with cases_bar() as bar:
        programs = sum(len(each.modes) for each in distinct(planned.cases)) * len(targets)
        task = bar.add_task("expecting", total=len(planned.cases) + programs)
        advance = partial(bar.advance, task)
        executables = pack(planned.cases, targets, interpreter, advance=advance) if targets else ()
        made = capsules.make(planned, advance=advance)
        capsules.write(output, replace(made, executables=executables), force=force)
    if executables:
        size = sum(len(code) for code in {each.code for each in executables})
        typer.echo(f"{len(executables)} executables for {', '.join(targets)}: {size / 1e6:.1f} MB of code", err=True)


def answer(context: typer.Context) -> None:
    """Compute what a capsule asks on this machine, and write a record of it.

    It needs NumPy, safetensors and one of the frameworks; `parity answer --help` has its options.

    \b
    parity answer all.capsule
    """
    # `parity.__main__` comes here only where something else than the command's name stands first.
    raise typer.Exit(answering.main(context.args))
