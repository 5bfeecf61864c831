"""The windows of all keys: the arrays that the kernels work on, their growth, their bound and their snapshot.

`FeatureState.process` takes one batch of the log and writes every feature into the batch's frame. All state is a few
flat arrays and counters; nothing in it depends on how the log was cut into batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.errors import StateLimitError
from parakh.expressions.growing import Growing
from parakh.expressions.memory import address_of
from parakh.features import tables as t
from parakh.features.definition import Calendar
from parakh.features.keys import fill_pairs
from parakh.features.labels import HeldEvents, LabelUpdates
from parakh.features.passes import run
from parakh.features.plan import FeaturePlan
from parakh.features.repeats import settle
from parakh.features.sweeping import sweep_keys

__all__ = ["Entries", "FeatureState"]

Words = npt.NDArray[np.int64]

_FIRST_WORDS = 1 << 12
_DOUBLE_UNTIL = 1 << 20  # words; larger arrays grow by an eighth
_NO_LABELS = np.zeros((1, t.LABEL_CODES), np.int64)
_NO_BOUNDS = np.zeros((1, 1), np.int64)


@dataclass(frozen=True, slots=True)
class Entries:
    """A batch of the log in its order, one row an entry: int64[n, 4] of kind, row, time and held row.

    >>> Entries.of(np.array([0, 0]), np.array([0, 1]), np.array([10, 5]), late=np.array([0, 1])).table.tolist()
    [[0, 0, 10, -1], [256, 1, 5, -1]]
    """

    table: Words

    KIND, ROW, TIME, HELD, WIDTH = t.ENTRY_KIND, t.ENTRY_ROW, t.ENTRY_TIME, t.ENTRY_HELD, t.ENTRY_WIDTH
    """The columns of the table, and how many there are."""
    LATE = t.LATE_BIT
    """Added to the kind of an event that is too late for its windows."""
    LABEL = t.LABEL_ENTRY
    """The kind of a label; its row is one of the batch's `LabelUpdates`, its time does not matter."""

    @classmethod
    def of(
        cls,
        kind: npt.NDArray[Any],
        row: npt.NDArray[Any],
        time: npt.NDArray[Any],
        *,
        late: npt.NDArray[Any] | None = None,
        held: npt.NDArray[Any] | None = None,
    ) -> Entries:
        """Entries from columns: event type (or LABEL), frame row, event time, whether late, number among the held."""
        table = np.empty((len(kind), t.ENTRY_WIDTH), np.int64)
        table[:, t.ENTRY_KIND] = kind
        if late is not None:
            table[:, t.ENTRY_KIND] += t.LATE_BIT * late.astype(np.int64)
        table[:, t.ENTRY_ROW] = row
        table[:, t.ENTRY_TIME] = time
        table[:, t.ENTRY_HELD] = -1 if held is None else held
        return cls(table)

    def __len__(self) -> int:
        return len(self.table)


class FeatureState:
    """The windows of a plan's features over a log.

    `process` may raise StateLimitError, after which the state is no longer good for going on.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self.plan = plan
        self.held = HeldEvents(plan.most_keys, plan.most_labels)
        self._program = plan.program
        self._control = np.zeros(int(plan.program[t.PROGRAM_CONTROL]), np.int64)
        self._memory = Growing(plan.state_bytes // 8)
        self._arena = self._memory.to(_FIRST_WORDS)
        self._hash = np.zeros((1 << 10, 2), np.int64)
        self._growth = np.zeros(t.GROWTH_WIDTH, np.int64)
        self._hash_before: Words | None = None
        self._hash_coming: Words | None = None
        self._scratch = np.zeros(3 * max(1, plan.windows), np.int64)
        self._codes = np.zeros(64 * plan.most_keys, np.int64)
        self._slots: list[npt.NDArray[Any]] = [np.zeros(1 << 8, np.int64) for _ in plan.histories]
        self._parts: list[npt.NDArray[Any]] = [np.zeros((1 << 8, 2), np.int64) for _ in range(plan.pairs)]
        self._tables: list[npt.NDArray[Any]] = [np.zeros(1 << 9, np.int32) for _ in range(plan.pairs)]
        self._sweep_at = (0, 0)
        # Offset 0 means none; what stands there is read, in vain, ahead of keys that are new.
        self._control[t.TOP] = -(-plan.header_words // 8) * 8
        self._control[t.CLOCK] = -(2**62)
        self._control[t.LATENESS] = plan.lateness_us
        self._place()

    # -- a batch ------------------------------------------------------------------------------------------------------

    def process(
        self,
        words: Words,
        flags: npt.NDArray[np.uint8],
        entries: Entries,
        labels: LabelUpdates | None = None,
    ) -> None:
        """Takes a batch in log order and writes the features of its events into the frame.

        words: int64[slots, capacity]; flags: uint8[capacity], where sums beyond 64 bits set 1. Raises StateLimitError
        before it would grow past the project's bound.
        """
        table = entries.table
        count = len(table)
        if count == 0:
            return
        self.expect(count)
        updates = _NO_LABELS if labels is None or len(labels.table) == 0 else labels.table
        bounds = self._bounds(table[:, t.ENTRY_TIME]) if self.plan.calendars else _NO_BOUNDS
        control = self._control
        control[t.PASS] = -1
        control[t.NEXT] = 0
        while need := run(control, self._program, table, words, flags, updates, bounds):
            self._supply(need)

    @property
    def kernel_arrays(self) -> tuple[Words, Words]:
        """(control, program), as `passes.run` takes them; for batches of no more than was said to `expect`."""
        return self._control, self._program

    def expect(self, count: int) -> None:
        """Have room for the keys of batches of so many entries."""
        if count * self.plan.most_keys > len(self._codes):
            self._codes = np.zeros(2 * count * self.plan.most_keys, np.int64)
            self._control[t.CODES] = address_of(self._codes)

    def go_on(self, need: int, words: Words, flags: npt.NDArray[np.uint8], entries: Entries) -> None:
        """Go on with a batch without labels that a kernel stopped in, since it needs something; as `process`."""
        while need:
            self._supply(need)
            need = run(self._control, self._program, entries.table, words, flags, _NO_LABELS, _NO_BOUNDS)

    def label_updates(self, *, types: Words, labels: Words, held: Words, ranks: Words, values: Words) -> LabelUpdates:
        """Labels for `process`, from columns; see `LabelUpdates.of`."""
        return LabelUpdates.of(
            self.plan.label_programs,
            self.plan.most_keys,
            types=types,
            labels=labels,
            held=held,
            ranks=ranks,
            values=values,
        )

    def held_with_key(self, event_type: int, fields: tuple[str, ...], key: Sequence[int]) -> Words:
        """The held events of a type whose key of these fields has these words; of a text, its code in `Strings`."""
        keys = self.plan.keys[event_type]
        if fields not in keys:
            return np.empty(0, np.int64)
        number = keys.index(fields)
        return self.held.rows_of(event_type, number, self._key_code(event_type, number, key))

    def _key_code(self, event_type: int, number: int, key: Sequence[int]) -> int:
        """The code of a key, as the kernels have it; -2 where it has none, which is that of no event."""
        of_type = int(self._program[t.PROGRAM_TYPES]) + event_type * t.TYPE_WIDTH
        record = int(self._program[of_type + t.TYPE_KEYS]) + number * t.KEY_WIDTH
        table, code = int(self._program[record + t.KEY_PAIRS]), key[0]
        if table < 0:
            return code
        for part in key[1:] or (0,):
            pairs = self._parts[table][: int(self._pairs(table)[t.PAIR_COUNT])]
            found = np.flatnonzero((pairs[:, 0] == code) & (pairs[:, 1] == part))
            if not found.size:
                return -2
            table, code = table + 1, int(found[0])
        return code

    @property
    def clock_us(self) -> int:
        """The largest event time so far; far in the past before the first event."""
        return int(self._control[t.CLOCK])

    # -- size ---------------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> int:
        """Keys with records, over all histories."""
        return sum(int(self._history(number)[t.HISTORY_KEYS]) for number in range(len(self.plan.histories)))

    @property
    def records(self) -> int:
        """Records held, over all histories: an event counts once in each that it is part of, merged events as one."""
        return sum(int(self._history(number)[t.HISTORY_RECORDS]) for number in range(len(self.plan.histories)))

    @property
    def nbytes(self) -> int:
        """Bytes held, including the room for growth."""
        arrays: tuple[npt.NDArray[Any], ...] = (
            self._arena, self._hash, *self._slots, *self._parts, *self._tables,
        )  # fmt: skip
        return sum(array.nbytes for array in arrays) + self.held.nbytes

    def sweep(self, keys: int = 4096) -> int:
        """Lets up to so many keys give back what is forgotten, going round; returns how many were looked at.

        Codes without a key are passed over, 16 of them for each key that may be looked at.
        """
        return self._sweep(keys, 16 * keys)

    def sweep_all(self) -> None:
        """Lets every key give back what is forgotten."""
        self._sweep_at = (0, 0)
        self._sweep(2**62, sum(map(len, self._slots)))

    def _sweep(self, keys: int, codes: int) -> int:
        """Goes on from where the last sweep stopped."""
        seen = 0
        bounds = _NO_BOUNDS
        if self.plan.calendars:
            bounds = self._bounds(np.array([self.clock_us - self.plan.lateness_us], np.int64))
        for _ in self._slots:
            history, first = self._sweep_at
            end = min(first + codes, len(self._slots[history]))
            code, found = sweep_keys(self._control, self._program, history, first, end, keys - seen, bounds)
            seen += found
            codes -= code - first
            done = code == len(self._slots[history])
            self._sweep_at = ((history + 1) % len(self._slots), 0) if done else (history, code)
            if not done:
                break
        return seen

    # -- snapshot -----------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a snapshot keeps: views of the arrays, good until the next batch."""
        self._settle()
        kept: dict[str, npt.NDArray[Any]] = {
            "control": self._control,
            "arena": self._arena[: int(self._control[t.TOP])],
            "hash": self._hash,
            "held.times": self.held.times,
            "held.sequences": self.held.sequences,
            "held.types": self.held.types,
            "held.codes": self.held.codes,
            "held.ranks": self.held.ranks,
        }
        for name, arrays in self._lists().items():
            kept.update({f"{name}.{number}": array for number, array in enumerate(arrays)})
        return kept

    def _lists(self) -> dict[str, list[npt.NDArray[Any]]]:
        return {"slots": self._slots, "parts": self._parts, "tables": self._tables}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes on the state of a snapshot of the same plan."""
        self._control[:] = arrays["control"]
        self._memory = Growing(self.plan.state_bytes // 8)
        self._arena = self._memory.to(max(_FIRST_WORDS, len(arrays["arena"])))
        self._arena[: len(arrays["arena"])] = arrays["arena"]
        self._hash, self._hash_before, self._hash_coming = _owned(arrays["hash"]), None, None
        self._growth[t.LEFT] = 0
        self.held.times, self.held.sequences = _owned(arrays["held.times"]), _owned(arrays["held.sequences"])
        self.held.types, self.held.codes = _owned(arrays["held.types"]), _owned(arrays["held.codes"])
        self.held.ranks = _owned(arrays["held.ranks"])
        for name, kept in self._lists().items():
            kept[:] = [_owned(arrays[f"{name}.{number}"]) for number in range(len(kept))]
        self._sweep_at = (0, 0)
        self._place()

    # -- growth -------------------------------------------------------------------------------------------------------

    def _supply(self, need: int) -> None:
        """Gives the kernel what it stopped for."""
        which, amount = int(self._control[t.WHICH]), int(self._control[t.AMOUNT])
        if need == t.NEED_ARENA:
            self._grow_arena(amount)
        elif need == t.NEED_HASH:
            self._grow_hash()
        elif need == t.NEED_SLOTS:
            slots = self._slots[which]
            self._resize(slots, max(amount, _grown(len(slots))))
        elif need == t.NEED_PAIRS:
            for table in range(which, which + max(1, amount - 1)):
                self._grow_pairs(table)
        elif need == t.NEED_HELD:
            self._claim(self.held.nbytes // 4)
            self.held.grow(amount)
        else:
            raise AssertionError(f"the kernel asks for {need}")
        self._place()

    def _grow_arena(self, words: int) -> None:
        needed = int(self._control[t.TOP]) + words
        most = len(self._arena) + (self.plan.state_bytes - self.nbytes) // 8
        if needed > most:
            raise self._limit(8 * (needed - len(self._arena)))
        self._arena = self._memory.to(min(most, max(needed, _grown(len(self._arena)))))

    def _grow_hash(self) -> None:
        """The next step of the hash's growth: the table before may go, one is to come, or takes the place of this one.

        These two are not counted in `nbytes`: they are there for a while.
        """
        if self._hash_before is not None and not self._growth[t.LEFT]:
            self._hash_before = None
        elif self._hash_coming is None:
            self._hash_coming = np.empty((2 * len(self._hash), 2), np.int64)
            self._growth[t.CLEARED] = 0
        else:
            self._claim(self._hash.nbytes)
            self._settle()
            self._hash_before, self._hash, self._hash_coming = self._hash, self._hash_coming, None
            self._growth[t.LEFT] = len(self._hash_before)

    def _settle(self) -> None:
        """End what the hash's growth has begun: nothing is left in the table before."""
        settle(self._control)
        self._hash_before = None
        self._place()

    def _grow_pairs(self, table: int) -> None:
        parts = self._parts[table]
        pairs = self._pairs(table)
        if pairs[t.PAIR_COUNT] < len(parts):
            return
        self._resize(parts, (_grown(len(parts)), 2))
        size = len(self._tables[table])
        while size * 3 < len(parts) * 4:
            size *= 2
        if size != len(self._tables[table]):
            self._claim(4 * size)
            self._tables[table] = np.zeros(size, np.int32)
            fill_pairs(address_of(parts), int(pairs[t.PAIR_COUNT]), address_of(self._tables[table]), size - 1)

    def _resize(self, array: npt.NDArray[Any], shape: int | tuple[int, ...]) -> None:
        """Grows an array; a large one is moved by the operating system where there is no room behind it."""
        rows = shape if isinstance(shape, int) else shape[0]
        self._claim((rows - len(array)) * (array.nbytes // len(array)))
        array.resize(shape, refcheck=False)

    def _claim(self, more: int) -> None:
        if self.nbytes + more > self.plan.state_bytes:
            raise self._limit(more)

    def _limit(self, more: int) -> StateLimitError:
        held = ", ".join(
            f"{words}: {int(self._history(number)[t.HISTORY_RECORDS]):,} records of "
            f"{int(self._history(number)[t.HISTORY_KEYS]):,} keys"
            for number, words in enumerate(self.plan.histories)
        )
        return StateLimitError(
            f"the windows hold {self.nbytes / 2**20:,.0f} MB, need {more / 2**20:,.1f} MB more, and may hold "
            f"{self.plan.state_bytes / 2**20:,.0f} MB ({held}); set a higher `state` under [limits] in parakh.toml, "
            "shorten windows, or give them a `resolution`"
        )

    # -- where things are ---------------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Writes addresses and sizes down for the kernels."""
        control = self._control
        control[t.ARENA], control[t.ROOM] = address_of(self._arena), len(self._arena)
        control[t.HASH], control[t.HASH_MASK] = address_of(self._hash), len(self._hash) - 1
        growth = self._growth
        growth[t.BEFORE], growth[t.BEFORE_SLOTS] = _address_and_rows(self._hash_before)
        growth[t.COMING], growth[t.COMING_SLOTS] = _address_and_rows(self._hash_coming)
        control[t.GROWTH] = address_of(growth)
        control[t.SCRATCH], control[t.CODES] = address_of(self._scratch), address_of(self._codes)
        for number, slots in enumerate(self._slots):
            history = self._history(number)
            history[t.HISTORY_SLOTS], history[t.HISTORY_ROOM] = address_of(slots), len(slots)
        for number, (parts, table) in enumerate(zip(self._parts, self._tables)):
            pairs = self._pairs(number)
            pairs[t.PAIR_PARTS], pairs[t.PAIR_ROOM] = address_of(parts), len(parts)
            pairs[t.PAIR_TABLE], pairs[t.PAIR_MASK] = address_of(table), len(table) - 1
        held = control[int(self._program[t.PROGRAM_HELD_CONTROL]) :]
        held[t.HELD_TIMES], held[t.HELD_SEQUENCES] = address_of(self.held.times), address_of(self.held.sequences)
        held[t.HELD_TYPES], held[t.HELD_CODES] = address_of(self.held.types), address_of(self.held.codes)
        held[t.HELD_RANKS], held[t.HELD_ROOM] = address_of(self.held.ranks), len(self.held)

    def _history(self, number: int) -> Words:
        first = int(self._program[t.PROGRAM_HISTORY_CONTROL]) + number * t.HISTORY_CONTROL
        return self._control[first : first + t.HISTORY_CONTROL]

    def _pairs(self, number: int) -> Words:
        first = int(self._program[t.PROGRAM_PAIR_CONTROL]) + number * t.PAIR_CONTROL
        return self._control[first : first + t.PAIR_CONTROL]

    def _bounds(self, times: Words) -> Words:
        """The microsecond before each calendar window begins, int64[calendars, n]."""
        zone = self.plan.zone
        starts = {Calendar.DAY: zone.day_start, Calendar.WEEK: zone.week_start, Calendar.MONTH: zone.month_start}
        return np.ascontiguousarray(
            np.stack([starts[calendar](times - delay) - 1 for calendar, delay in self.plan.calendars])
        )


def _grown(words: int) -> int:
    return 2 * words if words < _DOUBLE_UNTIL else words + words // 8


def _address_and_rows(array: Words | None) -> tuple[int, int]:
    return (0, 0) if array is None else (address_of(array), len(array))


def _owned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy that can be grown in place."""
    return np.array(array, copy=True, order="C")
