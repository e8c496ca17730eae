"""Is my port right? Weights between PyTorch, Paddle and Flax, and the proof that the modules compute the same."""

from .errors import ParityError
from .layout import convert, relayout
from .weights import get_weights, set_weights

__all__ = ["ParityError", "convert", "get_weights", "relayout", "set_weights"]
