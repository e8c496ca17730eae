"""Is my port right? Weights between PyTorch, Paddle and Flax, and the proof that the modules compute the same."""

from .errors import ParityError
from .frameworks.layout import convert, relayout
from .weights.files import Checkpoint, load, save
from .weights.models import get_weights, set_weights

__all__ = ["Checkpoint", "ParityError", "convert", "get_weights", "load", "relayout", "save", "set_weights"]
