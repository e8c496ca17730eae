"""Writes the file named by the first argument, as a process that a test kills or starves.

Usage: writing.py TARGET MEBIBYTES [LIMIT]: so many mebibytes of weights, and no file larger than LIMIT bytes.
"""

import resource
import signal
import sys
from pathlib import Path

import numpy as np

import parity
from parity.weights.files import write
from parity.weights.files.contents import outgoing

if __name__ == "__main__":
    target, mebibytes = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
    leaf = "kernel" if target.suffix in (".msgpack", ".orbax") else "weight"
    # Random, because Orbax compresses.
    arrays = {
        f"a.{leaf}": np.random.default_rng(0).random((mebibytes, 1 << 18), np.float32),
        f"b.{leaf}": np.ones((4, 4), np.float32),
    }
    framework = {".pdparams": "paddle", ".msgpack": "flax", ".orbax": "flax"}.get(target.suffix, "torch")

    def advance(count: int) -> None:
        print("written", count, flush=True)

    try:
        write(target, outgoing(arrays), framework, {}, force=True, advance=advance)
    except parity.ParityError as error:
        print(error)
        sys.exit(2)
