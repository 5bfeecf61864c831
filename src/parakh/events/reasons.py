"""Why an event or a label is quarantined: one closed list, shared by decoding, the engine and every report."""

from __future__ import annotations

import enum

__all__ = ["Reason", "Refused"]


class Reason(enum.IntEnum):
    """A reason; its number stands in columns (0 is no problem), `code` in reports, `text` for the reader.

    >>> Reason.TOO_MANY_DECIMALS.code, Reason.MISSING_ID.text
    ('too_many_decimals', 'the event has no id')
    """

    OK = 0, "there is no problem"
    BAD_UTF8 = 1, "the bytes are not UTF-8"
    BAD_JSON = 2, "the line is not valid JSON"
    NOT_AN_OBJECT = 3, "the line is JSON, but not an object"
    BAD_ROW = 4, "the row has not as many cells as the header"
    LINE_TOO_LONG = 5, "the line is longer than the limit"
    WRONG_TYPE = 6, "a value does not have its field's type"
    NOT_FINITE = 7, "a number is NaN or infinite"
    OUT_OF_RANGE = 8, "a value is too large for its type"
    TOO_MANY_DECIMALS = 9, "an amount has more decimals than its currency"
    MISSING_ID = 10, "the event has no id"
    MISSING_TIME = 11, "the event has no time"
    TIME_BEFORE_EARLIEST = 12, "the event's time is before the project's earliest"
    TIME_IN_FUTURE = 13, "the event's time is more than 5 minutes ahead of arrival"
    CONFLICT = 14, "an event of the same id but another body was accepted before"
    MISSING_EVENT = 15, "the label names neither an event id nor an entity and its key"
    UNKNOWN_TYPE = 16, "the label names an event type or an entity that the project does not have"
    UNKNOWN_LABEL = 17, "the event type has no label of that name"
    UNKNOWN_SOURCE = 18, "the label's source is not one that the project ranks"
    UNKNOWN_EVENT = 19, "the event that the label names did not arrive in time"

    text: str

    def __new__(cls, number: int, text: str = "") -> Reason:
        self = int.__new__(cls, number)
        self._value_ = number
        self.text = text
        return self

    @property
    def code(self) -> str:
        """The reason's name in records and reports."""
        return self.name.lower()


class Refused(Exception):
    """A value that cannot be taken; inside decoding alone, never seen by a user."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.text)
