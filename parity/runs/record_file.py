"""A plan or a record: inputs, weights and what frameworks computed, in one file that another machine can judge.

A record is a `.safetensors` file whose metadata holds a JSON manifest: the cases as the catalogue had them, seed,
checks and precisions, a digest of every input, weight and result, and for each run its framework, versions, device,
driver, switches, canary and time. A plan is the same without runs. Digests show what was damaged, exchanged or edited
by hand; they are no signature, so who made a record is to be known from where it comes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from ..catalogue import cases as catalogue
from ..catalogue.cases import Case
from ..errors import ParityError
from ..frameworks import check_column
from ..reference.modules import shapes
from ..verdict.expect import Drawn, build, output_shape
from ..weights.files import atomic
from ..weights.files import safetensors as reader
from ..workers.outcome import Outcome

VERSION = 1
_KEY = "attention-parity"
_FIELDS = {"version", "cases", "seed", "checks", "dtypes", "image", "inputs", "runs", "digest"}
_RUN = {"framework", "facts", "notes", "errors", "made", "results"}

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Record:
    """What a file holds: the cases, what they compute on, and what was computed."""

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
    inputs = flatten(record.drawn)
    arrays = {f"inputs|{name}": array for name, array in inputs.items()}
    runs = []
    for i, outcome in enumerate(record.outcomes):
        arrays |= {f"{i}|{name}": array for name, array in outcome.computed.items()}
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
    text = json.dumps({**manifest, "digest": _sign(manifest)}, sort_keys=True)
    with atomic.write_file(path, force=force) as file:
        file.write(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {_KEY: text}))


def read(path: Path) -> Record:
    """The record, once everything in it is what its manifest says and its cases are this catalogue's.

    Raises:
        ParityError: for a file that is no record, damaged, edited, or of another catalogue; the line names the file and
            what is wrong.
    """
    try:
        contents = reader.read(path)
        return _check(contents.metadata, contents.arrays)
    except ParityError as error:
        raise ParityError(f"{path}: {error}") from None
    # A stranger's file can be wrong in ways that no list has; nothing of it has been run.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
        raise ParityError(f"{path} is no record: {type(error).__name__} {str(error)[:100]}") from None


def flatten(drawn: Mapping[str, Drawn]) -> Arrays:
    """What the cases compute on, by case and name."""
    arrays: Arrays = {}
    for name, item in drawn.items():
        arrays |= {f"{name}|input": item.x, f"{name}|cotangent": item.cotangent}
        arrays |= {f"{name}|weights|{key}": array for key, array in item.weights.items()}
    return arrays


def difference(a: Record, b: Record) -> str:
    """What two records do not have in common that they must, in words; an empty string where they can be compared."""
    for what, left, right in (
        ("cases", [case.name for case in a.cases], [case.name for case in b.cases]),
        ("seed", a.seed, b.seed),
        ("checks", a.checks, b.checks),
        ("dtypes", a.dtypes, b.dtypes),
        ("image", a.image, b.image),
    ):
        if left != right:
            return f"{what}: {_short(left, right)} here, {_short(right, left)} there"
    first, second = ({name: digest(array) for name, array in flatten(r.drawn).items()} for r in (a, b))
    if other := [name for name in first if first[name] != second.get(name)]:
        return f"inputs: {', '.join(other[:3])}{' and more' if len(other) > 3 else ''} differ"
    return ""


def _short(left: Any, right: Any) -> str:
    """Of a list what the other has not, or the value itself."""
    if not isinstance(left, list) or not isinstance(right, list):
        return str(left)
    only = [value for value in left if value not in right]
    return ", ".join(only[:3]) + (" and more" if len(only) > 3 else "") if only else "nothing more"


def _check(metadata: Mapping[str, str], arrays: Arrays) -> Record:
    if _KEY not in metadata:
        raise ParityError("is no record of parity: it has no manifest")
    manifest = json.loads(metadata[_KEY])
    if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
        raise ParityError(f"its manifest must be of version {VERSION}")
    if set(manifest) != _FIELDS or any(set(run) != _RUN for run in manifest["runs"]):
        raise ParityError("its manifest does not have the entries of a record")
    if manifest.pop("digest") != _sign(manifest):
        raise ParityError("its manifest was edited or damaged: it does not have the digest that it states")
    _check_text(manifest)
    chosen = [_known(entry) for entry in manifest["cases"]]
    inputs = {name[7:]: array for name, array in arrays.items() if name.startswith("inputs|")}
    _compare_digests(manifest["inputs"], {name: digest(array) for name, array in inputs.items()})
    outcomes = [_outcome(i, run, arrays) for i, run in enumerate(manifest["runs"])]
    if (
        strays := arrays.keys()
        - {f"inputs|{name}" for name in inputs}
        - {f"{i}|{name}" for i, outcome in enumerate(outcomes) for name in outcome.computed}
    ):
        raise ParityError(f"it holds arrays of no run: {', '.join(sorted(strays)[:3])}")
    drawn = {case.name: _drawn(case, inputs) for case in chosen}
    if strays := inputs.keys() - flatten(drawn).keys():
        raise ParityError(f"it holds inputs of no case: {', '.join(sorted(strays)[:3])}")
    made = max((run["made"] for run in manifest["runs"]), default="")
    seed, image = int(manifest["seed"]), str(manifest["image"])
    return Record(chosen, seed, list(manifest["checks"]), list(manifest["dtypes"]), image, drawn, outcomes, made)


def _known(entry: Mapping[str, Any]) -> Case:
    """The catalogue's case of that name, if it is the same."""
    case = next((case for case in catalogue.CASES if case.name == entry["name"]), None)
    if case is None:
        raise ParityError(f"the case {str(entry['name'])[:80]!a} is not in this catalogue; versions differ")
    if other := [key for key, value in _describe(case).items() if entry.get(key) != value]:
        raise ParityError(f"the case {case.name} is another in this catalogue: {', '.join(other)} differ")
    return case


def _describe(case: Case) -> dict[str, Any]:
    """The case as JSON gives it back, without the reason that it exists for."""
    entry = {key: value for key, value in asdict_case(case).items() if key != "why"}
    return json.loads(json.dumps({"name": case.name, **entry}))


def asdict_case(case: Case) -> dict[str, Any]:
    """The case's fields; `asdict` cannot copy its read-only mapping."""
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(case).items()}


def _facts(facts: Any) -> dict[str, Any]:
    """What a run says of itself, if it has the form that reports rely on; nothing where it never got that far."""
    if facts == {}:
        return {}
    texts = [facts[name] for name in ("versions", "switches", "precisions")]
    texts.append({"id": facts["device"]["id"], "name": facts["device"].get("name", "")})
    whole = all(isinstance(table, dict) and all(isinstance(v, str) for v in table.values()) for table in texts)
    numbers = list(facts["canary"].values())
    if not whole or not numbers or any(type(number) not in (int, float) for number in numbers):
        raise ParityError("what a run says of itself does not have the form of a record's")
    return dict(facts)


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


def _outcome(i: int, run: Mapping[str, Any], arrays: Arrays) -> Outcome:
    computed = {name.partition("|")[2]: a for name, a in arrays.items() if name.partition("|")[0] == str(i)}
    _compare_digests(run["results"], _by_task(computed))
    errors = {(str(case), str(task)): str(why) for case, task, why in run["errors"]}
    name = check_column(run["framework"])
    return Outcome(name, name, _facts(run["facts"]), [str(note) for note in run["notes"]], errors, computed)


def _drawn(case: Case, inputs: Arrays) -> Drawn:
    prefix = f"{case.name}|weights|"
    weights = {name.removeprefix(prefix): array for name, array in inputs.items() if name.startswith(prefix)}
    drawn = Drawn(weights, inputs[f"{case.name}|input"], inputs[f"{case.name}|cotangent"])
    expected = {**shapes(build(case)), "input": case.shape, "cotangent": output_shape(case)}
    found = {**weights, "input": drawn.x, "cotangent": drawn.cotangent}
    for name in expected.keys() | found.keys():
        if name not in expected or name not in found or found[name].shape != expected[name]:
            raise ParityError(f"{case.name}: {name} is not as this catalogue has it")
        if found[name].dtype != np.float32 or not np.isfinite(found[name]).all():
            raise ParityError(f"{case.name}: {name} must be finite float32")
    return drawn


def _by_task(computed: Mapping[str, np.ndarray]) -> dict[str, str]:
    """A digest for each task, of all its arrays in order."""
    tasks: dict[str, list[str]] = {}
    for name in sorted(computed):
        task, _, array = name.rpartition("|")
        tasks.setdefault(task, []).append(f"{array} {digest(computed[name])}")
    return {task: _hash("\n".join(lines)) for task, lines in tasks.items()}


def _compare_digests(stated: Mapping[str, str], found: Mapping[str, str]) -> None:
    if other := sorted(name for name in stated.keys() | found.keys() if stated.get(name) != found.get(name)):
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise ParityError(f"{other[0]}{more} is not what its manifest says: damaged, exchanged, missing or added")


def _sign(manifest: Mapping[str, Any]) -> str:
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
