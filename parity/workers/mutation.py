"""A copy of one implementation with a mutant in it, made in memory: no file changes, and the original stays usable."""

import sys
import threading
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

from ..errors import ParityError
from ..frameworks.adapter import Adapter

# sys.modules is everyone's; what is mutated is taken out of it again before another thread may look.
_LOCK = threading.Lock()


def mutate(framework: Adapter, file: str, old: str, new: str) -> tuple[Adapter, ModuleType]:
    """The functions of a framework, and of `weights`, with the text `old` of one source file replaced by `new`.

    Args:
        framework: one of `parity.frameworks`, left as it is.
        file: of the implementation (`cbam.py`), or `framework` or `weights` for the code that drives it.
        old: the text; it must be in the file exactly once.
        new: what stands there instead.

    Raises:
        ParityError: where the file does not hold `old` once.
    """
    from ..weights import models as weights

    with _LOCK:
        if file == "weights":
            return framework, _copy(weights, old, new)
        if file == "framework":
            return _copy_adapter(framework, old, new), weights
        package = f"{framework.NAME}_impl"
        driver = _copy_adapter(framework, "", "")
        setattr(driver, package, _import(package, source_file(framework.NAME, file), old, new))
        return driver, weights


def source_file(framework: str, file: str) -> Path:
    """The path of a file as `mutate` calls it."""
    if file in ("weights", "framework"):
        return Path(__file__).parent.parent / (
            "weights/models.py" if file == "weights" else f"frameworks/{framework}.py"
        )
    spec = find_spec(f"{framework}_impl")
    if spec is None or spec.origin is None:
        raise ParityError(f"{framework}_impl is not there to plant a mutant in")
    return Path(spec.origin).parent / file


def read_mutated(path: Path, old: str, new: str) -> str:
    """The text of the file with `old` replaced by `new`; unchanged where `old` is empty.

    Raises:
        ParityError: where the file does not hold `old` once.
    """
    source = path.read_text()
    if old and (count := source.count(old)) != 1:
        raise ParityError(f"{path.name} must hold the text of the mutant once, holds it {count} times: {old!r}")
    return source.replace(old, new) if old else source


def _copy_adapter(adapter: Adapter, old: str, new: str) -> Adapter:
    """A second adapter, changed, that computes where the first does."""
    copy = _copy(cast(ModuleType, adapter), old, new)
    if hasattr(adapter, "DEVICE"):
        vars(copy)["DEVICE"] = adapter.DEVICE
    return cast(Adapter, copy)


def _copy(module: ModuleType, old: str, new: str) -> ModuleType:
    """A second module from the first one's source, changed."""
    copy = ModuleType(module.__name__)
    copy.__package__ = module.__package__
    assert module.__file__ is not None
    path = Path(module.__file__)
    exec(compile(read_mutated(path, old, new), str(path), "exec"), vars(copy))
    return copy


def _import(package: str, path: Path, old: str, new: str) -> ModuleType:
    """The package once more, with one of its files changed."""
    finder = _Finder(package, path, old, new)
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == package}
    sys.meta_path.insert(0, finder)
    try:
        return import_module(package)
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]
        sys.modules.update(kept)


class _Finder(MetaPathFinder):
    def __init__(self, package: str, path: Path, old: str, new: str) -> None:
        self.package, self.path, self.old, self.new = package, path, old, new

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if fullname.partition(".")[0] != self.package or spec is None or spec.origin is None:
            return None
        changed = Path(spec.origin) == self.path
        spec.loader = _Loader(fullname, spec.origin, self.old if changed else "", self.new if changed else "")
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, old: str, new: str) -> None:
        super().__init__(fullname, path)
        self.old, self.new = old, new

    def get_code(self, fullname: str) -> CodeType:
        return compile(read_mutated(Path(self.path), self.old, self.new), self.path, "exec")
