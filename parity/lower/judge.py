"""The verdict on a program that was compiled for a GPU and read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import ptx, targets
from .calls import Reading

# What can be wrong, by the name that a fault has.
FAULTS = {
    "precision": "a product of float32 in less than full precision",
    "tensor cores": "a generated kernel that multiplies in TF32 or in half precision",
    "atomics": "a generated kernel whose sums come in any order",
    "fma": "a fused product and sum between a maximum's input and its comparison",
    "memory": "more memory than the device has",
    "unknown call": "a library's routine that nobody here has judged",
}


@dataclass(frozen=True)
class Program:
    """A compiled program: what it was compiled of and for, what was read in it, and the faults by name."""

    name: str
    framework: str
    target: str
    products: int
    kernels: int
    memory: int
    approximate: dict[str, int]
    seconds: float
    faults: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def judge(
    name: str,
    framework: str,
    target: str,
    *,
    calls: Reading | None,
    kernels: Sequence[ptx.Reading],
    memory: int,
    seconds: float,
) -> Program:
    """The program with its faults, each with what shows it."""
    faults: dict[str, list[str]] = {}
    for fault, what in _faults(target, calls, kernels, memory):
        if what not in (shown := faults.setdefault(fault, [])):
            shown.append(what)
    approximate = Counter(code for kernel in kernels for code in kernel.approximate)
    products = len(calls.products) if calls else 0
    return Program(
        name, framework, target, products, len(kernels), memory, dict(sorted(approximate.items())), seconds, faults
    )


def _faults(
    target: str, calls: Reading | None, kernels: Sequence[ptx.Reading], memory: int
) -> Iterator[tuple[str, str]]:
    for product in calls.products if calls else ():
        if not product.is_full:
            yield "precision", f"{product.name} by {product.by}: {product.precision}"
    for call in calls.unknown if calls else ():
        yield "unknown call", call
    for kernel in kernels:
        for fault, codes in (("tensor cores", kernel.tensor), ("atomics", kernel.atomics), ("fma", kernel.fused)):
            for code in codes:
                yield fault, f"{code} in {kernel.kernel}"
    if memory > targets.memory(target):
        yield "memory", f"{memory / 2**30:.4g} GiB, the device has {targets.memory(target) / 2**30:.4g}"
