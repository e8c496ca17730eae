"""The executables of a capsule: their part of its file, and what must be true of them before anyone may run one.

What an executable takes and gives follows from its case, so what the file says of it must be that; its bytes are
nothing but bytes here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import schema
from ..arrays import Arrays
from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from ..catalogue.tasks import MODES
from ..errors import ParityError
from ..frameworks.layout import convert
from ..lower.run import distinct
from ..lower.targets import PROCESSOR, TARGETS
from ..protocol import join
from ..reference.evaluate import output_shape
from ..workers.executables import CODE, Executable
from . import record_file as records

CHOICES = (*TARGETS, PROCESSOR)
_ARRAYS = [{"name": str, "shape": [int]}]
FORM: Mapping[str, Any] = {
    "case": str,
    "mode": MODES,
    "target": CHOICES,
    "made": {"platform": str, "capability": str, str: str},
    "arguments": _ARRAYS,
    "results": _ARRAYS,
    "digest": re.compile("[0-9a-f]{32}"),
}


def encode(executables: Sequence[Executable]) -> tuple[list[dict[str, Any]], Arrays]:
    """The entries of a manifest and the arrays of bytes, each once: a module without running values has one program."""
    entries, arrays = [], {}
    for each in executables:
        entry = {name: value for name, value in vars(each).items() if name != "code"}
        entries.append({**entry, "digest": _digest(each)})
        arrays[join(CODE, _digest(each))] = np.frombuffer(each.code, np.uint8)
    return entries, arrays


def decode(
    entries: Sequence[Mapping[str, Any]], arrays: Arrays, cases: Sequence[Case], drawn: Mapping[str, Drawn]
) -> list[Executable]:
    """The executables, once every target has all of them and each is what its entry and its case say.

    Raises:
        ParityError: Where that is not so.
    """
    found: dict[tuple[str, str, str], Executable] = {}
    by_name = {case.name: case for case in cases}
    for entry in entries:
        where = f"the executable of {entry['case'][:80]} {entry['mode']} for {entry['target']}"
        key = entry["target"], entry["case"], entry["mode"]
        if key in found or entry["case"] not in by_name:
            raise ParityError(f"{where} is there twice, or of no case of it")
        code = arrays.get(entry["digest"])
        if code is None or code.dtype != np.uint8 or code.ndim != 1 or records.digest(code) != entry["digest"]:
            raise ParityError(f"{where} is not what its manifest says: damaged, cut short or exchanged")
        for part, wanted in describe(by_name[entry["case"]], drawn[entry["case"]]).items():
            if entry[part] != wanted:
                raise ParityError(f"{where}: its {part} are not those of the case: {_first(entry[part], wanted)}")
        fields = {name: value for name, value in entry.items() if name != "digest"}
        found[key] = Executable(**fields, code=code.tobytes())
    if strays := arrays.keys() - {entry["digest"] for entry in entries}:
        raise ParityError(f"it holds bytes of no executable: {min(strays)[:80]}")
    wanted_keys = {(target, case.name, mode) for target, *_ in found for case in distinct(cases) for mode in case.modes}
    if other := wanted_keys ^ found.keys():
        target, case, mode = min(other)
        raise ParityError(f"the executable of {case} {mode} for {target} is missing, or of a case that has another's")
    return list(found.values())


def describe(case: Case, drawn: Drawn) -> dict[str, list[dict[str, Any]]]:
    """The names and shapes of what a case's program takes and gives, in the order of `frameworks.flax_program`."""
    native = {key: array.shape for key, array in convert(drawn.weights, "torch", "flax").items()}
    keys = sorted(native)
    running = [key for key in keys if key.rpartition(".")[2] in ("mean", "var")]
    x, y = (_last(shape) for shape in (case.shape, output_shape(case)))
    takes = {**{join("weights", key): native[key] for key in keys}, "input": x, "cotangent": y}
    gives = {
        "output": y,
        **{join("moved", key): native[key] for key in running},
        **{join("gradient", key): native[key] for key in keys if key not in running},
        "input gradient": x,
    }
    return {
        part: [{"name": name, "shape": list(shape)} for name, shape in named.items()]
        for part, named in (("arguments", takes), ("results", gives))
    }


def of_case(case: Case, cases: Sequence[Case], executables: Iterable[Executable]) -> list[Mapping[str, Any]]:
    """The executables that a case shares with the others of its program, as a worker is told of them."""
    first = next(each for each in distinct(cases) if each.program == case.program).name
    return [
        {"mode": each.mode, "made": dict(each.made), "digest": _digest(each)}
        for each in executables
        if each.case == first
    ]


def _digest(executable: Executable) -> str:
    return records.digest(np.frombuffer(executable.code, np.uint8))


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a map with its channels last, or of anything else as it is."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else tuple(shape)


def _first(found: Sequence[Any], wanted: Sequence[Any]) -> str:
    """The first of the differing arrays as it is, and as it must be."""
    pairs = zip([*found, *[None] * len(wanted)], [*wanted, *[None] * len(found)], strict=False)
    one, other = next((a, b) for a, b in pairs if a != b)
    return f"{schema.show(one)}, must be {schema.show(other)}"
