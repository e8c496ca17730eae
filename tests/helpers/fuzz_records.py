"""Edits good records at random, signs them again and judges them: a verdict or one clear line must come of it.

Usage: python tests/helpers/fuzz_records.py RECORD... [--count 100000] [--seed N]; the tests do the same for a few seconds.
"""

import argparse
import contextlib
import copy
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from rich.console import Console
from safetensors import safe_open
from safetensors.numpy import load_file, save

from parity.cli.report import print_report, to_json
from parity.errors import ParityError
from parity.runs import record as recording
from parity.runs import record_file as records

Good = tuple[dict[str, Any], dict[str, np.ndarray]]

# What a stranger would put where something else is expected.
NUMBERS = [0, 1, -1, 2, 7, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, 1e-320]
NUMBERS += [float("nan"), float("inf"), -float("inf")]
TEXTS = ["", "|", "cpu", "cuda:0", "cuda:99999999999", "torch", "onnx", "float64", "float8_e4m3", "int8", "training"]
TEXTS += [
    "forward",
    "SE/1x1",
    "SE/1x1|float32|forward eval",
    "../x",
    "\x1b[2J",
    "\ud800",
    "x" * 5000,
    "0",
    "matmul forward",
]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None], {"": None}, {"id": "cpu"}, ["forward", "forward"]]
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int64, np.uint8, np.bool_]
VALUES = [np.nan, np.inf, 0.0, 1e300, -1e-300]


def load(path: Path) -> Good:
    """The manifest, without its digest, and the arrays of a record."""
    with safe_open(path, "np") as file:
        manifest = json.loads(file.metadata()["attention-parity"])
    manifest.pop("digest")
    return manifest, load_file(path)


def reduce(good: Good, case: str, check: str) -> Good:
    """Of a record one case and one check, so that it is judged in milliseconds."""
    manifest = copy.deepcopy(good[0])
    manifest["cases"] = [entry for entry in manifest["cases"] if entry["name"] == case]
    manifest["checks"] = [check]
    arrays = {
        name: array
        for name, array in good[1].items()
        if name.split("|")[1] == case and (name.startswith("inputs|") or name.split("|")[3].startswith(check))
    }
    sign(manifest, arrays)
    return manifest, arrays


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every entry of the tables and lists in a value, as the container and the key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def edit(manifest: dict[str, Any], choose: random.Random) -> None:
    """Change one entry of the manifest."""
    # The upper ones first, as there are few of them among the many digests.
    found = [place for place in places(manifest) if choose.random() < 0.5 or place[0] is manifest]
    container, key = choose.choice(found)
    _, other = choose.choice(found), choose.choice(found)
    kind = choose.randrange(7)
    if kind == 0:
        container[key] = choose.choice(choose.choice((NUMBERS, TEXTS, OTHERS)))
    elif kind == 1:
        del container[key]
    elif kind == 2:
        container[key] = copy.deepcopy(other[0][other[1]])
    elif kind == 3 and isinstance(container, dict):
        container[choose.choice(TEXTS)] = container.pop(key)
    elif kind == 4 and isinstance(container[key], str):
        container[key] = container[key][: choose.randrange(len(container[key]) + 1)] + choose.choice(TEXTS)[:20]
    elif kind == 5 and isinstance(container[key], list):
        container[key] = [*container[key], *choose.choices([*container[key], *TEXTS, *NUMBERS, *OTHERS], k=2)]
    elif isinstance(container[key], int | float):
        container[key] = choose.choice(NUMBERS)


def edit_arrays(arrays: dict[str, np.ndarray], choose: random.Random) -> None:
    """Change one array, or its name."""
    name = choose.choice(sorted(arrays))
    array = arrays[name]
    kind = choose.randrange(6)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(choose.choice(DTYPES))
    elif kind == 2:
        arrays[name] = choose.choice([array[:0], array[None], array.reshape(-1), array[:1], np.zeros((), array.dtype)])
    elif kind == 3 and array.size and array.dtype.kind == "f":
        arrays[name] = array.copy()
        with np.errstate(all="ignore"):
            arrays[name].reshape(-1)[choose.randrange(array.size)] = choose.choice(VALUES)
    elif kind == 4:
        parts = name.split("|")
        parts[choose.randrange(len(parts))] = choose.choice(TEXTS).replace("\ud800", "?")[:50]
        arrays["|".join(parts)] = arrays.pop(name)
    else:
        arrays[name] = arrays[choose.choice(sorted(arrays))]


def sign(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Give the arrays' digests to the manifest, where it still has a place for them."""
    with contextlib.suppress(TypeError, KeyError, IndexError, AttributeError):
        manifest["inputs"] = {n[7:]: records.digest(a) for n, a in arrays.items() if n.startswith("inputs|")}
        for i, run in enumerate(manifest["runs"]):
            own = {n.partition("|")[2]: a for n, a in arrays.items() if n.partition("|")[0] == str(i)}
            run["results"] = records._by_task(own)


def mutate(good: Good, choose: random.Random) -> Good:
    """A copy of a record with one to three edits, signed again as its maker would sign it."""
    manifest, arrays = copy.deepcopy(good[0]), dict(good[1])
    for _ in range(choose.randint(1, 3)):
        if choose.random() < 0.7:
            edit(manifest, choose)
        else:
            edit_arrays(arrays, choose)
            sign(manifest, arrays)
    return manifest, arrays


def write(path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the record with a digest that fits."""
    unsigned = {key: value for key, value in manifest.items() if key != "digest"}
    manifest = {**unsigned, "digest": records.sign(unsigned)}
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.write_bytes(save(whole, {"attention-parity": json.dumps(manifest)}))


def judge(paths: Sequence[Path], *, show: bool) -> bool:
    """Whether there is a verdict; where there is none, ParityError in a line that can be shown."""
    try:
        report = recording.compare(paths, [records.read(path) for path in paths])
    except ParityError as error:
        text = str(error)
        assert text.isprintable(), ascii(text)
        assert len(text) < 400 + sum(len(str(path)) for path in paths), text
        return False
    json.loads(to_json(report))
    if show:
        print_report(report, Console(file=io.StringIO(), width=120))
    return True


def remember(expect: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The same, computed once for the same inputs, which are the same in nearly every edited record."""
    known: dict[str, list[Any]] = {}

    def remembered(
        cases: Any, drawn: Any, training_data: Any, dtypes: Any, checks: Any, units: Any, **rest: Any
    ) -> Any:
        digests = sorted((name, records.digest(array)) for name, array in records.list_inputs(drawn).items())
        key = repr(([case.name for case in cases], digests, sorted(training_data), dtypes, checks, units, rest))
        if key not in known:
            known[key] = list(expect(cases, drawn, training_data, dtypes, checks, units, **rest))
        return iter(known[key])

    return remembered


def fuzz(good: Sequence[Good], other: Path, folder: Path, count: int, seed: int) -> int:
    """Judge so many edited records, every second one beside `other`; how many got a verdict."""
    choose, path, judged = random.Random(seed), folder / "edited.record", 0
    for i in range(count):
        try:
            # JSON that Python cannot even write is no record.
            with contextlib.suppress(UnicodeEncodeError):
                write(path, *mutate(choose.choice(good), choose))
            judged += judge([path, other] if i % 2 else [path], show=i % 8 < 2)
        except BaseException:
            print(f"seed {seed}, record {i}: kept as {path}")
            raise
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args()
    recording.expect_all = remember(recording.expect_all)
    folder = Path(tempfile.mkdtemp(prefix="parity-fuzz-"))
    judged = fuzz([load(path) for path in options.record], options.record[0], folder, options.count, options.seed)
    print(f"{options.count} edited records, {judged} of them judged, seed {options.seed}")


if __name__ == "__main__":
    main()
