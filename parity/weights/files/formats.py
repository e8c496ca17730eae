"""The formats: one table, and how a file's is told."""

import stat
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ... import frameworks
from ...errors import ParityError

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
_BY_NAME = {format_.name: format_ for format_ in FORMATS}
_BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}


def of_target(path: Path) -> Format:
    """The format that the suffix of a file to be written says."""
    if path.suffix not in _BY_SUFFIX:
        known = ", ".join(suffix for suffix in _BY_SUFFIX if suffix)
        raise ParityError(f"{path} must end in one of {known}, or in nothing for an Orbax directory")
    return _BY_SUFFIX[path.suffix]


def of_source(path: Path) -> Format:
    """The format of a file that is there, by its first bytes, and where these leave two, by its suffix."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _BY_NAME["orbax"]
        if not stat.S_ISREG(mode):
            raise ParityError("must be a file or an Orbax directory")
        with path.open("rb") as file:
            head = file.read(9)
    except FileNotFoundError as error:
        raise ParityError("there is no such file") from error
    except OSError as error:
        raise ParityError(f"cannot be opened: {error.strerror}") from error
    candidates = _of_head(head)
    by_suffix = _BY_SUFFIX.get(path.suffix) if path.suffix else None
    if by_suffix is not None and (by_suffix.name in candidates or not candidates):
        return by_suffix
    if len(candidates) == 1:
        return _BY_NAME[candidates[0]]
    raise ParityError(f"is of no format known: {', '.join(_BY_NAME)}")


def _of_head(head: bytes) -> tuple[str, ...]:
    if head[:2] == b"PK":
        return "npz", "pt"
    if head[8:9] == b"{":
        return ("safetensors",)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "pdparams", "pt"
    if 0x81 <= head[:1].ljust(1, b"\0")[0] <= 0x8F or head[:1] in (b"\xde", b"\xdf"):
        return ("msgpack",)
    return ()
