"""Weights of models and of files, in any framework's names and axis order."""

from .models import get_weights, set_weights

__all__ = ["get_weights", "set_weights"]
