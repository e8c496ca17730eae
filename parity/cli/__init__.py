"""The command line, `parity COMMAND`: a file for each command."""

from .app import main

__all__ = ["main"]
