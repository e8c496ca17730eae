"""The first layer that differs: which adds a difference by itself, and which only inherits one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..verdict.judge import RELATIVE_LIMIT, Noise
from . import verdict
from .axes import Alignment, align
from .report import Error
from .side import Arrays
from .weights import Pairing, owner

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Event:
    """A tensor on its way, where a difference is seen first.

    Attributes:
        name: Its name in the port, see `taps`; of a buffer or a parameter its key.
        layer: The call, `path|number`, of the layer whose own code makes it.
        direction: "forward", "backward" or "buffers".
        added: How far off it is, given the original's own tensors.
        inherited: How far off it is as the port runs.
    """

    name: str
    layer: str
    direction: str
    added: Error
    inherited: Error | None


@dataclass
class Comparison:
    """A pass of the original beside the port's, layer by layer, in the port's names and axes.

    Attributes:
        names: The original's name for each name of the port's that has a partner.
        fits: How the original's array becomes the port's.
        expected: The original's values in the port's axes.
        cotangents: The original's gradients in the port's axes.
    """

    names: dict[str, str] = field(default_factory=dict)
    fits: dict[str, Alignment] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    expected: Arrays = field(default_factory=dict)
    cotangents: Arrays = field(default_factory=dict)

    def of(self, recording: Arrays) -> "Comparison":
        """The same with what another recording of the original, of the same calls, holds."""
        found = replace(self, expected={}, cotangents={})
        for name, fit in self.fits.items():
            for kind, into in (("value", found.expected), ("gradient", found.cotangents)):
                array = recording.get(f"{kind}|{self.names[name]}")
                if array is not None:
                    into[name] = np.ascontiguousarray(fit.apply(array))
        return found


def pair_layers(original: Facts, port: Facts, pairing: Pairing) -> dict[str, str]:
    """The original's path for each path of the port that has a partner: by weights, by name, by what lies inside."""
    theirs = {layer["alias"]: layer["path"] for layer in original["layers"]}
    ours = {layer["alias"]: layer["path"] for layer in port["layers"]}
    found = {"": ""}
    for path, source in pairing.layers().items():
        mine, other = _nearest(path, ours), _nearest(source, theirs)
        if mine and other:
            found.setdefault(ours[mine], theirs[other])
    taken = set(found.values())
    for alias, path in ours.items():
        if path not in found and alias in theirs and theirs[alias] not in taken:
            found[path] = theirs[alias]
            taken.add(theirs[alias])
    inside = {path: frozenset(_below(path, theirs.values())) & taken for path in theirs.values() if path not in taken}
    for path in sorted(ours.values(), key=len, reverse=True):
        if path in found:
            continue
        children = frozenset(found[child] for child in _below(path, ours.values()) if child in found)
        same = [other for other, there in inside.items() if children and there == children and other not in taken]
        if same:
            found[path] = max(same, key=len)
            taken.add(found[path])
    return found


def _nearest(path: str, known: Mapping[str, str]) -> str:
    """The path, or the nearest one above it that is known."""
    while path and path not in known:
        path = owner(path)
    return path


def _below(path: str, paths: Iterable[str]) -> list[str]:
    return [other for other in paths if other.startswith(f"{path}.") or (not path and other)]


def line_up(
    original: Arrays, port: Arrays, infos: tuple[Facts, Facts], layers: Mapping[str, str], moved: int
) -> Comparison:
    """Bring the original's recording into the port's names and axes.

    Args:
        original: A recording of the original.
        port: The port's of the same pass.
        infos: What both sides say of the calls.
        layers: The original's path for each path of the port.
        moved: See `axes.candidates`.
    """
    found = Comparison()
    counts = [_counts(info["calls"]) for info in infos]
    for name in infos[1]["order"]:
        path, number, direction, index = name.split("|")
        if path not in layers or counts[0].get(layers[path]) != counts[1].get(path):
            continue
        source = f"{layers[path]}|{number}|{direction}|{index}"
        if f"value|{source}" not in original or f"value|{name}" not in port:
            continue
        theirs, ours = original[f"value|{source}"], port[f"value|{name}"]
        fit = align(theirs, ours, moved)
        found.names[name] = source
        if fit is None:
            found.faults[f"value|{name}"] = f"has shape {ours.shape}, the original's {theirs.shape}"
            continue
        found.fits[name] = fit
        found.expected[name] = np.ascontiguousarray(fit.apply(theirs))
        gradient = original.get(f"gradient|{source}")
        if gradient is not None:
            found.cotangents[name] = np.ascontiguousarray(fit.apply(gradient))
    return found


def _counts(calls: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for call in calls:
        path = call.rpartition("|")[0]
        counts[path] = counts.get(path, 0) + 1
    return counts


def events(
    comparison: Comparison,
    fed: Arrays,
    free: Arrays,
    original: Arrays,
    info: Facts,
    pairing: Pairing,
    noise: Mapping[str, Noise],
) -> list[Event]:
    """Every tensor that differs from the original's given the original's own tensors, in the order of the pass.

    Forward first; then, backward, from the last to the first; then buffers.

    Args:
        comparison: The two passes.
        fed: What `Side.feed` gave.
        free: The port's own recording.
        original: The original's recording.
        info: What the port says of its calls.
        pairing: The weights' pairs.
        noise: float64's own noise by the port's names, where it was measured.
    """
    order = [name for name in dict.fromkeys(info["order"]) if name in comparison.names]
    found = []
    for name in order:
        if f"value|{name}" in comparison.faults:
            found.append(Event(name, maker(name, info, "in"), "forward", Error(float("inf"), None, name), None))
        event = _event(name, "value", "in", comparison.expected, fed, free, info, noise, comparison)
        found += [event] if event else []
    # Nobody is behind the model's own outputs.
    for name in reversed([name for name in order if not name.startswith("|0|out|")]):
        event = _event(name, "gradient", "out", comparison.cotangents, fed, free, info, noise, comparison)
        found += [event] if event else []
    for kind, direction in (("parameter", "backward"), ("buffer", "buffers")):
        for key, source in pairing.keys.items():
            name, other = f"{kind}|{key}", f"{kind}|{source}"
            if name in fed and other in original and fed[name].size == original[other].size:
                expected = pairing.apply(key, original[other], fed[name].shape)
                added = verdict.error(fed[name], expected, noise.get(name))
                if added.differs:
                    inherited = verdict.error(free[name], expected, noise.get(name)) if name in free else None
                    found.append(Event(name, _owner_call(key, info), direction, added, inherited))
    return found


def _event(
    name: str,
    kind: str,
    outside: str,
    expected: Arrays,
    fed: Arrays,
    free: Arrays,
    info: Facts,
    noise: Mapping[str, Noise],
    comparison: Comparison,
) -> Event | None:
    """The difference of one tensor; what comes from `outside` a layer is its caller's to answer for."""
    array = fed.get(f"{kind}|{name}")
    if name not in expected or array is None:
        return None
    size = noise.get(f"{kind}|{name}")
    added = verdict.error(array, expected[name], size)
    if not added.differs:
        return None
    layer = maker(name, info, outside)
    inherited = verdict.error(free[f"{kind}|{name}"], expected[name], size) if f"{kind}|{name}" in free else None
    return Event(name, layer, "forward" if kind == "value" else "backward", added, inherited)


def maker(name: str, info: Facts, outside: str) -> str:
    """The call whose own code makes a tensor; what comes from `outside` a layer is its caller's."""
    path, number, direction, _ = name.split("|")
    call = f"{path}|{number}"
    return str(info["parents"][call]) if direction == outside and call != "|0" else call


def _owner_call(key: str, info: Facts) -> str:
    path = owner(key)
    paths = {call.rpartition("|")[0] for call in info["calls"]}
    aliases = info.get("aliases", {})
    path = aliases.get(path, path)
    while path and path not in paths:
        path = owner(path)
    return f"{path}|0"


def errors_by_layer(
    comparison: Comparison, recording: Arrays, kind: str, direction: str, noise: Mapping[str, Noise]
) -> dict[str, Error]:
    """The worst error of each layer's tensors of one direction, by path."""
    expected = comparison.expected if kind == "value" else comparison.cotangents
    found: dict[str, Error] = {}
    for name, truth in expected.items():
        path, _, way, _ = name.split("|")
        array = recording.get(f"{kind}|{name}")
        if way != direction or array is None:
            continue
        each = verdict.error(array, truth, noise.get(f"{kind}|{name}"), name)
        if path not in found or not each.relative <= found[path].relative:
            found[path] = each
    return found


__all__ = ["RELATIVE_LIMIT", "Comparison", "Event", "errors_by_layer", "events", "line_up", "pair_layers"]
