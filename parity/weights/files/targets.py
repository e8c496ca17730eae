"""The targets of output: which are written to, and which are refused by name before anything is computed."""

import os
import pwd
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import ParityError

STANDARD_OUTPUT = "-"
# Other names of a descriptor that is open already. To open one anew would begin at the file's first byte.
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})")
_STANDARD = {STANDARD_OUTPUT: 1, "/dev/stdout": 1, "/dev/stderr": 2}

# Raises ParityError where a directory is not what a format writes: only its own may be replaced.
Check = Callable[[Path], None]


@dataclass(frozen=True)
class Target:
    """A path that may be written to.

    Attributes:
        path: The path as it was given.
        real: The path behind all links, which is what a new file replaces.
        exists: Whether something is there that is to be replaced.
        stream: Whether it is a device, a pipe or standard output, which is written to and never replaced.
        descriptor: The number of the open descriptor that the path is another name of.
    """

    path: Path
    real: Path
    exists: bool = False
    stream: bool = False
    descriptor: int | None = None


def find(path: Path, *, force: bool, check_own: Check | None = None) -> Target:
    """The target at `path`.

    Args:
        path: Where a file, or with `check_own` a directory, is to be written.
        force: Whether to replace what is there: a regular file, or a directory that `check_own` takes.
        check_own: The check that a directory is one that this program may replace.

    Raises:
        ParityError: For what exists without `force`, and with it for a directory that is not one of ours, a root, a
            home, the current directory and those above it, a block device, a socket, links in a circle, a name that
            the system cannot have, and a folder that is not there or not writable.
    """
    number = _descriptor(path)
    if number is not None and check_own is None:
        return Target(path, path, stream=True, descriptor=number)
    if str(path) == STANDARD_OUTPUT:
        raise refusal(path, "standard output holds no directory")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _new(path)
    except (OSError, ValueError) as error:
        raise refusal(path, reason(error)) from error
    mode = status.st_mode
    if (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)) and check_own is None:
        if not os.access(path, os.W_OK):
            raise refusal(path, "permission denied")
        return Target(path, path, stream=True)
    target = Target(path, Path(os.path.realpath(path)), exists=True)
    if stat.S_ISDIR(mode):
        _check_directory(target, force, check_own)
    elif not stat.S_ISREG(mode):
        raise refusal(path, f"it is a {_kind(mode)}")
    elif not force:
        raise _exists(path)
    _check_parent(target)
    return target


def is_standard_output(path: Path | None) -> bool:
    """Whether the path is a name of standard output."""
    return path is not None and _descriptor(path) == 1


def refusal(path: Path, why: str) -> ParityError:
    """The error of a target that is not written to."""
    return ParityError(f"{path} cannot be written: {why}")


def reason(error: Exception) -> str:
    """The system's reason alone, in lower case."""
    words = getattr(error, "strerror", None) or str(error)
    return words[:1].lower() + words[1:]


def _exists(path: Path) -> ParityError:
    return ParityError(f"{path} exists; give --force (force=True) to replace it")


def _descriptor(path: Path) -> int | None:
    if (number := _STANDARD.get(str(path))) is not None:
        return number
    match = _DESCRIPTOR.fullmatch(str(path))
    return int(match[1]) if match else None


def _new(path: Path) -> Target:
    target = Target(path, Path(os.path.realpath(path)))
    _check_parent(target)
    return target


def _check_parent(target: Target) -> None:
    parent = target.real.parent
    named = parent if target.path.is_symlink() else target.path.parent
    if not parent.is_dir():
        raise refusal(target.path, f"there is no directory {named}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise refusal(target.path, f"nothing can be written into the directory {named}")


def _check_directory(target: Target, force: bool, check_own: Check | None) -> None:
    if (place := _place(target.real)) is not None:
        raise refusal(target.path, f"it is {place}")
    if check_own is None:
        raise refusal(target.path, "it is a directory")
    if not force:
        raise _exists(target.path)
    try:
        check_own(target.real)
    except ParityError as error:
        raise refusal(target.path, f"{error}; of directories only checkpoints are replaced") from error


def _place(real: Path) -> str | None:
    """Name a place that nobody means to replace: the root, the current directory and those above it, a home."""
    if real == real.parent:
        return "the root of the file system"
    here = Path.cwd()
    if real.samefile(here):
        return "the current directory (an empty path is it too)"
    if any(real.samefile(parent) for parent in here.parents):
        return "a directory that the current one is in"
    homes = {str(Path.home()), *(user.pw_dir for user in pwd.getpwall())}
    return "a home directory" if any(str(real) == os.path.realpath(home) for home in homes) else None


def _kind(mode: int) -> str:
    kinds = {stat.S_ISBLK: "block device", stat.S_ISSOCK: "socket", stat.S_ISCHR: "device", stat.S_ISFIFO: "named pipe"}
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "special file")
