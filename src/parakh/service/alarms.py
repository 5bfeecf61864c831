"""Alarms: what a look at the past found changed, posted to the service so that webhooks tell those who listen.

An alarm is an entry of the log, as all that leaves by the outbox is. It is known by its kind, its subject, its event
type and since when it holds: posted again, as by a job that looks every night, it is not sent again. It speaks of
inputs, rules and rates, never of a person.
"""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from parakh.errors import ParakhError
from parakh.service.personal.cards import has_card_number
from parakh.service.webhooks import iso

__all__ = ["LONGEST_SUBJECT", "LONGEST_TEXT", "MOST_ALARMS", "Alarm", "AlarmError", "read_alarm", "read_alarms"]

MOST_ALARMS: Final = 1_000
LONGEST_SUBJECT: Final = 200
LONGEST_TEXT: Final = 500
_LONGEST_WORD: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AlarmError(ParakhError):
    """An alarm that cannot be taken; `field` says where it stands."""

    def __init__(self, message: str, *, field: str = "") -> None:
        self.message = message
        self.field = field
        super().__init__(message)


class Alarm(msgspec.Struct, frozen=True):
    """What changed: `kind` (of what: stability, missing, hit_rate...), `subject` (which), since when, how far, and the
    bound that it is beyond. `event_type` is None where it is about no type.
    """

    kind: str
    subject: str
    since_us: int
    value: float
    bound: float | None
    text: str
    event_type: str | None = None

    @property
    def id(self) -> bytes:
        """Sixteen bytes that name the alarm, whatever is told of it.

        >>> Alarm("missing", "age", 0, 0.2, 0.1, "").id == Alarm("missing", "age", 0, 0.3, 0.1, "").id
        True
        """
        named: tuple[str | int, ...] = (self.kind, self.subject, self.since_us)
        if self.event_type is not None:
            named = (*named, self.event_type)
        return hashlib.sha256(b"alarm" + msgspec.json.encode(named)).digest()[:16]

    def encode(self) -> bytes:
        """The alarm as JSON, as it was posted: what the log keeps and a receiver is sent."""
        about = {} if self.event_type is None else {"event_type": self.event_type}
        return msgspec.json.encode(
            about
            | {
                "kind": self.kind, "subject": self.subject, "since": iso(self.since_us), "value": self.value,
                "bound": self.bound, "text": self.text,
            }
        )  # fmt: skip


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    subject: str
    since: datetime
    value: float
    bound: float | None = None
    text: str = ""
    event_type: str | None = None


class _Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alarms: list[_Form]


_decode = msgspec.json.Decoder(_Posted).decode
_decode_line = msgspec.json.Decoder(_Form).decode


def read_alarms(body: bytes) -> list[Alarm]:
    """The alarms of a request, {"alarms": [...]}, all of them or none. Raises AlarmError."""
    try:
        forms = _decode(body).alarms
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise AlarmError(f"these are no alarms: {str(error).replace('`', '')}") from None
    if len(forms) > MOST_ALARMS:
        raise AlarmError(f"at most {MOST_ALARMS:,} alarms at once; these are {len(forms):,}", field="alarms")
    return [_checked(form, f"alarms[{number}]") for number, form in enumerate(forms)]


def read_alarm(line: bytes | memoryview) -> Alarm:
    """An alarm as the log keeps it."""
    return _alarm(_decode_line(line))


def _checked(form: _Form, place: str) -> Alarm:
    if not _is_name(form.kind) or not form.kind.islower():
        raise AlarmError(f"a kind is a word of small letters, at most {_LONGEST_WORD}", field=f"{place}.kind")
    if form.event_type is not None and not _is_name(form.event_type):
        raise AlarmError(
            f"an event type is a name of ASCII letters, digits and _, at most {_LONGEST_WORD}",
            field=f"{place}.event_type",
        )
    if not 0 < len(form.subject) <= LONGEST_SUBJECT or not form.subject.isprintable():
        raise AlarmError(f"a subject has 1 to {LONGEST_SUBJECT} characters, on one line", field=f"{place}.subject")
    if len(form.text) > LONGEST_TEXT or not form.text.isprintable():
        raise AlarmError(f"a text has at most {LONGEST_TEXT} characters, on one line", field=f"{place}.text")
    for name, text in (("subject", form.subject), ("text", form.text)):
        if has_card_number(text):
            raise AlarmError("an alarm is sent out of the house: it names no card", field=f"{place}.{name}")
    if form.since.tzinfo is None:
        raise AlarmError("a time names its zone, as in 2026-01-31T18:30:00Z", field=f"{place}.since")
    for name, number in (("value", form.value), ("bound", form.bound)):
        if number is not None and not math.isfinite(number):
            raise AlarmError("a number is finite", field=f"{place}.{name}")
    return _alarm(form)


def _is_name(text: str) -> bool:
    return text.isascii() and text.isidentifier() and len(text) <= _LONGEST_WORD


def _alarm(form: _Form) -> Alarm:
    since_us = (form.since - _EPOCH) // timedelta(microseconds=1)
    return Alarm(form.kind, form.subject, since_us, form.value, form.bound, form.text, form.event_type)
