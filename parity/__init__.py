"""Is my port right? Weights between PyTorch, Paddle and Flax, and the proof that the modules compute the same."""

from importlib import import_module

# `typing` would be half of what this import takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .errors import ParityError
    from .frameworks.layout import convert, relayout
    from .port.compare import port
    from .weights.files import Checkpoint, load, save
    from .weights.models import get_weights, set_weights

__all__ = ["Checkpoint", "ParityError", "convert", "get_weights", "load", "port", "relayout", "save", "set_weights"]

# Where each name is. They are fetched when they are asked for, so that the command line answers Ctrl-C before NumPy is
# there, and a worker in an interpreter without NumPy can say so.
_HOMES = {
    "errors": ("ParityError",),
    "weights.files": ("Checkpoint", "load", "save"),
    "frameworks.layout": ("convert", "relayout"),
    "weights.models": ("get_weights", "set_weights"),
}


def __getattr__(name: str) -> "Any":
    if name == "port":
        return import_module(".port", __name__)  # which can be called
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
