"""The layers of a mode with what each inherits and adds, and the difference that is found first."""

import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..verdict.judge import Noise
from . import layers, pictures, verdict
from .report import Cause, Difference, Layer, Place
from .side import Arrays

# More causes than this that fit equally are none.
COMPETING = 4
# What float32 inside float64 may be off by.
SINGLE = 1e-5

# What the port's layers make, and what the port says of their calls.
Fed = tuple[Arrays, dict[str, Any]]


def localise(
    walk: Any,
    mode: str,
    comparison: layers.Comparison,
    theirs: Arrays,
    ours: Arrays,
    info: Mapping[str, Any],
    noise: Mapping[str, Noise],
    search: Callable[[], Fed] | None,
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
        search: Gives what `feed` does where there is a difference to find; with None the layers are only listed.
    """
    fed: Arrays = {}
    events: list[layers.Event] = []
    if search is not None and can_feed(comparison, theirs):
        walk.advance(f"feeding each layer of the port in {mode} mode")
        fed, fed_info = search()
        fed_info["aliases"] = info["aliases"]
        events = layers.events(comparison, fed, ours, theirs, fed_info, walk.pairing, noise)
        info = fed_info
    walk.layers[mode] = _layers(walk, comparison, theirs, ours, fed, events, noise)
    if events:
        walk.differences.append(_difference(walk, mode, events, comparison, theirs, ours, fed, info))


def can_feed(comparison: layers.Comparison, theirs: Arrays) -> bool:
    """Whether the port takes what the original takes."""
    return all(name in comparison.expected for name in _roots(theirs))


def feed(walk: Any, mode: str, comparison: layers.Comparison) -> Fed:
    """Feed each layer of the port the original's own tensors: what it makes of them, and what is random in it."""
    roots = {f"|0|in|{i}": array for i, array in enumerate(walk.inputs[1])}
    given = {**comparison.expected, **roots}
    options = {"inputs": len(walk.inputs[1]), "dtype": "float64", "train": mode == "train"}
    fed, info = walk.port.ask("feed", given=given, cotangents=comparison.cotangents, **options)
    again, _ = walk.port.ask("feed", given=given, cotangents={}, **options)
    info["random"] = [
        name for name, array in again.items() if not np.array_equal(array, fed[name], equal_nan=array.dtype.kind == "f")
    ]
    return fed, info


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
    shown = {}
    for (way, kind, _), errors in zip(pictures.WAYS, (inherited, backward), strict=True):
        chosen = {path: error for path, error in errors.items() if walk.detail or error.differs}
        shown[way] = pictures.of_layers(comparison, ours, kind, chosen, noise)
    found = []
    for layer in walk.port.facts["layers"]:
        path = layer["path"]
        partner = originals.get(walk.pairs.get(path, None)) if path in walk.pairs else None
        array = ours.get(f"value|{path}|0|out|0")
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
                pictures={f"float64 {way}": taken[path] for way, taken in shown.items() if path in taken},
            )
        )
    return tuple(found)


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
    said, line, lines = where(first, layer, info)
    causes, tried = _causes(_Suspect(walk, mode, first, comparison, theirs, fed, info, layer, line, lines))
    others = dict.fromkeys(event.layer.rpartition("|")[0] for event in events)
    others.pop(path, None)
    return Difference(
        path,
        mode,
        first.direction,
        said,
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
    """The error of what the layer is given, as the port runs: its inputs, or in the backward pass its cotangents."""
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


def where(event: layers.Event, layer: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[str, Place, tuple[int, int]]:
    """In words where the difference is, its line, and the lines that it must lie on."""
    path = layer["path"] or "the model itself"
    # Of a layer of Linen's the line that calls it is known, which makes it too where it is written as one.
    made = place(*((layer["file"], layer["line"]) if layer["file"] else info["calls"].get(event.layer, ("", 0))))
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


@dataclass(frozen=True)
class _Suspect:
    """The layer that adds the first difference of a mode: its event, its description and its line."""

    walk: Any
    mode: str
    event: layers.Event
    comparison: layers.Comparison
    theirs: Arrays
    fed: Arrays
    info: Mapping[str, Any]
    layer: Mapping[str, Any]
    line: Place
    lines: tuple[int, int]

    def lay(self, words: Sequence[str]) -> Place:
        """The line of the port that says one of the words."""
        return self.line if self.layer["leaf"] else _line(self.layer["forward"][0], self.lines, words, self.line)

    @property
    def partner(self) -> Mapping[str, Any]:
        """The same layer of the original."""
        path = self.walk.pairs[self.event.layer.rpartition("|")[0]]
        return next(layer for layer in self.walk.original.facts["layers"] if layer["path"] == path)


def _causes(at: _Suspect) -> tuple[tuple[Cause, ...], int]:
    """Find what reproduces everything that the layer makes of the original's tensors, on the side of PyTorch."""
    path, _, number = at.event.layer.rpartition("|")
    if path not in at.walk.pairs:
        return (), 0
    if at.event.direction == "backward":
        return _backward_causes(at)
    if double := _single_precision(at.event, at.layer, at.line, at.fed):
        return (double,), 1
    if f"value|{at.event.name}" in at.info["random"]:
        ours = at.lay(("dropout", "drop", "rand"))
        return (
            Cause(
                "chance", "none", f"differs from itself in {at.mode} mode, as dropout left on does", ours, Place("", 0)
            ),
        ), 1
    names = _made_by(at.event.layer, at.comparison, at.info)
    partner = at.partner
    keys = [key for key in at.walk.pairing.keys if f"buffer|{key}" in at.fed and key in at.layer["arrays"]]
    swapped = at.walk.original.facts["framework"] != "torch"
    if swapped and at.walk.port.facts["framework"] != "torch":
        return (), 0
    at.walk.advance(f"trying known differences in {path or 'the model'}")
    roots = [{f"|0|in|{i}": array for i, array in enumerate(arrays)} for arrays in at.walk.inputs]
    if swapped:
        side, target, hints = at.walk.port, at.event.layer, partner["config"]
        given = {**at.comparison.expected, **roots[1]}
        wanted = {name: at.comparison.expected[name] for name in names if name in at.comparison.expected}
        wanted |= {f"buffer|{key}": at.theirs[f"buffer|{at.walk.pairing.keys[key]}"] for key in keys}
    else:
        side, target, hints = at.walk.original, f"{at.walk.pairs[path]}|{number}", at.layer["config"]
        given = {source: at.theirs[f"value|{source}"] for source in at.comparison.names.values()} | roots[0]
        wanted = {}
        for name in names:
            source, array = at.comparison.names[name], at.fed[f"value|{name}"]
            fit = at.comparison.fits.get(name)
            wanted[source] = (
                fit.undo(array, at.theirs[f"value|{source}"].shape) if fit else _turned(array, at.walk.moved)
            )
        wanted |= {f"buffer|{at.walk.pairing.keys[key]}": at.fed[f"buffer|{key}"] for key in keys}
    _, facts = side.ask(
        "search",
        target=target,
        given=given,
        come=wanted,
        inputs=len(at.walk.inputs[0]),
        train=at.mode == "train",
        hints=hints,
    )
    causes: list[tuple[int, Cause]] = []
    for found in facts["found"]:
        values = (found["there"], found["here"]) if swapped else (found["here"], found["there"])
        said = place(*found["place"])
        ours = at.lay(found["words"])
        other = _line(partner["forward"][0], partner["forward"][1:], found["words"], said)
        if at.layer["leaf"]:
            said = other = place(partner["file"], partner["line"])
        places = (said, other) if swapped else (ours, said)
        causes.append((found["part"], Cause(found["what"], *values, *places)))
    return _named(causes), facts["tried"]


def _named(causes: Sequence[tuple[int, Cause]]) -> tuple[Cause, ...]:
    """The causes, each once; none where many fit, for what the layer does here tells none of them from the others."""
    parts: dict[int, dict[tuple[str, str, str], Cause]] = {}
    for part, cause in causes:
        parts.setdefault(part, {}).setdefault((cause.what, cause.original, cause.port), cause)
    if any(len(part) > COMPETING for part in parts.values()):
        return ()
    together = {key: cause for part in parts.values() for key, cause in part.items()}
    return tuple(replace(cause, together=len(parts) > 1 < len(together)) for cause in together.values())


def _backward_causes(at: _Suspect) -> tuple[tuple[Cause, ...], int]:
    """Find what reproduces the gradients of a layer whose values are right, where the original is PyTorch's."""
    path, _, number = at.event.layer.rpartition("|")
    if at.walk.original.facts["framework"] != "torch":
        return (), 0
    at.walk.advance(f"trying known differences of gradients in {path or 'the model'}")
    children = {
        child for child, parent in at.info["parents"].items() if parent == at.event.layer and child != at.event.layer
    }
    ends = [f"{at.event.layer}|in|", *(f"{child}|out|" for child in children)]
    names = [name for name in at.comparison.names if name.startswith(tuple(ends)) and f"gradient|{name}" in at.fed]
    wanted = {}
    for name in names:
        source, fit = at.comparison.names[name], at.comparison.fits.get(name)
        if fit is not None and f"gradient|{source}" in at.theirs:
            wanted[source] = fit.undo(at.fed[f"gradient|{name}"], at.theirs[f"value|{source}"].shape)
    sources = set(at.comparison.names.values())
    roots = {f"|0|in|{i}": array for i, array in enumerate(at.walk.inputs[0])}
    _, facts = at.walk.original.ask(
        "search_backward",
        target=f"{at.walk.pairs[path]}|{number}",
        given={source: at.theirs[f"value|{source}"] for source in sources} | roots,
        cotangents={source: at.theirs[f"gradient|{source}"] for source in sources if f"gradient|{source}" in at.theirs},
        come=wanted,
        inputs=len(at.walk.inputs[0]),
        train=at.mode == "train",
    )
    partner = at.partner
    causes = []
    for found in facts["found"]:
        ours = at.lay(found["words"])
        said = place(partner["file"], partner["line"]) if at.layer["leaf"] else place(*found["place"])
        causes.append((0, Cause(found["what"], found["here"], found["there"], ours, said)))
    return _named(causes), facts["tried"]


def _made_by(call: str, comparison: layers.Comparison, info: Mapping[str, Any]) -> list[str]:
    """The names of what a layer's own code makes: its outputs, and what its children are given.

    Of a child whose output has another shape the code goes on with what the original does not have: what comes then
    tells nothing.
    """
    children = {child for child, parent in info["parents"].items() if parent == call and child != call}
    found: list[str] = []
    for name in dict.fromkeys(info["order"]):
        owner, direction = name.rsplit("|", 2)[0], name.split("|")[2]
        if found and owner in children and direction == "out" and f"value|{name}" in comparison.faults:
            break
        if name in comparison.names and (
            (owner == call and direction == "out") or (owner in children and direction == "in")
        ):
            found.append(name)
    return found


def _turned(array: np.ndarray, moved: int) -> np.ndarray:
    """The port's array in the original's usual order of axes."""
    if not moved or array.ndim not in (4, 5):
        return array
    return np.moveaxis(array, -1, 1) if moved > 0 else np.moveaxis(array, 1, -1)


def _single_precision(event: layers.Event, layer: Mapping[str, Any], line: Place, fed: Arrays) -> Cause | None:
    """float32 inside a float64 model: what comes is float32, or holds nothing that float32 cannot."""
    array = fed.get(f"value|{event.name}")
    if array is None or event.direction != "forward" or array.dtype.kind != "f" or not array.size:
        return None
    if event.added.relative > SINGLE or not np.array_equal(array.astype(np.float32).astype(np.float64), array):
        return None
    return Cause("the precision", "float64", f"float32 inside, in {layer['class']}", line, Place("", 0))


def _line(file: str, lines: Sequence[int], words: Sequence[str], otherwise: Place) -> Place:
    """The first of the lines that says one of the words, the likelier words first."""
    texts = {i: linecache.getline(file, i).partition("#")[0].lower() for i in range(lines[0], lines[1] + 1)}
    for word in words:
        for i, text in texts.items():
            if word in text and not text.lstrip().startswith(("def ", "class ")):
                return place(file, i)
    # What was left out stands nowhere: the result is where it is missed.
    results = [i for i, text in texts.items() if "return " in text]
    return place(file, results[-1]) if results else otherwise


def place(file: str, line: int) -> Place:
    """A line of code with its text, its file from here where it lies below."""
    text = linecache.getline(file, line).strip() if line else ""
    path, here = Path(file), Path.cwd()
    return Place(str(path.relative_to(here)) if file and path.is_relative_to(here) else file, line, text)
