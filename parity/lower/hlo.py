"""XLA's compiled program as text, read for the products in it: which library computes each, and how precisely.

An instruction is a line `%name = type opcode(%operands), attribute=value, ...`. Precision `highest` stands on it as
`operand_precision={highest,highest}`; a default one, which is TF32 on GPUs that have it, is left out.
"""

import re

from .calls import Product, Reading

# `%name = f32[2,3]{1,0} dot(...)`, or with a tuple of results.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_PRECISION = re.compile(r"operand_precision=\{(\w+),(\w+)")
_ALGORITHM = re.compile(r"algorithm=(\w+)")
_KIND = re.compile(r"\b(f64|f32|bf16|f16|tf32|f8\w*|c64|c128)\[")

PRODUCTS = ("dot", "convolution")
# Libraries that multiply. `__cudnn$conv...` are convolutions, `__cublas$...` matrix products.
LIBRARIES = ("__cudnn$conv", "__cublas$", "__cudnn$fmha", "__cudnn$fusion", "__cutlass$")
# What else is called and multiplies nothing: allocation, sorting, random bits, marks.
HARMLESS = ("AllocateBuffer", "__cub$", "cu_threefry2x32", "Sharding", "annotate_device_placement", "TopK")
# Algorithms for float32 factors that take fewer digits of them than they have.
_LOW = re.compile(r"tf32|bf16|f16_f16|any_f8")


def read(text: str) -> Reading:
    """A reading of a compiled program."""
    products, unknown = [], []
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        found = _INSTRUCTION.match(line)
        if not found:
            continue
        name, result, opcode, rest = found.groups()
        kinds[name] = _first_kind(result)
        target = _TARGET.search(rest)
        by = target[1] if target else opcode
        if opcode in PRODUCTS or by.startswith(LIBRARIES):
            products.append(Product(name, by, _factors(rest, kinds, result), _precision(rest)))
        elif target and not by.startswith(HARMLESS):
            unknown.append(by)
    return Reading(tuple(products), tuple(unknown))


def _first_kind(result: str) -> str:
    found = _KIND.search(result)
    return found[1] if found else ""


def _factors(rest: str, kinds: dict[str, str], result: str) -> str:
    """The type of the first factor, or of the result where the text does not tell it."""
    inline = _KIND.search(rest.partition(")")[0])
    if inline:
        return inline[1]
    operand = re.match(r"\s*%?([\w.-]+)", rest)
    return (kinds.get(operand[1], "") if operand else "") or _first_kind(result)


def _precision(rest: str) -> str:
    """The precision asked for, by the algorithm where one is named, or else by operand."""
    if (algorithm := _ALGORITHM.search(rest)) and _LOW.search(algorithm[1]):
        return algorithm[1]
    found = _PRECISION.search(rest)
    return f"{found[1]},{found[2]}" if found else "default"
