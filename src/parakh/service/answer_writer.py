"""The answers of a micro-batch written by one kernel: the same bytes that `answer_of` gives for each record.

Everything that is the same in each answer - names, reasons, versions - is encoded once, as the pieces that the kernel
puts together; numbers are encoded by msgspec, all of a kind at once, and are handed in as the text of a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from parakh.decisions.parts import Part
from parakh.decisions.policy import HOLDOUT
from parakh.decisions.record import DecisionSchema, room_of
from parakh.expressions.kernels import kernel
from parakh.rules.definition import Mode, Outcome
from parakh.service.answers import FLAG_SETS, Shape, decided_answer

__all__ = ["AnswerWriter", "write_time"]

_DAY_US = 86_400_000_000
_encode = msgspec.json.Encoder().encode
_NO_TEXT = np.frombuffer(b"[]", np.uint8)


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
        self._out = np.empty(1 << 12, np.uint8)
        self._holds_out = any(kind == "holdout" for kind, _ in schema.judge.deciders)

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
            self._out = np.empty(room * 5 // 4, np.uint8)
        bounds = np.empty(count + 1, np.int64)
        _write(
            self._out, bounds, self._pieces, self._ends, self._groups, self._live,
            part.id_hi, part.id_lo, id_buffer, id_starts, id_lengths, part.event_time_us, part.decided_at_us,
            judgement.outcome, judgement.won, judgement.hits, judgement.unknown, part.flags,
            numbers, places, values, reasons, shadows, self._shadows.size,
        )  # fmt: skip
        if self._holds_out:
            # They are few, and the kernel knows the flags before this one: they are written otherwise, too.
            held_out = np.flatnonzero(part.flags & HOLDOUT) + 1
            bounds[held_out] = -np.abs(bounds[held_out])
        ends = bounds.tolist()
        data = self._out[: abs(ends[-1])].tobytes()
        return [
            data[start:end] if end > 0 else decided_answer(records[row], self.shape)
            for row, (start, end) in enumerate(zip((abs(end) for end in ends), ends[1:]))
        ]


@kernel
def _write(
    out: Any, bounds: Any, pieces: Any, ends: Any, groups: Any, live: Any,
    id_hi: Any, id_lo: Any, id_buffer: Any, id_starts: Any, id_lengths: Any, event_times: Any, decided_at: Any,
    outcome: Any, won: Any, hits: Any, unknown: Any, flags: Any,
    scores: Any, places: Any, values: Any, reasons: Any, shadows: Any, shadow_count: Any,
) -> None:  # fmt: skip
    """Write all answers, one after another. bounds[i + 1] is where the answer of row i ends, negative where its id
    needs escapes and the answer is to be written otherwise.
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
        bounds[row + 1] = at if plain else -at


@kernel
def _put(out: Any, at: Any, pieces: Any, ends: Any, piece: Any) -> Any:
    for place in range(ends[piece], ends[piece + 1]):
        out[at] = pieces[place]
        at += 1
    return at


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
