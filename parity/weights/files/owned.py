"""The proof that a directory is an Orbax checkpoint and nothing else, so that it may be replaced."""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ...errors import ParityError
from . import limits

_MANIFEST = "manifest.ocdbt"
_MAGIC = bytes.fromhex("0cdb3a2a")  # the first bytes of every manifest of OCDBT, the database that Orbax writes
_FILES = re.compile(
    r"_METADATA|_CHECKPOINT_METADATA|_sharding|_strings\.json|commit_success\.txt|array_metadatas/process_\d+"
    r"|(?:ocdbt\.process_\d+/)?(?:manifest\.ocdbt|d/[0-9a-f]{32})"
)
_DIRECTORIES = re.compile(r"array_metadatas|d|ocdbt\.process_\d+(?:/d)?")


def check_checkpoint(directory: Path) -> None:
    """Raise ParityError unless the directory is empty or an Orbax checkpoint, every entry a part of one."""
    if any(directory.iterdir()) and not _is_checkpoint(directory):
        raise ParityError("it is a directory and no Orbax checkpoint")
    for name, mode in _entries(directory):
        known = _FILES if stat.S_ISREG(mode) else _DIRECTORIES if stat.S_ISDIR(mode) else None
        if known is None or not known.fullmatch(name):
            raise ParityError(f"it holds {name!a}, which is no part of an Orbax checkpoint")


def _is_checkpoint(directory: Path) -> bool:
    """Whether Orbax's manifest and its description of the tree are there and are what they say."""
    try:
        with (directory / _MANIFEST).open("rb") as file:
            is_manifest = file.read(len(_MAGIC)) == _MAGIC
        with (directory / "_METADATA").open("rb") as file:
            described = json.loads(file.read(limits.MAX_HEADER))
    except (OSError, ValueError, RecursionError):
        return False
    return is_manifest and isinstance(described, dict) and isinstance(described.get("tree_metadata"), dict)


def _entries(top: Path, head: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """The path below `top` and the mode of each entry, links not followed."""
    with os.scandir(top) as entries:
        for entry in entries:
            name = head + entry.name
            yield name, entry.stat(follow_symlinks=False).st_mode
            if depth < 2 and entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), f"{name}/", depth + 1)
