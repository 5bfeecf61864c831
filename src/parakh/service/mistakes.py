"""Events on which deciding failed by a mistake of ours, known to the next start: a retry must not end it for ever.

Such a mistake ends the process, since the engine may hold then what the log does not. Which event of a micro-batch is
to blame is not known: so each of them is decided alone after the start, and one that fails alone again is refused from
the start after that on. Kept are SHA-256 sums of bodies in their stored form, never a body. Another version of Parakh
begins with none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from parakh import __version__
from parakh.service.desk import Item
from parakh.service.logs import get_log
from parakh.service.problems import Problem, problem

__all__ = ["MOST", "Mistakes"]

MOST: Final = 1_000
"""Sums that are kept: those of refused events, then the newest."""

_log = get_log("mistakes")


class _File(msgspec.Struct):
    version: str
    suspected: list[str]
    refused: list[str]


class Mistakes:
    """The sums of a data directory, in a file at `path`; without one they last as long as the process.

    `known` is empty where nothing is to be looked at; `on_refused` is called with each event that is refused.
    """

    __slots__ = ("_path", "_version", "known", "on_refused")

    def __init__(self, path: Path | None = None, *, version: str = __version__) -> None:
        self._path = path
        self._version = version
        self.known: dict[str, bool] = {}
        """Whether an event is refused, by its sum; else it is decided alone."""
        self.on_refused: Callable[[Item], object] | None = None
        if path is not None and path.exists():
            self._read(path)

    def apart(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """What may be decided together, in order: a suspected event alone. Those that are refused get their answer
        here, and are not among it.
        """
        together: list[Item] = []
        for item in items:
            sum = _sum(item)
            is_refused = self.known.get(sum)
            if is_refused is None:
                together.append(item)
                continue
            if together:
                yield together
                together = []
            if is_refused:
                self._refuse(item, sum)
            else:
                yield (item,)
        if together:
            yield together

    def decided(self, items: Sequence[Item]) -> None:
        """Deciding held: a suspected event that was alone is none any more."""
        if len(items) == 1 and self.known.pop(_sum(items[0]), None) is not None and not self.known:
            self._remove()

    def failed(self, items: Sequence[Item]) -> None:
        """Deciding failed; kept on disk before this returns, unless the disk does not take it."""
        sums = dict.fromkeys(_sum(item) for item in items)
        if len(sums) == 1 and (alone := next(iter(sums))) in self.known:
            self.known[alone] = True
            _log.error("event_fails_alone", hash=alone)
        else:
            self.known.update({sum: self.known.get(sum, False) for sum in sums})
        refused = [sum for sum, is_refused in self.known.items() if is_refused][-MOST:]
        suspected = [sum for sum, is_refused in self.known.items() if not is_refused]
        suspected = suspected[max(0, len(suspected) + len(refused) - MOST) :]
        self.known = dict.fromkeys(refused, True) | dict.fromkeys(suspected, False)
        if self._path is not None:
            try:
                _write(self._path, msgspec.json.encode(_File(self._version, suspected, refused)))
            except OSError as error:
                _log.failed("mistakes_not_kept", error)

    def _refuse(self, item: Item, sum: str) -> None:
        item.answer = self._refusal()
        _log.warning("event_refused", hash=sum, reason="internal")
        if self.on_refused is not None:
            self.on_refused(item)

    def _refusal(self) -> Problem:
        return problem(
            "internal",
            f"deciding on this event fails by a mistake of parakh {self._version}; it is not tried again",
            hint="report it; another version of parakh tries again, since an upgrade clears the list of such events",
        )

    def _read(self, path: Path) -> None:
        try:
            read = msgspec.json.decode(path.read_bytes(), type=_File)
        except (OSError, ValueError) as error:
            _log.failed("mistakes_unreadable", error, file=path)
            return
        if read.version != self._version:
            _log.info("mistakes_cleared", count=len(read.suspected) + len(read.refused))
            self._remove()
            return
        self.known = dict.fromkeys(read.refused, True) | dict.fromkeys(read.suspected, False)
        _log.warning("mistakes_known", count=len(read.suspected), refused=len(read.refused))

    def _remove(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _sum(item: Item) -> str:
    return sha256(item.body).hexdigest()


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
