"""Times and memory of one row of the benchmark in one framework: what `benchmarks/modules.py` starts a process for.

Usage: python benchmarks/measure.py '{"framework": "torch", "row": "CBAM", "execution": "eager NCHW", ...}'

Candidates take turns: in each round every one of them runs, and a ratio is that of two times of the same round. What
else the machine does then slows both.
"""

import ctypes
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Call = Callable[[], Any]
# One measurement of a candidate lasts at least so long, in seconds.
SHORTEST = 0.02


@dataclass(frozen=True)
class Row:
    """A module or network of ours, its arguments, and the maps that it gets; and what a test gives instead."""

    peers: str
    module: str
    args: tuple[int, ...]
    options: dict[str, Any]
    shape: tuple[int, int, int, int]
    tiny_args: tuple[int, ...]
    tiny_shape: tuple[int, int, int, int]

    @property
    def folds(self) -> bool:
        """Whether it has batch norms that `fold` can put into convolutions."""
        return self.module not in ("SE", "CBAM")

    def tiny(self) -> "Row":
        """The same row for a test that it works at all."""
        return replace(self, args=self.tiny_args, shape=self.tiny_shape)


_CBAM, _SE_NET, _PLAIN_NET = {"reduction": 16, "norm": True}, {"min_hidden": 8}, {"where": ()}
ROWS = {
    "SE": Row("SE", "SE", (256,), {}, (8, 256, 56, 56), (32,), (2, 32, 5, 5)),
    "CBAM": Row("CBAM", "CBAM", (256,), _CBAM, (8, 256, 56, 56), (32,), (2, 32, 5, 5)),
    "CBAM small": Row("CBAM", "CBAM", (64,), _CBAM, (2, 64, 28, 28), (32,), (2, 32, 5, 5)),
    "ASPP": Row("ASPP", "ASPP", (256, 256), {}, (2, 256, 33, 33), (8, 16), (2, 8, 9, 9)),
    "SE_ASPP": Row("SE_ASPP", "SE_ASPP", (256, 256), {}, (2, 256, 33, 33), (8, 16), (2, 8, 9, 9)),
    "SEResNet-50": Row("SEResNet", "SEResNet", (50,), _SE_NET, (2, 3, 224, 224), (50,), (2, 3, 64, 64)),
    "ResNet-50": Row("ResNet", "SEResNet", (50,), _PLAIN_NET, (2, 3, 224, 224), (50,), (2, 3, 64, 64)),
}
EXECUTIONS = {
    "torch": ("eager NCHW", "eager NHWC", "compiled NCHW", "compiled NHWC"),
    "paddle": ("eager", "compiled"),
    "flax": ("compiled", "eager"),
}
MODES = ("eval", "train")


def mirror(framework: str, folder: str = "") -> ModuleType:
    """Our modules for the framework: those on the path, or those of another checkout, as another package."""
    if not folder:
        return import_module(f"{framework}_impl")
    name, file = f"{framework}_impl_before", Path(folder) / f"{framework}_impl" / "__init__.py"
    spec = spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    package = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def candidates(backend: ModuleType, row: Row, mode: str, before: str) -> dict[str, Call]:
    """The candidates by name: ours, ours folded, ours as it was before, and the peers."""
    ours = mirror(backend.NAME)
    found = {"ours": lambda: backend.ours(ours, row)}
    if before:
        found["before"] = lambda: backend.ours(mirror(backend.NAME, before), row)
    if row.folds and mode == "eval":
        found["folded"] = lambda: ours.fold(backend.ours(ours, row))
    return {**found, **{name: lambda build=build: build(row) for name, build in backend.PEERS[row.peers].items()}}


def seconds(call: Call, repeats: int) -> float:
    """The time of one of so many calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def interleave(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate in each round, the order turned on by one from round to round."""
    for call in calls.values():  # compiles, and fills caches
        call()
        call()
    repeats = max(1, round(SHORTEST / min(seconds(call, 1) for call in calls.values())))
    names, found = list(calls), {name: [0.0] * rounds for name in calls}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            found[name][i] = 1000 * seconds(calls[name], repeats)
    return found


def spread(values: Any) -> list[float]:
    """The lower quartile, the median and the upper quartile, to four digits."""
    return [float(f"{value:.4g}") for value in np.percentile(values, [25, 50, 75])]


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """For each candidate its milliseconds, and each other one's over it."""
    ratio = {
        name: {other: spread(np.divide(times[name], times[other])) for other in times if other != name}
        for name in ("ours", "folded")
        if name in times
    }
    return {"ms": {name: spread(values) for name, values in times.items()}, "ratio": ratio}


def resident(line: str) -> float:
    """The memory of this process as Linux counts it, in MiB: VmRSS now, VmHWM at its highest."""
    return int(re.findall(rf"{line}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024


def peak(build: Call, make: Callable[[Any], Call]) -> float:
    """MiB that a training step takes over the model and its input: the highest of the third step."""
    call = make(build())
    before = resident("VmRSS")
    call()
    call()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    call()
    return round(resident("VmHWM") - before, 1)


def main() -> None:
    """Do the job, and print what came of each row and mode as a line of JSON."""
    job = json.loads(sys.argv[1])
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    backend, execution = import_module(f"with_{job['framework']}"), job["execution"]
    for name, mode in job["rows"]:
        row = ROWS[name].tiny() if job["tiny"] else ROWS[name]
        x = np.random.default_rng(0).standard_normal(row.shape, np.float32)
        builders = candidates(backend, row, mode, job["before"])
        if job["candidate"]:
            build = builders[job["candidate"]]
            make = partial(backend.call, array=x, execution=execution, mode=mode)
            answer: dict[str, Any] = {"MiB": peak(build, make)}
        else:
            calls = {each: backend.call(build(), x, execution, mode) for each, build in builders.items()}
            answer = summary(interleave(calls, job["rounds"])) | {"versions": backend.versions()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
