"""What a caller is told: the answer that a decision's record gives, and what stands for an event only taken in.

An answer is a function of the stored record, so that a retry gets the same bytes as the first try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.decisions.parts import Part
from parakh.decisions.record import MODEL_REASONS, DecisionSchema, Record, feature_values, read_record
from parakh.expressions.columns import Column
from parakh.rules.definition import Outcome

__all__ = ["Answer", "AnswerWriter", "Shape", "accepted_answer", "answer_of", "decided_answer", "iso"]

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
REPLAYED = (b"parakh-replayed", b"true")

_EPOCH = datetime(1970, 1, 1)
_MOST_TAILS = 10_000
_FEW = 4
"""So many decisions are answered one by one in less time than together."""
_WORDS = tuple(outcome.word for outcome in Outcome)
_FLAGS = ((2, "late"), (4, "degraded"), (1, "overflow"))
_FLAG_SETS = tuple(tuple(name for bit, name in _FLAGS if number & bit) for number in range(8))
_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """What goes over the wire; headers are in bytes, as ASGI has them."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = JSON


@dataclass(frozen=True, slots=True)
class Shape:
    """What the records of one event type under one version of a project mean."""

    features: tuple[Column, ...]
    shadow_models: tuple[str, ...]

    @classmethod
    def of(cls, schema: DecisionSchema) -> Shape:
        return cls(schema.features, tuple(column.name for column in schema.shadow_models))


class _Decided(msgspec.Struct):
    decision_id: str
    event_type: str
    event_id: str
    event_time: str
    decided_at: str
    outcome: str
    score: float | None
    decided_by: dict[str, str]
    reasons: list[dict[str, Any]]
    rules: dict[str, tuple[str, ...]]
    shadow_scores: dict[str, float | None]
    flags: tuple[str, ...]
    versions: dict[str, Any]
    features: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Accepted(msgspec.Struct):
    event_type: str
    event_id: str
    status: str


def answer_of(record: Record, shape: Shape, *, features: bool = False) -> bytes:
    """The JSON of a decision; with `features` also what it saw, under full names."""
    kind, name = record.decided_by
    return _encode(
        _Decided(
            record.decision_id.hex(),
            record.event_type,
            record.event_id,
            iso(record.event_time_us),
            iso(record.decided_at_us),
            _WORDS[record.outcome],
            record.score,
            {"kind": kind, "name": name},
            [
                {"code": reason.code, "text": reason.text, "contribution": reason.contribution}
                for reason in record.reasons
            ],
            {"hit": record.hits, "unknown": record.unknown, "shadow": record.shadow_hits},
            dict(zip(shape.shadow_models, record.shadow_scores)),
            _FLAG_SETS[record.flags & 7],
            {"project": record.project, "models": dict(record.models)},
            feature_values(record, shape.features) if features else msgspec.UNSET,
        )
    )


def decided_answer(data: bytes | memoryview, shape: Shape, *, features: bool = False) -> bytes:
    """The same from a record's bytes."""
    return answer_of(read_record(data), shape, features=features)


class AnswerWriter:
    """Writes the answers of a micro-batch: the same bytes that `answer_of` gives for each record, in less time.

    What follows the score is the same for all decisions with the same rules hit and unknown and the same winner, but
    for the inputs that explain a score: it is kept in two parts, before and after these.
    """

    def __init__(self, schema: DecisionSchema) -> None:
        self.shape = Shape.of(schema)
        self._head = b'","event_type":' + _encode(schema.event_type) + b',"event_id":'
        self._outcomes = tuple(b'Z","outcome":"' + word.encode() + b'","score":' for word in _WORDS)
        self._inputs = tuple(b'{"code":' + _encode(name) + b',"text":"","contribution":' for name in schema.inputs)
        self._tails: dict[bytes, tuple[bytes, bytes]] = {}

    def write(self, part: Part, records: Sequence[bytes]) -> list[bytes]:
        """The answer of each decision of a part, whose encoded records are given too."""
        count = len(part)
        if count < _FEW or self.shape.shadow_models:
            return [decided_answer(record, self.shape) for record in records]
        judgement = part.judgement
        ids = np.stack([part.id_hi, part.id_lo], axis=1).astype(">u8").tobytes().hex().encode()
        times = np.datetime_as_string(part.event_time_us.view("datetime64[us]")).tolist()
        decided = [iso(at)[:-1].encode() for at in part.decided_at_us[:1].tolist()] * count
        if count > 1 and (part.decided_at_us != part.decided_at_us[0]).any():
            decided = [iso(at)[:-1].encode() for at in part.decided_at_us.tolist()]
        scores = _encode(part.score.tolist())[1:-1].split(b",")
        words = np.concatenate([judgement.hits, judgement.unknown], axis=1).tobytes()
        width = len(words) // count
        reasons = iter(self._model_reasons(part.contributions))
        answers = []
        for row, (outcome, won, flags, text) in enumerate(
            zip(judgement.outcome.tolist(), judgement.won.tolist(), part.flags.tolist(), part.id_texts())
        ):
            key = words[row * width : row * width + width] + b"%d %d" % (won, flags)
            before, after = self._tails.get(key) or self._tail(key, records[row])
            pieces = [
                b'{"decision_id":"', ids[32 * row : 32 * row + 32], self._head,
                b'"%s"' % text.encode() if text.isalnum() and text.isascii() else _encode(text),
                b',"event_time":"', times[row].encode(), b'Z","decided_at":"', decided[row],
                self._outcomes[outcome], scores[row], before, after,
            ]  # fmt: skip
            if outcome and (explained := next(reasons, b"")):
                pieces.insert(-1, explained if before.endswith(b"[") else b"," + explained)
            answers.append(b"".join(pieces))
        return answers

    def _model_reasons(self, contributions: NDArray[np.float64]) -> list[bytes]:
        """The inputs that moved each score most, as reasons; of each decision that is not allowed."""
        if not contributions.shape[0]:
            return []
        inputs = contributions[:, :-1]
        order = np.argsort(-np.abs(inputs), axis=1, kind="stable")[:, :MODEL_REASONS]
        values = np.take_along_axis(inputs, order, axis=1)
        texts = iter(_encode(values.ravel().tolist())[1:-1].split(b","))
        return [
            b",".join([self._inputs[place] + text + b"}" for place, value, text in zip(places, row, texts) if value])
            for places, row in zip(order.tolist(), values.tolist())
        ]

    def _tail(self, key: bytes, record: bytes) -> tuple[bytes, bytes]:
        """What follows the score in an answer, without the inputs that explain it: before and after them."""
        read = read_record(record)
        rules = tuple(reason for reason in read.reasons if reason.contribution is None)
        answer = answer_of(msgspec.structs.replace(read, reasons=rules), self.shape)
        # Neither can stand inside a text, where quotation marks are escaped.
        first, second = answer.index(b',"decided_by":'), answer.index(b'],"rules":')
        if len(self._tails) >= _MOST_TAILS:
            self._tails.clear()
        self._tails[key] = answer[first:second], answer[second:]
        return self._tails[key]


def iso(time_us: int) -> str:
    """A time in ISO 8601, UTC, to the microsecond.

    >>> iso(1_767_225_600_000_001)
    '2026-01-01T00:00:00.000001Z'
    """
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds") + "Z"


def accepted_answer(event_type: str, event_id: str) -> bytes:
    """What is said of an event that was taken in and not decided."""
    return _encode(_Accepted(event_type, event_id, "accepted"))
