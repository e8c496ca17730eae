"""A plan or a record: inputs, weights and what frameworks computed, in one file that another machine can judge.

A record is a `.safetensors` file whose metadata holds a JSON manifest: the cases as the catalogue had them, seed,
checks and precisions, a digest of every input, weight and result, and for each run its framework, versions, device,
driver, switches, precision probe and time. A plan is the same without runs. Digests show what was damaged, exchanged
or edited by hand; they are no signature, so who made a record is to be known from where it comes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from .. import protocol, schema
from ..arrays import Arrays
from ..catalogue import cases as catalogue
from ..catalogue.cases import Case
from ..catalogue.inputs import Drawn
from ..catalogue.tasks import CHECKS, DTYPES, list_program_tasks, list_tasks
from ..errors import ParityError
from ..frameworks import COLUMNS, TABLE, devices
from ..protocol import FACTS, join
from ..reference.evaluate import build, output_shape
from ..reference.modules import shapes
from ..weights.files import atomic
from ..weights.files import safetensors as reader
from ..workers.outcome import Outcome
from ..workers.pool import list_inputs

VERSION = 1
_KEY = "attention-parity"
_INPUTS = "inputs"
_DIGEST = re.compile("[0-9a-f]{32}")
_DEVICE = re.compile(rf"({'|'.join(devices.KINDS)})(:[0-9]{{1,4}})?")
_RUN: Mapping[str, Any] = {
    "framework": COLUMNS,
    "facts": {
        **FACTS,
        "device": {**FACTS["device"], "id": re.compile(rf"({'|'.join(devices.KINDS)})(:[0-9]{{1,4}})?")},
    },
    "notes": [str],
    # The case, the task, and why there is nothing; without a case and a task it is said of all.
    "errors": [[str]],
    "made": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"),
    "results": {str: _DIGEST},
}
_MANIFEST: Mapping[str, Any] = {
    "version": int,
    # What a case holds is compared with the catalogue's.
    "cases": [{"name": str, str: object}],
    "seed": int,
    "checks": [CHECKS],
    "dtypes": [DTYPES],
    "image": _DIGEST,
    "inputs": {str: _DIGEST},
    "runs": [_RUN],
    "digest": _DIGEST,
}


@dataclass(frozen=True)
class Record:
    """The content of a file: the cases, what they compute on, and what was computed."""

    cases: list[Case]
    seed: int
    checks: list[str]
    dtypes: list[str]
    image: str
    drawn: dict[str, Drawn]
    outcomes: list[Outcome] = field(default_factory=list)
    made: str = ""


def digest(array: np.ndarray) -> str:
    """32 hexadecimal digits that change with the array's dtype, shape or any bit."""
    head = f"{array.dtype.name}{array.shape}".encode()
    return blake2b(head + np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


def write(path: Path, record: Record, *, force: bool = False) -> None:
    """Write the record, whole or not at all; see `parity.weights.files.atomic.write_file` for what is raised."""
    metadata, arrays = encode(record)
    with atomic.write_file(path, force=force) as file:
        file.write(save(arrays, metadata))


def encode(record: Record) -> tuple[dict[str, str], Arrays]:
    """The record as the metadata and the arrays of its file."""
    inputs = list_inputs(record.drawn)
    arrays = {join(_INPUTS, name): array for name, array in inputs.items()}
    runs = []
    for i, outcome in enumerate(record.outcomes):
        arrays |= {join(i, name): array for name, array in outcome.computed.items()}
        runs.append(
            {
                "framework": outcome.framework,
                "facts": _printable(outcome.facts),
                "notes": _printable(outcome.notes),
                "errors": _printable([[*key, why] for key, why in outcome.errors.items()]),
                "made": record.made,
                "results": _by_task(outcome.computed),
            }
        )
    manifest = {
        "version": VERSION,
        "cases": [_describe(case) for case in record.cases],
        "seed": record.seed,
        "checks": record.checks,
        "dtypes": record.dtypes,
        "image": record.image,
        "inputs": {name: digest(array) for name, array in inputs.items()},
        "runs": runs,
    }
    text = json.dumps({**manifest, "digest": sign(manifest)}, sort_keys=True)
    return {_KEY: text}, {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def read(path: Path) -> Record:
    """The record, once everything in it is what its manifest says and its cases are this catalogue's.

    Raises:
        ParityError: for a file that is no record, damaged, edited, or of another catalogue; the line names the file and
            what is wrong.
    """
    with naming(path):
        contents = reader.read(path)
        return decode(contents.metadata, contents.arrays)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raise ParityError with the file's name for whatever is wrong in it."""
    try:
        yield
    except ParityError as error:
        raise ParityError(f"{path}: {error}") from None
    # JSON that is none, that has a number of thousands of digits, or is nested as deep.
    except (ValueError, RecursionError) as error:
        raise ParityError(f"{path} is no record: {type(error).__name__} {str(error)[:100]!a}") from None


def difference(a: Record, b: Record) -> str:
    """Say why two records cannot be compared; an empty string where they can."""
    for what, left, right in (
        ("cases", [case.name for case in a.cases], [case.name for case in b.cases]),
        ("seed", a.seed, b.seed),
        ("checks", a.checks, b.checks),
        ("dtypes", a.dtypes, b.dtypes),
        ("image", a.image, b.image),
    ):
        if left != right:
            return f"{what}: {_short(left, right)} here, {_short(right, left)} there"
    first, second = ({name: digest(array) for name, array in list_inputs(r.drawn).items()} for r in (a, b))
    if other := [name for name in first if first[name] != second.get(name)]:
        return f"inputs: {', '.join(other[:3])}{' and more' if len(other) > 3 else ''} differ"
    return ""


def _short(left: Any, right: Any) -> str:
    """Of a list what the other has not, or the value itself."""
    if not isinstance(left, list) or not isinstance(right, list):
        return str(left)
    only = [value for value in left if value not in right]
    return ", ".join(only[:3]) + (" and more" if len(only) > 3 else "") if only else "nothing more"


def decode(metadata: Mapping[str, str], arrays: Arrays) -> Record:
    """The record that metadata and arrays are of, if they are what `read` says."""
    if _KEY not in metadata:
        raise ParityError("is no record of parity: it has no manifest")
    manifest = json.loads(metadata[_KEY])
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise ParityError(f"its manifest must be of version {VERSION}")
    schema.check(manifest, _MANIFEST, "its manifest")
    if manifest.pop("digest") != sign(manifest):
        raise ParityError("its manifest was edited or damaged: it does not have the digest that it states")
    _check_text(manifest)
    _check_once("cases", [item["name"] for item in manifest["cases"]])
    _check_once("checks", manifest["checks"])
    _check_once("dtypes", manifest["dtypes"])
    if manifest["runs"]:
        _check_once("frameworks", [run["framework"] for run in manifest["runs"]])
    chosen = [_known(item) for item in manifest["cases"]]
    groups = protocol.by_first(arrays)
    inputs = groups.pop(_INPUTS, {})
    _compare_digests(manifest["inputs"], {name: digest(array) for name, array in inputs.items()})
    planned = Record(
        chosen,
        manifest["seed"],
        manifest["checks"],
        manifest["dtypes"],
        manifest["image"],
        {case.name: _drawn(case, inputs) for case in chosen},
        made=max((run["made"] for run in manifest["runs"]), default=""),
    )
    if strays := inputs.keys() - list_inputs(planned.drawn).keys():
        raise ParityError(f"it holds inputs of no case: {', '.join(sorted(strays)[:3])}")
    outcomes = [_outcome(planned, run, groups.pop(str(i), {})) for i, run in enumerate(manifest["runs"])]
    if groups:
        stray = next(iter(groups))
        raise ParityError(f"it holds arrays of no run: {join(stray, next(iter(groups[stray])))[:80]}")
    return replace(planned, outcomes=outcomes)


def _check_once(name: str, values: Sequence[str]) -> None:
    """Raise ParityError where a list is empty or has something twice."""
    if not values or len(set(values)) < len(values):
        raise ParityError(f"its {name} must be at least one, each once, got {', '.join(values)[:80]}")


def _known(item: dict[str, Any]) -> Case:
    """The catalogue's case of that name, if it is the same."""
    case = next((case for case in catalogue.EVERY if case.name == item["name"]), None)
    if case is None:
        raise ParityError(f"the case {str(item['name'])[:80]!a} is not in this catalogue; versions differ")
    described = _describe(case)
    if other := [key for key in (described | item) if key not in described or item.get(key) != described[key]]:
        raise ParityError(f"the case {case.name} is another in this catalogue: {', '.join(other)[:80]} differ")
    return case


def _describe(case: Case) -> dict[str, Any]:
    """The case as JSON gives it back, without the reason that it exists for."""
    item = {key: value for key, value in asdict_case(case).items() if key != "why"}
    return json.loads(json.dumps({"name": case.name, **item}))


def asdict_case(case: Case) -> dict[str, Any]:
    """The case's fields; `asdict` cannot copy its read-only mapping."""
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(case).items()}


def _check_text(value: Any) -> None:
    """Raise ParityError for text that a terminal would obey instead of showing it."""
    if isinstance(value, str) and not value.isprintable():
        raise ParityError(f"its manifest holds text that cannot be printed: {value[:40]!a}")
    for part in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_text(part)


def _printable(value: Any) -> Any:
    """The same with a space for every character that cannot be printed."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, dict):
        return {_printable(key): _printable(part) for key, part in value.items()}
    return [_printable(part) for part in value] if isinstance(value, list) else value


def _outcome(planned: Record, run: Mapping[str, Any], computed: Arrays) -> Outcome:
    """The outcome of a run, if all of it is of tasks that the catalogue has for the record's cases."""
    name = run["framework"]
    able = TABLE[name].abilities
    tasks = {
        (case.name, task.key)
        for case in planned.cases
        for task in (
            *list_tasks(case, planned.checks, planned.dtypes, ("eager",), able),
            *list_program_tasks(case, planned.checks, planned.dtypes, able),
        )
    }
    errors: dict[tuple[str, str], str] = {}
    for item in run["errors"]:
        if len(item) != 3 or tuple(item[:2]) not in (*tasks, ("", "")):
            raise ParityError(f"it holds an error of no task: {str(item)[:80]}")
        errors[item[0], item[1]] = item[2]
    if strays := protocol.by_task(computed).keys() - {join(*task) for task in tasks}:
        raise ParityError(f"it holds arrays of no task: {min(strays)[:80]}")
    _compare_digests(run["results"], _by_task(computed))
    return Outcome(name, name, run["facts"], run["notes"], errors, computed)


def _drawn(case: Case, inputs: Arrays) -> Drawn:
    given = protocol.select(inputs, case.name)
    weights = protocol.select(given, "weights")
    expected: dict[str, tuple[int, ...]] = {**shapes(build(case)), "input": case.shape, "cotangent": output_shape(case)}
    found = weights | {name: given[name] for name in ("input", "cotangent") if name in given}
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found or found[name].shape != expected[name]:
            raise ParityError(f"{case.name}: {name[:80]} is not as this catalogue has it")
        if found[name].dtype != np.float32 or not np.isfinite(found[name]).all():
            raise ParityError(f"{case.name}: {name} must be finite float32")
    return Drawn(weights, given["input"], given["cotangent"])


def _by_task(computed: Mapping[str, np.ndarray]) -> dict[str, str]:
    """A digest for each task, of all its arrays in order."""
    return {
        task: _hash("\n".join(f"{name} {digest(arrays[name])}" for name in sorted(arrays)))
        for task, arrays in protocol.by_task(computed).items()
    }


def _compare_digests(stated: Mapping[str, str], found: Mapping[str, str]) -> None:
    if other := sorted(name for name in stated.keys() | found.keys() if stated.get(name) != found.get(name)):
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise ParityError(f"{other[0]}{more} is not what its manifest says: damaged, exchanged, missing or added")


def sign(manifest: Mapping[str, Any]) -> str:
    """A digest of what JSON can hold."""
    return _hash(json.dumps(manifest, sort_keys=True))


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def names(paths: Iterable[Path], outcomes: Sequence[Sequence[Outcome]]) -> None:
    """Give outcomes of one framework in several records the name of their file too."""
    count: dict[str, int] = {}
    for group in outcomes:
        for outcome in group:
            count[outcome.framework] = count.get(outcome.framework, 0) + 1
    for path, group in zip(paths, outcomes, strict=True):
        for outcome in group:
            if count[outcome.framework] > 1:
                outcome.name = f"{outcome.framework} ({path.stem})"
