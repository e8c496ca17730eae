"""The report for people: what was compared, the verdict, the tree of layers, the first difference and its cause."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .report import Cause, Check, Difference, Error, Layer, Model, Report, Weights

# Of names in a line.
NAMES = 6
# So many noise units are wrong whatever the draws.
SURELY = 100


def print_report(report: Report, console: Console, *, tree: bool = True) -> None:
    """Print all of it, the answer last, where the eye is."""
    for word, said in head(report):
        console.print(Text(f"{word:<9} {said}"), soft_wrap=True)
    console.print(_checks(report.checks))
    for check in report.checks:
        if not check.passed:
            where = f"{check.mode} mode, {check.dtype}, {check.what}" if check.dtype != "any" else check.what
            console.print(Text.assemble(("DIFFERS ", "bold red"), f"{where}: {check.why}"), soft_wrap=True)
    for difference in report.differences:
        if tree:
            console.print(_tree(difference, report.layers[difference.mode]))
    for line in _answer(report):
        console.print(line, soft_wrap=True)


def head(report: Report) -> Iterator[tuple[str, str]]:
    """What was compared: a term and its text each."""
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


def _checks(checks: Sequence[Check]) -> Table:
    # Seven columns in the 120 characters of what is no terminal.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("mode", "precision", "what"):
        table.add_column(column, no_wrap=True)
    table.add_column("error", justify="right", no_wrap=True)
    for column in ("limit", "significant bits", "verdict"):
        table.add_column(column, no_wrap=True)
    for check in checks:
        if check.dtype == "any":
            continue
        word = Text("same", "green") if check.passed else Text("DIFFERS", "bold red")
        mode, dtype, what, error, limit, unit, bits = describe_check(check)
        style = "" if check.passed else "bold red"
        table.add_row(mode, dtype, what, Text(error, style), f"{limit} {unit}", bits, word)
    return table


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
    return f"{check.bits:.1f} of {most}{expected}"


def _tree(difference: Difference, layers: Sequence[Layer]) -> Table:
    """The layers in the mode of the difference; what lies below those that are right and alike is left out."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"layers in {difference.mode} mode, float64: errors of the largest value",
        title_justify="left",
    )
    table.add_column("port", no_wrap=True)
    table.add_column("original", no_wrap=True)
    for column in ("inherited", "added", "backward", "added"):
        table.add_column(column, justify="right", no_wrap=True)
    for layer in layers:
        mark = "> " if layer.path == difference.layer else "  "
        name = layer.path.rpartition(".")[2] or "(the model)"
        style = "bold red" if layer.path == difference.layer else ""
        other = (
            "-"
            if layer.original is None
            else (f"{layer.original} " if layer.original != layer.path else "") + layer.classes[0]
        )
        errors = (layer.inherited, layer.added, layer.inherited_backward, layer.added_backward)
        label = Text(f"{mark}{'  ' * layer.depth}{name} {layer.classes[1]}", style)
        table.add_row(label, other, *(_cell(error) for error in errors))
    return table


def _cell(error: Error | None) -> Text:
    if error is None:
        return Text("-", "dim")
    return Text(f"{error.relative:.1g}", "bold red" if error.differs else "green")


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
    """Where a difference is, and how much of it is the layer's own."""
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
        yield Text(f"  {len(difference.causes)} causes give the same here:")
    for cause in difference.causes:
        yield Text.assemble(("CAUSE ", "bold"), describe_cause(cause))
        if cause.place.text:
            yield Text(f"  change {cause.place}: {cause.place.text}")


def describe_cause(cause: Cause) -> str:
    """What the known difference is, with both sides' values."""
    where = f" ({cause.original_place})" if cause.original_place.file else ""
    return f"{cause.what}: {cause.port} in the port, {cause.original} in the original{where}"
