"""Byte streams of sources: plain files, gzip and standard input, read in blocks.

A compressed file that breaks off gives all that could be read, then an InputError: nothing is lost in silence.
"""

from __future__ import annotations

import io
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from parakh.errors import InputError

__all__ = ["STANDARD_INPUT", "Blocks", "open_blocks"]

STANDARD_INPUT = "-"
_GZIP = b"\x1f\x8b"


class Blocks(Protocol):
    """A stream of bytes; `consumed` is how many bytes of the file were read so far, for progress."""

    consumed: int

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end. Raises InputError where the stream is broken."""
        ...

    def close(self) -> None: ...


class _Plain:
    def __init__(self, file: BinaryIO, name: str, begun: bytes) -> None:
        self._file = file
        self._name = name
        self._begun = begun
        self.consumed = 0

    def read(self, size: int) -> bytes:
        if self._begun:
            block, self._begun = self._begun, b""
        else:
            block = _read(self._file, self._name, size)
        self.consumed += len(block)
        return block

    def close(self) -> None:
        if not _is_standard_input(self._file):
            self._file.close()


class _Gunzip:
    """Gzip of one or several members. Python's own reader throws away what it read before the break."""

    def __init__(self, file: BinaryIO, name: str, begun: bytes) -> None:
        self._file = file
        self._name = name
        self._input = begun
        self._member = zlib.decompressobj(wbits=31)
        self._fresh = True
        self.consumed = len(begun)

    def read(self, size: int) -> bytes:
        while True:
            if not self._input:
                self._input = _read(self._file, self._name, size)
                self.consumed += len(self._input)
                if not self._input:
                    if self._fresh:
                        return b""
                    raise InputError(f"{self._name}: the gzip file is cut off; what stood before the cut was read")
            if self._fresh and not self._input.strip(b"\0"):
                self._input = b""  # padding after the last member
                continue
            try:
                block = self._member.decompress(self._input, size)
            except zlib.error as error:
                raise InputError(f"{self._name}: the gzip file is damaged ({error})") from None
            self._fresh = False
            self._input = self._member.unconsumed_tail
            if self._member.eof:
                self._input = self._member.unused_data
                self._member = zlib.decompressobj(wbits=31)
                self._fresh = True
            if block:
                return block

    def close(self) -> None:
        if not _is_standard_input(self._file):
            self._file.close()


def open_blocks(path: str) -> Blocks:
    """Open a file or standard input (`-`); gzip is told by its first bytes, whatever the name."""
    name = "standard input" if path == STANDARD_INPUT else path
    if path == STANDARD_INPUT:
        if sys.stdin is None:  # as under a service manager, or after `<&-`
            raise InputError("standard input is closed; name a file, or send events into the command")
        file: BinaryIO = sys.stdin.buffer
    else:
        try:
            file = io.FileIO(Path(path))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
    begun = b""
    while len(begun) < 2:
        more = _read(file, name, 2 - len(begun))
        if not more:
            break
        begun += more
    return _Gunzip(file, name, begun) if begun == _GZIP else _Plain(file, name, begun)


def _is_standard_input(file: BinaryIO) -> bool:
    return sys.stdin is not None and file is sys.stdin.buffer


def _read(file: BinaryIO, name: str, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
