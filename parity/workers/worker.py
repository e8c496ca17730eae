"""The process that runs one framework: `python -m parity.workers.worker FRAMEWORK FOLDER`.

It reads `FRAMEWORK.json` (backend and tasks) and `arrays.safetensors` (inputs and weights) from the folder, writes what
it computed to `FRAMEWORK.safetensors`, and prints a JSON line for what it runs on (see `startup`), for each task that
failed and for each case finished. It needs NumPy, safetensors and its framework.
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from ..frameworks.layout import convert
from ..verdict.judge import unmoved
from ..weights import models as weights
from ..weights.models import get_weights, set_weights
from .mutation import mutate
from .startup import begin

Arrays = dict[str, np.ndarray]


def main(name: str, folder: Path) -> None:
    """Run every task of the folder's job in the framework `name`."""
    report = _take_standard_output()
    job = json.loads((folder / f"{name}.json").read_text())
    framework, enter, refused = begin(name, job["backend"], report)
    arrays = by_case(load_file(folder / "arrays.safetensors"))
    computed: Arrays = {}

    def run_entry(entry: dict[str, Any], tasks: Sequence[dict[str, Any]]) -> None:
        name = entry["name"]
        for task in tasks:
            try:
                tools = mutate(framework, *entry["slip"]) if entry["slip"] else (framework, weights)
                found = run_task(*tools, entry, task, arrays[entry["case"]])
            except Exception as error:
                traceback.print_exc()
                report({"name": name, "task": task["key"], "error": _message(error)})
            else:
                computed.update({f"{name}|{task['key']}|{key}": value for key, value in found.items()})

    def run_module(entries: Sequence[dict[str, Any]]) -> None:
        dtypes = list(dict.fromkeys(task["dtype"] for entry in entries for task in entry["tasks"])) or [""]
        for dtype in dtypes:
            for entry in entries:
                refuse = dtype == "float64" and refused["float64"]
                run_entry(entry, [] if refuse else [task for task in entry["tasks"] if task["dtype"] == dtype])
                report({"name": entry["name"], "finished": dtype == dtypes[-1]})
            framework.release()

    framework.release()  # from here on it counts
    with ThreadPoolExecutor(framework.THREADS, initializer=enter) as pool:
        list(pool.map(run_module, by_module(job["cases"])))
    save_file(computed, folder / f"{name}.safetensors")
    report({"done": True})


def by_module(entries: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The entries of each module, the last module, which takes longest, first.

    A module's cases run one after another and one precision after another, because what a framework compiles for one of
    them it uses again for the next.
    """
    modules: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        modules.setdefault(entry["module"], []).append(entry)
    return list(reversed(modules.values()))


def by_case(arrays: Arrays) -> dict[str, Arrays]:
    """The arrays of each case by the rest of their names."""
    cases: dict[str, Arrays] = {}
    for name, array in arrays.items():
        case, _, key = name.partition("|")
        cases.setdefault(case, {})[key] = array
    return cases


def run_task(framework: Any, weights: Any, entry: dict[str, Any], task: dict[str, Any], arrays: Arrays) -> Arrays:
    """The arrays of one task, by the names that the reference gives them."""
    dtype, train = task["dtype"], task["mode"] == "train"
    model = framework.build(entry["module"], entry["args"], entry["kwargs"])
    given = {key: array.astype(dtype) for key, array in select(arrays, "weights").items()}
    weights.set_weights(model, given)
    if task["check"] in ("training", "steps"):
        return run_training(framework, model, task, arrays)
    x = arrays["input"].astype(dtype)
    if task["check"] == "forward":
        read = weights.get_weights(model)
        output = framework.forward(model, x, train=train, form=task["form"])
        found = {"output": output, **weights.get_weights(model), **unmoved(given, "given"), **unmoved(read, "read")}
    else:
        cotangent = arrays["cotangent"].astype(dtype)
        native = framework.gradients(model, x, cotangent, train=train, form=task["form"])
        found = {"input": native.pop("input"), **convert(native, framework.NAME, "torch")}
    return {key: np.ascontiguousarray(array) for key, array in found.items()}


def run_training(framework: Any, model: Any, task: dict[str, Any], arrays: Arrays) -> Arrays:
    """The losses and the arrays after the last step; for the check "steps" those after each, begun at given weights."""
    loss, dtype, every = task["loss"], task["dtype"], task["check"] == "steps"
    step = framework.trainer(model, task["optimizer"], loss, task["options"])
    found: Arrays = {}
    losses: list[np.ndarray] = []
    for i in range(task["steps"]):
        if every:
            set_weights(model, select(arrays, f"synced|{task['mode']}|{i}"))
        target = arrays[f"lesson|{loss}|{i}"]
        target = target.astype(dtype) if loss == "mse" else target
        losses.append(step(arrays[f"lesson|input|{i}"].astype(dtype), target).reshape(1))
        if every:
            found |= {f"step {i + 1}/{key}": array for key, array in get_weights(model).items()}
    return {"loss": np.concatenate(losses), **(found or get_weights(model))}


def select(arrays: Arrays, first: str) -> Arrays:
    """The arrays whose names begin with `first` and a bar, by the rest of their names."""
    prefix = f"{first}|"
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _message(error: Exception) -> str:
    """The kind of the error and its first line that says something; that of the error inside a Paddle program's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -:")]
    if lines and lines[0] == "In transformed code:":
        return next((line for line in reversed(lines) if re.match(r"\w+Error: ", line)), lines[-1])
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _take_standard_output() -> Callable[[dict[str, Any]], object]:
    """Keep standard output for the reports; what a framework prints goes to standard error."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda message: stream.write(f"{json.dumps(message)}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
