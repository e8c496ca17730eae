"""The process that runs one framework: `python -m parity.worker FRAMEWORK FOLDER`.

It reads `job.json` (tasks) and `arrays.safetensors` (inputs and weights) from the folder, writes what it computed to
`FRAMEWORK.safetensors`, and prints one JSON line for each finished case. It needs NumPy, safetensors and its framework.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from . import frameworks
from .weights import get_weights, set_weights


def main(name: str, folder: Path) -> None:
    """Run every task of the folder's job in the framework `name`."""
    report = _take_standard_output()
    framework = frameworks.load(name)
    report({"versions": framework.versions()})
    job = json.loads((folder / "job.json").read_text())
    arrays = load_file(folder / "arrays.safetensors")
    computed: dict[str, np.ndarray] = {}

    def run_and_report(task: dict[str, Any]) -> None:
        try:
            computed.update(run_task(framework, task, arrays))
            report({"case": task["case"]})
        except Exception as error:
            traceback.print_exc()
            report({"case": task["case"], "error": f"{type(error).__name__}: {error}".splitlines()[0]})

    with ThreadPoolExecutor(framework.THREADS) as pool:
        list(pool.map(run_and_report, job))
    save_file(computed, folder / f"{name}.safetensors")


def run_task(framework: Any, task: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One case in every dtype and mode: its outputs, and the model's arrays after them, named by `tensor_name`."""
    case = task["case"]
    prefix = f"{case}|weights|"
    weights = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    x = arrays[f"{case}|input"]
    model = framework.build(task["module"], task["args"], task["kwargs"])
    computed = {}
    for dtype in task["dtypes"]:
        cast = {key: array.astype(dtype) for key, array in weights.items()}
        for mode in task["modes"]:
            set_weights(model, cast)
            output = framework.forward(model, x.astype(dtype), train=mode == "train")
            computed[tensor_name(case, dtype, mode, "output")] = np.ascontiguousarray(output)
            for key, array in get_weights(model).items():
                computed[tensor_name(case, dtype, mode, key)] = array
    return computed


def tensor_name(case: str, dtype: str, mode: str, tensor: str) -> str:
    """What a computed array is called in the file between the processes."""
    return "|".join((case, dtype, mode, tensor))


def _take_standard_output() -> Callable[[dict[str, Any]], object]:
    """Keep standard output for the reports; what a framework prints goes to standard error."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda message: stream.write(f"{json.dumps(message)}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
