"""`parity calibrate`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ..catalogue import cases as catalogue
from ..catalogue.inputs import default_image, read_image
from ..catalogue.tasks import CHECKS, DTYPES
from ..runs.calibration import Sample, calibrate, draw_picture, picture_format
from ..runs.false_alarms import describe
from ..runs.run import plan_all
from ..verdict.judge import NOISE_LIMIT
from .options import Frameworks, check_report, choose, choose_frameworks, split
from .terminal import cases_bar, console

# A mutant's effect hangs on the weights that are drawn: with a large variance, epsilon hardly counts.
MISSES = 0.02


def run(
    seeds: Annotated[int, typer.Option(min=1, help="How many, for each case.")] = 20,
    case: Annotated[list[str] | None, typer.Option(help="A case or glob; one of each module if left out.")] = None,
    framework: Frameworks = None,
    check: Annotated[list[str] | None, typer.Option(help="forward or gradients; repeatable, or a,b.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the distributions to this file, png, svg or pdf; one that is there is replaced."),
    ] = None,
) -> None:
    """Measure where the limit lies: honest code, and mistakes.

    Many seeds in one precision, of the true code and of the mistakes that only this precision shows.

    The last line says what that means for a right port: how often one check fails it, and how often a whole run does.

    Exit code 0: the true code is within the limit every time, and each mutant beyond it but for a fiftieth of the
    seeds; 1: not so; 2: it could not run.

    \b
    parity calibrate --seeds 200 --picture calibration.png
    parity calibrate --check forward,gradients --dtype bfloat16
    """
    present, _ = choose_frameworks(split(framework))
    checks = choose(split(check) or CHECKS[:1], CHECKS[:2], "--check")
    choose([dtype], DTYPES[1:], "--dtype")
    chosen = catalogue.select(split(case) or [each.name for each in catalogue.CASES if each.compiled])
    check_report(picture)
    if picture is not None:
        picture_format(picture)
    with cases_bar() as bar:
        task = bar.add_task("measuring", total=None)
        samples = calibrate(
            chosen,
            present,
            checks,
            read_image(default_image()),
            range(seeds),
            dtype=dtype,
            advance=lambda: bar.advance(task),
        )
    if picture is not None:
        draw_picture(samples, dtype, picture)
    screen = console(picture)
    screen.print(_table(samples))
    if absent := [name for name in present if name not in {sample.framework for sample in samples}]:
        screen.print(f"left out, because they cannot compute {' and '.join(checks)} in {dtype}: {', '.join(absent)}")
    honest = [sample.units for sample in samples if sample.mutant is None]
    mutants = [sample for sample in samples if sample.mutant is not None]
    alarms = [sample for sample in samples if sample.mutant is None and not sample.units <= NOISE_LIMIT]
    missed = Counter(sample.mutant.name for sample in mutants if sample.mutant and sample.units <= NOISE_LIMIT)
    planted = Counter(sample.mutant.name for sample in mutants if sample.mutant)
    words = f"limit {NOISE_LIMIT:g} noise units: {len(alarms)} false alarms in {len(honest)} samples of the true code, "
    words += f"at most {max(honest):.3g}"
    if mutants:
        least = min(mutant.units for mutant in mutants)
        words += f"; mutants at least {least:.3g}, {sum(missed.values())} of {len(mutants)} missed"
    words += "".join(f", {count} of {planted[name]} with {name}" for name, count in missed.items())
    screen.print(words, soft_wrap=True)
    for alarm in alarms:
        screen.print(f"{alarm.case}, seed {alarm.seed}, {alarm.framework}: {alarm.why}", style="red", soft_wrap=True)
    screen.print(describe(len(alarms), len(honest), _checks_of_a_run(present)), soft_wrap=True)
    wrong = alarms or any(count > MISSES * planted[name] for name, count in missed.items())
    raise typer.Exit(1 if wrong else 0)


def _checks_of_a_run(frameworks: Sequence[str]) -> int:
    """The number of checks that `parity run` makes of these frameworks where no other option is given."""
    planned = plan_all(catalogue.select([]), frameworks, CHECKS[:1], DTYPES[:2], ["eager"])
    return sum(len(item.tasks) for items in planned.values() for item in items)


def _table(samples: list[Sample]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("code", "case", "framework", "samples", "least", "median", "most"):
        table.add_column(column, justify="left" if column in ("code", "case", "framework") else "right", no_wrap=True)
    groups: dict[tuple[str, str, str], list[float]] = {}
    for sample in samples:
        code = sample.mutant.name if sample.mutant else "true"
        groups.setdefault((code, sample.case, sample.framework), []).append(sample.units)
    for (code, case, framework), units in groups.items():
        ordered = sorted(units)
        right = ordered[-1] <= NOISE_LIMIT if code == "true" else ordered[0] > NOISE_LIMIT
        numbers = [_number(units) for units in (ordered[0], ordered[len(ordered) // 2], ordered[-1])]
        style = "" if right else "bold red"
        table.add_row(code, case, framework, str(len(units)), *(Text(number, style) for number in numbers))
    return table


def _number(units: float) -> str:
    return f"{units:.0f}" if units >= 100 else f"{units:.2g}"
