"""The index over the whole log: a chain of blocks without gaps, and the tail that grows behind them.

What is on disk is a convenience. A chain that does not fit the log - files gone, damaged, or made from another log - is
cut where it stops to fit, and made again from there; a block that turns out damaged when it is opened is made again
alone.
"""

from __future__ import annotations

import contextlib
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from parakh.service.ledger.block import (
    BLOCK_ROWS,
    DamagedBlock,
    Rows,
    Summary,
    Tail,
    Taken,
    read_header,
    read_rows,
    write_block,
)
from parakh.service.ledger.keys import KeyReaders
from parakh.service.logs import get_log
from parakh.streams.entries import EVENTS, read_columns
from parakh.streams.segments import DamagedLog, Entry

__all__ = ["Block", "Index", "Log"]

_MOST_OPEN = 128
_MOST_UNSAVED = 16
_REBUILD_BYTES = 1 << 20
_ONE_ENTRY = 4_096
_log = get_log("ledger")


class Log(Protocol):
    """What the ledger needs of the log."""

    @property
    def first(self) -> int: ...
    @property
    def durable(self) -> int: ...
    def read(self, position: int, limit_bytes: int = ...) -> list[Entry]: ...


class Block:
    """A whole stretch of the log that stands in a file, or in memory where it could not be written."""

    __slots__ = ("path", "rows", "summary", "verified")

    def __init__(self, path: Path, summary: Summary, *, verified: bool, rows: Rows | None = None) -> None:
        self.path = path
        self.summary = summary
        self.verified = verified
        self.rows = rows


class Index:
    """The chain of blocks and the tail. `load` may be called in any thread; all else is for one."""

    def __init__(self, folder: Path, log: Log, readers: KeyReaders, *, block_rows: int = BLOCK_ROWS) -> None:
        self._folder = folder
        self._log = log
        self._readers = readers
        self._block_rows = block_rows
        self._open: OrderedDict[Path, Block] = OrderedDict()
        self.arrived_us: int | None = None
        """When the newest entry that was taken in had arrived; None before there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob("*.new"):
            partial.unlink()
        self.blocks = self._found()
        self.first = log.first
        self.tail = Tail(self.blocks[-1].summary.next if self.blocks else log.first, readers)
        if self.blocks:
            self.arrived_us = self.blocks[-1].summary.arrived[1]

    @property
    def position(self) -> int:
        """How far the log is in the index."""
        return self.tail.next

    def read(self, tail: Tail, limit_bytes: int) -> tuple[Taken, int] | None:
        """What the log has next for the tail, and when the newest of it arrived; None where it has nothing.

        For any thread. Raises IndexError where the log no longer has what is next.
        """
        entries = self._log.read(tail.next, limit_bytes)
        if not entries:
            return None
        batches = [(entry, read_columns(entry.payload)) for entry in entries if entry.kind == EVENTS]
        return tail.read(batches, entries[-1].next), entries[-1].arrived_us

    def enter(self, taken: Taken, arrived_us: int) -> None:
        """Take in what was read for the tail.

        A full tail becomes a block before: call `seal` while `must_seal`, or the tail outgrows a block.
        """
        self.tail.enter(taken)
        self.arrived_us = arrived_us

    @property
    def must_seal(self) -> bool:
        """Whether the tail is large enough for a block."""
        return self.tail.count >= self._block_rows

    def written(self, tail: Tail) -> Block:
        """The block that a tail becomes, in its file where that can be written; for any thread."""
        summary, rows = tail.whole()
        path = self._folder / f"{summary.first:020d}.idx"
        try:
            write_block(path, summary, rows)
        except OSError as error:
            _log.failed("a block of the ledger's index cannot be written", error)
            return Block(path, summary, verified=True, rows=rows)
        return Block(path, summary, verified=True)

    def seal(self, block: Block) -> None:
        """Put the block that was made of the tail in its place, and begin a new tail."""
        assert (block.summary.first, block.summary.next) == (self.tail.first, self.tail.next), "nothing came between"
        self.blocks.append(block)
        self.tail = Tail(block.summary.next, self._readers, room=self._block_rows)
        unsaved = [item for item in self.blocks if item.rows is not None]
        for item in unsaved[:-_MOST_UNSAVED]:
            item.rows = None  # made again from the log where it is asked for

    def opened(self, block: Block) -> Rows | None:
        """The columns of a block, where they are at hand."""
        if block.rows is not None:
            return block.rows
        known = self._open.get(block.path)
        if known is None or known.summary is not block.summary:
            return None
        self._open.move_to_end(block.path)
        return known.rows

    def load(self, block: Block) -> Rows:
        """The columns of a block from its file, or from the log where the file is damaged. May take its time.

        Raises IndexError where the log no longer has what is needed.
        """
        try:
            rows = read_rows(block.path, block.summary, verified=block.verified)
        except DamagedBlock:
            rows = self._rebuilt(block)
        block.verified = True
        return rows

    def keep_open(self, block: Block, rows: Rows) -> None:
        """Have the columns of a block at hand for the next who asks; a bounded number of them."""
        self._open[block.path] = Block(block.path, block.summary, verified=True, rows=rows)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)

    def forget_before(self, position: int) -> None:
        """Leave out what stands before a position of the log, which may be removed there."""
        self.first = max(self.first, position)
        while self.blocks and self.blocks[0].summary.next <= position:
            gone = self.blocks.pop(0)
            self._open.pop(gone.path, None)
            with contextlib.suppress(OSError):
                gone.path.unlink()
        if self.tail.next < position:
            self.restart(position)

    def restart(self, position: int) -> None:
        """Begin anew from a position, with nothing before it."""
        for block in self.blocks:
            with contextlib.suppress(OSError):
                block.path.unlink()
        self.blocks = []
        self._open.clear()
        self.first = position
        self.tail = Tail(position, self._readers)

    def _found(self) -> list[Block]:
        """The longest chain of files that fits the log, from its beginning on; other files are removed."""
        chain: list[Block] = []
        beginning = self._log.first
        for path in sorted(self._folder.glob("*.idx")):
            with contextlib.suppress(DamagedBlock, OSError):
                summary = read_header(path)
                follows = chain[-1].summary.next == summary.first if chain else summary.first <= beginning
                if follows and beginning < summary.next <= self._log.durable:
                    chain.append(Block(path, summary, verified=False))
                    continue
            path.unlink(missing_ok=True)
        while chain and not self._made_from_this_log(chain[-1].summary):
            chain.pop().path.unlink(missing_ok=True)
        return chain

    def _made_from_this_log(self, summary: Summary) -> bool:
        try:
            entries = self._log.read(summary.last, _ONE_ENTRY)
        except (IndexError, DamagedLog):
            return False
        return bool(entries) and zlib.crc32(entries[0].payload) == summary.last_check

    def _rebuilt(self, block: Block) -> Rows:
        summary = block.summary
        first = max(summary.first, self._log.first)
        tail = Tail(first, self._readers, room=self._block_rows)
        while tail.next < summary.next:
            entries = [entry for entry in self._log.read(tail.next, _REBUILD_BYTES) if entry.position < summary.next]
            batches = [(entry, read_columns(entry.payload)) for entry in entries if entry.kind == EVENTS]
            tail.extend(batches, entries[-1].next)
        found, rows = tail.whole()
        if first > summary.first:
            return rows  # the log was trimmed within the block: what is left of it
        assert found == summary, "the same log gives the same block"
        with contextlib.suppress(OSError):
            write_block(block.path, found, rows)
        _log.info("a block of the ledger's index was made again from the log", position=summary.first)
        return rows
