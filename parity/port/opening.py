"""A model made into a side, with the line that made each of its layers."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from .side import Side

# What a framework's layers need is there once this module is.
ROOTS = {"torch": "torch.nn", "paddle": "paddle.nn", "flax": "flax.nnx"}


def open_model(build: Callable[[], Any]) -> Side:
    """The side of the model that `build` gives; the frameworks that are imported are watched while it builds."""
    with ExitStack() as stack:
        present = [name for name, root in ROOTS.items() if root in sys.modules]
        sites = [stack.enter_context(import_module(f".side_{name}", __package__).sites()) for name in present]
        model = build()
    return Side(model, {key: site for found in sites for key, site in found.items()})
