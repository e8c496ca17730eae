"""The one way to write an output: whole or not at all, and to devices and pipes as they are."""

import ctypes
import errno
import fcntl
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ...errors import ParityError
from . import targets
from .targets import Check, Target, reason

# What a killed write can leave beside its target; the next write of that target clears it.
SUFFIX = ".parity-tmp"
_LIBC = ctypes.CDLL(None, use_errno=True)
_FLOW = 64 << 20
_SPOOL = 64 << 20
_WRITE = 2  # sync_file_range's SYNC_FILE_RANGE_WRITE
_EXCHANGE = 2  # renameat2's RENAME_EXCHANGE
_AT_FDCWD = -100
_DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def write_file(path: Path, *, force: bool = False) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` when the block ends, and never existed when the block raises.

    It is written without a name where the file system can do that, so that a killed process leaves nothing: only with
    `force` it has one, beside the target, for the moment before it takes the target's. What goes to a device, a pipe
    or standard output (`-`) is handed over when the block ends.

    Raises:
        ParityError: For what `targets.find` refuses, and where the system refuses (a full disk); it says whether the
            target is as it was.
    """
    target = targets.find(path, force=force)
    if target.stream:
        name = "standard output" if targets.is_standard_output(path) else path
        with _failing(f"{name} could not be written"), tempfile.SpooledTemporaryFile(_SPOOL) as spool:
            yield spool
            spool.seek(0)
            _pour(spool, target)
        return
    with _failing(f"{path} could not be written, and nothing was changed"):
        _clear(target.real)
        descriptor, temporary = _create(target.real)
    kept: list[Path] = [temporary] if temporary is not None else []
    failing = _failing(f"{path} could not be written, and nothing was changed", kept)
    with failing, io.BufferedRandom(_Flowing(descriptor, "w+b")) as file:
        yield file
        file.flush()
        with suppress(FileNotFoundError):
            os.fchmod(descriptor, target.real.stat().st_mode & 0o777)
        os.fsync(descriptor)
        _publish(descriptor, kept, target, force)
    _settle(target, kept)


def write_bytes(path: Path, content: bytes, *, force: bool = False) -> None:
    """Write a file in one piece; see `write_file`."""
    with write_file(path, force=force) as file:
        file.write(content)


@contextmanager
def write_directory(path: Path, *, force: bool = False, check_own: Check) -> Iterator[Path]:
    """A new directory that takes the place of `path` when the block ends; see `write_file`.

    The block gets a path that does not exist yet and makes the directory there. Nothing is replaced but a regular
    file, an empty directory and one that `check_own` takes, before and after it has left its place.
    """
    target = targets.find(path, force=force, check_own=check_own)
    failing = f"{path} could not be written, and nothing was changed"
    with _failing(failing):
        _clear(target.real)
        holder = _temporary(target.real)
        holder.mkdir()
    with _failing(failing, [holder]):
        lock = os.open(holder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # By the descriptor, so that no character of the path can mean something to who writes there.
            yield (_DESCRIPTORS / str(lock) if _DESCRIPTORS.is_dir() else holder) / "new"
            _sync_tree(holder / "new")
            _move(holder / "new", target, check_own)
        finally:
            os.close(lock)
    _settle(target, [holder])


def check_target(path: Path, *, force: bool) -> None:
    """Raise ParityError where no file could be written at `path`, before any work is done for it."""
    targets.find(path, force=force)


class _Flowing(io.FileIO):
    """A file whose bytes go to the disk while more are written, so that the sync at the end has little left to do."""

    flowed = 0

    def write(self, data: Any) -> int:
        count = super().write(data)
        position = self.tell()
        if position - self.flowed >= _FLOW:
            # A hint: where the system does not know it, or refuses, the sync at the end does all.
            getattr(_LIBC, "sync_file_range", lambda *_: None)(
                self.fileno(), ctypes.c_int64(self.flowed), ctypes.c_int64(position - self.flowed), _WRITE
            )
            self.flowed = position
        return count


@contextmanager
def _failing(words: str, kept: list[Path] | None = None) -> Iterator[None]:
    """Make the system's errors one line that begins with `words`; remove what was `kept`, or say that it stays."""
    try:
        yield
    except BaseException as error:
        stays = _remove(kept or [])
        if isinstance(error, OSError):
            raise ParityError(f"{words}: {reason(error)}{stays}") from error
        if stays and isinstance(error, ParityError):
            raise ParityError(f"{error}{stays}") from error
        raise


def _settle(target: Target, kept: list[Path]) -> None:
    """Clear up after the target has become the new one, and say so where that fails."""
    stays = _remove(kept)
    try:
        _sync(target.real.parent)
    except OSError as error:
        stays = f"; it may not survive a power failure: {reason(error)}{stays}"
    if stays:
        raise ParityError(f"{target.path} is written and is the new one{stays}")


def _remove(kept: list[Path]) -> str:
    """Remove the paths; in words, which of them stay, and why."""
    stays = ""
    for path in kept:
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        except OSError as error:
            stays += f"; {path} could not be removed and stays: {reason(error)}"
    return stays


def _temporary(real: Path) -> Path:
    name = os.fsdecode(os.fsencode(real.name)[:100])
    return real.with_name(f".{name}.{os.getpid()}{SUFFIX}")


def _create(real: Path) -> tuple[int, Path | None]:
    """A descriptor of a new file in the target's directory, and its name, None while it has none."""
    flags = os.O_RDWR | os.O_CLOEXEC
    if hasattr(os, "O_TMPFILE") and _DESCRIPTORS.is_dir():
        try:
            return os.open(real.parent, flags | os.O_TMPFILE, 0o666), None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
    temporary = _temporary(real)
    descriptor = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor, temporary


def _publish(descriptor: int, kept: list[Path], target: Target, force: bool) -> None:
    """Give the file the target's name, in one step; `kept` are its other names then."""
    if not force:
        source = kept[0] if kept else _DESCRIPTORS / str(descriptor)
        try:
            os.link(source, target.real, src_dir_fd=descriptor, follow_symlinks=True)
        except FileExistsError as error:
            raise _meanwhile(target) from error
        return
    if targets.find(target.path, force=True).stream:
        raise _meanwhile(target)
    if not kept:
        kept.append(_temporary(target.real))
        os.link(_DESCRIPTORS / str(descriptor), kept[0], src_dir_fd=descriptor, follow_symlinks=True)
    kept[0].replace(target.real)
    kept.clear()


def _move(new: Path, target: Target, check_own: Check) -> None:
    """Give the directory the target's name, in one step; what had the name has that of `new` then."""
    if not target.exists:
        try:
            new.rename(target.real)  # fails but for an empty directory
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise _meanwhile(target) from error
            raise
        return
    targets.find(target.path, force=True, check_own=check_own)
    _exchange(new, target.real)
    try:
        _check_replaced(new, check_own)
    except BaseException:
        _exchange(new, target.real)
        raise


def _check_replaced(old: Path, check_own: Check) -> None:
    """Raise ParityError unless what has left its place is what may be deleted."""
    mode = old.lstat().st_mode
    if stat.S_ISDIR(mode):
        check_own(old)
    elif not stat.S_ISREG(mode):
        raise ParityError("the target became another one while it was written")


def _meanwhile(target: Target) -> ParityError:
    return ParityError(f"{target.path} came to exist meanwhile; give --force (force=True) to replace it")


def _pour(file: IO[bytes], target: Target) -> None:
    """Write all of the file to a device, a pipe or an open descriptor."""
    if targets.is_standard_output(target.path):
        sys.stdout.flush()
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()
        return
    if target.descriptor is not None:
        descriptor = os.dup(target.descriptor)
    else:
        descriptor = os.open(target.path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        mode = os.fstat(descriptor).st_mode
        if target.descriptor is None and not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
            raise ParityError(f"{target.path} became another file meanwhile")
        while rest := memoryview(file.read(1 << 20)):
            while rest:
                rest = rest[stream.write(rest) :]


def _clear(real: Path) -> None:
    """Remove what killed writes of this target left: a live one holds a lock on its own."""
    name = _temporary(real).name.removesuffix(f".{os.getpid()}{SUFFIX}")
    pattern = re.compile(rf"{re.escape(name)}\.\d+{re.escape(SUFFIX)}")
    for leftover in (Path(entry.path) for entry in os.scandir(real.parent) if pattern.fullmatch(entry.name)):
        with suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            finally:
                os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Swap two directories in one step, so that at every moment one whole one has the name."""
    exchange = getattr(_LIBC, "renameat2", None)
    failed = exchange is None or exchange(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _EXCHANGE) != 0
    code = ctypes.get_errno() if exchange is not None else errno.ENOSYS
    if failed and code in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, "this file system cannot swap two names in one step; write to a name that is free")
    if failed:
        raise OSError(code, os.strerror(code))


def _sync_tree(top: Path) -> None:
    for directory, _, names in os.walk(top):
        for name in names:
            _sync(Path(directory, name))
        _sync(Path(directory))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
