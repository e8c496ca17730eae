"""Taps on each layer: what goes in and out is recorded while a model runs, or something else is put in its place.

A name is `path|call|in|i` or `path|call|out|i`: the i-th tensor of the layer's call of that number. The model itself
is the layer with the empty path.

`Record` writes every value down, and its gradient, and lets it pass. `Feed` gives each layer the tensors that it is
told to, whatever comes in, and gives its caller the outputs that it is told to, whatever the layer computes: so what a
layer computes shows what it adds by itself, and what comes into it what its caller adds.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import trees
from .load import is_inside


class Tools(Protocol):
    """The functions of a framework that taps need."""

    def is_tensor(self, value: Any) -> bool:
        """Whether the value is an array of this framework."""
        ...

    def is_leaf(self, layer: Any) -> bool:
        """Whether the layer is the framework's own."""
        ...

    def fresh(self, tensor: Any) -> Any:
        """The same tensor, which may be written into."""
        ...

    def tap(self, name: str, tensor: Any, record: "Record") -> Any:
        """The same tensor, which writes its value and in the backward pass its gradient into `record`."""
        ...

    def probe(self, tensor: Any, zero: Any) -> Any:
        """The same tensor, whose gradient goes to `zero` too."""
        ...


@dataclass
class Taps:
    """The calls of layers in order, with the line that made each, by `path|call`."""

    tools: Tools
    calls: dict[str, tuple[str, int]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    stack: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    only: Collection[str] | None = None

    def wants(self, path: str) -> bool:
        """Whether the layer at that path is looked at; without `only` every one is."""
        return self.only is None or path in self.only

    def call(self, path: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The layer's output, with what goes in and out tapped."""
        name = f"{path}|{self.counts[path]}"
        self.counts[path] += 1
        self.calls[name] = calling_line()
        self.parents[name] = self.stack[-1] if self.stack else ""
        args, kwargs = self._each(f"{name}|in", (args, kwargs), self.enter)
        self.stack.append(name)
        try:
            output = self.compute(name, forward, args, kwargs)
        finally:
            self.stack.pop()
        return self._each(f"{name}|out", output, self.leave)

    def compute(self, name: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Compute the layer."""
        return forward(*args, **kwargs)

    def enter(self, name: str, tensor: Any) -> Any:
        """The tensor that the layer is given in this one's place."""
        raise NotImplementedError

    def leave(self, name: str, tensor: Any) -> Any:
        """The tensor that the layer's caller is given in this one's place."""
        raise NotImplementedError

    def _each(self, name: str, tree: Any, change: Callable[[str, Any], Any]) -> Any:
        found = trees.tensors(tree, self.tools.is_tensor)
        names = [f"{name}|{i}" for i in range(len(found))]
        self.order += names
        new = [change(name, tensor) for name, tensor in zip(names, found, strict=True)]
        return trees.replace(tree, iter(new), self.tools.is_tensor)


@dataclass
class Record(Taps):
    """Every value, and in the backward pass every gradient, by name."""

    values: dict[str, Any] = field(default_factory=dict)
    gradients: dict[str, Any] = field(default_factory=dict)

    def enter(self, name: str, tensor: Any) -> Any:
        return self.tools.tap(name, tensor, self)

    def leave(self, name: str, tensor: Any) -> Any:
        return self.tools.tap(name, tensor, self)


@dataclass
class Probe(Taps):
    """Every value, also where a function is only traced; its gradient is that of a zero, by "probe|" and the name."""

    zeros: Mapping[str, Any] = field(default_factory=dict)
    come: dict[str, Any] = field(default_factory=dict)

    def enter(self, name: str, tensor: Any) -> Any:
        self.come[name] = tensor
        zero = self.zeros.get(f"probe|{name}")
        return tensor if zero is None else self.tools.probe(tensor, zero)

    def leave(self, name: str, tensor: Any) -> Any:
        return self.enter(name, tensor)


@dataclass
class Feed(Taps):
    """Taps that keep what comes to each place by name, and let the tensors of `given` go on from there."""

    given: Mapping[str, Any] = field(default_factory=dict)
    come: dict[str, Any] = field(default_factory=dict)

    def enter(self, name: str, tensor: Any) -> Any:
        # What the model itself is given comes from nobody whose error it could be.
        if self.stack:
            self.come[name] = tensor
        return self.tools.fresh(self.given[name]) if name in self.given else tensor

    def leave(self, name: str, tensor: Any) -> Any:
        self.come[name] = tensor
        return self.tools.fresh(self.given[name]) if name in self.given else tensor


def calling_line() -> tuple[str, int]:
    """The file and line of the user's code that called, or of the outermost where there is none."""
    frame = sys._getframe(2)
    while frame.f_back is not None and is_inside(frame.f_code.co_filename):
        frame = frame.f_back
    return ("", 0) if is_inside(frame.f_code.co_filename) else (frame.f_code.co_filename, frame.f_lineno)
