"""What is particular to each framework, in a file named for it; nothing here imports a framework until it is asked for.

Each file has the same functions, NumPy in and NumPy out, maps always in the order n, c, h, w.
"""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ..layout import FRAMEWORKS, check_framework

PACKAGES = {"torch": ("torch",), "paddle": ("paddle",), "flax": ("jax", "flax")}


def installed(name: str) -> bool:
    """Whether the framework's packages can be found, without importing them."""
    return all(find_spec(package) is not None for package in PACKAGES[check_framework(name)])


def load(name: str) -> ModuleType:
    """The file of functions for the framework `name`, which imports that framework."""
    return import_module(f".{check_framework(name)}", __name__)


def of(model: Any) -> ModuleType:
    """The functions for the framework that `model` belongs to.

    Raises:
        TypeError: where it belongs to none of them.
    """
    roots = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    for name in FRAMEWORKS:
        if name in roots:
            return load(name)
    raise TypeError(f"model must be a torch, Paddle or Flax NNX module, got {type(model).__name__}")
