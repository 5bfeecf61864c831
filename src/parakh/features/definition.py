"""What a feature is: an aggregate of the events of one key over a window; one definition gives one feature a window.

Entity definitions are what people write (`Entity`, `FeatureDefinition`); `Feature` is one column of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Aggregate", "AggregateKind", "Calendar", "Entity", "Feature", "FeatureDefinition", "Window"]


class AggregateKind(enum.Enum):
    COUNT = "count"  # count(*) where the argument is None, else count(x)
    DISTINCT = "count distinct"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    STDDEV = "stddev"
    FIRST = "first"
    LAST = "last"
    SINCE_LAST = "since_last"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate function and the text of its argument (an expression; None for count(*) and since_last())."""

    kind: AggregateKind
    argument: str | None = None


class Calendar(enum.Enum):
    DAY = "calendar_day"
    WEEK = "calendar_week"
    MONTH = "calendar_month"


@dataclass(frozen=True, slots=True)
class Window:
    """A length of time as it was written (`10m`, `calendar_day`): either microseconds or a calendar unit."""

    text: str
    length_us: int | None = None
    calendar: Calendar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDefinition:
    """A feature as it is written; `over` empty reaches back the project's horizon."""

    name: str
    sources: tuple[str, ...]
    aggregate: Aggregate
    where: str | None = None
    over: tuple[Window, ...] = ()
    delay_us: int = 0
    include_current: bool = True
    by: tuple[str, ...] | None = None  # source field(s) that are the key; None where one field carries the entity
    resolution_us: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column: a definition over one window. `name` has the window's suffix (`payments_10m`)."""

    entity: str
    name: str
    definition: FeatureDefinition
    window: Window | None  # None: the project's horizon

    @property
    def full_name(self) -> str:
        return f"{self.entity}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """Whose history is kept. `key` names the fields that join into its key; unless said the field of its own name.

    >>> tenth = Window("10m", length_us=600_000_000)
    >>> card = Entity(name="card", features=(FeatureDefinition(
    ...     name="payments", sources=("payment",), aggregate=Aggregate(AggregateKind.COUNT), over=(tenth,)),))
    >>> [feature.full_name for feature in card.columns()]
    ['card.payments_10m']
    """

    name: str
    key: tuple[str, ...] = ()
    features: tuple[FeatureDefinition, ...] = ()
    description: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The fields that join into the key, or the entity's own name."""
        return self.key or (self.name,)

    def columns(self) -> Iterator[Feature]:
        """Every feature of the entity, one a window, in the order of definition."""
        for definition in self.features:
            if not definition.over:
                yield Feature(entity=self.name, name=definition.name, definition=definition, window=None)
            for window in definition.over:
                name = f"{definition.name}_{window.text}"
                yield Feature(entity=self.name, name=name, definition=definition, window=window)
