"""`parity capsule` and `parity answer`."""

from functools import partial

import typer

from .. import answer as answering
from ..errors import ParityError
from ..runs import capsule as capsules
from ..weights.files import atomic
from .options import Cases, Checks, Dtypes, Force, Image, Output, Seed, split
from .records import draw_plan
from .terminal import cases_bar


def capsule(
    output: Output,
    case: Cases = None,
    dtype: Dtypes = None,
    check: Checks = None,
    image: Image = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write a question that anyone's GPU can answer: inputs, weights, and what must come out.

    The file is plain data. Whoever has it and one of the frameworks runs `parity answer FILE`, learns at once whether
    all is the same, and sends back a record, which `parity compare` judges.

    \b
    parity capsule --check forward,gradients -o all.capsule
    """
    if other := [name for name in split(check) if name == "training"]:
        raise ParityError(f"--check of a capsule must be {', '.join(capsules.ASKED)}, got {other[0]!r}")
    atomic.check_target(output, force=force)
    planned = draw_plan(case, dtype, check, image, seed)
    with cases_bar() as bar:
        task = bar.add_task("expecting", total=len(planned.cases))
        capsules.write(output, capsules.make(planned, advance=partial(bar.advance, task)), force=force)


def answer(context: typer.Context) -> None:
    """Compute what a capsule asks on this machine, and write a record of it.

    It needs NumPy, safetensors and one of the frameworks; `parity answer --help` has its options.

    \b
    parity answer all.capsule
    """
    # `parity.__main__` comes here only where something else than the command's name stands first.
    raise typer.Exit(answering.main(context.args))
