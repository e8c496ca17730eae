"""Is my port right? Two models side by side: the verdict, the first layer that differs, and the cause.

The package is called as the function that it is for: `parity.port(original, port, inputs)`, see `compare.port`.
"""

import sys
from types import ModuleType

# `typing` would be half of what this import takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Callable(ModuleType):
    """A module that can be called."""

    def __call__(self, *args: "Any", **kwargs: "Any") -> "Any":
        """Call `compare.port`."""
        from .compare import port

        return port(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
