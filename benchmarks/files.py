"""The time and memory in which `parity convert` moves a large `.safetensors` file, against `cp` in the same run.

Usage: python benchmarks/files.py [--gibibytes 2] [--folder DIRECTORY] [--rounds 5]

Writes a file of random weights, the largest tensor an eighth of it, and from it: a copy by `cp`; the same weights; the
same in Flax's axis order; the same in bfloat16. The commands take turns; a ratio is the median of those within a
round. Each runs in a process of its own, whose seconds include its start and the sync of its file, and whose peak
memory is what the system counted. `cp` does not sync, so it is also timed with one.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from parity.weights.files import write
from parity.weights.files.contents import outgoing

MIB = 1 << 20


def make(path: Path, size: int) -> int:
    """Write weights of so many bytes: one kernel of an eighth, the rest in sixteenths of it; the largest's bytes."""
    out = size // 8 // (4 * 512 * 9)
    random = np.random.default_rng(0)
    largest = random.random((out, 512, 3, 3), np.float32)
    arrays = {"large.weight": largest}
    small = largest[: max(out // 16, 1)]
    for i in range((size - largest.nbytes) // small.nbytes):
        arrays[f"layer{i}.weight"] = small
    write(path, outgoing(arrays), "torch", {}, force=True)
    return largest.nbytes


def run(*command: str) -> tuple[float, float]:
    """The seconds that a command takes, and its peak memory in MiB."""
    start = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Make the file, run the commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gibibytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rounds", type=int, default=5, help="how often the commands take turns")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="parity-files-", dir=options.folder))
    source, target = folder / "source.safetensors", folder / "target.safetensors"
    convert = (sys.executable, "-m", "parity", "convert", str(source), str(target))
    commands = {
        "cp": ("cp", str(source), str(target)),
        "cp and sync": ("sh", "-c", f"cp {source} {target} && sync -d {target}"),
        "convert": convert,
        "convert --to flax": (*convert, "--to", "flax"),
        "convert --dtype bfloat16": (*convert, "--dtype", "bfloat16"),
    }
    table = Table("command", "seconds", "least", "times cp", "times cp and sync", "peak MiB")
    try:
        # In a process of its own, because a child's peak begins with its parent's memory.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            largest = pool.submit(make, source, int(options.gibibytes * (1 << 30))).result()
        shutil.copyfile(source, target)  # both now come from the page cache
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        peaks = dict.fromkeys(commands, 0.0)
        for _ in range(options.rounds):
            for name, command in commands.items():  # in turns, so that what else the machine does slows all
                target.unlink()
                os.sync()  # what the command before wrote and freed is not this one's to wait for
                taken, memory = run(*command)
                seconds[name].append(taken)
                peaks[name] = max(peaks[name], memory)
        for name, each in seconds.items():
            ratios = (f"{median(np.divide(each, seconds[other])):.2f}" for other in ("cp", "cp and sync"))
            table.add_row(name, f"{median(each):.2f}", f"{min(each):.2f}", *ratios, f"{peaks[name]:.0f}")
        size = f"{source.stat().st_size / (1 << 30):.2f} GiB, largest tensor {largest / MIB:.0f} MiB"
        title = f"{size}, medians of {options.rounds} rounds"
    finally:
        shutil.rmtree(folder)
    Console().print(title, table, sep="\n")


if __name__ == "__main__":
    main()
