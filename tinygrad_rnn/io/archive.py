"""NumPy's archives as `save` writes them, read without trust: what is not as written there is refused, before
memory is taken for it.

An archive is a zip file without compression: members one after the other, each an array in NumPy's format
(a header in words, then the elements), then a directory of them. So no member is longer than what the file
has for it, and an array is read into its own memory: as much as the file is long in all, and no more.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_END = struct.Struct("<4s4H2IH")  # the end of a zip file, and what stands before it in one of more than 2 GB
_LARGE_PLACE = struct.Struct("<4sIQI")
_LARGE_END = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")  # of the directory
_LOCAL = struct.Struct("<4s5H3I2H")  # before each member
_FULL = 0xFFFFFFFF  # in place of a number that stands in an entry's extra field
_PIECE = 1 << 20
_MAX_AXES = 64
_HEADER = re.compile(
    rb"\{'descr': '([<|](?:b1|[iu][1248]|f(?:2|4|8|12|16)))', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,19}, ?)*\d{0,19})\), \} *\n"
)


class Damaged(Exception):
    """What is wrong with a file, as the end of a sentence."""


class Member(NamedTuple):
    """A part of an archive: where it begins, how long it is, and the check sum of its bytes."""

    start: int
    size: int
    crc: int


class Archive:
    """The members of a file by name, without ".npy"."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.length = file, file.seek(0, os.SEEK_END)
        self.members: dict[str, Member] = {}
        entries, start = directory(file)
        at = 0
        for entry in entries:
            if entry.flags & 1:
                raise Damaged(f"its member {entry.name!r} is encrypted")
            if entry.method or entry.size != entry.packed:
                raise Damaged(f"its member {entry.name!r} is compressed")
            name, ending = entry.name[:-4], entry.name[-4:]
            if ending != ".npy" or not (name == "structure" or re.fullmatch(r"array\d{1,9}", name)):
                raise Damaged(f"it has a member {entry.name!r}")
            if name in self.members:
                raise Damaged(f"it has two members {entry.name!r}")
            if entry.offset != at:
                raise Damaged(f"its member {entry.name!r} does not follow the one before it")
            begin = self._begin(entry)
            at = begin + entry.size
            self.members[name] = Member(begin, entry.size, entry.crc)
        if at != start:
            raise Damaged("its directory does not follow its last member")

    def _begin(self, entry: _Entry) -> int:
        """Where the bytes of a member begin: behind a header of their own."""
        self.file.seek(entry.offset)
        fields = _unpacked(_LOCAL, self.file.read(_LOCAL.size))
        if fields[:1] + fields[2:4] != (b"PK\3\4", entry.flags, 0):
            raise Damaged(f"its member {entry.name!r} has no header")
        length, extra = fields[-2:]
        if self.file.read(length) != entry.name.encode():
            raise Damaged(f"its member {entry.name!r} is another in its header")
        begin = entry.offset + _LOCAL.size + length + extra
        if begin + entry.size > self.length:
            raise Damaged(f"its member {entry.name!r} is longer than the file")
        return begin

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """The array of a member, which is its own memory."""
        member = self.members[name]
        self.file.seek(member.start)
        words = self._header(name, member)
        kind, shape, by_columns = _described(name, words)
        size = math.prod(shape) * kind.itemsize
        if size != member.size - len(words):
            raise Damaged(f"{name} has {member.size - len(words)} bytes for an array of {size}")
        try:
            array = np.empty(shape, kind, order="F" if by_columns else "C")
        except ValueError:  # an array of nothing whose axes are beyond what NumPy counts
            raise Damaged(f"{name} is of shape {shape}") from None
        crc = zlib.crc32(words)
        if size:
            flat: Any = array.reshape(-1, order="A").view(np.uint8)
            for start in range(0, size, _PIECE):
                piece = flat[start : start + _PIECE]
                if self.file.readinto(piece) != len(piece):  # type: ignore[attr-defined]
                    raise Damaged(f"{name} is cut short")
                crc = zlib.crc32(piece, crc)
        if crc != member.crc:
            raise Damaged(f"the check sum of {name} is another")
        return array

    def _header(self, name: str, member: Member) -> bytes:
        start = self.file.read(min(10, member.size))
        if start[:8] != b"\x93NUMPY\x01\x00" or len(start) < 10:
            raise Damaged(f"{name} is no array")
        length = int.from_bytes(start[8:], "little")
        if 10 + length > member.size:
            raise Damaged(f"{name} is no array")
        return start + self.file.read(length)


def _described(name: str, words: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """What the header of an array says: type, shape, and whether it lies by columns."""
    found = _HEADER.fullmatch(words, 10)
    if found is None:
        raise Damaged(f"{name} is not described as an array of numbers")
    code, by_columns, numbers = (part.decode() for part in found.groups())
    shape = tuple(int(number) for number in numbers.replace(" ", "").split(",") if number)
    try:
        kind = np.dtype(code)
    except TypeError:
        raise Damaged(f"{name} is of type {code}, which this machine does not have") from None
    if len(shape) > _MAX_AXES:
        raise Damaged(f"{name} has {len(shape)} axes")
    return kind, shape, by_columns == "True"


class _Entry(NamedTuple):
    """What the directory says of a member."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def directory(file: BinaryIO) -> tuple[Iterator[_Entry], int]:
    """The entries of a zip file's directory, one after the other, and where it begins. Raises Damaged."""
    length = file.seek(0, os.SEEK_END)
    count, size, start, end = _bounds(file, length)
    if start + size != end:
        raise Damaged("its directory is not where its end says")
    return _entries(file, count, start, size), start


def _bounds(file: BinaryIO, length: int) -> tuple[int, int, int, int]:
    """Of the directory: the number of entries, bytes, where it begins, and where what follows it does."""
    end = length - _END.size
    if end < 0:
        raise Damaged("it is cut short")
    file.seek(end)
    mark, disk, first, here, count, size, start, comment = _unpacked(_END, file.read(_END.size))
    if mark != b"PK\5\6" or comment or disk or first or here != count:
        raise Damaged("it is cut short")
    file.seek(max(0, end - _LARGE_PLACE.size))
    mark, _, large, _ = _unpacked(_LARGE_PLACE, file.read(_LARGE_PLACE.size))
    if mark != b"PK\6\7":
        return count, size, start, end
    end = large
    if end > length:
        raise Damaged("its end is damaged")
    file.seek(end)
    mark, *_, count, size, start = _unpacked(_LARGE_END, file.read(_LARGE_END.size))
    if mark != b"PK\6\6":
        raise Damaged("its end is damaged")
    return count, size, start, end


def _entries(file: BinaryIO, count: int, at: int, left: int) -> Iterator[_Entry]:
    for _ in range(count):
        file.seek(at)
        mark, *fields = _unpacked(_ENTRY, file.read(_ENTRY.size))
        _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, offset = fields
        used = _ENTRY.size + sum(lengths)
        left -= used
        if mark != b"PK\1\2" or left < 0:
            raise Damaged("its directory is damaged")
        name, extra = file.read(lengths[0]), file.read(lengths[1])
        numbers = [size, packed, offset]
        if _FULL in numbers:
            _fill(numbers, extra)
        try:
            yield _Entry(name.decode(), flags, method, crc, numbers[1], numbers[0], numbers[2])
        except UnicodeDecodeError:
            raise Damaged("its directory is damaged") from None
        at += used
    if left:
        raise Damaged("its directory is longer than its entries")


def _fill(numbers: list[int], extra: bytes) -> None:
    """The numbers that stand in an extra field, because they are large."""
    n = numbers.count(_FULL)
    if extra[:4] != struct.pack("<2H", 1, 8 * n) or len(extra) < 4 + 8 * n:
        raise Damaged("its directory is damaged")
    large = iter(struct.unpack_from(f"<{n}Q", extra, 4))
    numbers[:] = [next(large) if number == _FULL else number for number in numbers]


def _unpacked(form: struct.Struct, data: bytes) -> tuple[Any, ...]:
    if len(data) != form.size:
        raise Damaged("it is cut short")
    return form.unpack(data)
