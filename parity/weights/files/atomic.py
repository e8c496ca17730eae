"""Writes that happen whole or not at all."""

import ctypes
import errno
import fcntl
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import ParityError

# What a killed write can leave beside its target where the file system has no unnamed files; the next write clears it.
SUFFIX = ".parity-tmp"
_LIBC = ctypes.CDLL(None, use_errno=True)
_FLOW = 64 << 20
_WRITE = 2  # sync_file_range's SYNC_FILE_RANGE_WRITE
_EXCHANGE = 2  # renameat2's RENAME_EXCHANGE
_AT_FDCWD = -100


@contextmanager
def write_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends, and never existed when the block raises.

    It is written without a name where the file system can do that, so that even a killed process leaves nothing.

    Raises:
        ParityError: where `path` exists and `force` is not given, or where the system refuses (a full disk); the old
            file is then as it was.
    """
    target = _target(path, force)
    try:
        _clear(target)
        descriptor, temporary = _create(target)
        try:
            with io.BufferedRandom(_Flowing(descriptor, "w+b")) as file:
                yield file
                file.flush()
                if target.exists():
                    os.fchmod(descriptor, target.stat().st_mode & 0o777)
                os.fsync(descriptor)
                if temporary is None:
                    temporary = _temporary(target)
                    os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor, follow_symlinks=True)
                _publish(temporary, target, force)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
        _sync_directory(target.parent)
    except OSError as error:
        raise _refused(path, error) from error


@contextmanager
def write_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A new directory that takes the place of `path` when the block ends; see `write_file`.

    The block gets a path that does not exist yet and makes the directory there.
    """
    target = _target(path, force)
    try:
        _clear(target)
        holder = _temporary(target)
        holder.mkdir()
        lock = os.open(holder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield holder / target.name
            _sync_tree(holder / target.name)
            if target.exists():
                _exchange(holder / target.name, target)
            else:
                (holder / target.name).rename(target)
        finally:
            os.close(lock)
            shutil.rmtree(holder, ignore_errors=True)
        _sync_directory(target.parent)
    except OSError as error:
        raise _refused(path, error) from error


def check_target(path: Path, *, force: bool) -> None:
    """Raise ParityError where `path` exists and `force` is not given, or where its directory does not."""
    _target(path, force)


def _target(path: Path, force: bool) -> Path:
    target = path.resolve()  # a link stays, and what it points to is replaced
    if target.exists() and not force:
        raise ParityError(f"{path} exists; give --force (force=True) to replace it")
    if not target.parent.is_dir():
        raise ParityError(f"{path} cannot be written: there is no directory {path.parent}")
    return target


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


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{os.getpid()}{SUFFIX}")


def _create(target: Path) -> tuple[int, Path | None]:
    """A descriptor of a new file in the target's directory, and its name, None while it has none."""
    flags = os.O_RDWR | os.O_CLOEXEC
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(target.parent, flags | os.O_TMPFILE, 0o666), None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise
    temporary = _temporary(target)
    descriptor = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor, temporary


def _publish(temporary: Path, target: Path, force: bool) -> None:
    if force:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # fails where somebody made the target meanwhile
    except FileExistsError as error:
        raise ParityError(f"{target} came to exist meanwhile; give --force (force=True) to replace it") from error


def _clear(target: Path) -> None:
    """Remove what killed writes of this target left: a live one holds a lock on its own."""
    for leftover in target.parent.glob(f".{_escaped(target.name[:100])}.*{SUFFIX}"):
        with suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            finally:
                os.close(descriptor)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _exchange(new: Path, old: Path) -> None:
    """Swap two directories in one step, so that at every moment one whole one has the name."""
    if _LIBC.renameat2(_AT_FDCWD, bytes(new), _AT_FDCWD, bytes(old), _EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _sync_tree(top: Path) -> None:
    for directory, _, names in os.walk(top):
        for name in names:
            _sync_directory(Path(directory, name))
        _sync_directory(Path(directory))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> ParityError:
    return ParityError(f"{path} could not be written, and nothing was changed: {error.strerror or error}")
