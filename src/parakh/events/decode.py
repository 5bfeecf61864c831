"""From the bytes of a source to columns: one Decoder an event type, the same words from NDJSON, CSV, Arrow and objects.

Kernels do what is plain, `parakh.events.convert` what is not; a property test holds the two equal. One bad value
quarantines its event and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.events import fields as column
from parakh.events.arrow import decode_columns
from parakh.events.convert import convert, find_path, parse_json
from parakh.events.csv_rows import Cells, decode_cells, unquoted
from parakh.events.definition import EARLIEST_US, EventType
from parakh.events.json_lines import DEEPEST, decode_json
from parakh.events.objects import encode_objects, plain_value
from parakh.events.reasons import Reason, Refused
from parakh.events.schema import ROLE_ATTACHED, ROLE_ID, ROLE_LABEL, ROLE_TIME, Schema, SchemaField, id_salt, lay_out
from parakh.expressions.columns import Layout
from parakh.expressions.kernels import kernel
from parakh.expressions.strings import Strings, hash_bytes, mix
from parakh.expressions.types import NULL_WORD, Kind

__all__ = ["FUTURE_US", "Decoded", "Decoder", "hash_id", "lay_out"]

FUTURE_US = 5 * 60_000_000
"""How far ahead of arrival an event's time may lie."""

_SMALL_BUFFER = 1 << 16
_MASK = 2**64 - 1
_Getter = Callable[[SchemaField], object]
_Slow = Callable[[int], tuple[_Getter, bool]]
"""Of a row: what gives the value of a field, and whether NaN or Infinity stood in its JSON."""


@dataclass(slots=True)
class Decoded:
    """What one call decoded; entry i of each array is the i-th row, whose words are row first_row + i of the frame.

    table: int64[fields.ROWS, count], what the kernels say of each row; the arrays below are its rows.
    problem: a Reason (0: none; then the row's words hold its values, else they are all NULL).
    id_hi, id_lo: uint64, the 128-bit hash of event type and id. times: int64, event time.
    digest: uint64, of the declared fields' values: the same body has the same digest in whatever format, order of keys
    and white space.
    id_buffer, id_starts, id_lengths: the id's text as UTF-8. labels: words of the label columns, NULL where absent.
    """

    table: npt.NDArray[np.int64]
    id_buffer: npt.NDArray[np.uint8]
    labels: dict[str, npt.NDArray[Any]]
    refused: Mapping[int, int]
    """Of rows that were refused for one field: which of `Decoder.names` it was."""
    problem: npt.NDArray[np.int64] = field(init=False)
    id_hi: npt.NDArray[np.uint64] = field(init=False)
    id_lo: npt.NDArray[np.uint64] = field(init=False)
    digest: npt.NDArray[np.uint64] = field(init=False)
    id_starts: npt.NDArray[np.int64] = field(init=False)
    id_lengths: npt.NDArray[np.int64] = field(init=False)
    times: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.problem = self.table[column.PROBLEM]
        self.id_hi, self.id_lo, self.digest = self.table[column.ID_HIGH : column.DIGEST + 1].view(np.uint64)
        self.id_starts, self.id_lengths, self.times = self.table[column.ID_START : column.TIME + 1]

    @property
    def count(self) -> int:
        return self.table.shape[1]

    @property
    def problem_field(self) -> npt.NDArray[np.int16]:
        """The field that each row was refused for, in `Decoder.names`; -1 where no one field was."""
        fields = np.full(self.count, -1, np.int16)
        for row, number in self.refused.items():
            fields[row] = number
        return fields

    def take(self, rows: npt.NDArray[np.int64]) -> Decoded:
        """Some of the rows, by number."""
        refused = {}
        if self.refused:
            refused = {at: self.refused[row] for at, row in enumerate(rows.tolist()) if row in self.refused}
        labels = {name: values[rows] for name, values in self.labels.items()}
        return Decoded(np.ascontiguousarray(self.table[:, rows]), self.id_buffer, labels, refused)

    def id_texts(self, rows: Sequence[int] | npt.NDArray[np.int64] | None = None) -> list[str]:
        """The ids of some rows (of all, unless said); "" where a row has none."""
        which = range(self.count) if rows is None else [int(row) for row in rows]
        return [
            bytes(
                self.id_buffer[self.id_starts[row] : self.id_starts[row] + max(int(self.id_lengths[row]), 0)]
            ).decode()
            for row in which
        ]


class Decoder:
    """Decodes the events of one type into a frame.

    `layout` names the slots of the fields that later stages read (see `lay_out`); a field without a slot is checked and
    is part of the digest, but goes nowhere. `parakh.expressions.types` says what the words mean.
    An event more than FUTURE_US after `started_us` (None: no bound) or before `earliest_us` is refused, and one without
    an id unless `id_optional`.

    >>> from parakh.events.definition import Field
    >>> from parakh.expressions.types import STRING, TIMESTAMP, money
    >>> payment = EventType(name="payment", id="payment_id", time="paid_at", fields=(
    ...     Field(name="payment_id", type=STRING), Field(name="paid_at", type=TIMESTAMP),
    ...     Field(name="amount", type=money("INR"))))
    >>> layout = Layout()
    >>> lay_out(payment, layout)
    >>> decoder = Decoder(payment, layout, Strings())
    >>> words = np.empty((layout.width, 8), np.int64)
    >>> events = [{"payment_id": "p1", "paid_at": "2026-01-01T10:00:00Z", "amount": 5.25}, {"payment_id": "p2"}]
    >>> decoded = decoder.decode_objects(events, words, 0)
    >>> words[layout["amount"].slot, 0].item(), [Reason(code).code for code in decoded.problem]
    (525, ['ok', 'missing_time'])
    """

    def __init__(
        self,
        event_type: EventType,
        layout: Layout,
        strings: Strings,
        *,
        started_us: int | None = None,
        earliest_us: int = EARLIEST_US,
        id_optional: bool = False,
    ) -> None:
        self.event_type = event_type
        self.strings = strings
        self.schema = Schema.compile(event_type, layout)
        self.names = tuple(item.name for item in self.schema.items)
        self.interned = sum(item.interned for item in self.schema.items)
        self._labels = tuple(
            (item.name, item.slot, item.type.is_float) for item in self.schema.items if item.role == ROLE_LABEL
        )
        self.salt = id_salt(event_type.name)
        self.meta = np.zeros(3, np.int64)
        self.meta[0] = earliest_us
        self.meta[2] = int(self.schema.has_id and not id_optional)
        self.seen = np.zeros(len(self.schema.items) + self.schema.nodes.shape[0] + 1, np.int64)
        self.stack = np.zeros(DEEPEST + 1, np.int64)
        self._ordinal = 0
        self.started_at(started_us)

    def started_at(self, started_us: int | None) -> None:
        """From now on events up to FUTURE_US after this time are taken."""
        self.meta[1] = 2**63 - 1 if started_us is None else started_us + FUTURE_US

    @property
    def ordinal(self) -> int:
        """How many rows were numbered, where the type has no id."""
        return self._ordinal

    @ordinal.setter
    def ordinal(self, rows: int) -> None:
        self._ordinal = rows

    def decode_lines(
        self,
        buffer: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        words: npt.NDArray[np.int64],
        first_row: int,
    ) -> Decoded:
        """Decode lines of JSON, spans of `buffer`, into rows of `words` from `first_row` on."""
        buffer = _writable(buffer)

        def slow(index: int) -> tuple[_Getter, bool]:
            value, constants = parse_json(bytes(buffer[starts[index] : starts[index] + lengths[index]]))
            if not isinstance(value, dict):
                raise Refused(Reason.BAD_JSON if constants else Reason.NOT_AN_OBJECT)
            return (lambda item: find_path(value, item.source, item.path)), constants

        return self._decode_lines(buffer, starts, lengths, words, first_row, slow)

    def decode_objects(
        self, objects: Sequence[Mapping[str, Any]], words: npt.NDArray[np.int64], first_row: int
    ) -> Decoded:
        """Decode Python mappings (what a notebook holds); values may be datetime, Decimal, NumPy and pandas scalars."""
        buffer, starts, lengths = encode_objects(objects)

        def slow(index: int) -> tuple[_Getter, bool]:
            record = objects[index]
            if not isinstance(record, Mapping):
                raise Refused(Reason.NOT_AN_OBJECT)
            return (lambda item: plain_value(find_path(record, item.source, item.path))), False

        return self._decode_lines(buffer, starts, lengths, words, first_row, slow)

    def decode_cells(self, cells: Cells, words: npt.NDArray[np.int64], first_row: int) -> Decoded:
        """Decode rows of CSV, as `parakh.events.csv_rows` splits them."""
        out, labels = self._results(cells.count, words, first_row)
        self.strings.reserve(cells.count * self.interned, cells.buffer.shape[0] if self.interned else 0)
        places = {name: place for place, name in enumerate(cells.columns)}
        columns = np.array([places.get(item.source, -1) for item in self.schema.items], np.int64)
        unsure = decode_cells(
            cells.buffer, cells.starts, cells.lengths, cells.whole, columns, first_row, words, labels, out, self.meta,
            self.salt, self.schema.fields, *self.strings.kernel_arrays,
        )  # fmt: skip

        def slow(index: int) -> tuple[_Getter, bool]:
            if not cells.whole[index]:
                raise Refused(Reason.BAD_ROW)
            return (lambda item: unquoted(cells, index, places.get(item.source, -1))), False

        return self._finish(out, labels, words, first_row, cells.buffer, unsure, slow)

    def decode_table(self, table: Any, words: npt.NDArray[np.int64], first_row: int) -> Decoded:
        """Decode a pyarrow Table or RecordBatch; columns are found by name, `a.b` also as field b of struct a."""
        out, labels = self._results(table.num_rows, words, first_row)
        id_buffer, unsure, values = decode_columns(
            table, self.schema, self.strings, words, first_row, labels, out, self.meta, self.salt
        )  # fmt: skip

        def slow(index: int) -> tuple[_Getter, bool]:
            return (lambda item: values(item, index)), False

        return self._finish(out, labels, words, first_row, id_buffer, unsure, slow)

    def _decode_lines(
        self,
        buffer: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        words: npt.NDArray[np.int64],
        first_row: int,
        slow: _Slow,
    ) -> Decoded:
        count = starts.shape[0]
        out, labels = self._results(count, words, first_row)
        if self.interned:
            # The lines may be a small part of a large buffer, whose size would be held for good.
            size = int(lengths.sum()) if buffer.shape[0] > _SMALL_BUFFER else buffer.shape[0]
            self.strings.reserve(count * self.interned, size)
        schema = self.schema
        unsure = decode_json(
            buffer, starts, lengths, first_row, words, labels, out, self.meta, self.salt,
            schema.fields, schema.nodes, schema.children, schema.keys, self.seen, self.stack,
            *self.strings.kernel_arrays,
        )  # fmt: skip
        return self._finish(out, labels, words, first_row, buffer, unsure, slow)

    def _results(
        self, count: int, words: npt.NDArray[np.int64], first_row: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if first_row < 0 or first_row + count > words.shape[1]:
            raise AssertionError(f"{count} rows from {first_row} do not fit a frame of {words.shape[1]}")
        return np.empty((column.ROWS, count), np.int64), np.empty((self.schema.labels, count), np.int64)

    def _finish(
        self,
        out: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        words: npt.NDArray[np.int64],
        first_row: int,
        id_buffer: npt.NDArray[np.uint8],
        unsure: int,
        slow: _Slow,
    ) -> Decoded:
        """Ask Python about the rows that the kernel left, and give ids to a type that has none."""
        refused: dict[int, int] = {}
        ids: dict[int, bytes] = {}
        if unsure:
            for index in np.flatnonzero(out[column.PROBLEM] == column.UNSURE).tolist():
                try:
                    getter, constants = slow(index)
                except Refused as refusal:
                    out[column.PROBLEM, index] = refusal.reason
                    continue
                self._take(getter, constants, index, first_row + index, words, labels, out, refused, ids)
        if not self.schema.has_id:
            count = out.shape[1]
            id_buffer = np.empty(count * 20 + 1, np.uint8)
            _row_ids(out, id_buffer, self._ordinal, self.salt)
            self._ordinal += count
        elif ids:
            extra = np.frombuffer(b"".join(ids.values()), np.uint8)
            place = id_buffer.shape[0]
            id_buffer = np.concatenate([id_buffer, extra])
            for index, text in ids.items():
                out[column.ID_START, index], out[column.ID_LENGTH, index] = place, len(text)
                place += len(text)
        of_labels = {
            name: labels[slot].view(np.float64) if is_float else labels[slot] for name, slot, is_float in self._labels
        }
        return Decoded(out, id_buffer, of_labels, refused)

    def _take(
        self, getter: _Getter, constants: bool, index: int, row: int, words: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64], out: npt.NDArray[np.int64], refused: dict[int, int], ids: dict[int, bytes],
    ) -> None:  # fmt: skip
        """Decode one row in Python; `kernel` and this way agree on every word, digest and problem."""
        values: list[int | float | str | None] = []
        for number, item in enumerate(self.schema.items):
            try:
                values.append(convert(getter(item), item.type))
            except Refused as refusal:
                out[column.PROBLEM, index] = refusal.reason
                refused[index] = number
                return
        problem, identity = self._problem(values, constants)
        out[column.PROBLEM, index] = problem
        if problem:
            return
        digest = 0
        for item, value in zip(self.schema.items, values):
            if value is None:
                continue
            word, content = self._word(item, value)
            if item.role == ROLE_TIME:
                out[column.TIME, index] = word
            if item.role == ROLE_LABEL:
                labels[item.slot, index] = word
                continue
            if item.role != ROLE_ATTACHED:
                digest += int(mix(np.uint64(item.salt ^ content)))
            if item.slot >= 0:
                words[item.slot, row] = word
        out[column.DIGEST, index] = np.uint64(digest & _MASK).astype(np.int64)
        if identity is not None:
            high, low = hash_id(identity, self.salt)
            out[column.ID_HIGH, index] = high.astype(np.int64)
            out[column.ID_LOW, index] = low.astype(np.int64)
            ids[index] = identity

    def _problem(self, values: Sequence[int | float | str | None], constants: bool) -> tuple[Reason, bytes | None]:
        """The problem of a row whose every value converts, and its id."""
        identity: str | None = None
        time: int | float | str | None = None
        for item, value in zip(self.schema.items, values):
            if item.role == ROLE_ID:
                identity = None if value is None else str(value)
            elif item.role == ROLE_TIME:
                time = value
        if constants:
            return Reason.BAD_JSON, None
        if self.meta[2] and not identity:
            return Reason.MISSING_ID, None
        if not isinstance(time, int):
            return Reason.MISSING_TIME, None
        if time < self.meta[0]:
            return Reason.TIME_BEFORE_EARLIEST, None
        if time > self.meta[1]:
            return Reason.TIME_IN_FUTURE, None
        return Reason.OK, identity.encode() if identity else None

    def _word(self, item: SchemaField, value: int | float | str) -> tuple[int, int]:
        """A value's word in the frame and its content (unsigned) in the digest; they differ for strings alone."""
        if isinstance(value, str):
            encoded = np.frombuffer(bytearray(value.encode() or b"\0"), np.uint8)
            content = int(hash_bytes(encoded, 0, len(value.encode()), np.uint64(0))[0])
            return (self.strings.intern(value) if item.interned else NULL_WORD), content
        if item.type.kind is Kind.NUMBER:
            value = int(np.float64(value).view(np.int64))
        return int(value), int(value) & _MASK


def hash_id(identity: bytes, salt: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The 128-bit hash of an id under its type's salt (`schema.id_salt`): (high, low)."""
    encoded = np.frombuffer(bytearray(identity or b"\0"), np.uint8)
    high, low = hash_bytes(encoded, 0, len(identity), salt)
    return np.uint64(high), np.uint64(low)


@kernel
def _row_ids(out: Any, buffer: Any, ordinal: Any, salt: Any) -> None:
    """Ids of a type without one: the decimal ordinal of the row in its stream."""
    place = 0
    for index in range(out.shape[1]):
        number = ordinal + index
        length = 1
        rest = number // 10
        while rest > 0:
            rest //= 10
            length += 1
        rest = number
        for digit in range(length - 1, -1, -1):
            buffer[place + digit] = 48 + rest % 10
            rest //= 10
        high, low = hash_bytes(buffer, place, length, salt)
        if out[column.PROBLEM, index] == 0:
            out[column.ID_HIGH, index] = np.int64(high)
            out[column.ID_LOW, index] = np.int64(low)
        out[column.ID_START, index] = place
        out[column.ID_LENGTH, index] = length
        place += length


def _writable(buffer: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    # A read-only array is another type to Numba, for which every kernel would be compiled again.
    return buffer if buffer.flags.writeable else buffer.copy()
