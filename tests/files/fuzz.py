"""Damages good files and Orbax directories at random and reads them: only ParityError leaves the readers.

Usage: python tests/files/fuzz.py [--minutes 5] [--seed N]; the tests do the same for a few seconds.
"""

import argparse
import contextlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from crafted import ARCHIVES, HEADERS, MESSAGES, PICKLES, TENSORS, write_pt, zarray
from hurtful import MANIFEST, NODE, signed

import parity
from parity.errors import ParityError
from parity.weights.files import open_file
from parity.weights.files.transfer import plan

WEIGHTS = {
    "a.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1),
    "a.norm.running_mean": np.arange(2, dtype=np.float16),
}
SUFFIXES = {".safetensors": "torch", ".npz": "paddle", ".pt": "torch", ".pdparams": "paddle", ".msgpack": "linen"}
MOST_SECONDS = 2.0
DIRECTORIES = 100  # files between two directories
# Numbers where readers go wrong, as the bytes that stand for them.
NUMBERS = [n.to_bytes(size, "little") for size in (1, 2, 4, 8) for n in (0, 1, 2**7, 2 ** (8 * size) - 1)]


def good_files(folder: Path) -> dict[str, list[bytes]]:
    """For each suffix, files to begin with."""
    seeds: dict[str, list[bytes]] = {}
    for suffix, framework in SUFFIXES.items():
        parity.save(WEIGHTS, folder / f"good{suffix}", framework=framework, metadata={"a": "b"}, force=True)
        seeds[suffix] = [(folder / f"good{suffix}").read_bytes()]
    seeds[".safetensors"] += HEADERS.values()
    seeds[".npz"] += ARCHIVES.values()
    seeds[".pdparams"] += PICKLES.values()
    seeds[".msgpack"] += MESSAGES.values()
    for data in TENSORS.values():
        seeds[".pt"].append(write_pt(data)(folder).read_bytes())
    return {suffix: [seed for seed in found if len(seed) < 1 << 16] for suffix, found in seeds.items()}


def damage(data: bytes, others: Sequence[bytes], choose: random.Random) -> bytes:
    """The file with a few of its bytes changed, cut, doubled, or taken from another."""
    damaged = bytearray(data)
    for _ in range(choose.randint(1, 4)):
        at, end = sorted(choose.randrange(len(damaged) + 1) for _ in range(2))
        kind = choose.randrange(6)
        if kind == 0 and damaged:
            damaged[at % len(damaged)] ^= 1 << choose.randrange(8)
        elif kind == 1:
            del damaged[at : min(end, at + 64)]
        elif kind == 2:
            damaged[at:at] = damaged[at : min(end, at + 64)]
        elif kind == 3:
            number = choose.choice(NUMBERS)
            damaged[at : at + len(number)] = number
        elif kind == 4:
            other = choose.choice(others)
            damaged[at:] = other[choose.randrange(len(other) + 1) :]
        else:
            damaged[at:at] = choose.randbytes(choose.randint(1, 8))
    return bytes(damaged)


def read(path: Path) -> None:
    """Everything that a command does with a file before it writes; an error must be ParityError, and come soon."""
    start = time.process_time()
    with contextlib.suppress(ParityError):
        opened = open_file(path)
        plan(opened, path.with_name("out.npz"), to="torch", dialect=None, prefix=None)
        plan(opened, path.with_name("out.npz"), to="torch", dialect="timm", prefix="a")
    with contextlib.suppress(ParityError):
        parity.load(path, framework="torch")
    seconds = time.process_time() - start
    assert seconds < MOST_SECONDS, f"{path} took {seconds:.1f} s"


def good_directories(folder: Path) -> list[Path]:
    """Orbax checkpoints to begin with: as Orbax writes them, and one that is not compressed, where damage goes deeper."""
    import tensorstore

    parity.save(WEIGHTS, folder / "good.orbax", framework="flax", metadata={"a": "b"}, force=True)
    spec = {"driver": "ocdbt", "base": f"file://{folder / 'plain.orbax'}/", "config": {"compression": None}}
    store = tensorstore.KvStore.open(spec).result()
    store.write("a.bias/.zarray", zarray(2)).result()
    store.write("a.bias/0", bytes(8)).result()
    return [folder / "good.orbax", folder / "plain.orbax"]


def damage_directory(good: Path, path: Path, choose: random.Random) -> None:
    """Put a copy of the directory at `path`, with damage in one file, in every second one under a good checksum."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(good, path)
    file = choose.choice([each for each in sorted(path.rglob("*")) if each.is_file() and each.stat().st_size])
    data = file.read_bytes()
    start = max(data.rfind(magic) for magic in (MANIFEST, NODE))
    if start >= 0 and choose.randrange(2):
        head, body = data[: start + 12], data[start + 12 : -4]
        file.write_bytes(data[:start] + signed(head[start : start + 4], damage(body, [body], choose)))
    else:
        file.write_bytes(damage(data, [data], choose))


def read_directory(path: Path) -> None:
    """The same for an Orbax directory."""
    start = sum(os.times()[:4])
    with contextlib.suppress(ParityError):
        parity.load(path)
    seconds = sum(os.times()[:4]) - start
    assert seconds < MOST_SECONDS, f"{path} took {seconds:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args()
    choose = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="parity-fuzz-"))
    seeds = good_files(folder)
    directories = good_directories(folder)
    end, count = time.monotonic() + 60 * options.minutes, 0
    try:
        while time.monotonic() < end:
            suffix = choose.choice(list(seeds))
            path = folder / f"x{suffix}"
            path.write_bytes(damage(choose.choice(seeds[suffix]), seeds[suffix], choose))
            read(path)
            count += 1
            # A process for each: not for each file too.
            if count % DIRECTORIES == 0:
                path = folder / "x.orbax"
                damage_directory(choose.choice(directories), path, choose)
                read_directory(path)
    except BaseException:
        print(f"seed {options.seed}, file {count}: kept as {path}")
        raise
    shutil.rmtree(folder)
    print(f"{count} files read, seed {options.seed}")


if __name__ == "__main__":
    main()
