"""The arguments that constructors and modules accept, checked; this file is the same in the three implementations."""

from collections.abc import Iterable
from numbers import Real
from operator import index
from typing import Any

GATES = ("sigmoid", "hard_sigmoid")


def check_size(name: str, value: object) -> int:
    """Return `value` as an int of at least 1; raise ValueError otherwise."""
    try:
        size = 0 if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        size = 0
    if size < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return size


def check_odd(name: str, value: object) -> int:
    """Return `value` as an odd int of at least 1; an even kernel has no centre to keep the map's size."""
    size = check_size(name, value)
    if size % 2 == 0:
        raise ValueError(f"{name} must be odd to keep the map's size, got {size}")
    return size


def check_fraction(name: str, value: object, *, below_one: bool = False) -> float:
    """Return `value` as a float in [0, 1], or in [0, 1) with `below_one`."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else -1.0
    if not (0 <= number < 1 or (number == 1 and not below_one)):
        raise ValueError(f"{name} must be a number in [0, 1{')' if below_one else ']'}, got {value!r}")
    return number


def check_rates(rates: object) -> tuple[int, ...]:
    """Return the dilation rates as a tuple of at least one positive int."""
    if not isinstance(rates, Iterable) or isinstance(rates, str) or not (values := tuple(rates)):
        raise ValueError(f"rates must be one or more positive integers, got {rates!r}")
    return tuple(check_size(f"rates[{i}]", rate) for i, rate in enumerate(values))


def check_hidden(channels: int, reduction: object, hidden: object) -> int:
    """Return the bottleneck's width: `hidden`, or `channels // reduction` where that is None."""
    if hidden is not None:
        return check_size("hidden", hidden)
    width = channels // check_size("reduction", reduction)
    if width < 1:
        raise ValueError(
            f"the bottleneck's width channels // reduction = {channels} // {reduction} = 0 must be at least 1: "
            "lower reduction or give hidden"
        )
    return width


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_classes(name: str, value: object) -> int:
    """Return `value` as an int of at least 0, where 0 stands for no classifier."""
    if value == 0 and not isinstance(value, bool):
        return 0
    return check_size(name, value)


def check_blocks(name: str, value: object, counts: tuple[int, ...]) -> set[str]:
    """Return the names of the blocks that `value` means: "all", or names of stages and blocks.

    `counts` is how many blocks each stage has: the first is layer1, of layer1.0, layer1.1 and so on.
    """
    stages = {f"layer{i}": [f"layer{i}.{j}" for j in range(count)] for i, count in enumerate(counts, 1)}
    if isinstance(value, str) and value == "all":
        value = stages
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be 'all' or a sequence of names such as ('layer3', 'layer4.0'), got {value!r}")
    blocks: set[str] = set()
    for part in value:
        if part not in stages and not any(part in names for names in stages.values()):
            possible = ", ".join(f"{stage} ({names[0]} to {names[-1]})" for stage, names in stages.items())
            raise ValueError(f"{name} must hold names of {possible}, got {part!r}")
        blocks.update(stages.get(part, [part]))
    return blocks


def check_gate(gate: object, slope: object) -> None:
    """Raise ValueError unless `gate` is one of GATES and `slope` a positive number."""
    check_choice("gate", gate, GATES)
    if not (isinstance(slope, Real) and 0 < float(slope) < float("inf")):
        raise ValueError(f"slope must be a positive number, got {slope!r}")


def check_input(shape: tuple[int, ...], axes: str, channels: int | None = None) -> None:
    """Raise ValueError unless `shape` has one side per letter of `axes`, `channels` at the letter c, and no empty map.

    A batch may be empty: n is the one side that may be 0.
    """
    expected = ", ".join(axes)
    if len(shape) != len(axes):
        raise ValueError(f"the input must have {len(axes)} dimensions ({expected}), got shape {tuple(shape)}")
    if channels is not None and shape[axes.index("c")] != channels:
        raise ValueError(f"the input must be ({expected}) with c = {channels}, got shape {tuple(shape)}")
    if 0 in shape[1:]:
        raise ValueError(f"the input's maps ({expected[3:]}) must not be empty, got shape {tuple(shape)}")


def check_values_per_channel(shape: tuple[int, ...], count: int, name: str) -> None:
    """Raise ValueError where train-mode batch norm `name` has one value per channel or none: no variance is defined."""
    if count < 2:
        raise ValueError(
            f"{name} got {'one value' if count else 'no value'} per channel, shape {tuple(shape)}, whose variance is "
            "undefined: train on a batch of at least 2, or use eval()"
        )
