"""The few words of the pickle language that a state dict is written in.

The standard pickler would hold every array a second time, and could not write a name of a library that is not there.
"""

import struct

PROTOCOL_2 = b"\x80\x02"
PROTOCOL_4 = b"\x80\x04"
EMPTY_DICT = b"}"
MARK = b"("
TUPLE = b"t"
SET_ITEMS = b"u"
BUILD = b"b"
STOP = b"."
TRUE = b"\x88"
FALSE = b"\x89"
NONE = b"N"


def text(value: str) -> bytes:
    """A string."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    """An integer of any size that an array can have."""
    if -1 << 31 <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def sizes(values: tuple[int, ...]) -> bytes:
    """A tuple of integers."""
    return pack(*map(integer, values))


def pack(*items: bytes) -> bytes:
    """A tuple."""
    return MARK + b"".join(items) + TUPLE


def name(module: str, attribute: str) -> bytes:
    """A global."""
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *args: bytes) -> bytes:
    """A call of a global."""
    return name(module, attribute) + pack(*args) + b"R"


def persistent(identity: bytes) -> bytes:
    """A reference to data outside the pickle."""
    return identity + b"Q"


def binary(length: int) -> bytes:
    """The head of a byte string; its bytes follow."""
    return b"\x8e" + struct.pack("<Q", length)


def texts(values: dict[str, str]) -> bytes:
    """A dictionary of strings."""
    return EMPTY_DICT + MARK + b"".join(text(key) + text(value) for key, value in values.items()) + SET_ITEMS
