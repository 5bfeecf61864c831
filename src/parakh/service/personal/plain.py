"""Bodies that need no care, stored by one kernel, many at once.

A body is plain where it is one JSON object, each key once, none of whose values is nested, has an escape or could be a
card number, and whose personal values are texts. That is what nearly every caller sends. It is stored as it came, but
for what the project does not declare, which is left out, and for personal values, which stand at its end as they are
treated. All else is looked at with care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numba import types as nb
from numpy.typing import NDArray

from parakh.events.reasons import Refused
from parakh.events.scalars import scan_number, utf8_size
from parakh.expressions.calling import array_at
from parakh.expressions.kernels import kernel
from parakh.expressions.memory import address_of

__all__ = ["Joined", "PlainBodies"]

_LEAST_DIGITS = 13  # of a card number
_MOST_UNDECLARED = 16
_FIRST_ROOM = 1 << 14
_BREAK = 10
_LINE = 0  # of a span
_KEYS, _ENDS, _LOOKED_AT, _TREATED, _SEEN, _STRANGE, _SPANS, _BUFFER, _OUT, _BOUNDS, _SIZE = range(0, 22, 2)
_COUNT = _SIZE + 1
_DESCRIPTOR_WORDS = _COUNT + 1
_bytes_at, _words_at, _truths_at = array_at(nb.uint8), array_at(nb.int64), array_at(nb.boolean)
_rows_at = array_at(nb.int64, 2)
Treat = Callable[[bytes], bytes | None]
"""Makes of a text in JSON what is stored of it, None for nothing; raises Refused for what its field does not take."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Stored bodies one after another, and their lengths."""

    bodies: bytes
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, bodies: Sequence[bytes]) -> Joined:
        return cls(b"".join(bodies), np.fromiter(map(len, bodies), np.int64, len(bodies)))

    def apart(self) -> list[bytes]:
        """Each of them."""
        ends = np.cumsum(self.lengths).tolist()
        return [self.bodies[start:end] for start, end in pairwise((0, *ends))]


class PlainBodies:
    """Stores the plain bodies of a type, whose keys are given: each with whether its value may not look like a card
    number, and with how it is treated where it is personal.

    >>> bodies = PlainBodies([(b"id", False, None), (b"note", True, None), (b"card", False, bytes.upper)])
    >>> bodies.stored(b'{"card": "abc", "id": "4111111111111111", "cvv": 123, "note": null}')
    b'{"id": "4111111111111111","note": null,"card":"ABC"}'
    >>> bodies.stored(b'{"id": 1, "note": "4111-1111 1111 1111"}') is None
    True
    >>> bodies.stored_lines(b'{"id": 1}\\n{"id": 1, "id": 2}\\n', 2)
    [b'{"id": 1}', None]
    >>> bodies.stored_lines(b'{"id": 1, "cvv": 2}\\n{"id": 2}\\n', 2)
    Joined(bodies=b'{"id": 1}{"id": 2}', lengths=array([9, 9]))
    """

    def __init__(self, keys: Iterable[tuple[bytes, bool, Treat | None]]) -> None:
        held = list(keys)
        self._arrays: dict[int, NDArray[Any]] = {}
        self._descriptor = np.zeros(_DESCRIPTOR_WORDS, np.int64)
        self._words: memoryview[int] = self._descriptor.data
        self._put(_KEYS, np.frombuffer(b"".join(key for key, _, _ in held) + b"\0", np.uint8))
        self._put(_ENDS, np.cumsum([0, *(len(key) for key, _, _ in held)], dtype=np.int64))
        self._put(_LOOKED_AT, np.array([looked_at for _, looked_at, _ in held] + [False], np.bool_))
        self._put(_TREATED, np.array([treat is not None for _, _, treat in held] + [False], np.bool_))
        self._ways = {
            number: (b'"%b":' % key, treat) for number, (key, _, treat) in enumerate(held) if treat is not None
        }
        self._put(_SEEN, np.zeros(len(held) + 1, np.int64))
        self._put(_STRANGE, np.zeros((_MOST_UNDECLARED, 2), np.int64))
        self._make_room(_FIRST_ROOM)
        self._make_lines(1)

    def stored(self, body: bytes) -> bytes | None:
        """One body as it is stored, itself where nothing is changed; None where it is not plain."""
        size = len(body)
        if size >= self._room:
            self._make_room(size + 1)
        buffer = self._buffer
        buffer[:size] = body
        buffer[size] = _BREAK
        treated = self._store(size + 1, 1)
        end = self._bounds[1]
        if end < 0:
            return None
        if end == size:
            return body
        stored = self._out[:end].tobytes()
        return stored if not treated else self._with_treated(stored, body, self._spans[:treated].tolist())

    def stored_lines(self, lines: bytes, count: int) -> Joined | list[bytes | None]:
        """The same of so many, each with a line break after it and none in it: all of them joined where each is plain
        and has no personal value, else one by one.
        """
        size = len(lines)
        if size > self._room:
            self._make_room(size)
        if count > self._lines:
            self._make_lines(count)
        self._buffer[:size] = lines
        treated = self._store(size, count)
        bounds = self._arrays[_BOUNDS][: count + 1]
        if not treated and bounds.min() >= 0:
            return Joined(self._out[: bounds[-1]].tobytes(), np.diff(bounds))
        ends = bounds.tolist()
        data = self._out[: max(ends[-1], ~ends[-1])].tobytes()
        stored = [None if end < 0 else data[max(start, ~start) : end] for start, end in pairwise(ends)]
        of_line: dict[int, list[list[int]]] = {}
        for span in self._spans[:treated].tolist():
            of_line.setdefault(span[_LINE], []).append(span)
        for number, mine in of_line.items():
            stored[number] = self._with_treated(stored[number] or b"", lines, mine)
        return stored

    def _with_treated(self, stored: bytes, data: bytes, spans: Sequence[Sequence[int]]) -> bytes | None:
        """A stored body with its personal values at its end; None where one of them is refused."""
        members = [stored[:-1]] if len(stored) > 2 else []
        try:
            for _, key, start, end in spans:
                lead, treat = self._ways[key]
                value = treat(data[start:end])
                if value is not None:
                    members.append(lead + value)
        except Refused:
            return None
        joined = b",".join(members)
        return (joined if len(stored) > 2 else b"{" + joined) + b"}"

    def _store(self, size: int, count: int) -> int:
        """Store so many lines that stand in the buffer; how many personal values there are in them."""
        self._words[_SIZE], self._words[_COUNT] = size, count
        treated: int = _store_lines(self._descriptor)
        return treated

    def _make_room(self, size: int) -> None:
        self._room = size * 5 // 4
        self._buffer = self._put(_BUFFER, np.empty(self._room, np.uint8)).data
        self._out = self._put(_OUT, np.empty(self._room, np.uint8))

    def _make_lines(self, count: int) -> None:
        self._lines = count
        self._bounds: memoryview[int] = self._put(_BOUNDS, np.zeros(count + 1, np.int64)).data
        self._spans = self._put(_SPANS, np.zeros((max(1, count * len(self._ways)), 4), np.int64))

    def _put(self, place: int, array: NDArray[Any]) -> NDArray[Any]:
        """Write down where an array stands, which is held for as long, and its length."""
        self._arrays[place] = array
        self._words[place], self._words[place + 1] = address_of(array), len(array)
        return array


@kernel
def _store_lines(d: Any) -> Any:
    """As `_store`, of the lines that a descriptor names: addresses of arrays, and their lengths."""
    return _store(
        _bytes_at(d[_BUFFER], d[_SIZE]), _bytes_at(d[_KEYS], d[_KEYS + 1]), _words_at(d[_ENDS], d[_ENDS + 1]),
        _truths_at(d[_LOOKED_AT], d[_LOOKED_AT + 1]), _truths_at(d[_TREATED], d[_TREATED + 1]),
        _words_at(d[_SEEN], d[_SEEN + 1]), _rows_at(d[_STRANGE], d[_STRANGE + 1], 2),
        _rows_at(d[_SPANS], d[_SPANS + 1], 4), _bytes_at(d[_OUT], d[_OUT + 1]), _words_at(d[_BOUNDS], d[_COUNT] + 1),
    )  # fmt: skip


@kernel
def _store(
    buffer: Any, keys: Any, ends: Any, looked_at: Any, treated: Any, seen: Any, strange: Any, spans: Any, out: Any,
    bounds: Any,
) -> Any:  # fmt: skip
    """Store each line of a buffer. bounds[i + 1] is where line i ends in `out`, its complement where it is none.

    spans: one row a personal value, which is left out: line, key, and where it stands in the buffer. Answers how many.
    """
    at = start = count = 0
    bounds[0] = 0
    last = bounds.shape[0] - 2
    for line in range(last + 1):
        end = start
        if line == last:
            end = buffer.shape[0] - 1  # one body alone may have line breaks
        else:
            while buffer[end] != 10:
                end += 1
        stored, found = _store_one(
            buffer, start, end, keys, ends, looked_at, treated, seen, strange, spans, count, line, out, at
        )
        if stored >= 0:
            count = found
        at = max(at, stored)
        bounds[line + 1] = at if stored >= 0 else ~at
        start = end + 1
    return count


@kernel
def _store_one(
    buffer: Any, at: Any, end: Any, keys: Any, ends: Any, looked_at: Any, treated: Any, seen: Any, strange: Any,
    spans: Any, span: Any, line: Any, out: Any, to: Any,
) -> Any:  # fmt: skip
    """Store buffer[at:end] from out[to] on: where it ends there (-1: it is not plain), and how many spans there are.

    `seen`, one word a key and one more, tells which keys it has given already; `strange` has those it does not declare.
    """
    no = (np.int64(-1), np.int64(span))
    count = ends.shape[0] - 1
    seen[count] += 1
    stamp = seen[count]
    begin, first_to, first_span, strangers, members = at, to, span, 0, 0
    out[to] = 123
    to += 1
    at = _after_space(buffer, at, end)
    if at >= end or buffer[at] != 123:
        return no
    at = _after_space(buffer, at + 1, end)
    key = -1
    empty = at < end and buffer[at] == 125
    while not empty:
        member = at
        start = at + 1
        if at >= end or buffer[at] != 34:
            return no
        at = _text_end(buffer, start, end, False)
        if at < 0:
            return no
        found = _which(buffer, start, at - start, keys, ends, key + 1)
        if found < 0:
            if strangers == strange.shape[0] or buffer[start] == 126:
                return no
            for other in range(strangers):
                if _same(buffer, strange[other, 0], strange[other, 1], start, at):
                    return no
            strange[strangers, 0], strange[strangers, 1] = start, at
            strangers += 1
        elif seen[found] == stamp:
            return no
        else:
            key = found
            seen[key] = stamp
        at = _after_space(buffer, at + 1, end)
        if at >= end or buffer[at] != 58:
            return no
        at = _after_space(buffer, at + 1, end)
        if at >= end:
            return no
        value = at
        careful = found >= 0 and looked_at[found]
        personal = found >= 0 and treated[found]
        if buffer[at] == 34:
            at = _text_end(buffer, at + 1, end, careful) + 1
            if at == 0:
                return no
        else:
            at = _left_out_end(buffer, at, end) if found < 0 else _word_end(buffer, at, end, careful)
            if at < 0 or personal:
                return no
        if personal:
            spans[span, 0], spans[span, 1], spans[span, 2], spans[span, 3] = line, found, value, at
            span += 1
        elif found >= 0:
            if members:
                out[to] = 44
                to += 1
            for place in range(member, at):
                out[to] = buffer[place]
                to += 1
            members += 1
        at = _after_space(buffer, at, end)
        if at >= end:
            return no
        if buffer[at] == 125:
            break
        if buffer[at] != 44:
            return no
        at = _after_space(buffer, at + 1, end)
    if _after_space(buffer, at + 1, end) != end:
        return no
    if strangers or span > first_span:
        out[to] = 125
        return np.int64(to + 1), np.int64(span)
    for place in range(end - begin):
        out[first_to + place] = buffer[begin + place]
    return np.int64(first_to + end - begin), np.int64(span)


@kernel
def _after_space(buffer: Any, at: Any, end: Any) -> Any:
    while at < end and (buffer[at] == 32 or buffer[at] == 9 or buffer[at] == 10 or buffer[at] == 13):
        at += 1
    return at


@kernel
def _text_end(buffer: Any, at: Any, end: Any, looked_at: Any) -> Any:
    """Where a text ends whose first letter is at `at`; -1 where it is not plain."""
    digits = 0
    while at < end:
        byte = buffer[at]
        if byte == 34:
            return at
        if byte < 32 or byte == 92:
            return -1
        if byte >= 128:
            size = utf8_size(buffer, at, end)
            if size == 0:
                return -1
            at += size - 1
            digits = 0
        elif looked_at:
            if 48 <= byte <= 57:
                digits += 1
                if digits >= _LEAST_DIGITS:
                    return -1
            elif byte != 32 and byte != 45:  # groups of digits have spaces and dashes between them
                digits = 0
        at += 1
    return -1


@kernel
def _word_end(buffer: Any, at: Any, end: Any, looked_at: Any) -> Any:
    """Where a value ends that is no text; -1 where it is not plain. It is read once more when it is decoded."""
    start = at
    digits = 0
    while at < end:
        byte = buffer[at]
        if byte == 44 or byte == 125 or byte == 32 or byte == 9 or byte == 10 or byte == 13:
            break
        if 48 <= byte <= 57:
            digits += 1
            if looked_at and digits >= _LEAST_DIGITS:
                return -1
        elif 97 <= byte <= 122 or byte == 46 or byte == 69 or byte == 43 or byte == 45:
            digits = 0
        else:
            return -1
        at += 1
    return -1 if at == start else at


@kernel
def _left_out_end(buffer: Any, at: Any, end: Any) -> Any:
    """Where a number, true, false or null ends that nobody reads again: JSON that is wrong must not be put right."""
    byte = buffer[at]
    if byte == 45 or 48 <= byte <= 57:
        return scan_number(buffer, at, end)[0]
    if at + 4 <= end and _is(buffer, at, b"true"):
        return at + 4
    if at + 5 <= end and _is(buffer, at, b"false"):
        return at + 5
    if at + 4 <= end and _is(buffer, at, b"null"):
        return at + 4
    return -1


@kernel
def _is(buffer: Any, at: Any, word: Any) -> Any:
    same = True
    for place in range(len(word)):
        same &= buffer[at + place] == word[place]
    return same


@kernel
def _same(buffer: Any, start: Any, end: Any, other: Any, other_end: Any) -> Any:
    if end - start != other_end - other:
        return False
    same = True
    for place in range(end - start):
        same &= buffer[start + place] == buffer[other + place]
    return same


@kernel
def _which(buffer: Any, start: Any, length: Any, keys: Any, ends: Any, hint: Any) -> Any:
    """The number of a key, looked for from `hint` on; -1 where it is not among them."""
    count = ends.shape[0] - 1
    for step in range(count):
        key = hint + step
        if key >= count:
            key -= count
        first = ends[key]
        if ends[key + 1] - first == length:
            at = 0
            while at < length and buffer[start + at] == keys[first + at]:
                at += 1
            if at == length:
                return key
    return -1
