"""Zip archives, of which `.npz` and `.pt` are two: their members found without trust, and written as streams."""

import struct
import zlib
from dataclasses import dataclass
from mmap import mmap
from typing import IO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from ...errors import ParityError
from . import limits
from .budget import Budget

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_PIECE = 64 << 10
_BESIDES = 16  # members of a .pt that are no tensors
_MEMBER = 512  # bytes of memory
_MEMBER_STEPS = 5


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive: where its bytes lie, and how many they are when decompressed."""

    name: str
    start: int
    stored: int
    size: int
    compressed: bool
    crc: int

    def read(self, mapped: mmap, budget: Budget) -> memoryview:
        """The member's bytes: a view of the file where they are stored as they are."""
        data = memoryview(mapped)[self.start : self.start + self.stored]
        if not self.compressed:
            return data
        budget.expand(self.size)
        inflated = memoryview(bytearray(self.size))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        position = 0
        # Piece by piece into its place, so that nothing is held twice.
        for start in range(0, self.stored, _PIECE):
            rest: memoryview | bytes = data[start : start + _PIECE]
            while piece := inflater.decompress(rest, min(_PIECE, self.size - position + 1)):
                if position + len(piece) > self.size:
                    raise self._wrong_size()
                inflated[position : position + len(piece)] = piece
                position += len(piece)
                rest = inflater.unconsumed_tail
        if position != self.size or not inflater.eof:
            raise self._wrong_size()
        return inflated

    def _wrong_size(self) -> ParityError:
        return ParityError(f"{self.name} does not decompress to the {self.size} bytes that the archive says")

    def check(self, data: memoryview) -> None:
        """Raise ParityError where the bytes are not those that were written."""
        if zlib.crc32(data) != self.crc:
            raise ParityError(f"{self.name} is damaged: its checksum is another")


def members(mapped: mmap, budget: Budget) -> tuple[dict[str, Member], bytes]:
    """The archive's members by name, and its comment.

    Raises:
        ParityError: for members that overlap, lie outside the file, have one name or a name that is not ASCII, are
            compressed by another method than deflate, or would decompress to far more than the file.
    """
    end = mapped.rfind(b"PK\5\6", max(0, len(mapped) - _END.size - _MAX_COMMENT))
    if end < 0:
        raise ParityError("the archive has no end: the file is cut off")
    *_, count, size, offset, length = _END.unpack_from(mapped, end)
    comment = mapped[end + _END.size : end + _END.size + length]
    if end >= _LOCATOR.size and mapped[end - _LOCATOR.size : end].startswith(b"PK\6\7"):
        _, _, end, _ = _LOCATOR.unpack_from(mapped, end - _LOCATOR.size)
        *_, count, size, offset = _END64.unpack_from(mapped, end)
    limits.check_count(count, _BESIDES)
    budget.take(_MEMBER * count)
    budget.step(_MEMBER_STEPS * count)
    if size > limits.MAX_HEADER or offset + size > end:
        raise ParityError(f"the archive's index of {size} bytes at {offset} cannot be")
    found: dict[str, Member] = {}
    position = offset
    for _ in range(count):
        member, position = _member(mapped, position, offset)
        if member.name in found:
            raise ParityError(f"{member.name} is in the archive twice")
        found[member.name] = member
    _check_layout(list(found.values()))
    return found, comment


def add(archive: ZipFile, name: str, size: int) -> IO[bytes]:
    """A stream for a new member of `size` bytes, stored as they are."""
    info = ZipInfo(name)  # of 1980, so that equal weights make equal files
    info.compress_type = ZIP_STORED
    info.file_size = size
    return archive.open(info, "w", force_zip64=size >= 1 << 31)


def _member(mapped: mmap, position: int, index: int) -> tuple[Member, int]:
    """The member whose entry in the index is at `position`, and the position of the next entry."""
    fields = _ENTRY.unpack_from(mapped, position)
    magic, flags, method, crc, stored, size = (fields[0], fields[3], fields[4], *fields[7:10])
    name_length, extra_length, comment_length, offset = (*fields[10:13], fields[16])
    if magic != b"PK\1\2":
        raise ParityError("the archive's index is damaged")
    name_end = position + _ENTRY.size + name_length
    name = limits.check_name(mapped[position + _ENTRY.size : name_end].decode("ascii"))
    extra = mapped[name_end : name_end + extra_length]
    size, stored, offset = _wide(extra, (size, stored, offset))
    if flags & 1 or method not in (0, 8):
        raise ParityError(f"{name} must be stored or deflated, and not encrypted")
    if offset + _LOCAL.size > index:
        raise ParityError(f"{name} lies outside the archive")
    local = _LOCAL.unpack_from(mapped, offset)
    start = offset + _LOCAL.size + local[9] + local[10]
    if local[0] != b"PK\3\4" or start + stored > index or (method == 0 and stored != size):
        raise ParityError(f"{name} lies outside the archive")
    member = Member(name, start, stored, size, method == 8, crc)
    return member, name_end + extra_length + comment_length


def _wide(extra: bytes, values: tuple[int, ...]) -> tuple[int, ...]:
    """The values, those that 32 bits cannot hold taken from the zip64 field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return tuple(next(wide, value) if value == 0xFFFFFFFF else value for value in values)
        position += 4 + length
    return values


def _check_layout(found: list[Member]) -> None:
    position = 0
    for member in sorted(found, key=lambda member: member.start):
        if member.start < position:
            raise ParityError(f"{member.name} overlaps another member of the archive")
        position = member.start + member.stored
