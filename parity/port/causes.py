"""The mutants run backwards: which known difference, made in a healthy layer, gives what the other side's layer gives.

The layer of PyTorch's side runs on the original's own tensors, its children giving what the original's give. Each
operation of its own code is then made otherwise, one way at a time, as `differences` has them; a way that gives every
tensor and buffer that the other side gave to 1e-12 is the cause. What gives the same arrays is one cause under several
names, and all are told.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from . import trees
from .differences import TABLE, Change
from .gradient_differences import GRADIENTS
from .side import Arrays, Side
from .taps import Feed, calling_line

REPRODUCED = 1e-12
# Of one layer no more than so many are tried.
MOST = 3000


class _Done(Exception):
    """The layer has been searched; the rest of the pass is of no use."""


class _Visit(TorchFunctionMode):
    """Shows each operation of PyTorch to `visit`, which computes it; nothing inside that is shown."""

    def __init__(self, visit: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.visit = visit

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.visit(func, args, kwargs or {})


@dataclass
class Search(Feed):
    """A feed that, at one call of a layer, tries the known differences.

    Attributes:
        target: The call, `path|number`.
        wanted: What the other side's layer gave, by name; of a buffer under "buffer|" and its key.
        buffers: The layer's buffers by such names.
        hints: The other side's configuration of the layer, whose values are tried first.
        found: What reproduces it.
        tried: How many differences were tried.
    """

    target: str = ""
    wanted: Arrays = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)
    found: list[dict[str, Any]] = field(default_factory=list)
    tried: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)

    def compute(self, name: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.target in self.stack[:-1]:
            # A child: right, and the same whatever its caller does.
            if name not in self.outputs:
                self.outputs[name] = forward(*args, **kwargs)
            return self.outputs[name]
        if name != self.target:
            return forward(*args, **kwargs)
        self._search(name, forward, args, kwargs)
        raise _Done

    def _search(self, name: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> None:
        counts, buffers = Counter(self.counts), {key: tensor.clone() for key, tensor in self.buffers.items()}

        def attempt(visit: Callable[[Any, Any, Any], Any]) -> Arrays:
            self.counts, self.come = Counter(counts), {}
            for key, tensor in self.buffers.items():
                tensor.copy_(buffers[key])
            fresh = trees.tensors((args, kwargs), self.tools.is_tensor)
            mine, named = trees.replace((args, kwargs), iter([t.clone() for t in fresh]), self.tools.is_tensor)
            with _Visit(visit):
                output = forward(*mine, **named)
            for i, tensor in enumerate(trees.tensors(output, self.tools.is_tensor)):
                self.come[f"{name}|out|{i}"] = tensor
            return {**self.come, **self.buffers}

        healthy = attempt(lambda func, args, kwargs: func(*args, **kwargs))
        if self._fits(healthy):
            return
        places = self._places(attempt)
        for site, (place, count) in enumerate(places):
            for choice in range(count):
                if self.tried >= MOST:
                    return
                self._try(attempt, site, choice, place)

    def _places(self, attempt: Callable[..., Arrays]) -> list[tuple[tuple[str, int], int]]:
        """The line of each operation of the table, and how many differences it has."""
        found: list[tuple[tuple[str, int], int]] = []

        def visit(func: Any, args: Any, kwargs: Any) -> Any:
            if self._is_own() and _name(func) in TABLE:
                with torch._C.DisableTorchFunction():
                    found.append((calling_line(), len(self._changes(func, args, kwargs))))
            return func(*args, **kwargs)

        attempt(visit)
        return found

    def _try(self, attempt: Callable[..., Arrays], site: int, choice: int, place: tuple[str, int]) -> None:
        """Make one difference; keep it where it gives what is wanted."""
        seen = 0
        made: list[Change] = []

        def visit(func: Any, args: Any, kwargs: Any) -> Any:
            nonlocal seen
            if not self._is_own() or _name(func) not in TABLE:
                return func(*args, **kwargs)
            seen += 1
            if seen - 1 != site:
                return func(*args, **kwargs)
            changes = self._changes(func, args, kwargs)
            if choice >= len(changes):
                return func(*args, **kwargs)
            made.append(changes[choice])
            return changes[choice].compute()

        self.tried += 1
        try:
            come = attempt(visit)
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError):
            return  # a difference that these shapes do not allow
        if made and self._fits(come):
            change = made[0]
            self.found.append(
                {
                    "what": change.what,
                    "here": change.here,
                    "there": change.there,
                    "words": list(change.words),
                    "place": list(place),
                    "site": site,
                }
            )

    def _changes(self, func: Any, args: Any, kwargs: Any) -> list[Change]:
        """The known differences of a call; none where it is made in a way that is not foreseen."""
        try:
            return list(TABLE[_name(func)](func, args, kwargs, self.hints))
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError, AttributeError):
            return []

    def _is_own(self) -> bool:
        """Whether the layer's own code is at work, not a child's."""
        return bool(self.stack) and self.stack[-1] == self.target

    def _fits(self, come: Mapping[str, Any]) -> bool:
        """Whether every array is the one that is wanted."""
        for name, wanted in self.wanted.items():
            tensor = come.get(name)
            if tensor is None or tuple(tensor.shape) != wanted.shape:
                return False
            if not _near(tensor.detach().numpy(), wanted):
                return False
        return True


@dataclass
class _Backward(Feed):
    """A feed that shows the operations of one call's own code to `visit`."""

    target: str = ""
    visit: Callable[[Any, Any, Any], Any] = lambda func, args, kwargs: func(*args, **kwargs)

    def compute(self, name: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if name != self.target:
            return forward(*args, **kwargs)
        with _Visit(lambda func, args, kwargs: self._seen(func, args, kwargs)):
            return forward(*args, **kwargs)

    def _seen(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self.stack[-1] == self.target and _name(func) in GRADIENTS:
            return self.visit(func, args, kwargs)
        return func(*args, **kwargs)


def search_backward(
    side: Side, target: str, given: Arrays, cotangents: Arrays, wanted: Arrays, inputs: int, train: bool
) -> dict[str, Any]:
    """The known differences of one call that give the gradients that the other side gave, see `search`.

    Args:
        side: PyTorch's side.
        target: The call, `path|number`.
        given: The original's tensors by this side's names.
        cotangents: What comes back to each of them in the original.
        wanted: The gradients that the other side's layer gives, by this side's names.
        inputs: How many arguments the model takes.
        train: Train mode or eval mode.
    """

    def attempt(visit: Callable[[Any, Any, Any], Any]) -> Arrays:
        side.begin("float64", train)
        taps = _Backward(side.tools, target=target, visit=visit)

        def function(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
            taps.given = tensors
            with side.tools.tapped(model, taps):
                model(*(tensors[f"|0|in|{i}"] for i in range(inputs)))
            return taps.come

        return side.tools.pull(side.model, function, given, cotangents)[1]

    places: list[tuple[tuple[str, int], list[Change]]] = []

    def note(func: Any, args: Any, kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():
            places.append((calling_line(), list(GRADIENTS[_name(func)](func, args, kwargs, {}))))
        return func(*args, **kwargs)

    if _equal(attempt(note), wanted):
        return {"found": [], "tried": 0}
    found = []
    for site, (place, changes) in enumerate(places):
        for choice, change in enumerate(changes):
            seen = iter(range(len(places)))

            def visit(
                func: Any, args: Any, kwargs: Any, seen: Any = seen, site: int = site, choice: int = choice
            ) -> Any:
                if next(seen, -1) != site:
                    return func(*args, **kwargs)
                return list(GRADIENTS[_name(func)](func, args, kwargs, {}))[choice].compute()

            with suppress(RuntimeError, ValueError, IndexError, TypeError):
                if _equal(attempt(visit), wanted):
                    told = {"what": change.what, "here": change.here, "there": change.there}
                    found.append(told | {"words": list(change.words), "place": list(place), "site": site})
    return {"found": found, "tried": sum(len(changes) for _, changes in places)}


def _equal(come: Arrays, wanted: Arrays) -> bool:
    return all(
        name in come and come[name].shape == array.shape and _near(come[name], array) for name, array in wanted.items()
    )


def _near(got: np.ndarray, wanted: np.ndarray) -> bool:
    scale = float(np.abs(wanted).max()) if wanted.size else 0.0
    with np.errstate(all="ignore"):
        return not wanted.size or float(np.abs(got - wanted).max()) <= REPRODUCED * scale


def _name(func: Any) -> str:
    return getattr(func, "__name__", "")


def search(
    side: Side, target: str, given: Arrays, come: Arrays, inputs: int, train: bool, hints: Mapping[str, Any]
) -> dict[str, Any]:
    """The known differences of one call that give what came on the other side, and how many were tried.

    Args:
        side: PyTorch's side.
        target: The call, `path|number`.
        given: The original's tensors by this side's names.
        come: What the other side's layer makes of them, by this side's names; buffers under "buffer|" and the key.
        inputs: How many arguments the model takes.
        train: Train mode or eval mode.
        hints: The other side's configuration of the layer.
    """
    side.begin("float64", train)
    taps = Search(side.tools, target=target, wanted=come, hints=hints)
    taps.buffers = {f"buffer|{slot.key}": slot.variable for slot in side.slots if f"buffer|{slot.key}" in come}

    def function(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        taps.given = tensors
        with side.tools.tapped(model, taps):
            model(*(tensors[f"|0|in|{i}"] for i in range(inputs)))
        return {}

    with suppress(_Done):
        side.tools.pull(side.model, function, given, None)
    return {"found": taps.found, "tried": taps.tried}
