"""Reads the pickles that state dicts are saved as, without ever importing, calling or building what they name.

The standard unpickler does what a file says. This one is an interpreter of the part of the language that describes
data: a global stays a name, a call is looked up in a table of functions of this package, and what the table does not
hold is an error. A program's length, its text and its keys are limited, so that it ends soon and stays small.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np

from ...errors import ParityError
from . import limits

MAX_STEPS = 300_000
MAX_TEXT = 1 << 20
MAX_INDEX = 1 << 31
_MARK = object()
_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


@dataclass(frozen=True)
class Name:
    """A global that a pickle names: a word, never the thing."""

    module: str
    name: str


class Ordered(dict):
    """An OrderedDict and the attributes that were set on it."""

    attributes: Mapping[Any, Any] = {}

    def build(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ParityError("a dictionary's attributes must be a dictionary")
        self.attributes = state


@dataclass
class Dtype:
    """A NumPy dtype: what `numpy.dtype("f4", False, True)` makes."""

    dtype: np.dtype

    def build(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", "|", "=")):
            raise ParityError("an array's numbers must be little-endian")


@dataclass
class Array:
    """A NumPy array: empty when it is made, filled when its state comes."""

    array: np.ndarray | None = None

    def build(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], Dtype)):
            raise ParityError("an array's state must be version, shape, dtype, order and bytes")
        _, shape, dtype, fortran, data = state
        shape = limits.check_shape(shape)
        if not isinstance(data, bytes | memoryview) or len(data) != limits.count_bytes(shape, dtype.dtype):
            raise ParityError(f"an array of shape {shape} and {dtype.dtype} does not have the bytes it should")
        flat = np.frombuffer(data, dtype.dtype) if len(data) else np.zeros(0, dtype.dtype)
        self.array = flat.reshape(shape, order="F" if fortran is True else "C")


class Window:
    """A file's bytes, read from a position on; what is large is handed out as a view."""

    def __init__(self, data: "mmap | bytes | memoryview", position: int = 0) -> None:
        self.data = memoryview(data)
        self.position = position
        self.limit = MAX_TEXT

    def read(self, count: int) -> bytes | memoryview:
        end = self.position + count
        if count > self.limit or end > len(self.data):
            raise ParityError(f"the pickle asks for {count} bytes at {self.position}, where it may not have them")
        piece = self.data[self.position : end]
        self.position = end
        return bytes(piece) if count <= MAX_TEXT else piece

    def readline(self) -> bytes:
        line, newline, _ = bytes(self.data[self.position : self.position + 4096]).partition(b"\n")
        if not newline:
            raise ParityError(f"the pickle's line at {self.position} does not end")
        self.position += len(line) + 1
        return line + newline


def _ordered_dict(*args: Any) -> Ordered:
    if args:
        raise ParityError("an OrderedDict must be made empty")
    return Ordered()


def _reconstruct(kind: Any, shape: Any, code: Any) -> Array:
    if kind != Name("numpy", "ndarray") or shape != (0,) or code not in (b"b", "b"):
        raise ParityError("an array must be a plain numpy.ndarray")
    return Array()


def _dtype(code: Any, align: Any, copy: Any) -> Dtype:
    if not isinstance(code, str) or len(code) > 3 or code[:1] not in ("f", "i", "u", "b"):
        raise ParityError(
            f"an array's dtype must be one of numbers, got {code[:10]!a}"
            if isinstance(code, str)
            else "a dtype must be text"
        )
    return Dtype(limits.dtype_named(np.dtype(code).name))


def _encode(text: Any, codec: Any) -> bytes:
    """What protocol 2 writes bytes as."""
    if not isinstance(text, str) or codec != "latin1":
        raise ParityError("only text in latin1 can stand for bytes")
    return text.encode("latin1")


def _tuple(items: Any) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise ParityError("a tuple must be made of a tuple")
    return items


Calls = Mapping[Name, Callable[..., Any] | None]

# What may be named; None where it may be named and not called.
NUMPY: Calls = {
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("numpy", "ndarray"): None,
    Name("numpy", "dtype"): _dtype,
    Name("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    Name("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    Name("_codecs", "encode"): _encode,
    Name("builtins", "tuple"): _tuple,
}


def unpickle(window: Window, calls: Calls, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The data that the pickle at the window's position describes; `persistent` makes what a persistent id stands for.

    Raises:
        ParityError: for a global that `calls` does not hold, a call of what may only be named, state for what takes
            none, an opcode that no state dict needs, and a program too long.
    """
    machine = _Machine(calls, persistent)
    for _ in range(MAX_STEPS):
        window.limit = MAX_TEXT
        opcode = _OPCODES.get(window.read(1)[0])
        if opcode is None or not hasattr(machine, f"do_{opcode.name}"):
            raise ParityError(
                f"the pickle has the opcode {opcode.name if opcode else 'unknown'}, which no weights need"
            )
        if "BINBYTES" in opcode.name:
            window.limit = len(window.data)
        argument = _argument(opcode, window)
        if opcode.name == "STOP":
            return machine.pop()
        getattr(machine, f"do_{opcode.name}")(argument)
    raise ParityError(f"the pickle takes more than {MAX_STEPS} steps")


def _argument(opcode: pickletools.OpcodeInfo, window: Window) -> Any:
    try:
        return opcode.arg.reader(window) if opcode.arg else None  # type: ignore[arg-type]
    except ParityError:
        raise
    except ValueError as error:
        raise ParityError(f"the pickle's {opcode.name} has no good argument: {str(error)[:100]}") from error


class _Machine:
    """The stack, the memo, and a method for each opcode that describes data."""

    def __init__(self, calls: Calls, persistent: Callable[[Any], Any] | None) -> None:
        self.calls = calls
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ParityError("the pickle takes from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        if not self.stack:
            raise ParityError("the pickle misses a mark")
        self.stack.pop()
        return items[::-1]

    def top(self, kinds: type | tuple[type, ...]) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kinds):
            raise ParityError("the pickle fills in an object that takes nothing of the kind")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    do_BININT = do_BININT1 = do_BININT2 = do_INT = do_LONG = do_LONG1 = do_BINFLOAT = do_FLOAT = push
    do_SHORT_BINBYTES = do_BINBYTES = do_BINBYTES8 = push
    do_UNICODE = do_BINUNICODE = do_SHORT_BINUNICODE = do_BINUNICODE8 = push
    do_STRING = do_BINSTRING = do_SHORT_BINSTRING = push

    def do_PROTO(self, version: int) -> None:
        if version > 5:
            raise ParityError(f"the pickle has the unknown protocol {version}")

    def do_FRAME(self, size: int) -> None:
        """A frame says only how much to read at once."""

    def do_STOP(self, _: None) -> None:
        """The end, which the loop sees."""

    def do_NONE(self, _: None) -> None:
        self.push(None)

    def do_NEWTRUE(self, _: None) -> None:
        self.push(True)

    def do_NEWFALSE(self, _: None) -> None:
        self.push(False)

    def do_MARK(self, _: None) -> None:
        self.push(_MARK)

    def do_EMPTY_DICT(self, _: None) -> None:
        self.push({})

    def do_EMPTY_LIST(self, _: None) -> None:
        self.push([])

    def do_EMPTY_TUPLE(self, _: None) -> None:
        self.push(())

    def do_TUPLE(self, _: None) -> None:
        self.push(tuple(self.pop_to_mark()))

    def do_TUPLE1(self, _: None) -> None:
        self.push((self.pop(),))

    def do_TUPLE2(self, _: None) -> None:
        last = self.pop()
        self.push((self.pop(), last))

    def do_TUPLE3(self, _: None) -> None:
        last, middle = self.pop(), self.pop()
        self.push((self.pop(), middle, last))

    def do_LIST(self, _: None) -> None:
        self.push(self.pop_to_mark())

    def do_DICT(self, _: None) -> None:
        items = self.pop_to_mark()
        self.push({})
        self.set_items(items)

    def do_APPEND(self, _: None) -> None:
        item = self.pop()
        self.top(list).append(item)

    def do_APPENDS(self, _: None) -> None:
        items = self.pop_to_mark()
        self.top(list).extend(items)

    def do_SETITEM(self, _: None) -> None:
        value = self.pop()
        self.set_items([self.pop(), value])

    def do_SETITEMS(self, _: None) -> None:
        self.set_items(self.pop_to_mark())

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise ParityError("the pickle has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A tuple of tuples of tuples takes for ever to hash, and large integers can all have one hash.
            if type(key) is not str and not (type(key) is int and abs(key) < MAX_INDEX):
                raise ParityError(f"a dictionary's key must be text or a small integer, got {type(key).__name__}")
            if key in target:
                raise ParityError(f"{str(key)[:100]!a} is in a dictionary twice")
            target[key] = value

    def do_PUT(self, index: int) -> None:
        if not self.stack or not 0 <= index < MAX_INDEX:
            raise ParityError("the pickle puts what it does not have, or where it may not, into its memo")
        self.memo[index] = self.stack[-1]

    do_BINPUT = do_LONG_BINPUT = do_PUT

    def do_MEMOIZE(self, _: None) -> None:
        self.do_PUT(len(self.memo))

    def do_GET(self, index: int) -> None:
        if index not in self.memo:
            raise ParityError("the pickle takes what it never put into its memo")
        self.push(self.memo[index])

    do_BINGET = do_LONG_BINGET = do_GET

    def do_GLOBAL(self, names: str) -> None:
        self.push_name(*names.split(" ", 1))

    def do_STACK_GLOBAL(self, _: None) -> None:
        name = self.pop()
        self.push_name(self.pop(), name)

    def push_name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ParityError("a global must be named by text")
        # What protocols below 3 call it.
        value = Name("builtins" if module == "__builtin__" else module, name)
        if value not in self.calls:
            raise ParityError(f"the pickle names {module[:60]!a} {name[:60]!a}, which no weights need: not read")
        self.push(value)

    def do_REDUCE(self, _: None) -> None:
        args, name = self.pop(), self.pop()
        call = self.calls.get(name) if isinstance(name, Name) else None
        if call is None or not isinstance(args, tuple):
            raise ParityError("the pickle calls what is not to be called")
        try:
            self.push(call(*args))
        except TypeError as error:
            raise ParityError(f"the pickle calls {name.name} with other arguments than weights need") from error

    def do_BUILD(self, _: None) -> None:
        state = self.pop()
        self.top((Ordered, Array, Dtype)).build(state)

    def do_BINPERSID(self, _: None) -> None:
        if self.persistent is None:
            raise ParityError("the pickle refers to data outside itself")
        self.push(self.persistent(self.pop()))
