"""The mutants run backwards: which known difference, made in a healthy layer, gives what the other side's layer gives.

The layer of PyTorch's side runs on the original's own tensors, its children giving what the original's give. Each
operation of its own code is then made otherwise, one way at a time, as `differences` has them; a way that gives every
tensor and buffer that the other side gave to 1e-12 is the cause. What gives the same arrays is one cause under several
names, and all are told.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from . import trees
from .differences import TABLE
from .differences.activations import ACTIVATIONS
from .differences.change import Change
from .gradient_differences import GRADIENTS
from .rewiring import explain, near
from .side import Arrays, Side
from .taps import Feed, calling_line

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


Visit = Callable[[Any, Any, Any], Any]
Attempt = Callable[[Visit], Arrays]
# What computes a call otherwise, and what it changed in it.
Plan = Callable[[Any, Any, Any], tuple[Any, Change | None]]
OPERANDS = {(0,): "of the first operand", (1,): "of the second operand", (0, 1): "of both operands"}
OPERATIONS = ("add", "sub", "mul", "div", "truediv", "true_divide", "matmul", "radd", "rmul", "rsub", "maximum")


@dataclass(frozen=True)
class _Site:
    """A call of an operation of the table.

    Attributes:
        place: Its line.
        name: The operation's.
        changes: What may be otherwise: what, here and there.
        source: The number of the site that made its first operand.
        args: The operands.
        call: The same call of other operands.
    """

    place: tuple[str, int]
    name: str
    changes: list[tuple[str, str, str]]
    source: int | None
    args: tuple[Any, ...]
    call: Callable[[Tensor], Tensor]

    @property
    def is_unary(self) -> bool:
        """Whether it changes one tensor value by value."""
        return any(what == "the activation" for what, _, _ in self.changes)


@dataclass
class Search(Feed):
    """A feed that, at one call of a layer, tries the known differences.

    Attributes:
        target: The call, `path|number`.
        wanted: What the other side's layer gave, by name; of a buffer under "buffer|" and its key.
        buffers: The layer's buffers by such names.
        layer: The layer that is called.
        hints: The other side's configuration of the layer, whose values are tried first.
        found: What reproduces it; several with the same "part" do so alike, of several parts each is needed.
        tried: How many differences were tried.
    """

    target: str = ""
    wanted: Arrays = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    layer: Any = None
    hints: Mapping[str, Any] = field(default_factory=dict)
    found: list[dict[str, Any]] = field(default_factory=list)
    tried: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)
    entered: dict[str, Any] = field(default_factory=dict)
    left_out: str = ""
    wrong: frozenset[str] = frozenset()
    explained: list[tuple[frozenset[str], dict[str, Any]]] = field(default_factory=list)

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

    def enter(self, name: str, tensor: Any) -> Any:
        self.entered[name] = super().enter(name, tensor)
        return self.entered[name]

    def leave(self, name: str, tensor: Any) -> Any:
        owner = name.rsplit("|", 2)[0]
        left = super().leave(name, tensor)
        return self.tools.fresh(self.entered[f"{owner}|in|0"]) if owner == self.left_out else left

    def _search(self, name: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> None:
        counts, buffers = Counter(self.counts), {key: tensor.clone() for key, tensor in self.buffers.items()}

        def attempt(visit: Visit) -> Arrays:
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

        healthy = attempt(_plain)
        self.wrong = self._unlike(healthy)
        if not self.wrong:
            return
        sites = self._sites(attempt)
        for try_them in (self._each_site, self._alike, self._moved, self._attributes, self._children, self._operands):
            try_them(attempt, sites)
            self.found = self._cover()
            if self.found:
                return
        inside = {call for call, parent in self.parents.items() if parent == name != call}
        known = {other: tensor for other, tensor in self.given.items() if other.rsplit("|", 2)[0] in inside}
        known |= {f"{name}|in|{i}": t for i, t in enumerate(trees.tensors((args, kwargs), self.tools.is_tensor))}
        known_parts = frozenset().union(*(names for names, _ in self.explained))
        for other in sorted((self.wrong - known_parts) & healthy.keys()):
            if not other.startswith("buffer|"):
                for told in explain(other, self.target, self.wanted[other], {**known, other: healthy[other]}):
                    place = list(self.calls.get(other.rsplit("|", 2)[0], ("", 0)))
                    self.explained.append((frozenset({other}), told | {"place": place}))
        self.found = self._cover()

    def _sites(self, attempt: Attempt) -> list[_Site]:
        """The operations of the table that the layer's own code calls, and the differences that each has."""
        found: list[_Site] = []
        made: dict[int, tuple[int, Any]] = {}

        def visit(func: Any, args: Any, kwargs: Any) -> Any:
            if not self._is_own() or _name(func) not in TABLE:
                return func(*args, **kwargs)
            with torch._C.DisableTorchFunction():
                changes = [(c.what, c.here, c.there) for c in self._changes(func, args, kwargs)]
                source = made.get(id(args[0]), (None, None))[0] if args else None
                found.append(_Site(calling_line(), _name(func), changes, source, args, _again(func, args, kwargs)))
            output = func(*args, **kwargs)
            made[id(output)] = len(found) - 1, output  # kept, so that no other gets its id
            return output

        attempt(visit)
        return found

    def _each_site(self, attempt: Attempt, sites: list[_Site]) -> None:
        for number, site in enumerate(sites):
            for choice in range(len(site.changes)):
                self._try(attempt, {number: self._choose(site, site.changes[choice])}, site)

    def _alike(self, attempt: Attempt, sites: list[_Site]) -> None:
        """The same difference in every operation of a kind, as of one attribute that all of them use."""
        for name in dict.fromkeys(site.name for site in sites):
            places = {i: site for i, site in enumerate(sites) if site.name == name}
            for change in dict.fromkeys(change for site in places.values() for change in site.changes):
                if len(places) > 1 and all(change in site.changes for site in places.values()):
                    plan = {i: self._choose(site, change) for i, site in places.items()}
                    self._try(attempt, plan, next(iter(places.values())))

    def _moved(self, attempt: Attempt, sites: list[_Site]) -> None:
        """Do to the operands what is done to a result: an activation before a sum."""
        for number, site in enumerate(sites):
            if site.source is None or not site.is_unary:
                continue
            before = sites[site.source]
            tensors = [i for i, each in enumerate(before.args[:2]) if isinstance(each, Tensor)]
            for which in ([i] for i in tensors) if len(tensors) < 2 else ([0], [1], [0, 1]):
                plan = {site.source: _through(site, which), number: lambda func, args, kwargs: (args[0], None)}
                there = f"before {before.name.strip('_')}, {OPERANDS[tuple(which)]}"
                told = {"what": f"the place of {site.name}", "here": f"after {before.name.strip('_')}", "there": there}
                self._try(attempt, plan, site, told | {"words": [site.name]})

    def _attributes(self, attempt: Attempt, sites: list[_Site]) -> None:
        """Another value of one of the layer's own numbers or switches: the other side's, or a likely one."""
        for key, mine in vars(self.layer).items():
            if key.startswith("_") or key == "training" or not isinstance(mine, bool | int | float):
                continue
            other = self.hints.get(key)
            values = [other] if isinstance(other, bool | int | float) and other != mine else []
            if isinstance(mine, bool):
                values.append(not mine)
            elif isinstance(mine, int) and mine > 0 and not self.tools.is_leaf(self.layer):
                values += [n for n in (mine // 2, 2 * mine, 1, mine // 4, 4 * mine) if n and n != mine]
            for value in dict.fromkeys(values):
                setattr(self.layer, key, value)
                told = {"what": key, "here": str(mine), "there": str(value), "words": [key]}
                try:
                    self._try(attempt, {}, None, told)
                finally:
                    setattr(self.layer, key, mine)

    def _children(self, attempt: Attempt, sites: list[_Site]) -> None:
        """A layer that is not called."""
        called = {name.rsplit("|", 2)[0] for name in self.wanted}
        for call in [call for call, parent in self.parents.items() if parent == self.target and call not in called]:
            self.left_out = call
            path = call.rpartition("|")[0].rpartition(".")[2]
            told = {"what": f"the call of {path}", "here": "there", "there": "left out", "words": [f"{path}("]}
            self._try(attempt, {}, None, told | {"place": list(self.calls[call])})
        self.left_out = ""

    def _operands(self, attempt: Attempt, sites: list[_Site]) -> None:
        """Another tensor that the layer has at hand in an operand's place."""
        names = [name for name in self.given if self.parents.get(name.rsplit("|", 2)[0]) == self.target]
        for number, site in enumerate(sites):
            if site.name.strip("_") not in OPERATIONS:
                continue
            for i, operand in enumerate(site.args[:2]):
                if not isinstance(operand, Tensor) or not operand.is_floating_point():
                    continue
                word = f"the {('first', 'second')[i]} operand of {site.name.strip('_')}"
                for text, compute in ACTIVATIONS.items():
                    told = {"what": word, "here": "as it is", "there": f"{text}, applied to it", "words": [text]}
                    if text != "no activation":
                        self._try(attempt, {number: _with_operand(i, compute(operand))}, site, told)
                for name in names:
                    other = self.given[name]
                    if other.shape != operand.shape or torch.equal(other, operand):
                        continue
                    path, _, direction, _ = name.split("|")
                    path = path.rpartition(".")[2]
                    told = {
                        "what": word,
                        "here": "as it is",
                        "there": f"what {path} {'is given' if direction == 'in' else 'gives'}",
                        "words": [path],
                    }
                    self._try(attempt, {number: _with_operand(i, other)}, site, told)

    def _choose(self, site: _Site, label: tuple[str, str, str]) -> Plan:
        def make(func: Any, args: Any, kwargs: Any) -> Any:
            for change in self._changes(func, args, kwargs):
                if (change.what, change.here, change.there) == label:
                    return change.compute(), change
            return func(*args, **kwargs), None

        return make

    def _try(
        self, attempt: Attempt, plan: Mapping[int, Plan], site: _Site | None, told: Mapping[str, Any] | None = None
    ) -> None:
        """Make one difference; keep it where it gives what is wanted, of everything or of a part."""
        if self.tried >= MOST:
            return
        self.tried += 1
        seen = 0
        made: list[Change] = []

        def visit(func: Any, args: Any, kwargs: Any) -> Any:
            nonlocal seen
            if not self._is_own() or _name(func) not in TABLE:
                return func(*args, **kwargs)
            seen += 1
            if seen - 1 not in plan:
                return func(*args, **kwargs)
            output, change = plan[seen - 1](func, args, kwargs)
            made.extend([change] if change else [])
            return output

        try:
            unlike = self._unlike(attempt(visit))
        except Exception:  # the user's own checks too
            return  # a difference that these shapes do not allow
        if not unlike < self.wrong or not (made or told):
            return
        if told is None:
            change = made[0]
            told = {"what": change.what, "here": change.here, "there": change.there, "words": list(change.words)}
        self.explained.append((self.wrong - unlike, {"place": list(site.place if site else ("", 0)), **told}))

    def _cover(self) -> list[dict[str, Any]]:
        """The attempts that explain everything; else several that do so together, each a part."""
        whole = [told | {"part": 0} for names, told in self.explained if names == self.wrong]
        if whole:
            return whole
        found: list[dict[str, Any]] = []
        left, part = self.wrong, 0
        while left:
            name = min(left, key=list(self.wanted).index)
            sizes = [len(names & left) for names, _ in self.explained if name in names]
            if not sizes:
                return []
            best = [each for each in self.explained if name in each[0] and len(each[0] & left) == max(sizes)]
            found += [told | {"part": part} for _, told in best]
            left, part = left - best[0][0], part + 1
        return found

    def _changes(self, func: Any, args: Any, kwargs: Any) -> list[Change]:
        """The known differences of a call; none where it is made in a way that is not foreseen."""
        try:
            return list(TABLE[_name(func)](func, args, kwargs, self.hints))
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError, AttributeError):
            return []

    def _is_own(self) -> bool:
        """Whether the layer's own code is at work, not a child's."""
        return bool(self.stack) and self.stack[-1] == self.target

    def _unlike(self, come: Mapping[str, Any]) -> frozenset[str]:
        """The arrays that are not the ones that are wanted."""
        return frozenset(
            name
            for name, wanted in self.wanted.items()
            if (tensor := come.get(name)) is None
            or tuple(tensor.shape) != wanted.shape
            or not near(tensor.detach().numpy(), wanted)
        )


def _again(func: Any, args: Any, kwargs: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: func(x.clone(), *args[1:], **kwargs)


def _plain(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


def _through(site: _Site, which: Sequence[int]) -> Plan:
    """The operation with some of its operands changed first as the site changes its own."""

    def make(func: Any, args: Any, kwargs: Any) -> Any:
        given = [site.call(each) if i in which else each for i, each in enumerate(args)]
        return func(*given, **kwargs), None

    return make


def _with_operand(place: int, other: Tensor) -> Plan:
    return lambda func, args, kwargs: (func(*args[:place], other.clone(), *args[place + 1 :], **kwargs), None)


@dataclass
class _Shown(Feed):
    """A feed that shows the operations of one call's own code to `visit`."""

    target: str = ""
    visit: Callable[[Any, Any, Any], Any] = lambda func, args, kwargs: func(*args, **kwargs)
    names: Collection[str] = tuple(GRADIENTS)

    def compute(self, name: str, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if name != self.target:
            return forward(*args, **kwargs)
        with _Visit(lambda func, args, kwargs: self._seen(func, args, kwargs)):
            return forward(*args, **kwargs)

    def _seen(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self.stack[-1] == self.target and _name(func) in self.names:
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
        taps = _Shown(side.tools, target=target, visit=visit)

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
        name in come and come[name].shape == array.shape and near(come[name], array) for name, array in wanted.items()
    )


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
    path = target.rpartition("|")[0]
    taps.layer = side.model.get_submodule(path)
    taps.buffers = {
        f"buffer|{slot.keys[0]}": slot.variables[0] for slot in side.slots if f"buffer|{slot.keys[0]}" in come
    }

    def function(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        taps.given = tensors
        with side.tools.tapped(model, taps):
            model(*(tensors[f"|0|in|{i}"] for i in range(inputs)))
        return {}

    with suppress(_Done):
        side.tools.pull(side.model, function, given, None)
    return {"found": taps.found, "tried": taps.tried}


PRODUCTS = ("linear", "matmul", "__matmul__", "bmm", "mm", "baddbmm",
            *(f"conv{way}{rank}d" for way in ("", "_transpose") for rank in (1, 2, 3)))  # fmt: skip


def round_products(
    side: Side, target: str, given: Arrays, inputs: int, train: bool, bits: int, cut: bool
) -> dict[str, Any]:
    """Compute one call of a layer in float64 where the operands of its products have so many significant bits.

    Args:
        side: PyTorch's side.
        target: The call, `path|number`.
        given: The original's tensors by this side's names.
        inputs: How many arguments the model takes.
        train: Train mode or eval mode.
        bits: The bits that are kept, the hidden one among them.
        cut: Whether the others are cut off; else it is rounded to the nearest.
    """
    side.begin("float64", train)

    def visit(func: Any, args: Any, kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():
            return func(*(_keep_bits(each, bits, cut) for each in args[:2]), *args[2:], **kwargs)

    taps = _Shown(side.tools, target=target, visit=visit, names=PRODUCTS)

    def function(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        taps.given = tensors
        with side.tools.tapped(model, taps):
            model(*(tensors[f"|0|in|{i}"] for i in range(inputs)))
        return taps.come

    return dict(side.tools.pull(side.model, function, given, None)[0])


def _keep_bits(x: Tensor, bits: int, cut: bool) -> Tensor:
    """float32's values with fewer significant bits."""
    drop = 24 - bits
    words = x.float().view(torch.int32)
    words = words if cut else words + (1 << (drop - 1)) - 1 + ((words >> drop) & 1)
    return (words >> drop << drop).view(torch.float32).to(x.dtype)
