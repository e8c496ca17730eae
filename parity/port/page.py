"""The report of a port as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..page.model import Amount, Amounts, Finding, Node, Page, Table, View, number
from ..verdict.judge import NOISE_LIMIT
from .report import Difference, Error, Layer, Report
from .text import describe_cause, describe_check, head, say_difference
from .verdict import BITS

WAYS = ("forward", "backward")
# Which amounts a view shows: a mode, a precision, and whether what each layer adds.
Look = tuple[str, str, bool]


def to_page(report: Report) -> Page:
    """The page of a report: the tree of the port's layers in each mode and precision."""
    views = _views(report)
    first = report.difference
    by_mode = {mode: {layer.path: layer for layer in layers} for mode, layers in report.layers.items()}
    paths: dict[str, Layer] = {}
    for layers in by_mode.values():
        paths |= {path: layer for path, layer in layers.items() if path not in paths}
    nodes = [
        _node(layer, by_mode, views, _parent(path, paths), marked=first is not None and first.layer == path)
        for path, layer in _outer_first(paths).items()
    ]
    failed = sum(not check.passed for check in report.checks)
    verdict = (
        f"the port is right in {len(report.checks)} checks"
        if report.passed
        else f"{failed} of {len(report.checks)} checks failed"
    )
    return Page(
        title=f"{report.port.factory} as a port of {report.original.factory}",
        passed=report.passed,
        verdict=verdict,
        facts=[*head(report)],
        findings=[*_findings(report)],
        tables=[_checks(report), _pairs(report)],
        views=[view for view, _ in views],
        ways=WAYS,
        sides=("original", "port"),
        tree="Layers",
        nodes=nodes,
        notes=report.notes,
    )


def _views(report: Report) -> list[tuple[View, Look]]:
    """The views, that which says most first: of the first difference, or where there is none in noise units."""
    found = []
    for mode, layers in report.layers.items():
        word = f"{mode} float64"
        about = "Units are float64's own noise; equal functions are within 1e-11 of the largest value."
        if any(layer.added for layer in layers):
            more = " Each layer was given the original's own tensors; maps and histograms are of the port as it runs."
            found.append((View(f"{mode}, float64: what each layer adds", word, about + more), (mode, "float64", True)))
        found.append((View(f"{mode}, float64: as the port runs", word, about), (mode, "float64", False)))
        for dtype in dict.fromkeys(dtype for layer in layers for dtype in layer.precisions):
            about = (
                f"Units are the noise of an honest computation in {dtype}; the whole model may have {NOISE_LIMIT:g}."
            )
            found.append((View(f"{mode}, {dtype}: as the port runs", f"{mode} {dtype}", about), (mode, dtype, False)))
    first = report.difference
    if first is not None:
        return sorted(found, key=lambda each: each[1][0] != first.mode)
    return sorted(found, key=lambda each: each[1][1] == "float64")


def _parent(path: str, paths: Mapping[str, Any]) -> str | None:
    """The nearest layer that the layer lies in; None for the model itself."""
    if not path:
        return None
    above = path.rpartition(".")[0]
    while above and above not in paths:
        above = above.rpartition(".")[0]
    return above if above in paths else None


def _outer_first(paths: Mapping[str, Layer]) -> dict[str, Layer]:
    """The layers, each after the one that it lies in, else in their order."""
    found: dict[str, Layer] = {}

    def add(path: str) -> None:
        parent = _parent(path, paths)
        if parent is not None and parent not in found:
            add(parent)
        found.setdefault(path, paths[path])

    for path in paths:
        add(path)
    return found


def _node(
    layer: Layer,
    by_mode: Mapping[str, Mapping[str, Layer]],
    views: Sequence[tuple[View, Look]],
    parent: str | None,
    *,
    marked: bool,
) -> Node:
    original, port = layer.classes
    partner = "no partner in the original" if layer.original is None else original
    name = layer.path.removeprefix(f"{parent}.") if parent else layer.path or "(the model)"
    modes = {mode: layers[layer.path] for mode, layers in by_mode.items() if layer.path in layers}
    lines = [("original", "none" if layer.original is None else f"{layer.original or '(the model)'}: {original}")]
    lines.append(("port", port))
    if layer.shape:
        lines.append(("output", str(layer.shape)))
    places = {"original's line": layer.made[1], "port's line": layer.made[0], "port's code": layer.forward}
    lines += [(title, f"{place}  {place.text}".rstrip()) for title, place in places.items() if place.file]
    return Node(
        path=layer.path,
        parent=parent,
        name=name,
        about=port if partner == port else f"{partner} \N{RIGHTWARDS ARROW} {port}",
        amounts=[_amounts(modes.get(mode), dtype, added=added) for _, (mode, dtype, added) in views],
        marked=marked,
        lines=lines,
        pairs=_configs(*layer.config),
        pictures={f"{mode} {key}": picture for mode, each in modes.items() for key, picture in each.pictures.items()},
    )


def _amounts(layer: Layer | None, dtype: str, *, added: bool) -> Amounts:
    if layer is None:
        return (None, None)
    if dtype != "float64":
        errors = layer.precisions.get(dtype, (None, None))
    elif added:
        errors = (layer.added, layer.added_backward)
    else:
        errors = (layer.inherited, layer.inherited_backward)
    return tuple(_amount(error, dtype) for error in errors)


def _amount(error: Error | None, dtype: str) -> Amount | None:
    if error is None:
        return None
    more = f"{error.relative:.2g} of the largest value" if error.relative else ""
    if error.index and more:
        more += f", worst at [{', '.join(map(str, error.index))}]"
    if error.units is None:
        return Amount.relative(error.relative, 2.0 ** -BITS[dtype], differs=error.differs, more=more)
    differs = error.differs if dtype == "float64" else not error.units <= NOISE_LIMIT
    return Amount.of(error.units, number(error.units), differs=differs, more=more)


def _configs(original: Mapping[str, Any], port: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Both configurations side by side; what is not said is a dash."""
    names = [*original, *(name for name in port if name not in original)]
    return [(name, _setting(original, name), _setting(port, name)) for name in names]


def _setting(config: Mapping[str, Any], name: str) -> str:
    return str(config[name]) if name in config else "\N{EN DASH}"


def _findings(report: Report) -> list[Finding]:
    found = [
        Finding(f"Weight {key}", (f"The port's {what}, against the original's.",))
        for key, what in report.weights.wrong.items()
    ]
    for i, each in enumerate(report.differences):
        title = "First difference" if i == 0 else f"In {each.mode} mode"
        text, code = [say_difference(each), *_why(each)], []
        for cause in each.causes:
            text.append(f"Cause: {describe_cause(cause)}.")
            code.append((f"change {cause.place}", cause.place.text))
        if not each.causes:
            code.append((str(each.place), each.place.text))
        found.append(Finding(title, text, [(place, line) for place, line in dict.fromkeys(code) if line]))
    return found


def _why(difference: Difference) -> list[str]:
    if not difference.causes and difference.tried:
        return [f"Cause unknown: none of {difference.tried} known differences gives what the port gives."]
    if len(difference.causes) > 1:
        return [f"{len(difference.causes)} causes give the same here:"]
    return []


def _checks(report: Report) -> Table:
    head = ("mode", "precision", "what", "error", "limit", "unit", "significant bits", "worst", "verdict", "why")
    rows = [
        (*describe_check(each), each.worst, "same" if each.passed else "DIFFERS", each.why) for each in report.checks
    ]
    return Table("Checks", head, rows)


def _pairs(report: Report) -> Table:
    weights = report.weights
    rows: list[tuple[str, str, str]] = [(key, source, how) for key, (source, how) in weights.pairs.items()]
    rows += [(key, "\N{EN DASH}", "only in the port") for key in weights.only_port]
    rows += [("\N{EN DASH}", key, "only in the original") for key in weights.only_original]
    return Table("Weights, how they were paired", ("port", "original", "paired by"), rows, open=False)
