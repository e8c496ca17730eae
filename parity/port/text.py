"""The report for people: what was compared, the verdict, the tree of layers, the first difference and its cause."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from . import tree_text
from .report import Cause, Check, Difference, Model, Report, Weights

# What an issue shows without scrolling.
WIDTH = 80
# Of names in a line.
NAMES = 6
# So many noise units are wrong whatever the draws.
SURELY = 100


def print_report(report: Report, console: Console, *, tree: bool = True) -> None:
    """Print all of it, the answer last, where the eye is."""
    for word, said in head(report):
        console.print(Text(f"{word:<9} {said}"), soft_wrap=True)
    console.print()
    for line in _checks(report.checks):
        console.print(line, soft_wrap=True)
    failed = [check for check in report.checks if not check.passed]
    if failed:
        console.print()
    for check in failed:
        where = f"{check.mode} mode, {check.dtype}, {check.what}" if check.dtype != "any" else check.what
        console.print(Text.assemble(("DIFFERS ", "bold red"), f"{where}: {check.why}"), soft_wrap=True)
    seen = set()
    for difference in report.differences if tree else ():
        # The tree of another mode with the same first layer says nothing new.
        if difference.layer not in seen:
            seen.add(difference.layer)
            console.print()
            for line in tree_text.lines(difference, report.layers[difference.mode], min(console.width, WIDTH)):
                console.print(line, soft_wrap=True)
    console.print()
    for line in _answer(report):
        console.print(line, soft_wrap=True)


def head(report: Report) -> Iterator[tuple[str, str]]:
    """Say what was compared: a term and its text each."""
    yield "original", _model(report.original)
    yield "port", _model(report.port)
    yield "inputs", ", ".join(report.inputs)
    yield "weights", _weights(report.weights)


def _model(model: Model) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in model.versions.items() if name != "python")
    return f"{model.factory}: {model.name} in {versions}, {model.parameters:,} values"


def _weights(weights: Weights) -> str:
    counts: dict[str, int] = {}
    for _, how in weights.pairs.values():
        counts[how] = counts.get(how, 0) + 1
    if weights.own and not weights.pairs:
        return "each its own, not compared"
    said = [f"{len(weights.pairs)} arrays paired by " + ", ".join(f"{how} ({n})" for how, n in counts.items())]
    if weights.own:
        said.append("the port brings its own values")
    if weights.drawn:
        said.append(f"{len(weights.drawn)} that held one value throughout were drawn, or they would hide mistakes")
    if weights.only_original:
        said.append(f"only in the original: {_some(weights.only_original)}")
    if weights.only_port:
        said.append(f"only in the port: {_some(weights.only_port)}")
    return "; ".join([*said, *weights.decided])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")


def _checks(checks: Sequence[Check]) -> Iterator[Text]:
    """A line for each check under its mode and precision; nothing is cut, and all fits 80 columns."""
    group = ""
    for check in checks:
        mode, precision, what, error, limit, unit, bits = describe_check(check)
        words = f"{mode}, {precision}: at most {limit} {'of the largest value' if unit == 'relative' else unit}"
        if check.dtype != "any" and words != group:
            group = words
            yield Text(words)
        if check.dtype != "any":
            style, word = ("green", "same") if check.passed else ("bold red", "DIFFERS")
            size = (f"{error:<18}", "" if check.passed else style)
            yield Text.assemble(f"  {what:<19} ", size, f" {bits:<30} ", (word, style))


def describe_check(check: Check) -> tuple[str, ...]:
    """Mode, precision, what, error, limit, unit and significant bits."""
    precision = check.dtype if check.execution == "eager" else f"{check.dtype}, {check.execution}"
    error = f"{check.error:.2g}{_sure(check)}"
    return check.mode, precision, check.what, error, f"{check.limit:.2g}", check.unit, _bits(check)


def _sure(check: Check) -> str:
    """Between what and what the error is, where the noise that it is measured by is known from a few draws."""
    if check.interval is None or not 0 < check.error < SURELY:
        return ""
    return " ({:.2g} to {:.2g})".format(*check.interval)


def _bits(check: Check) -> str:
    if check.bits is None:
        return ""
    most = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}.get(check.dtype, 53)
    expected = f", {check.expected_bits:.1f} expected" if check.expected_bits is not None else ""
    return f"{check.bits:.1f} of {most} bits{expected}"


def _answer(report: Report) -> Iterator[Text]:
    for key, what in report.weights.wrong.items():
        yield Text.assemble(("WEIGHT ", "bold red"), f"{key} of the port {what}, against the original's")
    for i, each in enumerate(report.differences):
        word = "FIRST DIFFERENCE " if i == 0 else f"IN {each.mode.upper()} MODE "
        yield Text.assemble((word, "bold red"), say_difference(each))
        yield from _causes(each)
        if each.also:
            yield Text(f"further layers that add a difference: {_some([path or '(the model)' for path in each.also])}")
    for note in report.notes:
        yield Text(note, "yellow")
    failed = sum(not check.passed for check in report.checks)
    if report.passed:
        yield Text.assemble(("same", "bold green"), f": the port is right in {len(report.checks)} checks")
    else:
        yield Text.assemble((f"{failed} of {len(report.checks)} checks failed", "bold red"), "")


def say_difference(difference: Difference) -> str:
    """Say where a difference is, and how much of it is the layer's own."""
    ways = {"forward": "adds", "backward": "adds to gradients", "buffers": "adds to buffers"}
    return (
        f"{difference.where}, {difference.place}: inherited {difference.inherited:.1g},"
        f" {ways[difference.direction]} {difference.added:.2g} of the largest value"
    )


def _causes(difference: Difference) -> Iterator[Text]:
    if not difference.causes:
        if difference.tried:
            yield Text(f"  cause unknown: none of {difference.tried} known differences gives what the port gives")
        if difference.place.text:
            yield Text(f"  {difference.place}: {difference.place.text}")
        return
    if len(difference.causes) > 1:
        joint = all(cause.together for cause in difference.causes)
        said = "causes are needed together" if joint else "causes give the same here"
        yield Text(f"  {len(difference.causes)} {said}:")
    for cause in difference.causes:
        yield Text.assemble(("CAUSE ", "bold"), describe_cause(cause))
        if cause.place.text:
            yield Text(f"  change {cause.place}: {cause.place.text}")


def describe_cause(cause: Cause) -> str:
    """Describe the known difference, with both sides' values."""
    where = f" ({cause.original_place})" if cause.original_place.file else ""
    return f"{cause.what}: {cause.port} in the port, {cause.original} in the original{where}"
