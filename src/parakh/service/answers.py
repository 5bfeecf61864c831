"""What a caller is told: the answer that a decision's record gives, and what stands for an event only taken in.

An answer is a function of the stored record, so that a retry gets the same bytes as the first try.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from parakh.decisions.policy import FLAG_NAMES
from parakh.decisions.record import DecisionSchema, Record, feature_values, read_record
from parakh.expressions.columns import Column
from parakh.rules.definition import Outcome

__all__ = ["FLAG_SETS", "Answer", "Shape", "accepted_answer", "answer_of", "decided_answer", "iso"]

JSON = b"application/json"
NDJSON = b"application/x-ndjson"
REPLAYED = (b"parakh-replayed", b"true")

_EPOCH = datetime(1970, 1, 1)
_WORDS = tuple(outcome.word for outcome in Outcome)
FLAG_SETS = tuple(tuple(name for bit, name in FLAG_NAMES if number & bit) for number in range(16))
"""What each value of a record's flags says."""
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
            FLAG_SETS[record.flags & 15],
            {"project": record.project, "models": dict(record.models)},
            feature_values(record, shape.features) if features else msgspec.UNSET,
        )
    )


def decided_answer(data: bytes | memoryview, shape: Shape, *, features: bool = False) -> bytes:
    """The same from a record's bytes."""
    return answer_of(read_record(data), shape, features=features)


def iso(time_us: int) -> str:
    """A time in ISO 8601, UTC, to the microsecond.

    >>> iso(1_767_225_600_000_001)
    '2026-01-01T00:00:00.000001Z'
    """
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds") + "Z"


def accepted_answer(event_type: str, event_id: str) -> bytes:
    """What is said of an event that was taken in and not decided."""
    return _encode(_Accepted(event_type, event_id, "accepted"))
