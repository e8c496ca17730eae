"""Arrays that are one in one model and several in the other, or have their axes otherwise: by the language of rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..weights.dialects.rules import Rule


@dataclass(frozen=True)
class Bundle:
    """Arrays of the port that are, taken together, arrays of the original's.

    Attributes:
        rule: From the original's keys to the port's, with how the axes lie.
        native: Whether the port's names and axes are its framework's own, not PyTorch's.
    """

    rule: Rule
    native: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """A name in the port for each of the original's arrays."""
        ours, count = template(self.rule.ours), len(self.rule.theirs)
        return (ours,) if count == 1 else tuple(f"{ours}[{i}]" for i in range(count))

    @property
    def joins(self) -> bool:
        """Whether one array of one side is several of the other."""
        return len(self.rule.theirs) != 1 or len(self.rule.ours) != 1

    def line(self) -> str:
        """The bundle as a line of a file of rules."""
        sizes = "".join(f", {name}={size}" for name, size in self.rule.sizes.items())
        axes = " -> ".join(self.rule.axes)
        return f'"{template(self.rule.theirs)}" = "{template(self.rule.ours)} : {axes}{sizes}"'

    def to_dict(self) -> dict[str, Any]:
        """The bundle as JSON can hold it."""
        rule = self.rule
        names = {"theirs": list(rule.theirs), "ours": list(rule.ours)}
        return {**names, "axes": list(rule.axes), "sizes": dict(rule.sizes), "native": self.native}


def from_dict(data: Mapping[str, Any]) -> Bundle:
    """The bundle that `to_dict` described."""
    left, right = data["axes"]
    rule = Rule(tuple(data["theirs"]), tuple(data["ours"]), axes=(left, right), sizes=dict(data["sizes"]))
    return Bundle(rule, data["native"])


def template(names: tuple[str, ...]) -> str:
    """The names as one, what they differ in within braces.

    >>> template(("attn.query.kernel", "attn.key.kernel"))
    'attn.{query,key}.kernel'
    """
    if len(names) == 1:
        return names[0]
    parts = [name.split(".") for name in names]
    columns = list(zip(*parts, strict=False))
    differ = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len({len(each) for each in parts}) > 1 or len(differ) != 1:
        return "{" + ",".join(names) + "}"
    at = differ[0]
    return ".".join([*parts[0][:at], "{" + ",".join(columns[at]) + "}", *parts[0][at + 1 :]])
