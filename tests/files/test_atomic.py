"""A write happens whole or not at all: killed, starved or interrupted, it leaves the old target and nothing else."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hard import names
from typer.testing import CliRunner

import parity
from parity.cli.app import app
from parity.errors import ParityError
from parity.weights.files import atomic
from parity.weights.files.owned import check_checkpoint

HERE = Path(__file__).parent
SUFFIXES = [".safetensors", ".npz", ".pt", ".pdparams", ".msgpack", ".orbax"]
OLD = {"conv.weight": np.full((1, 1, 1, 1), 7.0, np.float32)}
write_directory = partial(atomic.write_directory, check_own=check_checkpoint)
FRAMEWORK = {".pdparams": "paddle", ".msgpack": "flax", ".orbax": "flax"}


def old_target(folder: Path, suffix: str) -> Path:
    target = folder / f"x{suffix}"
    parity.save(OLD, target, framework=FRAMEWORK.get(suffix, "torch"))
    return target


def assert_untouched(target: Path) -> None:
    weights = parity.load(target).weights
    assert {key: array.tobytes() for key, array in weights.items()} == {"conv.weight": OLD["conv.weight"].tobytes()}
    assert names(target.parent) == [target.name]


def start(target: Path, *arguments: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "writing.py"), str(target), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("suffix", SUFFIXES[:-1])
def test_killed_while_it_writes(suffix: str, tmp_path: Path) -> None:
    target = old_target(tmp_path, suffix)
    with start(target, 256) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("written")
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert_untouched(target)


def test_killed_anywhere(tmp_path: Path) -> None:
    """Whenever the kill comes, the target is the old one or the new one, and the next write clears what is left."""
    for i in range(4):
        folder = tmp_path / str(i)
        folder.mkdir()
        target = old_target(folder, ".orbax" if i % 2 else ".npz")
        with start(target, 16) as process:
            time.sleep(0.2 + 0.3 * i)
            process.kill()
        assert parity.load(target).weights.keys() in ({"conv.weight"}, {"a.weight", "b.weight"})
        leftovers = set(names(folder)) - {target.name}
        assert all(name.startswith(f".{target.name}.") and name.endswith(atomic.SUFFIX) for name in leftovers)
        parity.save(OLD, target, framework=FRAMEWORK.get(target.suffix, "torch"), force=True)
        assert_untouched(target)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_space_left(suffix: str, tmp_path: Path) -> None:
    target = old_target(tmp_path, suffix)
    with start(target, 16, 1 << 20) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "could not be written, and nothing was changed" in output.splitlines()[-1]
    assert_untouched(target)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_exception_at_any_point(suffix: str, exists: bool, tmp_path: Path) -> None:
    """An array that fails when it is read leaves what was there, and nothing where nothing was."""
    target = old_target(tmp_path, suffix) if exists else tmp_path / f"x{suffix}"
    leaf = "kernel" if suffix in (".msgpack", ".orbax") else "weight"
    framework = FRAMEWORK.get(suffix, "torch")
    good = {f"{i}.{leaf}": np.ones((2, 2, 1, 1), np.float32) for i in range(3)}
    overflowing = {**good, f"3.{leaf}": np.full((2, 2, 1, 1), 1e30, np.float32)}
    arrays = parity.weights.files.outgoing(overflowing, np.dtype(np.float16))
    with pytest.raises(ParityError, match=r"float16 cannot hold 1e\+30"):
        parity.weights.files.write(target, arrays, framework, {}, force=True)
    if exists:
        assert_untouched(target)
    assert names(tmp_path) == ([target.name] if exists else [])


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    for write in (atomic.write_file, write_directory):
        with pytest.raises(KeyboardInterrupt), write(tmp_path / "x"):
            raise KeyboardInterrupt
        assert names(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_does_not_overwrite(suffix: str, tmp_path: Path) -> None:
    target = old_target(tmp_path, suffix)
    with pytest.raises(ParityError, match="exists; give --force"):
        parity.save({"a.weight": np.zeros(2)}, target, framework=FRAMEWORK.get(suffix, "torch"))
    assert_untouched(target)


def test_does_not_overwrite_what_came_to_exist_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="came to exist meanwhile"), atomic.write_file(tmp_path / "x"):
        (tmp_path / "x").write_bytes(b"theirs")
    assert (tmp_path / "x").read_bytes() == b"theirs"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("write", [atomic.write_file, write_directory])
def test_a_leftover_is_cleared_and_a_live_write_is_not(write, tmp_path: Path) -> None:
    leftover = tmp_path / f".x.1234{atomic.SUFFIX}"
    leftover.mkdir() if write is write_directory else leftover.write_bytes(b"half")
    with write(tmp_path / "x") as first:
        if write is write_directory:
            first.mkdir()
            with pytest.raises(ParityError, match="could not be written"), write(tmp_path / "x"):
                pass  # the same process uses the same name, and the first one's is not cleared
    assert names(tmp_path) == ["x"]


def test_without_unnamed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that knows none, a name beside the target does."""
    monkeypatch.delattr(os, "O_TMPFILE")
    for force in (False, True):
        with atomic.write_file(tmp_path / "x", force=force) as file:
            file.write(b"new")
            assert len(names(tmp_path)) == 1 + force
        assert names(tmp_path) == ["x"]
    with pytest.raises(KeyboardInterrupt), atomic.write_file(tmp_path / "y"):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["x"]


def test_a_link_stays_and_rights_are_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.npz", tmp_path / "link.npz"
    parity.save(OLD, real)
    real.chmod(0o640)
    link.symlink_to(real)
    parity.save({"conv.weight": np.zeros((1, 1, 1, 1))}, link, force=True)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert parity.load(real).weights["conv.weight"].dtype == np.float64


def test_source_may_be_target(tmp_path: Path) -> None:
    target = old_target(tmp_path, ".safetensors")
    big = {"a.weight": np.arange(1 << 22, dtype=np.float32).reshape(1 << 11, -1)}
    parity.save(big, target, force=True)
    arguments = ["convert", str(target), str(target), "--force", "--dtype", "float64", "--from", "torch"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert np.array_equal(parity.load(target).weights["a.weight"], big["a.weight"].astype(np.float64))


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="there is no directory"):
        parity.save(OLD, tmp_path / "no" / "x.npz")
