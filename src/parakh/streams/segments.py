"""The log's files: what one entry looks like on disk, and how a file of them is read, checked and cut.

A segment file is a header of 64 bytes and then frames, zeros behind the last. A frame is a header of 40 bytes, the
payload and zeros up to a multiple of 8:

    magic u32 | crc u32 | position u64 | durable u64 | arrived_us i64 | length u32 | kind u32 | payload

`position` is where the frame stands in the whole log (bytes of frames before it), so that a frame that was moved is
seen to be none. `durable` is how much of the log was known to be on disk when the frame was made: a later frame that
says so tells a damaged entry, which was acknowledged, from a torn end, which never was.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from parakh.errors import ParakhError

__all__ = [
    "FRAME",
    "HEADER",
    "DamagedLog",
    "Entry",
    "Scan",
    "check_header",
    "frame",
    "frame_size",
    "read_frame",
    "scan",
    "segment_header",
    "segment_name",
    "segment_start",
    "wanted_size",
]  # fmt: skip

HEADER = 64
_SEGMENT = struct.Struct("<8sIIQ")
_SEGMENT_MAGIC = b"PARAKHLG"
_FORMAT = 1
_FRAME = struct.Struct("<IIQQqII")
FRAME = _FRAME.size
_MAGIC = 0x474F4C50
_MAGIC_BYTES = _MAGIC.to_bytes(4, "little")
_MOST = 1 << 30


class DamagedLog(ParakhError):
    """The log on disk is not what was acknowledged: nothing is cut, and nothing starts on it."""


class Entry(NamedTuple):
    """An entry of the log. `position` is where it stands, `next` where the following one does."""

    position: int
    next: int
    kind: int
    arrived_us: int
    durable: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Scan:
    """What a segment holds: whole frames up to `end` (a position); what follows there is `torn` or only zeros."""

    end: int
    entries: int
    torn: bool


def segment_name(start: int) -> str:
    """The file of the segment whose first entry stands at `start`."""
    return f"{start:020d}.log"


def segment_start(path: Path) -> int:
    """The position that a segment's name gives."""
    return int(path.name.removesuffix(".log"))


def segment_header(start: int) -> bytes:
    """The first bytes of a segment."""
    fixed = _SEGMENT.pack(_SEGMENT_MAGIC, _FORMAT, 0, start)
    return (fixed + struct.pack("<I", zlib.crc32(fixed))).ljust(HEADER, b"\0")


def frame_size(length: int) -> int:
    """The bytes of a frame whose payload has `length`.

    >>> frame_size(0), frame_size(1), frame_size(8)
    (40, 48, 48)
    """
    return FRAME + (length + 7 & ~7)


def frame(kind: int, payload: bytes, *, position: int, durable: int, arrived_us: int) -> bytes:
    """An entry as it stands on disk.

    >>> data = frame(1, b"hello", position=0, durable=0, arrived_us=7)
    >>> bytes(read_frame(memoryview(data), 0, 0).payload)
    b'hello'
    """
    length = len(payload)
    if length > _MOST:
        raise ValueError(f"an entry of {length:,} bytes; at most {_MOST:,}")
    padded = payload + bytes(-length & 7)
    head = _FRAME.pack(_MAGIC, 0, position, durable, arrived_us, length, kind)
    crc = zlib.crc32(padded, zlib.crc32(head[8:]))
    return head[:4] + crc.to_bytes(4, "little") + head[8:] + padded


def read_frame(data: memoryview, offset: int, position: int) -> Entry | None:
    """The entry at `offset` of some bytes, which must be the one at `position` of the log; None where none stands."""
    if offset + FRAME > len(data):
        return None
    magic, crc, at, durable, arrived_us, length, kind = _FRAME.unpack_from(data, offset)
    if magic != _MAGIC or at != position or length > _MOST:
        return None
    size = frame_size(length)
    if offset + size > len(data) or crc != zlib.crc32(data[offset + 8 : offset + size]):
        return None
    payload = data[offset + FRAME : offset + FRAME + length]
    return Entry(position, position + size, kind, arrived_us, durable, payload)


def wanted_size(data: memoryview, offset: int) -> int:
    """How many bytes the frame at `offset` says it has; 0 where its header is not whole."""
    if offset + FRAME > len(data):
        return 0
    fields = _FRAME.unpack_from(data, offset)
    return frame_size(fields[5]) if fields[0] == _MAGIC and fields[5] <= _MOST else 0


def check_header(data: memoryview, start: int, name: str) -> None:
    """Raises DamagedLog where a segment does not begin as it must."""
    if bytes(data[:HEADER]) != segment_header(start):
        raise DamagedLog(f"{name}: the header of this segment is damaged; restore the log from a backup")


def scan(data: memoryview, start: int, name: str, *, acknowledged: int, last: bool) -> Scan:
    """All frames of a segment, each checked; `acknowledged` is up to where the log is known to have been on disk.

    Only the `last` segment may have a torn end. Raises DamagedLog where what is broken was acknowledged.
    """
    check_header(data, start, name)
    position, entries = start, 0
    while (entry := read_frame(data, HEADER + position - start, position)) is not None:
        position = entry.next
        entries += 1
    rest = bytes(data[HEADER + position - start :])
    if rest.count(0) == len(rest):
        if position < acknowledged and last:
            raise DamagedLog(
                f"{name}: the log ends at {position:,}, but was acknowledged up to {acknowledged:,}: "
                "its end is missing; restore it from a backup"
            )
        return Scan(position, entries, torn=False)
    follower = _follower(data, start, position)
    if not last or position < acknowledged or follower > position:
        raise DamagedLog(
            f"{name}: the entry at position {position:,} (byte {HEADER + position - start:,} of the file) is damaged, "
            "and it was acknowledged; restore the log from a backup"
        )
    return Scan(position, entries, torn=True)


def _follower(data: memoryview, start: int, broken: int) -> int:
    """The most that any whole frame behind a broken one says was on disk; 0 where there is none."""
    found = 0
    content = bytes(data[HEADER + broken - start :])
    at = content.find(_MAGIC_BYTES, 1)
    while at >= 0:
        if at % 8 == 0:
            entry = read_frame(data, HEADER + broken - start + at, broken + at)
            if entry is not None:
                found = max(found, entry.durable)
        at = content.find(_MAGIC_BYTES, at + 1)
    return found
