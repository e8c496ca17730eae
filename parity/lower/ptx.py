"""NVIDIA's PTX, the code of generated kernels, read for what must not be in a float32 program.

A kernel is a list of instructions, `[@p] opcode destination, sources;`. Registers are virtual; one that holds the
running value of a loop is written more than once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

_ENTRY = re.compile(r"^[.\w ]*\.(?:entry|func)\s+(?:\([^)]*\)\s*)?([\w$.]+)\s*\(", re.MULTILINE)
_TARGET = re.compile(r"^\.target (sm_\d+)", re.MULTILINE)
_INSTRUCTION = re.compile(r"^\s*(?:@!?%\w+\s+)?([a-z][\w.:]*)\s+([^;]*);", re.MULTILINE)
_REGISTER = re.compile(r"%[a-z]+\d+")
# The first operand is what is written: a register, two (`%p1|%p2`), or a vector of them in braces.
_WRITTEN = re.compile(r"\{[^}]*\}|[^,]*")
_WRITES_NONE = ("st.", "red.", "bra", "ret", "bar")
# Products on tensor cores; their opcode ends with the types of the result, the factors and what is added.
_TENSOR = re.compile(r"^(?:mma|wmma\.mma|wgmma\.mma_async|tcgen05\.mma)\b")
_LOW = re.compile(r"\b(tf32|bf16|f16|e4m3|e5m2|kind::tf32|kind::f16)\b")
# `redux` adds within a warp, in an order of its own that is always the same.
_ATOMIC = re.compile(r"^(?:atom|red)\.")
_EQUALITY = re.compile(r"^setp?\.(?:eq|ne|equ|neu)\.(?:\w+\.)*f(?:32|64)$")
_FUSED = re.compile(r"^fma\.")
# Without `.rn` the assembler may put a product and a sum together; on a B200 two at once are f32x2.
_LOOSE = {
    "mul": re.compile(r"^mul\.(?:ftz\.)?(?:sat\.)?f32(?:x2)?$"),
    "add": re.compile(r"^(?:add|sub)\.(?:ftz\.)?(?:sat\.)?f32(?:x2)?$"),
}
_APPROXIMATE = re.compile(r"^(?:ex2|lg2|rcp|rsqrt|sqrt|div|sin|cos|tanh)\.(?:approx|full)\b")

GLOBAL = "ld.global"


@dataclass(frozen=True)
class Instruction:
    """An operation with the registers that it writes and those that it reads."""

    opcode: str
    targets: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """The content of a kernel that matters: opcodes, and where a maximum's input may be rounded in two ways."""

    kernel: str
    tensor: tuple[str, ...]
    atomics: tuple[str, ...]
    fused: tuple[str, ...]
    approximate: tuple[str, ...]


def read(text: str) -> list[Reading]:
    """A reading of every kernel in a file of PTX."""
    return [_read(name, list(parse(body))) for name, body in kernels(text)]


def kernels(text: str) -> Iterator[tuple[str, str]]:
    """The name and the text of each kernel and function."""
    starts = list(_ENTRY.finditer(text))
    for start, following in zip_longest(starts, starts[1:]):
        yield start[1], text[start.end() : following.start() if following else len(text)]


def architectures(text: str) -> list[str]:
    """The architectures that a file of PTX is for: sm_90, also where it says sm_90a."""
    return _TARGET.findall(text)


def parse(body: str) -> Iterator[Instruction]:
    """The instructions of a kernel; its declarations begin with a dot and are none."""
    for opcode, operands in _INSTRUCTION.findall(body):
        written = "" if opcode.startswith(_WRITES_NONE) else _WRITTEN.match(operands)[0]  # type: ignore[index]
        yield Instruction(opcode, *(tuple(_REGISTER.findall(each)) for each in (written, operands[len(written) :])))


def _read(name: str, body: Sequence[Instruction]) -> Reading:
    writers: dict[str, list[Instruction]] = {}
    for each in body:
        for register in each.targets:
            writers.setdefault(register, []).append(each)
    opcodes = [each.opcode for each in body]
    return Reading(
        name,
        tuple(code for code in opcodes if _TENSOR.match(code) and _LOW.search(code.replace(".", " "))),
        tuple(code for code in opcodes if _ATOMIC.match(code)),
        tuple(code for each in body if _EQUALITY.match(each.opcode) for code in _fused(each, writers)),
        tuple(code for code in opcodes if _APPROXIMATE.match(code)),
    )


def _fused(comparison: Instruction, writers: Mapping[str, Sequence[Instruction]]) -> list[str]:
    """Find what rounds otherwise on one side of a comparison whose other side comes from memory as it is.

    The other side is a maximum that another kernel has written. Where this kernel computes the maximum's input anew
    with a fused product and sum, it may differ in the last digit from what that maximum was taken of.
    """
    sides = [_behind(register, writers) for register in comparison.sources[-2:]]
    if len(sides) < 2:
        return []
    for side, other in (sides, sides[::-1]):
        found = [code for code in side if _FUSED.match(code)]
        if not found and all(any(kind.match(code) for code in side) for kind in _LOOSE.values()):
            found = ["mul and add that may be put together"]
        if found and any(code.startswith(GLOBAL) for code in other) and not any(_FUSED.match(c) for c in other):
            return [f"{found[0]} before {comparison.opcode}"]
    return []


def _behind(register: str, writers: Mapping[str, Sequence[Instruction]]) -> list[str]:
    """The opcodes that a register's value comes from, as far as the loads from memory."""
    found, seen, todo = [], {register}, [register]
    while todo:
        for each in writers.get(todo.pop(), ()):
            found.append(each.opcode)
            if each.opcode.startswith("ld."):
                continue
            todo += [source for source in each.sources if source not in seen]
            seen |= set(each.sources)
    return found
