"""A side's factory: `FILE.py:FACTORY` or `package.module:factory`, a function without arguments that gives a model."""

import copy
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import frameworks
from ..errors import ParityError

FORM = "FILE.py:FACTORY or package.module:factory"


def check_form(spec: str) -> None:
    """Raise ParityError where the text is no factory's name, or its file is not there."""
    source, colon, name = spec.rpartition(":")
    if not colon or not source or not name.isidentifier():
        raise ParityError(f"a side must be {FORM}, got {spec!r}")
    if source.endswith(".py") and not Path(source).is_file():
        raise ParityError(f"{source} is not there; a side must be {FORM}")


def load_factory(spec: str) -> Callable[[], Any]:
    """The factory of that name, imported.

    Raises:
        ParityError: where its file or module is not there, raises, or has no such function.
    """
    check_form(spec)
    source, _, name = spec.rpartition(":")
    module = _import(source)
    factory = getattr(module, name, None)
    if factory is None:
        known = [key for key, value in vars(module).items() if callable(value) and value.__module__ == module.__name__]
        raise ParityError(f"{source} has no {name}; it has {', '.join(known) or 'no function of its own'}")
    if not callable(factory):
        raise ParityError(f"{spec} is no function but {type(factory).__name__}: a factory gives a model when called")
    return factory


def build(factory: Callable[[], Any], spec: str) -> Any:
    """The model that the factory gives, of one of the three frameworks.

    Raises:
        ParityError: where the factory wants arguments, raises, or gives something else.
    """
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ParityError(f"{spec} must be callable without arguments: {error}; wrap it in a function") from None
    except ValueError:
        pass  # a callable whose signature cannot be read
    try:
        model = factory()
    except Exception as error:
        raise ParityError(f"{spec} raises {describe(error)}") from error
    if isinstance(model, tuple) and "flax" in sys.modules:
        from . import linen

        model = linen.Linen(*model) if linen.is_pair(model) else model
    try:
        frameworks.of(model)
    except TypeError:
        raise ParityError(
            f"{spec} must give a torch.nn.Module, a paddle.nn.Layer, a flax.nnx.Module, or a Linen module and its"
            f" variables, got {type(model).__name__}"
        ) from None
    return model


def copy_or_build(source: Any, name: str) -> Any:
    """A copy of a model, or what a function without arguments gives."""
    try:
        if isinstance(source, type):  # whose own type may be a framework's
            raise TypeError
        framework = frameworks.of(source)
    except TypeError:
        if not callable(source):
            raise ParityError(f"{name} must be {FORM}, a model or a function, got {type(source).__name__}") from None
        return build(source, getattr(source, "__name__", name))
    if framework.NAME == "flax":
        from flax import nnx

        return nnx.clone(source)
    return copy.deepcopy(source)


def describe(error: BaseException) -> str:
    """The error in one line, with the last line of the user's code that it passed."""
    text = " ".join(str(error).split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_inside(frame.filename)]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' + text if text else ''}{where}"


def is_inside(filename: str) -> bool:
    """Whether the file is a framework's, Python's own or this package's, and no user's."""
    return filename.startswith("<") or any(part in filename for part in _INSIDE)


_INSIDE = (
    *(f"/site-packages/{name}/" for name in ("torch", "paddle", "jax", "jaxlib", "flax", "numpy", "optax")),
    f"{Path(__file__).parent.parent}/",
    f"{Path(importlib.__file__).parent.parent}/importlib/",
    f"{Path(importlib.__file__).parent.parent}/contextlib",
    f"{Path(importlib.__file__).parent.parent}/functools",
    "/concurrent/futures/",
)


def _import(source: str) -> ModuleType:
    try:
        if not source.endswith(".py"):
            if "" not in sys.path:
                sys.path.insert(0, "")
            return importlib.import_module(source)
        path = Path(source).absolute()
        # As a script would find what lies beside it.
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise ParityError(f"{source} needs {error.name}, which is not installed for {sys.executable}") from None
    except Exception as error:
        raise ParityError(f"importing {source} raises {describe(error)}") from error
    return module
