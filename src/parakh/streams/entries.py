"""What the log's entries say: events with their decisions, labels, a project's version, a trim, alarms.

Everything that decides is one of these, in the order in which it does; alarms decide nothing. Payloads are
MessagePack; what there is of each event of a batch stands in columns, so that a million events are read back without a
Python object for each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.errors import ParakhError

__all__ = [
    "ALARMS", "EVENTS", "LABELS", "PROJECT", "TRIM", "UNDECIDED", "WINDOWS", "Alarms", "EventColumns", "Events",
    "Labels", "ProjectVersion", "Trim", "UnknownEntry", "encode_events", "expect_known", "lengths_of",
    "read_alarms", "read_columns", "read_events", "read_labels", "read_project", "read_trim", "spans",
]  # fmt: skip

EVENTS, LABELS, PROJECT, TRIM, ALARMS = 1, 2, 3, 4, 5
_KINDS = frozenset((EVENTS, LABELS, PROJECT, TRIM, ALARMS))
WINDOWS = "~windows"
"""Stands among what was `unanswered` where there was no room for windows: when that is so depends on the process."""
UNDECIDED = -1
"""The outcome of an event that was taken in and not decided."""


class UnknownEntry(ParakhError):
    """An entry of a kind that this version of Parakh does not know: what it does to the state cannot be said."""


def expect_known(kind: int, position: int) -> None:
    """Raise UnknownEntry where a kind of entry is none of these."""
    if kind not in _KINDS:
        raise UnknownEntry(
            f"the entry of the log at position {position:,} is of kind {kind}, which this version of Parakh does not "
            "know: a newer one wrote it, and can read it (hint: start that one again)"
        )


Column = bytes | memoryview


class EventColumns(msgspec.Struct, array_like=True, gc=False):
    """A micro-batch as it is written: the columns of `Events` as bytes. Cheap to read, where many are put together."""

    project: str
    types: tuple[str, ...]
    unanswered: tuple[str, ...]
    kinds: bytes
    body_lengths: bytes
    record_lengths: bytes
    id_hi: bytes
    id_lo: bytes
    times_us: bytes
    outcomes: bytes
    bodies: bytes
    records: bytes


_encode = msgspec.msgpack.Encoder().encode
_batch_decoder = msgspec.msgpack.Decoder(EventColumns)


@dataclass(frozen=True, slots=True)
class Events:
    """A micro-batch of accepted events in log order, and what was decided on them by one version of a project.

    types: names of event types. kinds: uint8[n], index into them. id_hi, id_lo: uint64[n]. times_us: int64[n], event
    time. outcomes: int8[n], UNDECIDED where the event was only taken in. unanswered: models that gave no score in
    time, and WINDOWS where it was decided without.
    """

    project: str
    types: tuple[str, ...]
    unanswered: tuple[str, ...]
    kinds: NDArray[np.uint8]
    id_hi: NDArray[np.uint64]
    id_lo: NDArray[np.uint64]
    times_us: NDArray[np.int64]
    outcomes: NDArray[np.int8]
    body_lengths: NDArray[np.uint32]
    record_lengths: NDArray[np.uint32]
    bodies: bytes
    records: bytes

    @property
    def count(self) -> int:
        return int(self.kinds.shape[0])

    def body(self, index: int) -> memoryview:
        """The stored body of an event, one JSON object."""
        start = int(self.body_lengths[:index].sum())
        return memoryview(self.bodies)[start : start + int(self.body_lengths[index])]

    def record(self, index: int) -> memoryview | None:
        """The record of the decision on an event; None where it was not decided."""
        length = int(self.record_lengths[index])
        if length == 0:
            return None
        start = int(self.record_lengths[:index].sum())
        return memoryview(self.records)[start : start + length]

    def all_bodies(self) -> Iterator[memoryview]:
        """The stored bodies one after another."""
        return spans(self.bodies, self.body_lengths)

    def all_records(self) -> Iterator[memoryview | None]:
        """The records one after another, None where there is none."""
        return (record or None for record in spans(self.records, self.record_lengths))

    def find(self, id_hi: int, id_lo: int) -> int:
        """The index of the event with this id; -1 where it is not here."""
        found = np.flatnonzero((self.id_lo == np.uint64(id_lo)) & (self.id_hi == np.uint64(id_hi)))
        return int(found[0]) if found.size else -1

    def encode(self) -> bytes:
        """The payload of the entry."""
        return encode_events(
            self.project,
            self.types,
            self.unanswered,
            kinds=self.kinds.tobytes(),
            body_lengths=self.body_lengths.tobytes(),
            record_lengths=self.record_lengths.tobytes(),
            id_hi=self.id_hi.tobytes(),
            id_lo=self.id_lo.tobytes(),
            times_us=self.times_us.tobytes(),
            outcomes=self.outcomes.tobytes(),
            bodies=self.bodies,
            records=self.records,
        )


def encode_events(
    project: str,
    types: tuple[str, ...],
    unanswered: tuple[str, ...],
    *,
    kinds: Column,
    body_lengths: Column,
    record_lengths: Column,
    id_hi: Column,
    id_lo: Column,
    times_us: Column,
    outcomes: Column,
    bodies: Column,
    records: Column,
) -> bytes:
    """The payload of an EVENTS entry from columns that are bytes already; what they hold is said at `Events`."""
    columns: Any = (kinds, body_lengths, record_lengths, id_hi, id_lo, times_us, outcomes, bodies, records)
    return _encode(EventColumns(project, types, unanswered, *columns))


def read_columns(payload: memoryview | bytes) -> EventColumns:
    """The micro-batch of an EVENTS entry, as it is written."""
    return _batch_decoder.decode(payload)


def read_events(payload: memoryview | bytes) -> Events:
    """The micro-batch of an EVENTS entry."""
    batch = read_columns(payload)
    return Events(
        project=batch.project,
        types=batch.types,
        unanswered=batch.unanswered,
        kinds=np.frombuffer(batch.kinds, np.uint8),
        id_hi=np.frombuffer(batch.id_hi, np.uint64),
        id_lo=np.frombuffer(batch.id_lo, np.uint64),
        times_us=np.frombuffer(batch.times_us, np.int64),
        outcomes=np.frombuffer(batch.outcomes, np.int8),
        body_lengths=np.frombuffer(batch.body_lengths, np.uint32),
        record_lengths=np.frombuffer(batch.record_lengths, np.uint32),
        bodies=batch.bodies,
        records=batch.records,
    )


def spans(data: bytes, lengths: NDArray[np.uint32]) -> Iterator[memoryview]:
    """What follows one another in some bytes, by the length of each."""
    view = memoryview(data)
    end = 0
    for length in lengths.tolist():
        yield view[end : end + length]
        end += length


class Labels(msgspec.Struct, array_like=True, frozen=True):
    """Labels as lines of JSON, each with its known_at, under one version of a project."""

    project: str
    lines: bytes
    count: int

    def encode(self) -> bytes:
        return _encode(self)


class ProjectVersion(msgspec.Struct, array_like=True, frozen=True):
    """A version of the project that decides from this entry on: all its files, so that the log needs nothing else.

    `rebuilt` says that its windows are not those that the version before kept: they are what they would be had this
    version stood here from the beginning of the log. `who` and `why` are for people.
    """

    hash: str
    name: str
    files: bytes
    rebuilt: bool
    who: str
    why: str = ""

    @classmethod
    def of(
        cls, hash: str, name: str, files: Mapping[str, bytes], *, rebuilt: bool, who: str, why: str = ""
    ) -> ProjectVersion:
        packed = zlib.compress(_encode(dict(sorted(files.items()))), 6)
        return cls(hash, name, packed, rebuilt, who, why)

    def contents(self) -> dict[str, bytes]:
        """The files of the project's folder, by their paths in it."""
        return msgspec.msgpack.decode(zlib.decompress(self.files), type=dict[str, bytes])

    def encode(self) -> bytes:
        return _encode(self)


class Trim(msgspec.Struct, array_like=True, frozen=True):
    """Ids of events whose entries stand before `position` are forgotten, and the log before it may be removed."""

    position: int

    def encode(self) -> bytes:
        return _encode(self)


class Alarms(msgspec.Struct, array_like=True, frozen=True):
    """Alarms, one JSON object each, and who posted them. They change no state and no decision."""

    alarms: tuple[bytes, ...]
    who: str = ""

    def encode(self) -> bytes:
        return _encode(self)


def read_labels(payload: memoryview | bytes) -> Labels:
    """The labels of a LABELS entry."""
    return msgspec.msgpack.decode(payload, type=Labels)


def read_project(payload: memoryview | bytes) -> ProjectVersion:
    """The version of a PROJECT entry."""
    return msgspec.msgpack.decode(payload, type=ProjectVersion)


def read_alarms(payload: memoryview | bytes) -> Alarms:
    """The alarms of an ALARMS entry."""
    return msgspec.msgpack.decode(payload, type=Alarms)


def read_trim(payload: memoryview | bytes) -> Trim:
    """The trim of a TRIM entry."""
    return msgspec.msgpack.decode(payload, type=Trim)


def lengths_of(items: Sequence[bytes]) -> NDArray[np.uint32]:
    """The lengths of some bytes, as `Events` has them."""
    return np.fromiter(map(len, items), np.uint32, len(items))
