"""Reads the pickles that state dicts are saved as, without ever importing, calling or building what they name.

The standard unpickler does what a file says. This one is an interpreter of the part of the language that describes
data: a global stays a name, a call is looked up in a table of functions of this package, an object of any other class
stays what is said of it, and the call of any other function is an error. A program's length, its text and its keys are
limited, so that it ends soon and stays small.
"""

import pickletools
import struct
import sys
from collections.abc import Callable
from itertools import repeat
from mmap import mmap
from typing import Any

from ...errors import ParityError
from .budget import Budget
from .pickled import Array, Calls, Dtype, Foreign, Name, Ordered, Refused, foreign

MAX_INDEX = 1 << 31
_MAX_LINE = 4096
_USUAL_LINE = 96
_SMALL = 64  # bytes up to which a copy is smaller than a view
_MARK = object()
# What is paid for: a place on the stack for each step, an object, a place in a memo or a dictionary. Nothing is paid
# back, so that these are upper bounds.
_BATCH = 256
_STEP = 10
_OBJECT = 64
_PLACE = 8
_ENTRY = 104
_CALL = 3  # steps
_NAME = 2
_NEW_NAME = 6
_PERSISTENT = 10
_SET = Name("builtins", "set")
# What protocols below 3 call them.
_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Window:
    """A file's bytes, read from a position on, and the budget that reading them is paid from."""

    def __init__(self, data: "mmap | bytes | memoryview", budget: Budget, position: int = 0) -> None:
        self.data = memoryview(data).toreadonly()
        self.budget = budget
        self.position = position

    def view(self, count: int) -> memoryview:
        """The next `count` bytes, as they lie there."""
        end = self.position + count
        if end > len(self.data):
            raise ParityError(f"the pickle asks for {count} bytes at {self.position}, where the file ends")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def read(self, count: int) -> bytes:
        """A copy of the next `count` bytes."""
        self.budget.take(count)
        return bytes(self.view(count))

    def readline(self) -> bytes:
        """The bytes as far as the next end of a line, with it."""
        return self.lines(1)[0] + b"\n"

    def lines(self, count: int) -> list[bytes]:
        """The next lines, without their ends."""
        for most in (_USUAL_LINE, _MAX_LINE):
            *lines, _ = bytes(self.data[self.position : self.position + most]).split(b"\n", count)
            if len(lines) == count:
                self.position += sum(map(len, lines)) + count
                return lines
        raise ParityError(f"the pickle's line at {self.position} does not end")


def _number(form: str) -> Callable[[Window], Any]:
    packed = struct.Struct(form)
    size, unpack = packed.size, packed.unpack_from

    def read(window: Window) -> Any:
        position = window.position
        window.position = position + size
        return unpack(window.data, position)[0]

    return read


def _text(form: str) -> Callable[[Window], str]:
    length = _number(form)

    def read(window: Window) -> str:
        count = length(window)
        window.budget.take(_OBJECT + 4 * count)  # bytes of a character at most
        return str(window.view(count), "utf-8", "surrogatepass")

    return read


def _bytes(form: str) -> Callable[[Window], bytes | memoryview]:
    length = _number(form)

    def read(window: Window) -> bytes | memoryview:
        window.budget.take(_OBJECT)
        piece = window.view(length(window))
        return bytes(piece) if len(piece) <= _SMALL else piece

    return read


_byte = _number("<B")


def _long(window: Window) -> int:
    size = _byte(window)
    window.budget.take(_OBJECT + size)
    return int.from_bytes(window.view(size), "little", signed=True)


def _names(window: Window) -> tuple[str, str]:
    """A global's module and name, a line each."""
    start = window.position
    module, name = window.lines(2)
    window.budget.take(_OBJECT + 4 * (window.position - start))
    return module.decode("ascii"), name.decode("ascii")


# How an opcode's argument is read; others that are a line are read by pickletools.
_READ: dict[str, Callable[[Window], Any]] = {
    "PROTO": _number("<B"),
    "FRAME": _number("<Q"),
    "BININT": _number("<i"),
    "BININT1": _number("<B"),
    "BININT2": _number("<H"),
    "BINFLOAT": _number(">d"),
    "LONG1": _long,
    "BINPUT": _number("<B"),
    "LONG_BINPUT": _number("<I"),
    "BINGET": _number("<B"),
    "LONG_BINGET": _number("<I"),
    "BINUNICODE": _text("<I"),
    "SHORT_BINUNICODE": _text("<B"),
    "BINUNICODE8": _text("<Q"),
    "BINBYTES": _bytes("<I"),
    "SHORT_BINBYTES": _bytes("<B"),
    "BINBYTES8": _bytes("<Q"),
    "BYTEARRAY8": _bytes("<Q"),
    "GLOBAL": _names,
}
_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


def _line(opcode: pickletools.OpcodeInfo) -> Callable[[Window], Any] | None:
    if opcode.arg is None:
        return None
    reader = opcode.arg.reader

    def read(window: Window) -> Any:
        start = window.position
        value = reader(window)  # type: ignore[arg-type]
        window.budget.take(_OBJECT + 4 * (window.position - start))
        return value

    return read


def unpickle(window: Window, calls: Calls, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The data that the pickle at the window's position describes; `persistent` makes what a persistent id stands for.

    Raises:
        ParityError: for a global that `calls` refuses, a call of a function that it does not hold, state for what
            takes none, an opcode that no state dict needs, and a program that makes more than the window's budget.
    """
    machine = _Machine(calls, persistent, window.budget)
    data, push = window.data, machine.stack.append
    while True:
        window.budget.step(_BATCH // 2)
        window.budget.take(_STEP * _BATCH)
        for _ in repeat(None, _BATCH):
            if window.position >= len(data):
                raise ParityError("the pickle has no end")
            name, do, read = _ACTIONS[data[window.position]]
            window.position += 1
            if do is None:
                raise ParityError(f"the pickle has the opcode {name}, which no weights need")
            try:
                argument = None if read is None else read(window)
            except ParityError:
                raise
            except (ValueError, struct.error) as error:
                raise ParityError(f"the pickle's {name} has no good argument: {str(error)[:100]}") from error
            if do is _push:
                push(argument)
            elif name == "STOP":
                return machine.pop()
            else:
                do(machine, argument)


class _Machine:
    """The stack, the memo, and a method for each opcode that describes data."""

    def __init__(self, calls: Calls, persistent: Callable[[Any], Any] | None, budget: Budget) -> None:
        self.calls = calls
        self.persistent = persistent
        self.budget = budget
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[tuple[str, str], Name] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ParityError("the pickle takes from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks or self.marks[-1] >= len(self.stack):
            raise ParityError("the pickle misses a mark")
        start = self.marks.pop()
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def top(self, kinds: type | tuple[type, ...]) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kinds):
            raise ParityError("the pickle fills in an object that takes nothing of the kind")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    # The loop pushes their arguments itself, for they are most of a pickle.
    do_BININT = do_BININT1 = do_BININT2 = do_INT = do_LONG = do_LONG1 = do_BINFLOAT = do_FLOAT = push
    do_SHORT_BINBYTES = do_BINBYTES = do_BINBYTES8 = do_BYTEARRAY8 = push
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
        self.budget.take(_OBJECT)
        self.marks.append(len(self.stack))
        self.push(_MARK)

    def do_EMPTY_DICT(self, _: None) -> None:
        self.budget.take(_OBJECT)
        self.push({})

    def do_EMPTY_LIST(self, _: None) -> None:
        self.budget.take(_OBJECT)
        self.push([])

    def do_EMPTY_TUPLE(self, _: None) -> None:
        self.push(())

    def do_EMPTY_SET(self, _: None) -> None:
        self.push_foreign(Foreign(_SET))

    def do_ADDITEMS(self, _: None) -> None:
        self.pop_to_mark()
        self.top(Foreign)

    def do_FROZENSET(self, _: None) -> None:
        self.pop_to_mark()
        self.do_EMPTY_SET(None)

    def push_foreign(self, value: Foreign) -> None:
        self.budget.take(2 * _OBJECT + sys.getsizeof(value))
        self.budget.step(_CALL)
        self.push(value)

    def push_tuple(self, items: tuple[Any, ...]) -> None:
        self.budget.take(_OBJECT + _PLACE * len(items))
        self.push(items)

    def do_TUPLE(self, _: None) -> None:
        self.push_tuple(tuple(self.pop_to_mark()))

    def do_TUPLE1(self, _: None) -> None:
        self.push_tuple((self.pop(),))

    def do_TUPLE2(self, _: None) -> None:
        last = self.pop()
        self.push_tuple((self.pop(), last))

    def do_TUPLE3(self, _: None) -> None:
        last, middle = self.pop(), self.pop()
        self.push_tuple((self.pop(), middle, last))

    def do_LIST(self, _: None) -> None:
        items = self.pop_to_mark()
        self.budget.take(_OBJECT + _PLACE * len(items))
        self.push(items)

    def do_DICT(self, _: None) -> None:
        items = self.pop_to_mark()
        self.do_EMPTY_DICT(None)
        self.set_items(items)

    def do_APPEND(self, _: None) -> None:
        self.extend([self.pop()])

    def do_APPENDS(self, _: None) -> None:
        self.extend(self.pop_to_mark())

    def extend(self, items: list[Any]) -> None:
        self.budget.take(2 * _PLACE * len(items))
        target = self.top((list, Foreign))
        if isinstance(target, list):
            target.extend(items)

    def do_SETITEM(self, _: None) -> None:
        value = self.pop()
        self.set_items([self.pop(), value])

    def do_SETITEMS(self, _: None) -> None:
        self.set_items(self.pop_to_mark())

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise ParityError("the pickle has a key without a value")
        self.budget.take(_ENTRY * (len(items) // 2))
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A tuple of tuples of tuples takes for ever to hash, and large integers can all have one hash. No weights
            # have such a key, but what lies beside them may.
            if type(key) is not str and not (type(key) is int and abs(key) < MAX_INDEX):
                key = f"<{type(key).__name__} {len(target)}>"
            if key in target:
                raise ParityError(f"{str(key)[:100]!a} is in a dictionary twice")
            target[key] = value

    def do_PUT(self, index: int) -> None:
        if not self.stack or not 0 <= index < MAX_INDEX:
            raise ParityError("the pickle puts what it does not have, or where it may not, into its memo")
        self.budget.take(_ENTRY)
        self.memo[index] = self.stack[-1]

    do_BINPUT = do_LONG_BINPUT = do_PUT

    def do_MEMOIZE(self, _: None) -> None:
        self.do_PUT(len(self.memo))

    def do_GET(self, index: int) -> None:
        if index not in self.memo:
            raise ParityError("the pickle takes what it never put into its memo")
        self.push(self.memo[index])

    do_BINGET = do_LONG_BINGET = do_GET

    def do_GLOBAL(self, names: tuple[str, str]) -> None:
        self.push_name(*names)

    def do_STACK_GLOBAL(self, _: None) -> None:
        name = self.pop()
        self.push_name(self.pop(), name)

    def push_name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ParityError("a global must be named by text")
        self.budget.step(_NAME)
        if (value := self.names.get((module, name))) is None:
            value = self.names[module, name] = self.new_name(module, name)
        self.push(value)

    def new_name(self, module: str, name: str) -> Name:
        value = Name(_MODULES.get(module, module), name)
        self.budget.take(3 * _OBJECT + _ENTRY)
        self.budget.step(_NEW_NAME)
        if isinstance(call := self.calls.get(value), Refused):
            raise ParityError(f"the pickle names {module[:60]!a} {name[:60]!a}, {call.reason}")
        return value

    def do_REDUCE(self, _: None) -> None:
        args, name = self.pop(), self.pop()
        if isinstance(name, Name) and name not in self.calls:
            self.push_foreign(foreign(name))
            return
        call = self.calls[name] if isinstance(name, Name) else None
        if call is None or isinstance(call, Refused) or not isinstance(args, tuple):
            raise ParityError("the pickle calls what is not to be called")
        self.budget.step(_CALL)
        try:
            result = call(*args)
            self.budget.take(2 * _OBJECT + sys.getsizeof(result))
            self.push(result)
        except TypeError as error:
            raise ParityError(f"the pickle calls {name.name} with other arguments than weights need") from error

    def do_NEWOBJ(self, _: None) -> None:
        self.pop()
        self.push_object(self.pop())

    def do_NEWOBJ_EX(self, _: None) -> None:
        self.pop()
        self.do_NEWOBJ(None)

    def push_object(self, kind: Any) -> None:
        if not isinstance(kind, Name):
            raise ParityError("the pickle makes an object of what is no class")
        self.push_foreign(Foreign(kind))

    def do_BUILD(self, _: None) -> None:
        state = self.pop()
        self.top((Ordered, Array, Dtype, Foreign)).build(state)

    def do_BINPERSID(self, _: None) -> None:
        self.budget.take(2 * _OBJECT)
        self.budget.step(_PERSISTENT)
        if self.persistent is None:
            raise ParityError("the pickle refers to data outside itself")
        self.push(self.persistent(self.pop()))


_push = _Machine.push
# By byte: the opcode's name, its method, and how its argument is read.
_ACTIONS = [
    (
        opcode.name,
        getattr(_Machine, f"do_{opcode.name}", None),
        _READ.get(opcode.name) or _line(opcode),
    )
    if (opcode := _OPCODES.get(code)) is not None
    else ("unknown", None, None)
    for code in range(256)
]
