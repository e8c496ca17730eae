"""`parity mutants`."""

import math
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ..catalogue.inputs import default_image, read_image
from ..catalogue.mutants import MUTANTS
from ..errors import ParityError
from ..frameworks import FRAMEWORKS
from ..runs.coverage import Coverage, cover, gaps
from ..runs.mutation_test import MutationResult, run_mutants
from .options import Frameworks, choose_frameworks, split
from .terminal import cases_bar, console


def mutants(
    framework: Frameworks = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Show which sides of each branch the cases reach; plant nothing.")
    ] = False,
) -> None:
    """Plant mistakes in the implementations and see each caught.

    Exit code 0: every mutant was caught and the code without mutants passes; 1: not so; 2: it could not run.

    \b
    parity mutants
    parity mutants --framework torch
    parity mutants --coverage
    """
    if coverage and framework:
        raise ParityError("--coverage is of the cases, in every framework the same; leave out --framework")
    if coverage:
        raise typer.Exit(_show_coverage(cover(read_image(default_image()))))
    # ONNX Runtime runs what torch_impl exports: it has no code of its own to plant a mutant in.
    present = [name for name in choose_frameworks(split(framework))[0] if name in FRAMEWORKS]
    if not present:
        raise ParityError(f"--framework must be one of {', '.join(FRAMEWORKS)} to plant mutants in, got {framework}")
    with cases_bar() as bar:
        task = bar.add_task("planting", total=None)
        found = run_mutants(present, read_image(default_image()), advance=lambda: bar.advance(task))
    planted = [one for one in found if one.mutant is not None]
    true_code = [one for one in found if one.mutant is None]
    screen = console()
    screen.print(_table(planted))
    killed = sum(one.right for one in planted)
    for one in found:
        if not one.right:
            who = f"{one.mutant.name} in {one.framework} lives" if one.mutant else f"the code of {one.framework} fails"
            screen.print(Text(f"{who}: {one.result.case}, {one.result.check}: {one.result.why}", "bold red"))
    screen.print(
        f"{killed} of {len(planted)} mutants killed ({killed / len(planted):.0%}), of {len(MUTANTS)} lines; "
        f"the code without one passes {sum(one.right for one in true_code)} of {len(true_code)} times",
        soft_wrap=True,
    )
    raise typer.Exit(0 if all(one.right for one in found) else 1)


def _show_coverage(found: Coverage) -> int:
    """Print how many cases reach each side of each branch; 1 where one is reached by none."""
    caption = "how many cases reach each side of a branch, or have each value of an option"
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    for column in ("module", "branch", "sides"):
        table.add_column(column, no_wrap=column != "sides")
    for (module, branch), sides in found.items():
        words = [Text(f"{side}: {count}", "" if count else "bold red") for side, count in sides.items()]
        table.add_row(module, branch, Text(", ").join(words))
    screen, missing = console(), gaps(found)
    screen.print(table)
    for gap in missing:
        screen.print(Text(f"no case reaches {gap}", "bold red"))
    screen.print(f"{sum(map(len, found.values()))} sides of {len(found)} branches, {len(missing)} without a case")
    return 1 if missing else 0


def _table(planted: list[MutationResult]) -> Table:
    caption = "times the limit, by which each is off; inf: names, shapes, NaN, or it raises an error"
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    frameworks = list(dict.fromkeys(one.framework for one in planted))
    for column in ("mutant", "killed by", *frameworks):
        table.add_column(column, justify="right" if column in frameworks else "left", no_wrap=column in frameworks)
    for mutant in MUTANTS:
        row = {one.framework: one for one in planted if one.mutant is mutant}
        if row:
            check = f"{mutant.case} {next(iter(row.values())).result.check} {mutant.dtype}"
            table.add_row(mutant.name, check, *(_cell(row.get(framework)) for framework in frameworks))
    return table


def _cell(one: MutationResult | None) -> Text:
    if one is None:
        return Text("-", "dim")
    words = "inf" if math.isinf(one.distance) else f"{one.distance:.2g}"
    return Text(words, "" if one.right else "bold red")
