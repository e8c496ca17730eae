"""The protocol between a worker and its parent: the names of the arrays in their files, and the messages.

A name is made of parts with bars between: `SE/1x1|weights|fc1.bias` is given to every worker, and
`SE/1x1|float32|forward eval|output` comes back. The messages go over a socket that the worker inherits, a line of JSON
each, so that its standard output and error belong to the framework. When the socket closes, the parent is gone.

Only the standard library is needed here, so that an interpreter without NumPy can still say what it lacks.
"""

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from . import schema
from .errors import ParityError

BAR = "|"
# The longest line; what a worker runs on takes two kilobytes.
MOST_BYTES = 1 << 20

Value = TypeVar("Value")


def join(*parts: str | int) -> str:
    """The name that is made of these parts."""
    return BAR.join(map(str, parts))


def select(values: Mapping[str, Value], *parts: str | int) -> dict[str, Value]:
    """Those whose names begin with these parts, by the rest of their names."""
    prefix = join(*parts, "")
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def first(name: str) -> str:
    """The first part of a name, a work item or a case."""
    return name.partition(BAR)[0]


def by_first(values: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Groups by the first part of the names, each by the rest of its names."""
    groups: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        first, _, rest = name.partition(BAR)
        groups.setdefault(first, {})[rest] = value
    return groups


def by_task(values: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Groups by all but the last part of the names, each by that last part, the name of an array."""
    groups: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        task, _, array = name.rpartition(BAR)
        groups.setdefault(task, {})[array] = value
    return groups


# What a worker says of itself once it is ready: see `parity.workers.startup`.
FACTS: Mapping[str, Any] = {
    "versions": {str: str},
    "import_seconds": float,
    "allow_tf32": bool,
    "switches": {str: str},
    "device": {"id": str, str: str | int},
    "devices": [str],
    "precisions": {"float64": str, "float32": str, "bfloat16": str, "float16": str},
    "python": str,
    "precision_probe": {str: float},
}


@dataclass(frozen=True)
class Ready:
    """The worker can compute, on what `facts` say."""

    facts: dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """The worker cannot compute at all, for a reason that is one line."""

    why: str


@dataclass(frozen=True)
class Failed:
    """A task of a work item raised an error."""

    item: str
    task: str
    error: str


@dataclass(frozen=True)
class Finished:
    """A work item is finished in one precision, and `whole` in the last one."""

    item: str
    whole: bool


@dataclass(frozen=True)
class Done:
    """Every work item is finished, and the arrays are in their file."""


Message = Ready | Refused | Failed | Finished | Done
# A message is a JSON object of one entry: its kind, and its fields.
FORMS: Mapping[type[Message], Mapping[str, Any]] = {
    Ready: {"facts": FACTS},
    Refused: {"why": str},
    Failed: {"item": str, "task": str, "error": str},
    Finished: {"item": str, "whole": bool},
    Done: {},
}
_KINDS = {kind.__name__: kind for kind in FORMS}


def encode(message: Message) -> bytes:
    """The message as a line."""
    content = {field.name: getattr(message, field.name) for field in fields(message)}
    return json.dumps({type(message).__name__: content}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message that a line holds.

    Raises:
        ParityError: For a line that is no message.
    """
    try:
        found = json.loads(line)
    # Deep brackets end in a RecursionError.
    except (ValueError, RecursionError):
        raise ParityError(f"{line[:80]!r} is no JSON") from None
    if not isinstance(found, dict) or len(found) != 1 or (name := next(iter(found))) not in _KINDS:
        raise ParityError(f"{line[:80]!r} is not one of {', '.join(_KINDS)}")
    kind = _KINDS[name]
    schema.check(found[name], FORMS[kind], name)
    return kind(**found[name])


def receive(channel: socket.socket, take: Callable[[bytes | None], object]) -> None:
    """Give every line of the channel to `take`, and None at its end; a line that is too long comes in pieces."""
    with channel, channel.makefile("rb") as lines:
        try:
            while line := lines.readline(MOST_BYTES):
                take(line)
        except ConnectionError:
            pass  # a worker was killed
    take(None)
