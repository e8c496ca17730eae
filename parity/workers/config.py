"""The file of interpreters and devices, parity.toml or the table [tool.parity] of pyproject.toml.

    [python]
    torch = "envs/torch/bin/python"

    [device]
    torch = "gpu"

Paths begin at the file's folder.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ParityError
from ..frameworks import COLUMNS, devices
from . import interpreters

NAME = "parity.toml"


@dataclass(frozen=True)
class Config:
    """The interpreter and the device of each framework that the file names."""

    python: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, str] = field(default_factory=dict)


def find(path: Path | None = None) -> Config:
    """Read the file at `path`; without one parity.toml here, or else pyproject.toml here.

    Raises:
        ParityError: for a file that is not there, is no TOML, or holds what is not known.
    """
    if path is not None:
        return read(path)
    for name in (NAME, "pyproject.toml"):
        if Path(name).is_file():
            return read(Path(name))
    return Config()


def read(path: Path) -> Config:
    """Read the file; see `find`."""
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ParityError(f"{path} is not there; a configuration is needed") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{path} cannot be read as TOML: {error}") from None
    where = str(path)
    if path.name == "pyproject.toml":
        tool = document.get("tool", {})
        document, where = tool.get("parity", {}) if isinstance(tool, dict) else {}, f"[tool.parity] of {path}"
    tables = {name: _table(document, name, where) for name in ("python", "device")}
    if unknown := set(document) - set(tables):
        raise ParityError(f"{where} may hold the tables python and device, got {', '.join(sorted(unknown))}")
    for device in tables["device"].values():
        devices.check(device)
    return Config(interpreters.check(tables["python"], path.parent), tables["device"])


def _table(document: Any, name: str, where: str) -> dict[str, str]:
    table = document.get(name, {}) if isinstance(document, dict) else None
    if not isinstance(table, dict) or any(not isinstance(value, str) for value in table.values()):
        raise ParityError(f"{where}: {name} must be a table of text by framework")
    if unknown := set(table) - set(COLUMNS):
        raise ParityError(f"{where}: {name} is for {', '.join(COLUMNS)}, got {', '.join(sorted(unknown))}")
    return table
