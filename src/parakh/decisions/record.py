"""The record of a decision: what was decided on which event, why, and by which versions. Never changed afterwards.

On disk and on the wire a record is MessagePack, written for a whole batch by one kernel from the engine's columns;
`Record` is the same as a Python value. The vector of features is one 64-bit word a feature, in the order of
`DecisionSchema.features`, which the project's hash fixes; a feature that is a string has a zero word there and its text
in `texts`, since codes mean nothing outside the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.decisions.policy import FLAG_NAMES, Judge, Judgement
from parakh.expressions.columns import Column
from parakh.expressions.kernels import kernel
from parakh.expressions.memory import copy_bytes
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.rules.definition import Mode, Outcome

__all__ = [
    "DecisionSchema",
    "Reason",
    "Record",
    "Writer",
    "explain_all",
    "explained",
    "feature_values",
    "read_record",
    "room_of",
    "value_of",
    "write_all",
]

_SMALL_BUFFER = 1 << 16  # room for all of it costs less than to look how much is needed
MODEL_REASONS = 5
"""A record names at most this many of a model's inputs, those that moved the score most."""


class Reason(msgspec.Struct, array_like=True, frozen=True):
    """Why: a rule's reason code, or a model input with what it added to the raw score."""

    code: str
    text: str
    contribution: float | None = None


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One decision. Times are microseconds UTC; `decided_by` is what won, as (kind, name)."""

    decision_id: bytes
    event_type: str
    event_id: str
    event_time_us: int
    decided_at_us: int
    outcome: int
    score: float | None
    decided_by: tuple[str, str]
    reasons: tuple[Reason, ...]
    hits: tuple[str, ...]
    unknown: tuple[str, ...]
    shadow_hits: tuple[str, ...]
    shadow_scores: tuple[float | None, ...]
    features: bytes
    texts: tuple[str | None, ...]
    project: str
    models: tuple[tuple[str, str], ...]
    flags: int

    @property
    def flag_names(self) -> tuple[str, ...]:
        return tuple(name for bit, name in FLAG_NAMES if self.flags & bit)

    @property
    def outcome_word(self) -> str:
        return Outcome(self.outcome).word


@dataclass(frozen=True, slots=True)
class DecisionSchema:
    """What the records of one event type mean: rules and features in the order of the bits and of the vector."""

    event_type: str
    project: str
    features: tuple[Column, ...]
    judge: Judge
    score: str | None  # the model that the policy reads
    inputs: tuple[str, ...]  # that model's inputs, the columns of its contributions
    shadow_models: tuple[Column, ...]
    models: tuple[tuple[str, str], ...]  # (name, digest)


@dataclass(frozen=True, slots=True)
class Constants:
    """What is the same in each record of a schema, as `write_all` takes it.

    room: bytes that are enough for a record, but for its id and its texts. firsts: the first piece of rules' names, of
    their reasons, of the model's inputs, and that of the versions.
    """

    room: int
    pieces: NDArray[np.uint8]
    ends: NDArray[np.int64]
    firsts: tuple[int, int, int, int]
    rule_live: NDArray[np.bool_]
    feature_slots: NDArray[np.int64]
    feature_is_text: NDArray[np.bool_]
    shadow_slots: NDArray[np.int64]


class Writer:
    """Writes the records of one event type as MessagePack.

    Everything that is the same in each record (names, reasons, versions) is encoded once, here.
    """

    def __init__(self, schema: DecisionSchema) -> None:
        self.schema = schema
        rules = schema.judge.rules
        encode = msgspec.msgpack.encode
        pieces = [encode(schema.event_type)]
        pieces += [encode(decider) for decider in schema.judge.deciders]
        first_rule = len(pieces)
        pieces += [encode(rule.name) for rule in rules]
        first_reason = len(pieces)
        # Where a rule says no reason in words, its condition is the reason.
        said = [rule.text or " ".join(rule.when.split()) for rule in rules]
        pieces += [encode(Reason(rule.reason or rule.name, text)) for rule, text in zip(rules, said)]
        first_input = len(pieces)
        # The contribution follows its code and text, so the array of three is opened here and closed by a number.
        pieces += [b"\x93" + encode(name) + encode("") for name in schema.inputs]
        versions = len(pieces)
        pieces.append(encode(schema.project) + encode(schema.models))
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        self.constants = made = Constants(
            room=sum(map(len, pieces)) + 256 + 8 * len(schema.features) + 9 * len(schema.shadow_models),
            pieces=np.frombuffer(b"".join(pieces), np.uint8).copy(),
            ends=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            firsts=(first_rule, first_reason, first_input, versions),
            rule_live=np.array([rule.mode is Mode.LIVE for rule in rules], np.bool_),
            feature_slots=np.array([column.slot for column in schema.features], np.int64),
            feature_is_text=np.array([column.type.kind is Kind.STRING for column in schema.features], np.bool_),
            shadow_slots=np.array([column.slot for column in schema.shadow_models], np.int64),
        )
        self._out = np.empty(4096, np.uint8)
        self._text_slots = made.feature_slots[made.feature_is_text]

    def write(
        self,
        strings: Strings,
        words: NDArray[np.int64],
        judgement: Judgement,
        explained: tuple[NDArray[np.int64], NDArray[np.float64]],
        *,
        id_hi: NDArray[np.uint64],
        id_lo: NDArray[np.uint64],
        ids: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]],
        times: tuple[NDArray[np.int64], NDArray[np.int64]],
        score: NDArray[np.float64],
        flags: NDArray[np.uint8],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The records of all rows as one buffer and the offsets of each, count + 1.

        The buffer is the writer's own and holds until the next call. `explained` (see there) has one row for each row
        that is not allowed, in order, or none at all.
        """
        buffer, id_starts, id_lengths = ids
        made = self.constants
        bound = score.size * made.room + room_of(buffer, id_lengths)
        arena, text_offsets = strings.kernel_arrays[:2]
        for slot in self._text_slots:
            codes = words[slot][words[slot] >= 0]
            bound += int((text_offsets[codes + 1] - text_offsets[codes] + 5).sum()) + score.size
        if self._out.size < bound:
            self._out = np.empty(bound * 5 // 4, np.uint8)
        offsets = np.zeros(score.size + 1, np.int64)
        write_all(
            self._out, offsets, words, made.pieces, made.ends, *made.firsts,
            made.rule_live, made.feature_slots, made.feature_is_text, made.shadow_slots, arena, text_offsets,
            judgement.outcome, judgement.won, judgement.hits, judgement.unknown, *explained,
            id_hi, id_lo, buffer, id_starts, id_lengths, times[0], times[1], score, flags,
        )  # fmt: skip
        return self._out, offsets


def room_of(buffer: NDArray[np.uint8], lengths: NDArray[np.int64]) -> int:
    """Bytes that are enough for spans of a buffer, each of which is another part of it; -1 is the length of none."""
    return buffer.size if buffer.size <= _SMALL_BUFFER else int(np.maximum(lengths, 0).sum())


def value_of(word: int, type: Type, strings: Strings) -> Any:
    """A column's word as a Python value: None for NULL, money in major units, text for strings."""
    if type.kind is Kind.STRING:
        return None if word == NULL_WORD else strings.text(word)
    return _value(word, type)


def _value(word: int, type: Type) -> Any:
    if type.is_float:
        number = float(np.int64(word).view(np.float64))
        return None if number != number else number
    if word == NULL_WORD:
        return None
    if type.kind is Kind.BOOLEAN:
        return bool(word)
    return word / 10**type.digits if type.digits else word


def explained(contributions: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The inputs that moved each score most, at most MODEL_REASONS of them, and by how much: [rows, inputs] each.

    `contributions` is float64[rows, inputs + 1], the last column the base value. Of equals the first comes first.

    >>> places, values = explained(np.array([[0.5, -2.0, 0.0, 9.0]]))
    >>> places.tolist(), values.tolist()
    ([[1, 0, 2]], [[-2.0, 0.5, 0.0]])
    """
    if not contributions.shape[0]:
        return _NOT_EXPLAINED
    shape = contributions.shape[0], min(MODEL_REASONS, contributions.shape[1] - 1)
    places, values = np.empty(shape, np.int64), np.empty(shape)
    explain_all(contributions, places, values)
    return places, values


_NOT_EXPLAINED = np.empty((0, 0), np.int64), np.empty((0, 0))


@kernel
def explain_all(contributions: Any, places: Any, values: Any) -> None:
    inputs = contributions.shape[1] - 1
    for row in range(places.shape[0]):
        below = np.inf
        last = -1
        for number in range(places.shape[1]):
            best = -1
            for place in range(inputs):
                size = abs(contributions[row, place])
                untaken = size < below or (size == below and place > last)
                if untaken and (best < 0 or size > abs(contributions[row, best])):
                    best = place
            places[row, number] = best
            values[row, number] = 0.0 if best < 0 else contributions[row, best]
            below = abs(values[row, number])
            last = best


@kernel
def write_all(
    out: Any, offsets: Any, words: Any, pieces: Any, piece_offsets: Any,
    first_rule: Any, first_reason: Any, first_input: Any, versions: Any,
    rule_live: Any, feature_slots: Any, feature_is_text: Any, shadow_slots: Any, arena: Any, text_offsets: Any,
    outcome: Any, won: Any, hits: Any, unknown: Any, places: Any, values: Any,
    id_hi: Any, id_lo: Any, id_buffer: Any, id_starts: Any, id_lengths: Any, event_times: Any, decided_at: Any,
    score: Any, flags: Any,
) -> None:  # fmt: skip
    rules = rule_live.shape[0]
    numbers = words.view(np.float64)
    explained = 0
    end = 0
    texts = 0
    for f in range(feature_slots.shape[0]):
        texts += feature_is_text[f]
    for i in range(score.shape[0]):
        end = _put_count(out, end, 18)
        end = _put_byte(out, end, 0xC4)
        end = _put_byte(out, end, 16)
        end = _put_word(out, end, id_hi[i])
        end = _put_word(out, end, id_lo[i])
        end = _put_piece(out, end, pieces, piece_offsets, 0)
        length = id_lengths[i]
        end = _put_byte(out, end, 0xDA)
        end = _put_byte(out, end, (length >> 8) & 255)
        end = _put_byte(out, end, length & 255)
        end = copy_bytes(out, end, id_buffer, id_starts[i], length)
        end = _put_byte(out, end, 0xD3)
        end = _put_word(out, end, np.uint64(event_times[i]))
        end = _put_byte(out, end, 0xD3)
        end = _put_word(out, end, np.uint64(decided_at[i]))
        end = _put_byte(out, end, outcome[i])
        end = _put_number(out, end, score[i])
        end = _put_piece(out, end, pieces, piece_offsets, 1 + won[i])

        # Reasons: the rules that hit, live ones only, then the inputs that moved the score most.
        header = end
        end = _put_count(out, end, 0)
        reasons = 0
        for rule in range(rules):
            if rule_live[rule] and (hits[i, rule >> 6] >> np.uint64(rule & 63)) & np.uint64(1):
                end = _put_piece(out, end, pieces, piece_offsets, first_reason + rule)
                reasons += 1
        if outcome[i] != 0 and places.shape[0] > 0:
            for number in range(places.shape[1]):
                if values[explained, number] == 0.0:
                    break
                end = _put_piece(out, end, pieces, piece_offsets, first_input + places[explained, number])
                end = _put_number(out, end, values[explained, number])
                reasons += 1
            explained += 1
        _put_count(out, header, reasons)

        for part in range(3):  # live hits, unknown, shadow hits
            header = end
            end = _put_count(out, end, 0)
            count = 0
            for rule in range(rules):
                bits = unknown[i, rule >> 6] if part == 1 else hits[i, rule >> 6]
                if (bits >> np.uint64(rule & 63)) & np.uint64(1) and (part == 1 or rule_live[rule] == (part == 0)):
                    end = _put_piece(out, end, pieces, piece_offsets, first_rule + rule)
                    count += 1
            _put_count(out, header, count)
        end = _put_count(out, end, shadow_slots.shape[0])
        for s in range(shadow_slots.shape[0]):
            end = _put_number(out, end, numbers[shadow_slots[s], i])
        size = 8 * feature_slots.shape[0]
        end = _put_byte(out, end, 0xC5)
        end = _put_byte(out, end, (size >> 8) & 255)
        end = _put_byte(out, end, size & 255)
        for f in range(feature_slots.shape[0]):
            word = np.uint64(0)
            if not feature_is_text[f]:
                word = np.uint64(words[feature_slots[f], i])
            for b in range(8):  # little-endian, as numpy.frombuffer reads it
                out[end + b] = np.uint8((word >> np.uint64(8 * b)) & np.uint64(255))
            end += 8
        end = _put_count(out, end, texts)
        for f in range(feature_slots.shape[0]):
            if feature_is_text[f]:
                code = words[feature_slots[f], i]
                if code < 0:
                    end = _put_byte(out, end, 0xC0)
                else:
                    first = text_offsets[code]
                    length = text_offsets[code + 1] - first
                    end = _put_byte(out, end, 0xDB)
                    for b in range(4):
                        end = _put_byte(out, end, (length >> (24 - 8 * b)) & 255)
                    end = copy_bytes(out, end, arena, first, length)
        end = _put_piece(out, end, pieces, piece_offsets, versions)
        end = _put_byte(out, end, flags[i])
        offsets[i + 1] = end


@kernel
def _put_byte(out: Any, end: Any, value: Any) -> Any:
    out[end] = np.uint8(value)
    return end + 1


@kernel
def _put_word(out: Any, end: Any, value: Any) -> Any:
    for b in range(8):  # big-endian, as MessagePack has it
        out[end + b] = np.uint8((value >> np.uint64(56 - 8 * b)) & np.uint64(255))
    return end + 8


@kernel
def _put_number(out: Any, end: Any, value: Any) -> Any:
    if np.isnan(value):
        out[end] = 0xC0
        return end + 1
    out[end] = 0xCB
    return _put_word(out, end + 1, np.float64(value).view(np.uint64))


@kernel
def _put_count(out: Any, end: Any, count: Any) -> Any:
    out[end] = 0xDC
    out[end + 1] = np.uint8((count >> 8) & 255)
    out[end + 2] = np.uint8(count & 255)
    return end + 3


@kernel
def _put_piece(out: Any, end: Any, pieces: Any, offsets: Any, piece: Any) -> Any:
    return copy_bytes(out, end, pieces, offsets[piece], offsets[piece + 1] - offsets[piece])


def read_record(data: bytes | memoryview) -> Record:
    """A record from its bytes.

    Raises msgspec.DecodeError where the bytes are not a record.
    """
    return _decoder.decode(data)


_decoder = msgspec.msgpack.Decoder(Record)


def feature_values(record: Record, features: Sequence[Column]) -> dict[str, Any]:
    """The features that the decision saw, by name, as Python values; `features` as the record's project has them."""
    words = np.frombuffer(record.features, np.int64)
    texts = iter(record.texts)
    return {
        column.name: next(texts) if column.type.kind is Kind.STRING else _value(int(word), column.type)
        for column, word in zip(features, words, strict=True)
    }
