"""Targets of writing: nothing that a user has is deleted, nothing special is replaced, and each refusal is named."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hard import names
from typer.testing import CliRunner

import parity
from parity.cli.app import app
from parity.errors import ParityError
from parity.weights.files import atomic, targets
from parity.weights.files.owned import check_checkpoint

ROOT = Path(__file__).parents[2]
WEIGHTS = {"conv.weight": np.arange(18, dtype=np.float32).reshape(2, 3, 3, 1)}
NEW = {"conv.weight": np.ones((1, 1, 1, 1), np.float32)}


def save_orbax(path: Path, weights: dict[str, np.ndarray] = WEIGHTS, *, force: bool = False) -> None:
    parity.save(weights, path, framework="flax", force=force)


def everything(folder: Path) -> dict[str, bytes | None]:
    """Each path below the folder, and the bytes of the regular files."""
    return {str(p): p.read_bytes() if p.is_file() and not p.is_symlink() else None for p in folder.rglob("*")}


def user_directory(folder: Path) -> Path:
    path = folder / "results"
    (path / "thesis").mkdir(parents=True)
    (path / "thesis" / "chapter.txt").write_text("years of work")
    return path


def link_to_directory(folder: Path) -> Path:
    (folder / "link").symlink_to(user_directory(folder))
    return folder / "link"


def checkpoint_with(relative: str) -> object:
    def make(folder: Path) -> Path:
        path = folder / "ck.orbax"
        save_orbax(path)
        (path / relative).parent.mkdir(exist_ok=True)
        (path / relative).write_text("mine")
        return path

    return make


def checkpoint_with_a_link(folder: Path) -> Path:
    path = folder / "ck.orbax"
    save_orbax(path)
    (path / "d" / ("0" * 32)).symlink_to("/etc/passwd")
    return path


def half_a_checkpoint(folder: Path) -> Path:
    path = folder / "ck.orbax"
    path.mkdir()
    (path / "manifest.ocdbt").write_bytes(b"")
    (path / "_METADATA").write_text("my notes")
    return path


def looped_link(folder: Path) -> Path:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    return folder / "a"


def block_device(folder: Path) -> Path:
    try:
        os.mknod(folder / "disk", 0o600 | 0o060000, os.makedev(7, 200))
    except PermissionError:
        pytest.skip("only a superuser can make a block device")
    return folder / "disk"


def unix_socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "s"))
    return folder / "s"


def home(folder: Path) -> Path:
    save_orbax(folder / "home")  # so that nothing else about it would be refused
    return folder / "home"


REFUSED = {
    "an empty path": (lambda _: Path(), "it is the current directory (an empty path is it too)"),
    "the current directory": (lambda _: Path.cwd(), "it is the current directory"),
    "one above": (lambda _: Path(".."), "it is a directory that the current one is in"),
    "by detours": (lambda folder: folder / "x" / ".." / "cwd" / "..", "it is a directory that the current one is in"),
    "the root": (lambda _: Path("/"), "it is the root of the file system"),
    "the root, otherwise": (lambda _: Path("/../tmp/.."), "it is the root of the file system"),
    "a home": (home, "it is a home directory"),
    "a user's directory": (user_directory, "it is a directory and no Orbax checkpoint"),
    "a link to one": (link_to_directory, "it is a directory and no Orbax checkpoint"),
    "half a checkpoint": (half_a_checkpoint, "it is a directory and no Orbax checkpoint"),
    "notes beside a checkpoint": (checkpoint_with("notes.txt"), "it holds 'notes.txt', which is no part"),
    "notes within": (checkpoint_with("d/notes.txt"), "it holds 'd/notes.txt', which is no part"),
    "a folder beside": (checkpoint_with("thesis/a.txt"), "it holds 'thesis', which is no part"),
    "a link in a checkpoint": (checkpoint_with_a_link, "which is no part of an Orbax checkpoint"),
    "links in a circle": (looped_link, "too many levels of symbolic links"),
    "a long name": (lambda folder: folder / ("x" * 300), "file name too long"),
    "a socket": (unix_socket, "it is a socket"),
    "a block device": (block_device, "it is a block device"),
    "no folder": (lambda folder: folder / "no" / "x", "there is no directory"),
    "a file as a folder": (lambda _: Path(__file__) / "x", "there is no directory"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    parity.save(WEIGHTS, tmp_path / "source.pt")
    return tmp_path


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_even_with_force(name: str, folder: Path) -> None:
    make, words = REFUSED[name]
    target = make(folder)
    before = everything(folder)
    with pytest.raises(ParityError) as error:
        save_orbax(target, NEW, force=True)
    assert str(error.value).startswith(f"{target} cannot be written: ")
    assert words in str(error.value)
    assert everything(folder) == before
    result = CliRunner().invoke(app, ["convert", str(folder / "source.pt"), str(target), "--to", "flax", "--force"])
    assert str(result.exception) == str(error.value)
    assert everything(folder) == before


@pytest.mark.parametrize("name", [name for name in REFUSED if "checkpoint" not in name and name != "notes within"])
def test_a_report_is_refused_there_too(name: str, folder: Path) -> None:
    target = REFUSED[name][0](folder)
    before = everything(folder)
    result = CliRunner().invoke(app, ["run", "--case", "SE/1x1", "--json", str(target)])
    assert "cannot be written" in str(result.exception)
    assert everything(folder) == before


def test_what_force_replaces(tmp_path: Path) -> None:
    """A checkpoint, an empty directory, a regular file; by a link that stays; and a checkpoint by itself."""
    save_orbax(tmp_path / "ck")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("ck")
    for name in ("ck/", "empty", "file", "link"):
        with pytest.raises(ParityError, match="exists; give --force"):
            save_orbax(tmp_path / name, NEW)
        save_orbax(tmp_path / name, NEW, force=True)
        assert parity.load(tmp_path / name).weights["conv.weight"].tobytes() == NEW["conv.weight"].tobytes()
    assert (tmp_path / "link").is_symlink()
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "ck"), str(tmp_path / "ck"), "--force"])
    assert result.exit_code == 0, result.exception
    assert parity.load(tmp_path / "ck").weights["conv.weight"].tobytes() == NEW["conv.weight"].tobytes()
    assert names(tmp_path) == ["ck", "empty", "file", "link"]


def test_checkpoints_of_others_are_checkpoints(tmp_path: Path) -> None:
    """With JAX's arrays, text and shardings in them, as Orbax writes them for a training."""
    jnp = pytest.importorskip("jax.numpy")
    checkpoint = pytest.importorskip("orbax.checkpoint")
    with checkpoint.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "ck", {"a": {"kernel": jnp.ones((2, 3))}, "b": [np.zeros(2)], "name": "text"})
    check_checkpoint(tmp_path / "ck")


def write_directory(target: Path, disturb, *, force: bool = False, check=check_checkpoint) -> None:
    with atomic.write_directory(target, force=force, check_own=check) as new:
        new.mkdir()
        disturb(target)


def write_and_raise(path: Path, error: BaseException) -> None:
    with atomic.write_file(path) as file:
        file.write(b"half")
        raise error


def test_what_comes_between_is_not_deleted(tmp_path: Path) -> None:
    """A file that somebody puts into the checkpoint, or in its place, while the new one is written."""
    for disturb in (
        lambda ck: (ck / "notes.txt").write_text("mine"),
        lambda ck: (shutil.rmtree(ck), ck.mkdir(), (ck / "notes.txt").write_text("mine")),
    ):
        target = tmp_path / "ck"
        shutil.rmtree(target, ignore_errors=True)
        save_orbax(target)
        with pytest.raises(ParityError, match=r"is no part of|no Orbax checkpoint"):
            write_directory(target, disturb, force=True)
        assert (target / "notes.txt").read_text() == "mine"
        assert names(tmp_path) == ["ck"]


def test_what_comes_at_the_last_moment_goes_back(tmp_path: Path) -> None:
    """Seen only after the directories were swapped, it is swapped back."""
    save_orbax(tmp_path / "ck")
    calls = []

    def check(directory: Path) -> None:
        calls.append(directory)
        check_checkpoint(directory)
        if len(calls) == 2:
            (directory / "notes.txt").write_text("mine")

    with pytest.raises(ParityError, match="is no part of"):
        write_directory(tmp_path / "ck", lambda _: None, force=True, check=check)
    assert len(calls) == 3
    assert (tmp_path / "ck" / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == ["ck"]


def test_a_directory_that_came_meanwhile_stays(tmp_path: Path) -> None:
    def come(target: Path) -> None:
        target.mkdir()
        (target / "mine").touch()

    with pytest.raises(ParityError, match="came to exist meanwhile"):
        write_directory(tmp_path / "ck", come)
    assert names(tmp_path) == ["ck"]
    assert names(tmp_path / "ck") == ["mine"]


def test_a_target_inside_its_source(tmp_path: Path) -> None:
    save_orbax(tmp_path / "ck")
    before = everything(tmp_path)
    for inner in ("new", "new.npz", "d/../new"):
        result = CliRunner().invoke(app, ["convert", str(tmp_path / "ck"), str(tmp_path / "ck" / inner)])
        assert "it is inside" in str(result.exception)
    assert everything(tmp_path) == before


def test_a_leftover_of_a_users_is_not_cleared(tmp_path: Path) -> None:
    """Only what has the name that a killed write leaves is; a pipe of that name is not waited for."""
    (tmp_path / f".x.npz.backup{atomic.SUFFIX}").write_text("mine")
    os.mkfifo(tmp_path / f".x.npz.123{atomic.SUFFIX}")
    parity.save(WEIGHTS, tmp_path / "x.npz")
    assert names(tmp_path) == [f".x.npz.backup{atomic.SUFFIX}", "x.npz"]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt", ".pdparams", ".msgpack"])
def test_a_pipe_is_written_to(suffix: str, tmp_path: Path) -> None:
    framework = {".pdparams": "paddle", ".msgpack": "flax"}.get(suffix, "torch")
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    parity.save(WEIGHTS, pipe, framework=framework)
    reader.join()
    assert pipe.is_fifo()
    (tmp_path / f"file{suffix}").write_bytes(found[0])
    weights = parity.load(tmp_path / f"file{suffix}").weights
    assert weights["conv.weight"].tobytes() == WEIGHTS["conv.weight"].tobytes()


def test_nothing_goes_to_a_pipe_when_the_block_raises(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(pipe, KeyboardInterrupt())
    assert os.read(reader, 10) == b""
    os.close(reader)


def test_devices_are_written_to(tmp_path: Path) -> None:
    for name, minor in (("null", 3), ("full", 7)):
        try:
            os.mknod(tmp_path / name, 0o666 | 0o020000, os.makedev(1, minor))
        except PermissionError:
            (tmp_path / name).symlink_to(f"/dev/{name}")
    before = {name: (tmp_path / name).stat() for name in ("null", "full")}
    for force in (False, True):
        atomic.write_bytes(tmp_path / "null", b"x" * 100_000, force=force)
        with pytest.raises(ParityError, match=r"full could not be written: no space left on device"):
            atomic.write_bytes(tmp_path / "full", b"x", force=force)
    with pytest.raises(ParityError, match="it is a device"):
        save_orbax(tmp_path / "null", force=True)
    assert {name: (tmp_path / name).stat().st_rdev for name in before} == {n: s.st_rdev for n, s in before.items()}
    assert names(tmp_path) == ["full", "null"]


def failing(function: str, code: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_sync_that_fails_before_the_rename_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing("fsync", errno.EIO))
    with pytest.raises(ParityError, match="x could not be written, and nothing was changed: input/output error"):
        atomic.write_bytes(tmp_path / "x", b"new", force=True)
    assert (tmp_path / "x").read_bytes() == b"old"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("suffix", [".npz", ".orbax"])
def test_a_sync_that_fails_after_the_rename_says_so(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    framework = "flax" if suffix == ".orbax" else "torch"
    target = tmp_path / f"x{suffix}"
    parity.save(WEIGHTS, target, framework=framework)
    sync = atomic._sync
    monkeypatch.setattr(atomic, "_sync", lambda path: failing("fsync", errno.EIO)() if path == tmp_path else sync(path))
    with pytest.raises(ParityError) as error:
        parity.save(NEW, target, framework=framework, force=True)
    words = "is written and is the new one; it may not survive a power failure: input/output error"
    assert str(error.value) == f"{target} {words}"
    assert parity.load(target).weights["conv.weight"].tobytes() == NEW["conv.weight"].tobytes()
    assert names(tmp_path) == [target.name]


def test_an_old_checkpoint_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "ck"
    save_orbax(target)
    monkeypatch.setattr(shutil, "rmtree", failing("rmtree", errno.EACCES))
    with pytest.raises(ParityError) as error:
        save_orbax(target, NEW, force=True)
    old = tmp_path / f".ck.{os.getpid()}{atomic.SUFFIX}"
    words = f"is written and is the new one; {old} could not be removed and stays: permission denied"
    assert str(error.value) == f"{target} {words}"
    assert parity.load(target).weights["conv.weight"].tobytes() == NEW["conv.weight"].tobytes()
    assert parity.load(old / "new").weights["conv.weight"].tobytes() == WEIGHTS["conv.weight"].tobytes()


def test_a_name_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(Path, "unlink", failing("unlink", errno.EACCES))
    with pytest.raises(ParityError, match=r"is the new one; .*parity-tmp could not be removed and stays: permission"):
        atomic.write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    with pytest.raises(ParityError, match=r"nothing was changed: file too large; .*parity-tmp could not be removed"):
        write_and_raise(tmp_path / "y", OSError(errno.EFBIG, os.strerror(errno.EFBIG)))
    assert not (tmp_path / "y").exists()


NAMES = ["ck%41.orbax", "ck#x.orbax", "ck?x.orbax", "ck|x.orbax", "ck*[x].orbax", "ck\\x.orbax", "ck\nx.orbax", "ck ü"]


@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"ck\xff")])
def test_paths_of_checkpoints_are_paths(name: str, tmp_path: Path) -> None:
    """In the name and in a folder above it, read and written, each is what it says."""
    (tmp_path / name).mkdir()
    for target in (tmp_path / name / "ck", tmp_path / name / name):
        save_orbax(target)
        assert parity.load(target).weights["conv.weight"].tobytes() == WEIGHTS["conv.weight"].tobytes()
        save_orbax(target, NEW, force=True)
        assert parity.load(target).weights["conv.weight"].tobytes() == NEW["conv.weight"].tobytes()
    assert names(tmp_path) == [name]
    assert names(tmp_path / name) == sorted(["ck", name])


def test_a_percent_sign_leads_nowhere_else(tmp_path: Path) -> None:
    save_orbax(tmp_path / "ckA.orbax")
    save_orbax(tmp_path / "ck%41.orbax", NEW)
    assert parity.load(tmp_path / "ck%41.orbax").weights["conv.weight"].shape == (1, 1, 1, 1)
    shutil.rmtree(tmp_path / "ck%41.orbax")
    with pytest.raises(ParityError, match="there is no such file"):
        parity.load(tmp_path / "ck%41.orbax")


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "parity", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(words, env=environment, text=True, timeout=120, **given)  # type: ignore[call-overload]


def assert_one_line(result: subprocess.CompletedProcess[str], words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("parity: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_streams_that_are_closed_or_full(tmp_path: Path) -> None:
    """Without a care the file that is written would become the standard stream."""
    parity.save(WEIGHTS, tmp_path / "a.npz")
    shell = f"'{sys.executable}' -m parity convert {tmp_path}/a.npz {tmp_path}/no/b.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for redirection, words in (("2>&-", ""), ("2>/dev/full", ""), (">&-", "parity: standard output is closed\n")):
        done = subprocess.run(["sh", "-c", f"{shell} {redirection}"], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", words)


def test_json_on_standard_output_alone() -> None:
    done = command("run", "--case", "SE/1x1", "--framework", "torch", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    assert "all the same" in done.stderr


def test_an_output_that_is_full() -> None:
    with Path("/dev/full").open("w") as full:
        done = command("plan", "--case", "SE/1x1", "-o", "-", stdout=full)
    assert_one_line(done, "parity: standard output could not be written: no space left on device")
    done = command("plan", "--case", "SE/1x1", "-o", "/dev/full")
    assert_one_line(done, "parity: /dev/full could not be written: no space left on device")


def test_standard_output_that_is_a_file_is_not_replaced(tmp_path: Path) -> None:
    """Its text and what is written to /dev/stdout are both in it, for it is one open file."""
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        with (tmp_path / "out").open("w") as file:
            assert command("plan", "--case", "SE/1x1", "-o", name, stdout=file).returncode == 0
        parity.weights.files.safetensors.read(tmp_path / "out")


def test_a_report_does_not_replace_what_is_read(tmp_path: Path) -> None:
    assert command("plan", "--case", "SE/1x1", "-o", tmp_path / "x.plan").returncode == 0
    before = (tmp_path / "x.plan").read_bytes()
    assert_one_line(command("compare", tmp_path / "x.plan", "--json", tmp_path / "x.plan"), "this command reads it")
    assert_one_line(command("plan", "-o", tmp_path / "x.plan"), "exists; give --force")
    assert (tmp_path / "x.plan").read_bytes() == before


def test_targets_know_standard_output() -> None:
    assert [targets.is_standard_output(Path(name)) for name in ("-", "/dev/stdout", "/dev/fd/2", "x")] == [True] * 2 + [
        False
    ] * 2
    assert not targets.is_standard_output(None)
