"""All that is particular to a framework: one row of `table`, and one file named for it, its `adapter`.

Nothing here imports a framework until it is asked for.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from ..errors import ParityError
from .table import COLUMNS, EXECUTIONS, FRAMEWORKS, TABLE

if TYPE_CHECKING:
    from .adapter import Adapter

__all__ = ["COLUMNS", "EXECUTIONS", "FRAMEWORKS", "TABLE", "check_column", "installed", "load", "of"]


def installed(name: str) -> bool:
    """Whether the framework's packages can be found, without importing them."""
    # A folder of that name where one stands, such as one that `parity envs` makes, has a spec too, but no file.
    specs = [find_spec(package) for package in TABLE[check_column(name)].packages]
    return all(spec is not None and spec.origin is not None for spec in specs)


def load(name: str) -> "Adapter":
    """The adapter of the framework `name`, which imports that framework."""
    return cast("Adapter", import_module(f".{check_column(name)}", __name__))


def check_column(name: str) -> str:
    """Return `name` if it is one of COLUMNS; raise ParityError otherwise."""
    if name not in COLUMNS:
        raise ParityError(f"framework must be one of {', '.join(COLUMNS)}, got {name!r}")
    return name


def of(model: Any) -> "Adapter":
    """The adapter of the framework that `model` belongs to.

    Raises:
        TypeError: where it belongs to none of them.
    """
    roots = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    for name in FRAMEWORKS:
        if name in roots:
            return load(name)
    if isinstance(model, Mapping) and _holds_jax(model):
        return load("flax")
    raise TypeError(f"model must be a torch, Paddle or Flax NNX module, got {type(model).__name__}")


def _holds_jax(tree: Mapping[Any, Any]) -> bool:
    """Whether nested dictionaries hold JAX's arrays, or their shapes."""
    roots = [type(value).__module__.partition(".")[0] for value in tree.values()]
    return any(root in ("jax", "jaxlib") for root in roots) or any(
        _holds_jax(value) for value in tree.values() if isinstance(value, Mapping)
    )
