"""Where events and labels go that cannot be taken: each is counted by its reason, and its bytes are kept outside.

Memory is bounded: the counts are one number a reason, and everything else is written out at once.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from parakh.errors import InputError
from parakh.events.reasons import Reason

__all__ = ["Quarantine"]

_encode = msgspec.json.Encoder().encode
_MOST_BYTES = 1 << 16


class Quarantine:
    """Counts what is refused and writes one JSON line for each: reason, field, event_type, source, line, raw.

    `sink` takes each line with its break; `raw` is text, or `raw_base64` where the bytes are not UTF-8. Beyond 64 KB
    the bytes are cut, and `cut_bytes` says how many are missing.

    >>> lines = []
    >>> quarantine = Quarantine(lines.append)
    >>> quarantine.add(Reason.WRONG_TYPE, field="amount", source="payment.ndjson", line=7, raw=b'{"amount": "x"}')
    >>> quarantine.total, quarantine.counts
    (1, {'wrong_type': 1})
    """

    def __init__(self, sink: Callable[[bytes], object] | None = None) -> None:
        self._sink = sink
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._counts: Counter[Reason] = Counter()

    @classmethod
    def to_file(cls, path: Path) -> Quarantine:
        """A quarantine that writes to a file, which is only made if something is refused; use it as a context.

        What an earlier run left under that name is removed.
        """
        self = cls()
        self._path = path
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot write the quarantine to {path}: {error.strerror}") from None
        self._sink = self._write
        return self

    def add(
        self,
        reason: Reason,
        *,
        raw: bytes,
        field: str = "",
        event_type: str = "",
        source: str = "",
        line: int | None = None,
        beyond: int = 0,
    ) -> None:
        """Keep one record that is refused; `beyond` is how many of its bytes are missing in `raw` already."""
        self._counts[reason] += 1
        if self._sink is None:
            return
        record: dict[str, object] = {"reason": reason.code, "text": reason.text}
        if field:
            record["field"] = field
        if event_type:
            record["event_type"] = event_type
        if source:
            record["source"] = source
        if line is not None:
            record["line"] = line
        if len(raw) + beyond > _MOST_BYTES:
            record["cut_bytes"] = len(raw) + beyond - min(len(raw), _MOST_BYTES)
            raw = raw[:_MOST_BYTES]
        try:
            record["raw"] = raw.decode()
        except UnicodeDecodeError:
            record["raw_base64"] = base64.b64encode(raw).decode()
        self._sink(_encode(record) + b"\n")

    @property
    def total(self) -> int:
        """How many were refused."""
        return self._counts.total()

    @property
    def counts(self) -> dict[str, int]:
        """How many were refused for each reason, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return {reason.code: number for reason, number in ordered}

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        assert self._path is not None, "only a quarantine of a file writes to one"
        try:
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.write(line)
        except OSError as error:
            raise InputError(f"cannot write the quarantine to {self._path}: {error.strerror}") from None
