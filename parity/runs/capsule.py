"""A capsule: a plan together with what every task of it must give, in one file of plain data.

Whoever computes it, on whatever machine, is told there and then whether it is right, and sends back a record, which
`parity compare` judges like any other. A capsule is a plan's file with more arrays, those expected, and a second
manifest with their noise, the limits and a digest of each; reading it runs nothing of it. It may hold executables too,
which are code, and run where that is asked for.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from .. import protocol, schema
from ..arrays import Arrays
from ..catalogue.tasks import CHECKS, DTYPES, Abilities, WorkItem, list_program_tasks, list_tasks
from ..errors import ParityError
from ..frameworks import TABLE
from ..protocol import join
from ..reference.functions import ULPS, kinds_of
from ..verdict.expect import Expected
from ..verdict.expect_all import Expectations, Key, expect_all, roundoffs
from ..verdict.judge import NOISE_LIMIT, RELATIVE_LIMIT, Noise
from ..verdict.judge_all import judge_all
from ..verdict.programs import add_programs
from ..verdict.results import Report
from ..weights.files import atomic
from ..weights.files import safetensors as reader
from ..workers import pool
from ..workers.backend import Backend
from ..workers.executables import CODE, Executable
from ..workers.outcome import Outcome
from . import executables as packed
from . import record as recording
from . import record_file as records
from .record_file import Record
from .run import plan_all

VERSION = 3
LIMITS: Mapping[str, float] = {"relative": RELATIVE_LIMIT, "noise units": NOISE_LIMIT}
# What may be asked: training begins at weights that the reference computes where it runs.
ASKED = tuple(check for check in CHECKS if check != "training")
_KEY = "attention-parity capsule"
_EXPECTED = "expected"
_ENTRY: Mapping[str, Any] = {
    "case": str,
    "dtype": DTYPES,
    "mode": ("eval", "train"),
    "check": ASKED,
    "in_order": bool,
    # By kind of device, root mean square and largest element of each array's noise.
    "noise": {str: {str: [float]}},
    "undetermined": {str: str},
    "digests": {str: str},
}
_MANIFEST: Mapping[str, Any] = {
    "version": int,
    "limits": dict.fromkeys(LIMITS, float),
    "expected": [_ENTRY],
    "executables": [packed.FORM],
    "digest": str,
}


@dataclass(frozen=True)
class Capsule:
    """The question, the expected answer, and the programs of it that are packed."""

    planned: Record
    expectations: Expectations
    executables: Sequence[Executable] = field(default=())


def make(planned: Record, *, advance: Callable[[], None] = lambda: None) -> Capsule:
    """The plan with what the reference expects of it."""
    expectations: Expectations = {}
    units = roundoffs(allow_tf32=False)
    for found in expect_all(
        planned.cases, planned.drawn, {}, planned.dtypes, planned.checks, units, devices=list(ULPS)
    ):
        expectations |= found
        advance()
    return Capsule(planned, expectations)


def answer(
    capsule: Capsule,
    backends: Sequence[Backend],
    *,
    run_compiled: bool = False,
    timeout: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Record, Report]:
    """Compute in each backend, and judge it by the capsule; see `record` for what is raised.

    With `run_compiled` the capsule's executables run first, each framework's in a process of its own.

    Raises:
        ParityError: Where the capsule holds no executable that may run here.
    """
    planned = capsule.planned
    programs = _run_executables(capsule, backends, timeout=timeout) if run_compiled else []
    done = recording.record(planned, backends, timeout=timeout, advance=advance)
    for outcome, other in ((a, b) for a in done.outcomes for b in programs if a.framework == b.framework):
        _add(outcome, other)
    names = [backend.framework for backend in backends]
    jobs = plan_all(planned.cases, names, planned.checks, planned.dtypes, ("eager",))
    report = judge_all(done.outcomes, jobs, capsule.expectations, planned.seed)
    return done, add_programs(
        report, done.outcomes, planned.cases, planned.checks, planned.dtypes, capsule.expectations
    )


def _run_executables(capsule: Capsule, backends: Sequence[Backend], *, timeout: float | None) -> list[Outcome]:
    """The outcomes of the executables, and of the same programs as the framework itself compiles them."""
    planned, able = capsule.planned, [backend for backend in backends if TABLE[backend.framework].abilities.programs]
    if not capsule.executables or not able:
        why = "this capsule holds no executables" if able else "none of the frameworks here has programs (Flax has)"
        raise ParityError(f"{why}: leave --run-compiled out")
    items = [
        WorkItem(case, tasks, executables=packed.of_case(case, planned.cases, capsule.executables))
        for case in planned.cases
        if (tasks := list_program_tasks(case, planned.checks, planned.dtypes, TABLE[able[0].framework].abilities))
    ]
    arrays = pool.list_inputs(planned.drawn) | packed.encode(capsule.executables)[1]
    outcomes = pool.compute(able, arrays, {backend.framework: items for backend in able}, timeout=timeout)
    for outcome in outcomes:
        # A process that died says nothing of what another gave that ran no executables.
        if why := outcome.errors.pop(("", ""), ""):
            outcome.errors |= {(item.name, task.key): why for item in items for task in item.tasks}
    return outcomes


def _add(outcome: Outcome, programs: Outcome) -> None:
    """Add the outcome of a process that ran programs to that of the same framework without them."""
    outcome.computed |= programs.computed
    outcome.errors |= programs.errors
    outcome.notes += programs.notes


def write(path: Path, capsule: Capsule, *, force: bool = False) -> None:
    """Write the capsule, whole or not at all; see `parity.weights.files.atomic.write_file` for what is raised."""
    metadata, arrays = records.encode(capsule.planned)
    entries = []
    # The arrays are the same on every kind of device, and their noise is not.
    for i, key in enumerate(key for key in capsule.expectations if not key.functions):
        expected = capsule.expectations[key]
        arrays |= {join(_EXPECTED, i, name): np.ascontiguousarray(array) for name, array in expected.arrays.items()}
        kinds = {other.functions: each for other, each in capsule.expectations.items() if other[:-1] == key[:-1]}
        entries.append(
            {
                **{name: value for name, value in key._asdict().items() if name != "functions"},
                "noise": {
                    kind: {name: [noise.rms, noise.peak] for name, noise in each.noise.items()}
                    for kind, each in kinds.items()
                },
                "undetermined": expected.undetermined,
                "digests": {name: records.digest(array) for name, array in expected.arrays.items()},
            }
        )
    described, code = packed.encode(capsule.executables)
    arrays |= code
    manifest = {"version": VERSION, "limits": LIMITS, "expected": entries, "executables": described}
    text = json.dumps({**manifest, "digest": records.sign(manifest)}, sort_keys=True)
    with atomic.write_file(path, force=force) as file:
        file.write(save(arrays, {**metadata, _KEY: text}))


def read(path: Path) -> Capsule:
    """The capsule, once everything in it is what its manifests say.

    Raises:
        ParityError: For a file that is no capsule, damaged, edited, of another catalogue or with other limits.
    """
    with records.naming(path):
        contents = reader.read(path)
        metadata = dict(contents.metadata)
        if _KEY not in metadata:
            raise ParityError("is no capsule; `parity capsule -o FILE` writes one")
        manifest = json.loads(metadata.pop(_KEY))
        ours = {name: array for name, array in contents.arrays.items() if protocol.first(name) in (_EXPECTED, CODE)}
        planned = records.decode(metadata, {name: array for name, array in contents.arrays.items() if name not in ours})
        if planned.outcomes:
            raise ParityError("holds runs, which a capsule does not")
        expectations = _expectations(manifest, planned, protocol.select(ours, _EXPECTED))
        code = protocol.select(ours, CODE)
        return Capsule(
            planned, expectations, packed.decode(manifest["executables"], code, planned.cases, planned.drawn)
        )


def _expectations(manifest: Any, planned: Record, arrays: Arrays) -> Expectations:
    # What it holds differs from version to version, so that is the first question.
    if isinstance(manifest, dict) and manifest.get("version") != VERSION:
        raise ParityError(
            f"must be a capsule of version {VERSION}, got {str(manifest.get('version'))[:20]}: "
            "make it anew with `parity capsule`, or take the version of this program that made it"
        )
    schema.check(manifest, _MANIFEST, "its second manifest")
    if manifest.pop("digest") != records.sign(manifest):
        raise ParityError("its second manifest was edited or damaged: it does not have the digest that it states")
    if manifest["limits"] != LIMITS:
        raise ParityError(f"its limits are not those of this version: {manifest['limits']}")
    groups = protocol.by_first(arrays)
    found: Expectations = {}
    for i, entry in enumerate(manifest["expected"]):
        where = f"{entry['case']}, {entry['dtype']}, {entry['check']} {entry['mode']}"
        for kind, expected in _expected(where, entry, groups.pop(str(i), {})).items():
            found[Key(**{name: entry[name] for name in Key._fields[:-1]}, functions=kind)] = expected
    if groups:
        raise ParityError(f"it holds arrays that nothing is expected of: {next(iter(groups))[:80]}")
    able = Abilities(TABLE["torch"].abilities.executions)
    wanted = {
        Key.of(case, task, kind)
        for kind in kinds_of(ULPS)
        for case in planned.cases
        for task in list_tasks(case, planned.checks, planned.dtypes, ("eager",), able)
    }
    if other := wanted ^ found.keys():
        raise ParityError(f"what is expected is not what is asked: {next(iter(other)).case}")
    return found


def _expected(where: str, entry: Mapping[str, Any], arrays: Arrays) -> dict[str, Expected]:
    """The expected values on each kind of device."""
    names = arrays.keys()
    kinds: dict[str, dict[str, list[float]]] = entry["noise"]
    if (
        any(names != given.keys() for given in (entry["digests"], *kinds.values()))
        or entry["undetermined"].keys() - names
    ):
        raise ParityError(f"{where}: arrays, noise and digests must have the same names")
    for name, array in arrays.items():
        pairs = all(len(noise[name]) == 2 for noise in kinds.values())
        if array.dtype != np.float64 or not np.isfinite(array).all() or not pairs:
            raise ParityError(f"{where}: {name[:80]} must be finite float64, with two numbers for its noise")
        if records.digest(array) != entry["digests"][name]:
            raise ParityError(f"{where}: {name[:80]} is not what its manifest says: damaged or exchanged")
    return {
        kind: Expected(dict(arrays), {name: Noise(*noise[name]) for name in names}, dict(entry["undetermined"]))
        for kind, noise in kinds.items()
    }
