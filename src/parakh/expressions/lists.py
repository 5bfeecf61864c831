"""Lists and lookup tables as of a time: for each value the spans in which it holds, found by one binary search.

A list is a table without columns. Both change in place while programs that read them run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from parakh.expressions.pool import Pool, Words
from parakh.expressions.types import NULL_WORD, Type
from parakh.expressions.values import Dictionary, Value, to_word

__all__ = ["Entry", "ListIndex", "TableIndex"]

ALWAYS = NULL_WORD + 1
"""`since` of an entry that holds from the beginning."""
NEVER = 2**63 - 1
"""`until` of an entry that does not end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value that holds from `since` (inclusive) until `until` (exclusive), microseconds UTC; words throughout."""

    word: int
    since: int = ALWAYS
    until: int = NEVER
    values: tuple[int, ...] = ()


class TableIndex:
    """A lookup table: rows of values by key. Of rows that hold at the same time, the one that began last wins.

    Raises ValueError where a value is not of its column's type or an entry ends before it begins.

    >>> from parakh.expressions.strings import Strings
    >>> from parakh.expressions.types import INTEGER, NUMBER
    >>> table = TableIndex(INTEGER, {"risk": NUMBER})
    >>> table.put(5411, (0.25,), Strings())
    >>> len(table)
    1
    """

    def __init__(self, key: Type, columns: dict[str, Type]) -> None:
        self.key = key
        self.columns = columns
        self._entries: dict[int, list[Entry]] = {}
        self._attached: list[tuple[Pool, int]] = []
        self._words: Words | None = None

    def __len__(self) -> int:
        """The number of values that hold at some time."""
        return len(self._entries)

    def column(self, name: str) -> int:
        """The position of a column."""
        return list(self.columns).index(name)

    def put(
        self,
        key: Value,
        values: Sequence[Value],
        strings: Dictionary,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> None:
        """Add one row; it is read from now on."""
        self.extend([(key, values, since_us, until_us)], strings)

    def extend(
        self,
        rows: Iterable[tuple[Value, Sequence[Value], int | None, int | None]],
        strings: Dictionary,
    ) -> None:
        """Add rows of (key, values, since, until)."""
        types = list(self.columns.values())
        entries = []
        for key, values, since, until in rows:
            if len(values) != len(types):
                raise ValueError(f"a row has {len(values)} values; the table has {len(types)} columns")
            if key is None:
                raise ValueError("a key is NULL")
            if since is not None and until is not None and until < since:
                raise ValueError(f"{key!r} ends before it begins")
            held = tuple(_word(value, type, strings) for value, type in zip(values, types))
            entries.append(
                Entry(
                    _word(key, self.key, strings),
                    ALWAYS if since is None else since,
                    NEVER if until is None else until,
                    held,
                )
            )
        for entry in entries:
            self._entries.setdefault(entry.word, []).append(entry)
        self._changed()

    def remove(self, key: Value, strings: Dictionary, *, at_us: int | None = None) -> bool:
        """End what holds for a key at a time (None: it never held); returns whether anything did."""
        word = _word(key, self.key, strings)
        before = self._entries.get(word, [])
        after: list[Entry] = []
        if at_us is not None:
            after = [
                Entry(item.word, item.since, min(item.until, at_us), item.values)
                for item in before
                if item.since < at_us
            ]
        if after == before:
            return False
        if after:
            self._entries[word] = after
        else:
            self._entries.pop(word, None)
        self._changed()
        return True

    def replace_with(self, other: TableIndex) -> None:
        """Take over all entries of another index of the same types."""
        if (self.key, self.columns) != (other.key, other.columns):
            raise ValueError("the types of the two differ")
        self._entries = {word: list(entries) for word, entries in other._entries.items()}
        self._changed()

    # ---- programs

    def attach(self, pool: Pool) -> int:
        """The number of a segment of a pool that follows every change of this index."""
        for known, number in self._attached:
            if known is pool:
                return number
        number = pool.add(self.words())
        self._attached.append((pool, number))
        return number

    def words(self) -> Words:
        """The segment: count, keys, since, until, then each column; sorted by key and since, spans disjoint."""
        if self._words is None:
            self._words = self._laid_out()
        return self._words

    def _laid_out(self) -> Words:
        spans: list[Entry] = []
        for word in sorted(self._entries):
            spans.extend(_disjoint(self._entries[word]))
        count = len(spans)
        words = np.empty(1 + (3 + len(self.columns)) * count, dtype=np.int64)
        words[0] = count
        rows = words[1:].reshape(3 + len(self.columns), count)
        rows[0] = [span.word for span in spans]
        rows[1] = [span.since for span in spans]
        rows[2] = [span.until for span in spans]
        for index in range(len(self.columns)):
            rows[3 + index] = [span.values[index] for span in spans]
        return words

    def _changed(self) -> None:
        self._words = None
        for pool, number in self._attached:
            pool.replace(number, self.words())


class ListIndex(TableIndex):
    """A list of values, each with the span in which it is on the list.

    >>> from parakh.expressions.strings import Strings
    >>> from parakh.expressions.types import INTEGER
    >>> blocked = ListIndex(INTEGER)
    >>> blocked.add([(7, None, None), (8, 1_000, 2_000)], Strings())
    >>> len(blocked)
    2
    """

    def __init__(self, type: Type) -> None:
        super().__init__(type, {})

    def add(self, entries: Iterable[tuple[Value, int | None, int | None]], strings: Dictionary) -> None:
        """Put values (value, since, until) on the list; texts are given codes by `strings`."""
        self.extend([(value, (), since, until) for value, since, until in entries], strings)


def _word(value: Value, type: Type, strings: Dictionary) -> int:
    word = to_word(value, type, strings)
    if type.is_float and value == 0:
        return 0  # 0.0 and -0.0 are one number, so one word
    return word


def _disjoint(entries: list[Entry]) -> list[Entry]:
    """The spans of one value cut so that none overlap: at any time the entry that began last, else came last, holds."""
    if len(entries) == 1:
        return entries if entries[0].since < entries[0].until else []
    cuts = sorted({cut for entry in entries for cut in (entry.since, entry.until)})
    order = sorted(range(len(entries)), key=lambda index: (entries[index].since, index))
    spans: list[Entry] = []
    for start, end in itertools.pairwise(cuts):
        holding = [entries[index] for index in order if entries[index].since <= start < entries[index].until]
        if not holding:
            continue
        last = holding[-1]
        if spans and spans[-1].until == start and spans[-1].values == last.values:
            spans[-1] = Entry(last.word, spans[-1].since, end, last.values)
        else:
            spans.append(Entry(last.word, start, end, last.values))
    return spans
