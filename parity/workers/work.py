"""The computation of a worker: the tasks of every work item, one after another, in one framework.

It reads `FRAMEWORK.json` (backend and tasks) and `arrays.safetensors` (inputs and weights) from the folder, and writes
what it computed to `FRAMEWORK.safetensors`. It needs NumPy, safetensors and its framework.
"""

import errno
import json
import re
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from .. import protocol
from ..arrays import unmoved
from ..catalogue import batch
from ..catalogue.tasks import PROGRAMS
from ..errors import ParityError
from ..frameworks.layout import convert
from ..protocol import Done, Failed, Finished, Message, Ready, Refused, join, select
from ..weights import models as weights
from ..weights.models import get_weights, set_weights
from .executables import Programs
from .mutation import mutate
from .startup import begin

Arrays = dict[str, np.ndarray]
# No room, over a quota, or over the size that a file may have: no task's fault.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def work(name: str, folder: Path, say: Callable[[Message], object]) -> None:
    """Run every task of the folder's job in the framework `name`.

    Raises:
        ParityError: Where the framework, its device or the folder cannot be used.
    """
    job = json.loads((folder / f"{name}.json").read_text())
    arrays = protocol.by_first(load_file(folder / "arrays.safetensors"))
    session = begin(name, job["backend"], folder)
    framework, facts = session.framework, session.facts
    computed: Arrays = {}
    packed = [item for item in job["cases"] if item["executables"]]
    programs = Programs(framework, facts["device"]["id"], packed, arrays) if packed else None

    def choose(item: dict[str, Any], task: dict[str, Any]) -> tuple[Any, Any]:
        """The framework and the functions for weights: a mutant's, those of a program, or the true ones."""
        if programs and task["execution"] in PROGRAMS:
            return programs.adapter(item, task, arrays[item["case"]]["cotangent"]), weights
        return mutate(framework, *item["mutant"]) if item["mutant"] else (framework, weights)

    def run_item(item: dict[str, Any], tasks: Sequence[dict[str, Any]]) -> None:
        name = item["name"]
        for task in tasks:
            try:
                found = run_task(*choose(item, task), item, task, arrays[item["case"]])
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    say(Refused(f"the {framework.NAME} process cannot write: {error}; make room there"))
                    return
                traceback.print_exc()
                say(Failed(name, task["key"], _message(error)))
            else:
                computed.update({join(name, task["key"], key): value for key, value in found.items()})

    def run_module(items: Sequence[dict[str, Any]]) -> None:
        dtypes = list(dict.fromkeys(task["dtype"] for item in items for task in item["tasks"])) or [""]
        for dtype in dtypes:
            for item in items:
                refused = dtype == "float64" and facts["precisions"][dtype]
                run_item(item, [] if refused else [task for task in item["tasks"] if task["dtype"] == dtype])
                say(Finished(item["name"], dtype == dtypes[-1]))
            framework.release()

    framework.release()  # from here on it counts
    say(Ready(facts))
    with ThreadPoolExecutor(framework.THREADS, initializer=session.enter) as pool:
        list(pool.map(run_module, by_module(job["cases"])))
    try:
        save_file(computed, folder / f"{name}.safetensors")
    except (OSError, SafetensorError) as error:
        raise ParityError(
            f"the {name} process cannot write to {folder.parent}: {error}; make room, or set TMPDIR"
        ) from None
    if session.cache:
        session.cache.close()
    say(Done())


def by_module(items: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The items of each module, the last module, which takes longest, first.

    A module's cases run one after another and one precision after another, because what a framework compiles for one of
    them it uses again for the next.
    """
    modules: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        modules.setdefault(item["module"], []).append(item)
    return list(reversed(modules.values()))


def run_task(framework: Any, weights: Any, item: dict[str, Any], task: dict[str, Any], arrays: Arrays) -> Arrays:
    """The arrays of one task, by the names that the reference gives them."""
    dtype, train = task["dtype"], task["mode"] == "train"
    model = framework.build(item["module"], item["args"], item["kwargs"])
    given = {key: array.astype(dtype) for key, array in select(arrays, "weights").items()}
    weights.set_weights(model, given)
    if task["check"] in ("training", "steps"):
        return run_training(framework, model, task, arrays)
    x = arrays["input"].astype(dtype)
    if task["check"] == "batch":
        call = partial(framework.forward, model, train=False, execution=task["execution"])
        found = {"alone": call(batch.alone(x)), "among": call(batch.among(x))[[batch.PLACE]]}
    elif task["check"] == "forward":
        read = weights.get_weights(model)
        output = framework.forward(model, x, train=train, execution=task["execution"])
        found = {"output": output, **weights.get_weights(model), **unmoved(given, "given"), **unmoved(read, "read")}
    else:
        cotangent = arrays["cotangent"].astype(dtype)
        native = framework.gradients(model, x, cotangent, train=train, execution=task["execution"])
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
            set_weights(model, select(arrays, "start_weights", task["mode"], i))
        target = arrays[join("data", loss, i)]
        target = target.astype(dtype) if loss == "mse" else target
        losses.append(step(arrays[join("data", "input", i)].astype(dtype), target).reshape(1))
        if every:
            found |= {f"step {i + 1}/{key}": array for key, array in get_weights(model).items()}
    return {"loss": np.concatenate(losses), **(found or get_weights(model))}


def _message(error: Exception) -> str:
    """The kind of the error and its first line that says something; that of the error inside a Paddle program's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -:")]
    if lines and lines[0] == "In transformed code:":
        return next((line for line in reversed(lines) if re.match(r"\w+Error: ", line)), lines[-1])
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
