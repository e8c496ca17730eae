"""The layers of a mode with what each inherits and adds, and the difference that is found first."""

import linecache
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..verdict.judge import Noise
from . import layers, verdict
from .report import Cause, Difference, Layer, Maps, Place
from .side import Arrays

# A picture of a layer's output has so many pixels a side.
PIXELS = 32
BINS = 24


def localise(
    walk: Any,
    mode: str,
    comparison: layers.Comparison,
    theirs: Arrays,
    ours: Arrays,
    info: Mapping[str, Any],
    noise: Mapping[str, Noise],
    *,
    search: bool,
) -> None:
    """Put the mode's layers, and where it differs the first difference with its cause, into the walk's report.

    Args:
        walk: See `compare.Walk`.
        mode: "eval" or "train".
        comparison: Both passes, in the port's names.
        theirs: The original's recording.
        ours: The port's.
        info: What the port says of its calls.
        noise: float64's own noise, where it was measured.
        search: Whether there is a difference to find; without it the layers are only listed.
    """
    fed: Arrays = {}
    events: list[layers.Event] = []
    if search and all(name in comparison.expected for name in _roots(theirs)):
        walk.advance(f"feeding each layer of the port in {mode} mode")
        roots = {f"|0|in|{i}": array for i, array in enumerate(walk.inputs[1])}
        given = {**comparison.expected, **roots}
        fed, fed_info = walk.port.ask(
            "feed",
            given=given,
            cotangents=comparison.cotangents,
            inputs=len(walk.inputs[1]),
            dtype="float64",
            train=mode == "train",
        )
        fed_info["aliases"] = info["aliases"]
        events = layers.events(comparison, fed, ours, theirs, fed_info, walk.pairing, noise)
        info = fed_info
    walk.layers[mode] = _layers(walk, comparison, theirs, ours, fed, events, noise)
    if events:
        walk.differences.append(_difference(walk, mode, events, comparison, theirs, ours, fed, info))


def _roots(recording: Arrays) -> list[str]:
    return [name.removeprefix("value|") for name in recording if name.startswith("value||0|in|")]


def _layers(
    walk: Any,
    comparison: layers.Comparison,
    theirs: Arrays,
    ours: Arrays,
    fed: Arrays,
    events: Sequence[layers.Event],
    noise: Mapping[str, Noise],
) -> tuple[Layer, ...]:
    """Every layer of the port, with its errors where it has a partner."""
    originals = {layer["path"]: layer for layer in walk.original.facts["layers"]}
    inherited = layers.errors_by_layer(comparison, ours, "value", "out", noise)
    backward = layers.errors_by_layer(comparison, ours, "gradient", "in", noise)
    added = layers.errors_by_layer(comparison, fed, "value", "out", noise)
    added_backward = layers.errors_by_layer(comparison, fed, "gradient", "in", noise)
    for event in events:
        path = event.layer.rpartition("|")[0]
        into = added if event.direction == "forward" else added_backward
        if path not in into or not event.added.relative <= into[path].relative:
            into[path] = event.added
    found = []
    for layer in walk.port.facts["layers"]:
        path = layer["path"]
        partner = originals.get(walk.pairs.get(path, None)) if path in walk.pairs else None
        name = f"{path}|0|out|0"
        array = ours.get(f"value|{name}")
        differs = path in inherited and inherited[path].differs
        found.append(
            Layer(
                path,
                partner["path"] if partner else None,
                path.count(".") + 1 if path else 0,
                (partner["class"] if partner else "", layer["class"]),
                (partner["config"] if partner else {}, layer["config"]),
                (
                    place(layer["file"], layer["line"]),
                    place(partner["file"], partner["line"]) if partner else Place("", 0),
                ),
                place(layer["forward"][0], layer["forward"][1]),
                array.shape if array is not None else (),
                inherited.get(path),
                added.get(path),
                backward.get(path),
                added_backward.get(path),
                _maps(comparison.expected[name], array) if differs and name in comparison.expected else None,
            )
        )
    return tuple(found)


def _maps(expected: np.ndarray, computed: np.ndarray | None) -> Maps | None:
    """The part of both outputs around the worst element, along the last two axes that are maps' sides."""
    if computed is None or not computed.size or not np.isfinite(computed).all():
        return None
    difference = np.abs(computed.astype(np.float64) - expected)
    worst = np.unravel_index(int(difference.argmax()), difference.shape)
    top = float(difference.max())
    counts, _ = np.histogram(difference, BINS, (0.0, top or 1.0))
    return Maps(
        _picture(expected, worst), _picture(computed, worst), _picture(difference, worst), [int(n) for n in counts]
    )


def _picture(array: np.ndarray, worst: tuple[Any, ...]) -> list[list[float]]:
    """The two longest axes through the worst element, every k-th value of them."""
    axes = sorted(np.argsort(array.shape, kind="stable")[-2:])
    index = tuple(slice(None) if i in axes else worst[i] for i in range(array.ndim))
    plane = np.atleast_2d(array[index])
    steps = tuple(slice(None, None, max(1, -(-n // PIXELS))) for n in plane.shape)
    return [[float(f"{value:.6g}") for value in row] for row in plane[steps]]


def _difference(
    walk: Any,
    mode: str,
    events: Sequence[layers.Event],
    comparison: layers.Comparison,
    theirs: Arrays,
    ours: Arrays,
    fed: Arrays,
    info: Mapping[str, Any],
) -> Difference:
    """The first event's layer, where in it, and what reproduces all that the layer adds."""
    first = _first(events)
    path = first.layer.rpartition("|")[0]
    layer = next(layer for layer in walk.port.facts["layers"] if layer["path"] == path)
    where, line, lines = _where(first, layer, info)
    causes, tried = _causes(walk, mode, first, comparison, theirs, fed, info, layer, line, lines)
    others = dict.fromkeys(event.layer.rpartition("|")[0] for event in events)
    others.pop(path, None)
    return Difference(
        path,
        mode,
        first.direction,
        where,
        causes[0].place if causes else line,
        _given_error(first, comparison, ours, info),
        first.added.relative,
        causes,
        tried,
        tuple(others),
    )


def _first(events: Sequence[layers.Event]) -> layers.Event:
    for direction in ("forward", "buffers", "backward"):
        for event in events:
            if event.direction == direction:
                return event
    raise AssertionError("no events")


def _given_error(event: layers.Event, comparison: layers.Comparison, ours: Arrays, info: Mapping[str, Any]) -> float:
    """How far off what the layer is given is, as the port runs: its inputs, or in the backward pass its cotangents."""
    kind, expected = (
        ("gradient", comparison.cotangents) if event.direction == "backward" else ("value", comparison.expected)
    )
    way = "out" if event.direction == "backward" else "in"
    names = [name for name in expected if name.startswith(f"{event.layer}|{way}|") and f"{kind}|{name}" in ours]
    if "|" in event.name:  # what comes to a child counts what the children before it gave
        before = info["order"][: info["order"].index(event.name)] if event.name in info["order"] else []
        children = {call for call, parent in info["parents"].items() if parent == event.layer}
        if event.direction == "forward":
            names += [
                name for name in before if name.rsplit("|", 2)[0] in children and "|out|" in name and name in expected
            ]
    return max((verdict.error(ours[f"{kind}|{name}"], expected[name], None).relative for name in names), default=0.0)


def _where(
    event: layers.Event, layer: Mapping[str, Any], info: Mapping[str, Any]
) -> tuple[str, Place, tuple[int, int]]:
    """In words where the difference is, its line, and the lines that it must lie on."""
    path = layer["path"] or "the model itself"
    made = place(layer["file"], layer["line"])
    if layer["leaf"] or "|" not in event.name or event.name.startswith(("parameter|", "buffer|")):
        return f"{path} ({layer['class']})", made, (layer["line"], layer["line"])
    file, first, last = layer["forward"]
    children = [call for call, parent in info["parents"].items() if parent == event.layer and call != event.layer]
    code = f"{layer['class']}.{'__call__' if file.endswith('.py') and _calls_itself(file, first) else 'forward'}"
    if not children:
        return f"{path} ({layer['class']})", place(file, first), (first, last)
    child, direction = event.name.rsplit("|", 2)[0], event.name.split("|")[2]
    if event.direction == "backward" and direction == "out":
        after = children.index(child) + 1 if child in children else len(children)
    elif event.direction == "forward" and direction == "in" and child in children:
        after = children.index(child)
    elif event.direction == "forward":
        after = len(children)
    else:
        after = 0
    before = info["calls"][children[after - 1]] if after else (file, first)
    behind = info["calls"][children[after]] if after < len(children) else (file, last)
    names = [call.rpartition("|")[0] for call in children]
    between = (
        f"between {names[after - 1]} and {names[after]}" if 0 < after < len(names)
        else f"before {names[0]}" if after == 0 else f"after {names[-1]}"
    )  # fmt: skip
    line = behind[1] if after < len(children) else before[1]
    return f"{path}: in {code} {between}", place(file, line), (before[1], max(before[1], behind[1]))


def _calls_itself(file: str, line: int) -> bool:
    return "__call__" in "".join(linecache.getline(file, i) for i in range(line, line + 3))


def _causes(
    walk: Any,
    mode: str,
    event: layers.Event,
    comparison: layers.Comparison,
    theirs: Arrays,
    fed: Arrays,
    info: Mapping[str, Any],
    layer: Mapping[str, Any],
    line: Place,
    lines: tuple[int, int],
) -> tuple[tuple[Cause, ...], int]:
    """What reproduces everything that the layer makes of the original's tensors, tried on the side of PyTorch."""
    return (), 0


def place(file: str, line: int) -> Place:
    """A line of code with its text, its file from here where it lies below."""
    text = linecache.getline(file, line).strip() if line else ""
    path, here = Path(file), Path.cwd()
    return Place(str(path.relative_to(here)) if file and path.is_relative_to(here) else file, line, text)
