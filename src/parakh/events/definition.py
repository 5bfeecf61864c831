"""What an event type is: the fields that its source gives, what is derived from them, and labels that come later."""

from __future__ import annotations

from dataclasses import dataclass, field

from parakh.expressions.types import BOOLEAN, Kind, Type

__all__ = ["EARLIEST_US", "ROW_ID", "EventType", "Field", "Label", "amount_field"]

EARLIEST_US = 946_684_800_000_000
"""2000-01-01: before it an event's time is taken for a mistake, unless the project says otherwise."""

ROW_ID = "row"
"""`id: row`: the source has no id; the row's position serves as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an event; `source` is the column or JSON path it is read from (its name, unless said)."""

    name: str
    type: Type
    entity: str | None = None
    personal: str | None = None  # token | mask | drop: applied before the log, by the service
    source: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A verdict about an event that becomes known later; `source` is its column where the events file carries it."""

    name: str
    type: Type = BOOLEAN
    source: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """An event type: `id` is the idempotency key (or `row`), `time` the field that holds event time.

    >>> from parakh.expressions.types import STRING, TIMESTAMP, money
    >>> payment = EventType(name="payment", id="payment_id", time="paid_at", fields=(
    ...     Field(name="payment_id", type=STRING), Field(name="paid_at", type=TIMESTAMP),
    ...     Field(name="card", type=STRING, entity="card"), Field(name="amount", type=money("INR"))))
    >>> payment.field("card").entity
    'card'
    """

    name: str
    id: str
    time: str
    fields: tuple[Field, ...]
    derive: tuple[tuple[str, str], ...] = ()  # (name, expression), each may read those before it
    labels: tuple[Label, ...] = ()
    description: str = ""
    _by_name: dict[str, Field] = field(default_factory=dict, init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        self._by_name.update({item.name: item for item in self.fields})

    def field(self, name: str) -> Field:
        return self._by_name[name]

    def carrying(self, entity: str) -> tuple[Field, ...]:
        """The fields that carry an entity, in order."""
        return tuple(item for item in self.fields if item.entity == entity)


def amount_field(event: EventType) -> str | None:
    """The field that says what an event is worth: its first of type money."""
    return next((item.name for item in event.fields if item.type.kind is Kind.MONEY), None)
