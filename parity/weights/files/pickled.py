"""The objects that a pickle can make: names, dictionaries, arrays, and others of which only the class's name is known.

Nothing in this table imports, calls or builds what a pickle names: each entry is a function of this package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ParityError
from . import limits


@dataclass(frozen=True, slots=True)
class Name:
    """A global that a pickle names: a word, never the thing."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Ordered(dict):
    """An OrderedDict and the attributes that were set on it."""

    attributes: Mapping[Any, Any] = {}

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ParityError("a dictionary's attributes must be a dictionary")
        self.attributes = state


class Foreign(dict):
    """An object of a class that no weights need, such as an argparse.Namespace: what is said of it, and never it.

    Attributes:
        kind: The class.
        state: What the pickle gives it, mostly its attributes.

    It is a dictionary because the classes of configurations are: entries that are put into it are there.
    """

    __slots__ = ("kind", "state")

    def __init__(self, kind: Name) -> None:
        super().__init__()
        self.kind = kind
        self.state: Any = None

    def build(self, state: Any) -> None:
        self.state = state

    @property
    def is_model(self) -> bool:
        """Whether it is a torch.nn.Module with its layers and arrays."""
        return isinstance(self.state, dict) and "_modules" in self.state and "_parameters" in self.state


_CODES = {dtype.str[1:]: dtype for dtype in limits.DTYPES.values() if dtype.isbuiltin == 1}
# Of a dtype's state: subarray, names, fields, size, alignment, flags.
_PLAIN = (None, None, None, -1, -1, 0)


@dataclass(slots=True)
class Dtype:
    """A NumPy dtype: what `numpy.dtype("f4", False, True)` makes; None for what no weights can have."""

    dtype: np.dtype | None
    code: str

    def build(self, state: Any) -> None:
        if self.dtype is None:
            return
        if not (isinstance(state, tuple) and len(state) == 8 and state[0] == 3 and isinstance(state[1], str)):
            raise ParityError("a dtype's state must be version 3, byte order and what a number does not have")
        if state[1] not in ("<", "|", "="):
            raise ParityError("an array's numbers must be little-endian")
        if state[2:] != _PLAIN:
            raise ParityError("an array must hold plain numbers, without fields")

    def numbers(self) -> np.dtype:
        """The dtype of numbers that it is."""
        if self.dtype is None:
            raise ParityError(f"an array's dtype must be one of numbers, got {self.code!a}")
        return self.dtype


@dataclass(slots=True)
class Array:
    """A NumPy array: empty when it is made, filled when its state comes."""

    array: np.ndarray | None = None

    def build(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], Dtype)):
            raise ParityError("an array's state must be version, shape, dtype, order and bytes")
        version, shape, dtype, fortran, data = state
        if version != 1 or not isinstance(fortran, bool):
            raise ParityError("an array's state must be of version 1, and its order true or false")
        self.array = _filled(data, dtype.numbers(), limits.check_shape(shape), "F" if fortran else "C")


def _filled(data: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    if not isinstance(data, bytes | memoryview) or len(data) != limits.count_bytes(shape, dtype):
        raise ParityError(f"an array of shape {shape} and {dtype} does not have the bytes it should")
    flat = np.frombuffer(data, dtype) if len(data) else np.zeros(0, dtype)
    return flat.reshape(shape, order=order)


def _ordered_dict(*args: Any) -> Ordered:
    if args:
        raise ParityError("an OrderedDict must be made empty")
    return Ordered()


def _default_dict(factory: Any = None) -> Ordered:
    """A defaultdict, whose factory makes nothing here."""
    return Ordered()


def _counter(counts: Any) -> Any:
    if not isinstance(counts, dict):
        raise ParityError("a Counter must be made of a dictionary")
    return counts


def _deque(items: Any = (), longest: Any = None) -> list[Any]:
    if items != ():
        raise ParityError("a deque must be made empty")
    return []


def _reconstruct(kind: Any, shape: Any, code: Any) -> Array:
    if kind != Name("numpy", "ndarray") or shape != (0,) or code not in (b"b", "b"):
        raise ParityError("an array must be a plain numpy.ndarray")
    return Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    """An array as protocol 5 has it."""
    if not isinstance(dtype, Dtype) or order not in ("C", "F"):
        raise ParityError("an array's buffer must come with a dtype, a shape and an order")
    return Array(_filled(data, dtype.numbers(), limits.check_shape(shape), order))


def _dtype(code: Any, align: Any, copy: Any) -> Dtype:
    if align not in (False, True) or copy not in (False, True):
        raise ParityError("a dtype's alignment and copy must be true or false")
    if not isinstance(code, str):
        raise ParityError("a dtype must be text")
    return Dtype(_CODES.get(code), code[:10])


def _encode(text: Any, codec: Any) -> bytes:
    """Encode text that stands for bytes, as protocol 2 writes them."""
    if not isinstance(text, str) or codec != "latin1":
        raise ParityError("only text in latin1 can stand for bytes")
    return text.encode("latin1")


def _tuple(items: Any) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise ParityError("a tuple must be made of a tuple")
    return items


def _reconstructor(kind: Any, base: Any, state: Any) -> Foreign:
    """An object as protocols 0 and 1 have it."""
    if not isinstance(kind, Name):
        raise ParityError("an object must have a class")
    return Foreign(kind)


def foreign(name: Name) -> Foreign:
    """The object that the pickle makes by calling a class that is not in the table.

    Raises:
        ParityError: for what has not the name of a class, which is a function that the pickle wants to be called.
    """
    # What Cython's classes are unpickled by has their name at its end.
    spelled = name.name.rpartition(".")[2].removeprefix("__pyx_unpickle_").lstrip("_")
    if not spelled[:1].isupper():
        raise ParityError(f"the pickle calls {name.module[:60]!a} {name.name[:60]!a}, which no weights need: not read")
    return Foreign(name)


def objects(module: str, *names: str) -> dict[Name, Callable[..., Any]]:
    """Calls of classes that are not spelled as classes are: objects like any other."""
    return {(kind := Name(module, name)): lambda *_, kind=kind: Foreign(kind) for name in names}


@dataclass(frozen=True)
class Refused:
    """The reason why something that a pickle may name by rights is not read here."""

    reason: str


_SCALAR = Name("numpy", "scalar")
Calls = Mapping[Name, Callable[..., Any] | Refused | None]

# What may be called; None where it may be named and not called, a reason where it may not be named either.
NUMPY: Calls = {
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("collections", "defaultdict"): _default_dict,
    Name("collections", "Counter"): _counter,
    Name("collections", "deque"): _deque,
    Name("numpy", "ndarray"): None,
    Name("numpy", "dtype"): _dtype,
    **{Name(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{Name(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{Name(f"numpy.{core}.multiarray", "scalar"): lambda *_: Foreign(_SCALAR) for core in ("core", "_core")},
    **objects("numpy.random._pickle", "__generator_ctor", "__bit_generator_ctor", "__randomstate_ctor"),
    Name("_codecs", "encode"): _encode,
    Name("builtins", "tuple"): _tuple,
    **objects("builtins", "set", "frozenset", "complex", "bytes", "bytearray", "slice", "range", "object"),
    **objects("datetime", "date", "datetime", "time", "timedelta", "timezone"),
    **objects("functools", "partial"),
    Name("copyreg", "_reconstructor"): _reconstructor,
    Name("torch.storage", "_load_from_bytes"): Refused(
        "tensors that the module pickle wrote: not read; save them with torch.save"
    ),
}
