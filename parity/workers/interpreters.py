"""Interpreters other than this one: a worker in one gets this package, and nothing else of this environment."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ParityError
from ..frameworks import check_column

PACKAGES = ("parity", "torch_impl", "paddle_impl", "flax_impl")
_LINKS = "packages"


def search_path(folder: Path) -> str:
    """A PYTHONPATH under which a worker finds this package's folders, whatever folder they share with others.

    They are linked into `folder`: where this package is installed beside a framework, the path of that environment
    would bring its frameworks and its NumPy along.
    """
    links = folder / _LINKS
    links.mkdir(exist_ok=True)
    for name in PACKAGES:
        source = Path(__file__).parent.parent.parent / name
        if source.is_dir() and not (links / name).exists():
            (links / name).symlink_to(source, target_is_directory=True)
    # A worker runs in another folder, where a relative path would lead elsewhere.
    inherited = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # noqa: PTH100
    return os.pathsep.join([str(links), *inherited])


def parse(values: Sequence[str]) -> dict[str, str]:
    """Read `--python`: `torch=ENV/bin/python`, an interpreter for each framework named.

    Raises:
        ParityError: for an unknown framework or a file that cannot be run.
    """
    chosen = {}
    for value in values:
        framework, equals, path = value.partition("=")
        if not equals:
            raise ParityError(f"--python must name a framework, as torch=ENV/bin/python does, got {value!r}")
        chosen[check_column(framework)] = path
    return check(chosen, Path())


def check(paths: Mapping[str, str], base: Path) -> dict[str, str]:
    """The interpreters with paths from `base` made absolute, links kept: a virtual environment is one.

    Raises:
        ParityError: for a file that cannot be run.
    """
    found = {}
    for framework, path in paths.items():
        # A venv's interpreter is a link to another; resolving it would leave the environment.
        python = Path(os.path.abspath(base / Path(path).expanduser()))  # noqa: PTH100
        if not (python.is_file() and os.access(python, os.X_OK)):
            raise ParityError(f"the interpreter {path} for {framework} is not there, or cannot be run")
        found[framework] = str(python)
    return found
