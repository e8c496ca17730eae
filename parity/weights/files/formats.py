"""The formats: one table, and how a file's is told."""

import os
import stat
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ... import frameworks
from ...errors import ParityError
from . import others

# Flax has two ways to nest: NNX by attribute, Linen by collection and then by attribute.
FRAMEWORKS = (*frameworks.FRAMEWORKS, "linen")


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes, the frameworks whose names it can hold, and what reading and writing it needs."""

    name: str
    suffixes: tuple[str, ...]
    frameworks: tuple[str, ...]
    needs: str = "nothing"
    directory: bool = False

    @property
    def module(self) -> ModuleType:
        """The file of functions `read` and `write`."""
        return import_module(f".{self.name}", __package__)


FORMATS = (
    Format("safetensors", (".safetensors",), FRAMEWORKS),
    Format("npz", (".npz",), FRAMEWORKS),
    Format("pt", (".pt", ".pth"), ("torch",)),
    Format("pdparams", (".pdparams",), ("paddle",)),
    Format("msgpack", (".msgpack",), ("flax", "linen")),
    Format("orbax", (".orbax", ""), ("flax", "linen"), needs="flax", directory=True),
)
_HEAD = 1024
_LEGACY_TORCH = bytes.fromhex("6cfc9c46f9206aa85019")  # the number that torch's pickles begin with before 1.6
# What a directory of a published model holds, the first that is there.
_IN_DIRECTORY = (
    *("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"),
    *("diffusion_pytorch_model.safetensors", "flax_model.msgpack.index.json", "flax_model.msgpack"),
    *("model_state.pdparams", "model.pdparams"),
)
_SHARDS = Format("shards", (), FRAMEWORKS)
# What makes a directory an Orbax checkpoint, and where its checkpoint manager puts one.
_ORBAX = {"manifest.ocdbt", "_METADATA"}
_ITEMS = ("default", "items", "state")
_BY_NAME = {format_.name: format_ for format_ in (*FORMATS, _SHARDS)}
_BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}
SUFFIXES = tuple(suffix for suffix in _BY_SUFFIX if suffix)


def of_target(path: Path, shard: str | None = None) -> Format:
    """The format that the suffix of a file to be written says; that of shards where these go into a directory."""
    if shard is not None:
        if path.suffix in SUFFIXES or path.suffix == ".json":
            raise ParityError(f"with --shard (shard=...) the target is a directory, which gets the files, got {path}")
        return _BY_NAME["safetensors"]
    if path.suffix not in _BY_SUFFIX:
        raise ParityError(f"{path} must end in one of {', '.join(SUFFIXES)}, or in nothing for an Orbax directory")
    return _BY_SUFFIX[path.suffix]


def of_source(path: Path) -> tuple[Path, Format]:
    """The file of weights that is at a path, and its format, by its first bytes, and where these leave two its suffix.

    Raises:
        ParityError: where nothing is there, and for files that hold no weights or others' formats: it names them and
            says what to do.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            inside = _inside(path)
            return (path, _BY_NAME["orbax"]) if inside is None else of_source(inside)
        if not stat.S_ISREG(mode):
            raise ParityError("must be a file or a directory of a checkpoint")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise ParityError("there is no such file") from error
    except OSError as error:
        raise ParityError(f"cannot be opened: {error.strerror}") from error
    if (named := others.explain(head)) is not None:
        raise ParityError(named)
    candidates = _of_head(head)
    by_suffix = _BY_SUFFIX.get(path.suffix) if path.suffix else None
    if candidates:
        return path, by_suffix if by_suffix is not None and by_suffix.name in candidates else _BY_NAME[candidates[0]]
    if (named := others.explain_suffix(path)) is not None:
        raise ParityError(named)
    if by_suffix is not None:
        return path, by_suffix
    raise ParityError(f"is of no format known: {', '.join(format_.name for format_ in FORMATS)}")


def _inside(path: Path) -> Path | None:
    """The checkpoint within a directory that is none itself: a published model's, or a step of Orbax's manager."""
    names = {entry.name for entry in os.scandir(path)}
    if names & _ORBAX:
        return None
    if found := next((name for name in _IN_DIRECTORY if name in names), None):
        return path / found
    if found := next((name for name in _ITEMS if name in names and not (path / name).is_symlink()), None):
        return path / found
    if (named := others.explain_directory(names)) is not None:
        raise ParityError(named)
    return None


def _of_head(head: bytes) -> tuple[str, ...]:
    """The formats that a file with these first bytes may have, the likeliest first."""
    if head[:2] == b"PK":
        # The archive's first member: torch writes its pickle first, and NumPy has nothing but arrays.
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return ("npz",) if name.endswith(b".npy") else ("pt",) if name.endswith(b"data.pkl") else ("pt", "npz")
    if head[:1] == b"{" and head[4:8] != bytes(4):
        return ("shards",)
    if head[8:9] == b"{":
        return ("safetensors",)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return ("pt",) if _LEGACY_TORCH in head[:16] else ("pdparams",)
    if 0x81 <= head[:1].ljust(1, b"\0")[0] <= 0x8F or head[:1] in (b"\xde", b"\xdf"):
        return ("msgpack",)
    return ()
