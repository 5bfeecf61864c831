"""The answers of a micro-batch written by one kernel: the same bytes that `answer_of` gives for each record.

Everything that is the same in each answer - names, reasons, versions - is encoded once, as the pieces that the kernel
puts together; numbers are encoded by msgspec, all of a kind at once, and are handed in as the text of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numba import types as nb
from numpy.typing import NDArray

from parakh.decisions.express import Straight
from parakh.decisions.parts import Part
from parakh.decisions.policy import HOLDOUT
from parakh.decisions.record import DecisionSchema, room_of
from parakh.decisions.straight import (
    BUFFER,
    BUFFER_SIZE,
    COUNT,
    DECIDED_AT,
    DECODED,
    EXPLAINED,
    EXPLAINED_WIDTH,
    FLAGS,
    HITS,
    OUTCOME,
    PLACES,
    SET_WORDS,
    UNKNOWN,
    VALUES,
    WON,
)
from parakh.events.fields import ID_HIGH, ID_LENGTH, ID_LOW, ID_START, TIME
from parakh.expressions.calling import array_at, array_type, caller, kernel_address
from parakh.expressions.kernels import kernel
from parakh.expressions.memory import address_of, copy_bytes
from parakh.rules.definition import Mode, Outcome
from parakh.service.answers import FLAG_SETS, Shape, decided_answer

__all__ = ["AnswerWriter", "write_answers", "write_time"]

(
    _AT_WRITE, _OUT, _OUT_SIZE, _BOUNDS, _PIECES, _PIECES_SIZE, _ENDS, _ENDS_SIZE, _GROUPS, _GROUPS_SIZE,
    _LIVE, _LIVE_SIZE, _TEXTS, _TEXTS_SIZE, _SCORES_SIZE, _REASONS_AT, _SHADOWS_AT, _SHADOW_COUNT, _WRITER_SIZE,
) = range(19)  # fmt: skip
"""The writer's own descriptor: addresses of kernel and arrays, and their lengths."""
_BYTES, _TEXT = array_type(nb.uint8), array_type(nb.uint8, readonly=True)
_WORDS, _HASHES, _TRUTHS = array_type(nb.int64), array_type(nb.uint64), array_type(nb.boolean)
_ANSWERS = (
    _BYTES, _WORDS, _TEXT, _WORDS, _WORDS, _TRUTHS, _HASHES, _HASHES, _BYTES, _WORDS, _WORDS, _WORDS, _WORDS,
    array_type(nb.int8), array_type(nb.int32), array_type(nb.uint64, 2), array_type(nb.uint64, 2), _BYTES,
    _TEXT, array_type(nb.int64, 2), array_type(nb.float64, 2), _TEXT, _TEXT, nb.int64,
)  # fmt: skip
_call = caller(_ANSWERS, nb.none)
_bytes_at, _text_at = array_at(nb.uint8), array_at(nb.uint8, readonly=True)
_words_at, _hashes_at, _truths_at = array_at(nb.int64), array_at(nb.uint64), array_at(nb.boolean)
_small_at, _numbers_at = array_at(nb.int8), array_at(nb.int32)
_sets_at, _places_at, _values_at = array_at(nb.uint64, 2), array_at(nb.int64, 2), array_at(nb.float64, 2)
_NONE = b"[]"
_DAY_US = 86_400_000_000
_encode = msgspec.json.Encoder().encode
_NO_TEXT = np.frombuffer(_NONE, np.uint8)


class AnswerWriter:
    """Writes the answers of one event type under one version of a project."""

    def __init__(self, schema: DecisionSchema) -> None:
        self.shape = Shape.of(schema)
        rules = schema.judge.rules
        self._live = np.array([rule.mode is Mode.LIVE for rule in rules], np.bool_)
        self._shadows = np.array([column.slot for column in schema.shadow_models], np.int64)
        said = [(rule.reason or rule.name, rule.text or " ".join(rule.when.split())) for rule in rules]
        versions = b',"versions":' + _encode({"project": schema.project, "models": dict(schema.models)}) + b"}"
        groups: list[list[bytes]] = [
            [b'{"decision_id":"', b'","event_type":%b,"event_id":"' % _encode(schema.event_type), b'","event_time":"'],
            [b'Z","outcome":"%b","score":' % outcome.word.encode() for outcome in Outcome],
            [
                b',"decided_by":%b,"reasons":[' % _encode({"kind": kind, "name": name})
                for kind, name in schema.judge.deciders
            ],
            [_encode({"code": code, "text": text, "contribution": None}) for code, text in said],
            [b'{"code":%b,"text":"","contribution":' % _encode(name) for name in schema.inputs],
            [b'],"rules":{"hit":[', b'],"unknown":[', b'],"shadow":['],
            [_encode(rule.name) for rule in rules],
            [_encode(name) + b":" for name in self.shape.shadow_models],
            [b'},"flags":%b%b' % (_encode(names), versions) for names in FLAG_SETS[:HOLDOUT]],
        ]  # fmt: skip
        pieces = [piece for group in groups for piece in group]
        self._pieces = np.frombuffer(b"".join(pieces), np.uint8)
        self._ends = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
        self._groups = np.cumsum([0, *map(len, groups)], dtype=np.int64)
        self._most = int(self._pieces.size) + 256
        self._bounds = np.empty(2, np.int64)
        self._descriptor = np.zeros(_WRITER_SIZE, np.int64)
        w: memoryview[int] = self._descriptor.data
        self._words = w
        w[_AT_WRITE] = kernel_address(write_answers, _ANSWERS, nb.none)
        for place, array in (
            (_PIECES, self._pieces),
            (_ENDS, self._ends),
            (_GROUPS, self._groups),
            (_LIVE, self._live),
        ):
            w[place], w[place + 1] = address_of(array), array.size
        w[_SHADOW_COUNT] = self._shadows.size
        self._new(_BOUNDS, self._bounds)
        self._texts = self._new(_TEXTS, np.empty(1 << 10, np.uint8))
        self._make_room(1 << 12)
        self._holds_out = any(kind == "holdout" for kind, _ in schema.judge.deciders)

    def write_straight(self, straight: Straight) -> list[bytes]:
        """The answer of each decision that went straight through; before the express takes others."""
        return self._cut(straight.judged.flags, self._put_straight(straight), straight.record)

    def lines_straight(self, straight: Straight) -> bytes:
        """The same, each with a line break after it."""
        bounds = self._put_straight(straight)
        if not self._holds_out and bounds.min() >= 0:
            return self._out[: bounds[-1]].tobytes()
        return b"\n".join([*self._cut(straight.judged.flags, bounds, straight.record), b""])

    def _put_straight(self, straight: Straight) -> NDArray[np.int64]:
        """Write what went straight through, and say where each answer ends, as `write_answers` does."""
        express, count = straight.express, straight.count
        d, w = express.descriptor, self._words
        texts = _encode(express.scores(count))
        w[_SCORES_SIZE] = w[_REASONS_AT] = w[_SHADOWS_AT] = len(texts)
        if express.explains:
            texts += _encode(express.moved())
            w[_SHADOWS_AT] = len(texts)
        if self._shadows.size:
            texts += _encode(express.shadow_scores(count))
        w[_TEXTS_SIZE] = size = len(texts)
        room = count * self._most + express.buffer_size + size
        if len(self._texts) < size:
            self._texts = self._new(_TEXTS, np.empty(2 * size, np.uint8))
        if self._out.size < room:
            self._make_room(room)
        if self._bounds.size <= count:
            self._bounds = np.empty(2 * count, np.int64)
            self._new(_BOUNDS, self._bounds)
        self._texts[:size] = texts
        _write_straight(d, self._descriptor)
        return self._bounds[: count + 1]

    def _make_room(self, room: int) -> None:
        self._out = np.empty(room * 5 // 4, np.uint8)
        self._new(_OUT, self._out)
        self._words[_OUT_SIZE] = self._out.size

    def _new(self, place: int, array: NDArray[Any]) -> memoryview:
        """Write down where an array stands, which is held for as long; gives its memory."""
        self._words[place] = address_of(array)
        return array.data

    def write(self, part: Part, records: Sequence[bytes]) -> list[bytes]:
        """The answer of each decision of a part, whose encoded records are given too."""
        count = len(part)
        judgement = part.judgement
        places, values = part.explained
        reasons = _NO_TEXT if not places.size else np.frombuffer(_encode(values.ravel().tolist()), np.uint8)
        shadows = _NO_TEXT
        if self._shadows.size:
            scores = part.words[self._shadows].view(np.float64).T.ravel().tolist()
            shadows = np.frombuffer(_encode(scores), np.uint8)
        id_buffer, id_starts, id_lengths = part.ids
        numbers = np.frombuffer(_encode(part.score.tolist()), np.uint8)
        room = count * self._most + room_of(id_buffer, id_lengths) + numbers.size + reasons.size + shadows.size
        if self._out.size < room:
            self._make_room(room)
        bounds = np.empty(count + 1, np.int64)
        write_answers(
            self._out, bounds, self._pieces, self._ends, self._groups, self._live,
            part.id_hi, part.id_lo, id_buffer, id_starts, id_lengths, part.event_time_us, part.decided_at_us,
            judgement.outcome, judgement.won, judgement.hits, judgement.unknown, part.flags,
            numbers, places, values, reasons, shadows, self._shadows.size,
        )  # fmt: skip
        return self._cut(part.flags.tobytes() if self._holds_out else b"", bounds, records.__getitem__)

    def _cut(self, flags: bytes, bounds: NDArray[np.int64], record: Callable[[int], bytes]) -> list[bytes]:
        """The answers out of what was written; those that the kernel cannot write are made of their records."""
        ends: list[int] = bounds.tolist()
        if self._holds_out:
            # They are few, and the kernel knows the flags before this one: they are written otherwise, too.
            ends[1:] = [-abs(end) if flag & HOLDOUT else end for flag, end in zip(flags, ends[1:])]
        data = self._out[: abs(ends[-1])].tobytes()
        if min(ends) >= 0:
            return [data[start : end - 1] for start, end in pairwise(ends)]
        return [
            data[abs(start) : end - 1] if end > 0 else decided_answer(record(row), self.shape)
            for row, (start, end) in enumerate(pairwise(ends))
        ]


@kernel
def write_answers(
    out: Any, bounds: Any, pieces: Any, ends: Any, groups: Any, live: Any,
    id_hi: Any, id_lo: Any, id_buffer: Any, id_starts: Any, id_lengths: Any, event_times: Any, decided_at: Any,
    outcome: Any, won: Any, hits: Any, unknown: Any, flags: Any,
    scores: Any, places: Any, values: Any, reasons: Any, shadows: Any, shadow_count: Any,
) -> None:  # fmt: skip
    """Write all answers, each with a line break after it. bounds[i + 1] is where the line of row i ends, negative where
    its id needs escapes and the answer is to be written otherwise.
    """
    at = 0
    score_at = reason_at = shadow_at = 1
    explained = 0
    bounds[0] = 0
    for row in range(outcome.shape[0]):
        at = _put(out, at, pieces, ends, 0)
        at = _put_hex(out, at, id_hi[row])
        at = _put_hex(out, at, id_lo[row])
        at = _put(out, at, pieces, ends, 1)
        plain = True
        for place in range(id_starts[row], id_starts[row] + id_lengths[row]):
            byte = id_buffer[place]
            plain &= byte >= 32 and byte != 34 and byte != 92
            out[at] = byte
            at += 1
        at = _put(out, at, pieces, ends, 2)
        at = write_time(out, at, event_times[row])
        at = _put_text(out, at, b'Z","decided_at":"')
        at = write_time(out, at, decided_at[row])
        at = _put(out, at, pieces, ends, groups[1] + outcome[row])
        at, score_at = _put_number(out, at, scores, score_at)
        at = _put(out, at, pieces, ends, groups[2] + won[row])

        several = False
        for rule in range(live.shape[0]):
            if live[rule] and (hits[row, rule >> 6] >> np.uint64(rule & 63)) & np.uint64(1):
                at = _put_comma(out, at, several)
                at = _put(out, at, pieces, ends, groups[3] + rule)
                several = True
        if outcome[row] != 0 and places.shape[0] > 0:
            for number in range(places.shape[1]):
                if values[explained, number] == 0.0:
                    reason_at = _after_number(reasons, reason_at)
                    continue
                at = _put_comma(out, at, several)
                at = _put(out, at, pieces, ends, groups[4] + places[explained, number])
                at, reason_at = _put_number(out, at, reasons, reason_at)
                out[at] = 125
                at += 1
                several = True
            explained += 1

        for kind in range(3):  # live hits, unknown, shadow hits
            at = _put(out, at, pieces, ends, groups[5] + kind)
            several = False
            for rule in range(live.shape[0]):
                bits = unknown[row, rule >> 6] if kind == 1 else hits[row, rule >> 6]
                if (bits >> np.uint64(rule & 63)) & np.uint64(1) and (kind == 1 or live[rule] == (kind == 0)):
                    at = _put_comma(out, at, several)
                    at = _put(out, at, pieces, ends, groups[6] + rule)
                    several = True
        at = _put_text(out, at, b']},"shadow_scores":{')
        for number in range(shadow_count):
            at = _put_comma(out, at, number > 0)
            at = _put(out, at, pieces, ends, groups[7] + number)
            at, shadow_at = _put_number(out, at, shadows, shadow_at)
        at = _put(out, at, pieces, ends, groups[8] + (flags[row] & 7))
        out[at] = 10
        at += 1
        bounds[row + 1] = at if plain else -at


@kernel
def _write_straight(d: Any, w: Any) -> None:
    """The answers of what an express has taken last: `d` is its descriptor, `w` that of the writer."""
    n, decoded, width = d[COUNT], d[DECODED], d[SET_WORDS]
    _call(w[_AT_WRITE], (
        _bytes_at(w[_OUT], w[_OUT_SIZE]), _words_at(w[_BOUNDS], n + 1), _text_at(w[_PIECES], w[_PIECES_SIZE]),
        _words_at(w[_ENDS], w[_ENDS_SIZE]), _words_at(w[_GROUPS], w[_GROUPS_SIZE]), _truths_at(w[_LIVE], w[_LIVE_SIZE]),
        _hashes_at(decoded + 8 * ID_HIGH * n, n), _hashes_at(decoded + 8 * ID_LOW * n, n),
        _bytes_at(d[BUFFER], d[BUFFER_SIZE]), _words_at(decoded + 8 * ID_START * n, n),
        _words_at(decoded + 8 * ID_LENGTH * n, n), _words_at(decoded + 8 * TIME * n, n), _words_at(d[DECIDED_AT], n),
        _small_at(d[OUTCOME], n), _numbers_at(d[WON], n), _sets_at(d[HITS], n, width), _sets_at(d[UNKNOWN], n, width),
        _bytes_at(d[FLAGS], n), _text_at(w[_TEXTS], w[_SCORES_SIZE]),
        _places_at(d[PLACES], d[EXPLAINED], d[EXPLAINED_WIDTH]),
        _values_at(d[VALUES], d[EXPLAINED], d[EXPLAINED_WIDTH]),
        _text_at(w[_TEXTS] + w[_REASONS_AT], w[_TEXTS_SIZE] - w[_REASONS_AT]),
        _text_at(w[_TEXTS] + w[_SHADOWS_AT], w[_TEXTS_SIZE] - w[_SHADOWS_AT]), w[_SHADOW_COUNT],
    ))  # fmt: skip


@kernel
def _put(out: Any, at: Any, pieces: Any, ends: Any, piece: Any) -> Any:
    return copy_bytes(out, at, pieces, ends[piece], ends[piece + 1] - ends[piece])


@kernel
def _put_text(out: Any, at: Any, text: Any) -> Any:
    for place in range(len(text)):
        out[at] = text[place]
        at += 1
    return at


@kernel
def _put_comma(out: Any, at: Any, wanted: Any) -> Any:
    if wanted:
        out[at] = 44
        at += 1
    return at


@kernel
def _put_hex(out: Any, at: Any, word: Any) -> Any:
    for shift in range(60, -1, -4):
        digit = np.uint8((word >> np.uint64(shift)) & np.uint64(15))
        out[at] = digit + (48 if digit < 10 else 87)
        at += 1
    return at


@kernel
def _put_number(out: Any, at: Any, numbers: Any, start: Any) -> Any:
    """The number of a list's text that starts at `start`; also where the next one does."""
    while numbers[start] != 44 and numbers[start] != 93:
        out[at] = numbers[start]
        at += 1
        start += 1
    return at, start + 1


@kernel
def _after_number(numbers: Any, start: Any) -> Any:
    while numbers[start] != 44 and numbers[start] != 93:
        start += 1
    return start + 1


@kernel
def _put_digits(out: Any, at: Any, value: Any, digits: Any) -> Any:
    for place in range(at + digits - 1, at - 1, -1):
        out[place] = 48 + value % 10
        value //= 10
    return at + digits


@kernel
def write_time(out: Any, at: Any, time_us: Any) -> Any:
    """YYYY-MM-DDTHH:MM:SS.ffffff of microseconds since 1970, UTC, by Howard Hinnant's civil_from_days."""
    days = time_us // _DAY_US
    rest = time_us - days * _DAY_US
    shifted = days + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    at = _put_digits(out, at, year, 4)
    out[at] = 45
    at = _put_digits(out, at + 1, month, 2)
    out[at] = 45
    at = _put_digits(out, at + 1, day, 2)
    out[at] = 84
    at = _put_digits(out, at + 1, rest // 3_600_000_000, 2)
    out[at] = 58
    at = _put_digits(out, at + 1, rest // 60_000_000 % 60, 2)
    out[at] = 58
    at = _put_digits(out, at + 1, rest // 1_000_000 % 60, 2)
    out[at] = 46
    return _put_digits(out, at + 1, rest % 1_000_000, 6)
