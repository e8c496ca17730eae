"""The tree of layers as text, for a terminal and for an issue: ASCII, nothing cut, 80 columns where names are short."""

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from .report import Difference, Error, Layer

# More layers than this are a tree of which only what differs is shown whole.
WHOLE = 40
CELL = 9
HEAD = ("output", "adds", "gradient", "adds")


def lines(difference: Difference, layers: Sequence[Layer], width: int) -> Iterator[Text]:
    """A line for each layer, with what its output and its input's gradient are off by, and what it adds of that."""
    yield Text(f"layers in {difference.mode} mode, float64: off by how much of the largest value")
    room = max(width - CELL * len(HEAD), 24)
    yield Text(f"{'':<{room}}" + "".join(f"{word:>{CELL}}" for word in HEAD), "dim")
    parents = _parents(layers)
    hidden = _hidden(difference, layers, parents)
    for layer in layers:
        if layer.path in hidden:
            continue
        inside = sum(_is_inside(path, layer.path) for path in hidden)
        yield from _line(layer, difference, _depth(layer.path, parents), parents[layer.path], room, inside)


def _line(
    layer: Layer, difference: Difference, depth: int, parent: str | None, room: int, inside: int
) -> Iterator[Text]:
    first = layer.path == difference.layer
    name = layer.path.removeprefix(f"{parent}.") if parent else layer.path or "(the model)"
    label = f"{'> ' if first else '  '}{'  ' * depth}{name} {_classes(layer)}"
    if inside:
        label += f" ({inside} layers inside)"
    style = "bold red" if first else ""
    cells = [_cell(error) for error in (layer.inherited, layer.added, layer.inherited_backward, layer.added_backward)]
    if len(label) >= room:
        yield Text(label, style)
        label = ""
    yield Text.assemble((f"{label:<{room}}", style), *cells)


def _classes(layer: Layer) -> str:
    """The port's class, and its partner where that has another class or another path."""
    original, port = layer.classes
    if layer.original is None:
        return f"{port} (no partner)"
    elsewhere = "" if layer.original == layer.path else f"{layer.original or '(the model)'} "
    return port if original == port and not elsewhere else f"{port} ({elsewhere}{original})"


def _cell(error: Error | None) -> tuple[str, str]:
    if error is None:
        return f"{'-':>{CELL}}", "dim"
    return f"{error.relative:>{CELL}.1g}", "bold red" if error.differs else "green"


def _parents(layers: Sequence[Layer]) -> dict[str, str | None]:
    """The nearest layer that each lies in."""
    paths = {layer.path for layer in layers}
    found: dict[str, str | None] = {}
    for path in paths:
        above = path.rpartition(".")[0]
        while above and above not in paths:
            above = above.rpartition(".")[0]
        found[path] = above if path and above in paths else None
    return found


def _depth(path: str, parents: Mapping[str, str | None]) -> int:
    depth, above = 0, parents[path]
    while above is not None:
        depth, above = depth + 1, parents[above]
    return depth


def _is_inside(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(f"{outer}."))


def _hidden(difference: Difference, layers: Sequence[Layer], parents: Mapping[str, str | None]) -> set[str]:
    """Of a large tree what lies, deeper than one step, in layers that add nothing in any layer of theirs."""
    if len(layers) <= WHOLE:
        return set()
    guilty = {layer.path for layer in layers if _adds(layer)} | {difference.layer}
    shown = {path for layer in guilty for path in _above(layer, parents)}
    return {layer.path for layer in layers if layer.path not in shown and parents[layer.path] not in (*shown, None)}


def _above(path: str, parents: Mapping[str, str | None]) -> Iterator[str]:
    """The layer and all that it lies in."""
    each: str | None = path
    while each is not None:
        yield each
        each = parents[each]


def _adds(layer: Layer) -> bool:
    return any(error is not None and error.differs for error in (layer.added, layer.added_backward))
