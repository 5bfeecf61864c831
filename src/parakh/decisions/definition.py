"""What a project defines, whole: the frozen value that a plan is compiled from, and the policy and signals in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from parakh.events.definition import EARLIEST_US, EventType
from parakh.expressions.types import Type
from parakh.features.definition import Entity
from parakh.models.definition import Model
from parakh.rules.definition import LookupTable, Outcome, Rule, ValueList

__all__ = [
    "MOST_HELD_OUT",
    "Band",
    "Definitions",
    "Enrichment",
    "EnrichmentColumn",
    "Holdout",
    "Policy",
    "ProjectLike",
    "Settings",
    "Signals",
]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MOST_HELD_OUT = 0.2
"""The largest share that a holdout may let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Values computed when deciding on one event type; each may read those before it."""

    event_type: str
    define: tuple[tuple[str, str], ...] = ()  # (name, expression)


@dataclass(frozen=True, slots=True)
class Band:
    """An outcome asked for where the condition over the score holds."""

    outcome: Outcome
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """The share of the events that a policy would stop which it lets through, so that their labels become known.

    With `below` (major units of the currency) only events of a smaller amount. `salt` is a secret that keeps a sender
    who chooses ids from choosing what is let through.
    """

    share: float
    below: float | None = None
    salt: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How hits and score become an outcome; `score` names the model."""

    event_type: str
    name: str = ""
    score: str | None = None
    bands: tuple[Band, ...] = ()
    otherwise: Outcome = Outcome.ALLOW
    deadline_us: int = 50_000
    fallback: Outcome = Outcome.REVIEW
    holdout: Holdout | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class EnrichmentColumn:
    """One value of an enrichment's answer; `source` is its JSON path there (its name, unless said)."""

    name: str
    type: Type
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrichment:
    """A question to a service outside, asked before an event is decided: `url` is a template over the event's fields.

    Its answer becomes part of the event as it is stored, so that a replay asks nobody. Without one in `timeout_us` its
    columns are NULL and, where it is `needed`, the decision is degraded. `headers` beginning with `env:` are read from
    the environment.
    """

    name: str
    event_type: str
    url: str
    columns: tuple[EnrichmentColumn, ...]
    headers: tuple[tuple[str, str], ...] = ()
    timeout_us: int = 20_000
    cache_us: int = 0
    needed: bool = True
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """parakh.toml; lengths in microseconds, times in microseconds UTC."""

    name: str
    currency: str = "USD"
    time_zone: str = "UTC"
    lateness_us: int = HOUR_US
    horizon_us: int = 400 * DAY_US
    earliest_us: int = EARLIEST_US
    state_bytes: int = 8 * 2**30  # [limits] state: windows, keys, strings and ids together
    label_sources: tuple[str, ...] = ()  # [labels] sources, the highest-ranked first
    enrichment_hosts: tuple[str, ...] = ()  # [enrichments] hosts: the only ones that enrichments may ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """All that a project defines, in the order of its files and of the definitions in them."""

    settings: Settings
    events: tuple[EventType, ...] = ()
    entities: tuple[Entity, ...] = ()
    signals: tuple[Signals, ...] = ()
    rules: tuple[Rule, ...] = ()
    models: tuple[Model, ...] = ()
    policies: tuple[Policy, ...] = ()
    lists: tuple[ValueList, ...] = ()
    tables: tuple[LookupTable, ...] = ()
    enrichments: tuple[Enrichment, ...] = ()

    def event_type(self, name: str) -> EventType:
        return next(item for item in self.events if item.name == name)

    def policy(self, event_type: str) -> Policy | None:
        """The policy of an event type; None where it has none: its rules alone decide then, if it has any."""
        return next((item for item in self.policies if item.event_type == event_type), None)

    def entity(self, name: str) -> Entity:
        return next(item for item in self.entities if item.name == name)


class ProjectLike(Protocol):
    """What the engine needs of a project."""

    @property
    def definitions(self) -> Definitions: ...

    @property
    def hash(self) -> str: ...
