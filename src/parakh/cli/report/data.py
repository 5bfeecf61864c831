"""What a report tells, as plain frozen values. Amounts are minor units of one currency."""

from __future__ import annotations

from dataclasses import dataclass

from parakh.cli.timeline import Timeline

__all__ = [
    "Band",
    "Change",
    "Clause",
    "Contribution",
    "Figure",
    "Kind",
    "Movement",
    "Report",
    "RuleLine",
    "Scores",
    "Story",
    "Tally",
]

OUTCOMES = ("allow", "challenge", "review", "block")


@dataclass(frozen=True, slots=True)
class Figure:
    """A headline number: what it is, the number in words, and a line below it; tone is "", "good" or "bad"."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Decisions by outcome in each span of time; `counts` has one tuple an outcome, in the order of OUTCOMES."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fraud in each span of time: what was stopped of it and what passed, in amounts and in events."""

    name: str
    caught: tuple[int, ...]
    missed: tuple[int, ...]
    caught_events: int
    missed_events: int


@dataclass(frozen=True, slots=True)
class Band:
    """A score from which on a policy asks for an outcome."""

    outcome: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How a model's scores spread: events in equal bins from 0 to 1, genuine and fraud apart."""

    model: str
    genuine: tuple[int, ...]
    fraud: tuple[int, ...]
    bands: tuple[Band, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """A rule's record: how often it hit, how many hits were fraud and what they were worth."""

    name: str
    event_type: str
    outcome: str
    mode: str
    condition: str
    hits: int
    frauds: int
    fraud_amount: int


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition in words with its truth: True, False, or None for unknown; `depth` indents parts of and/or."""

    text: str
    truth: bool | None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one input added to the raw score (log-odds for a probability), with the input's value in words."""

    name: str
    value: str
    added: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One decision at length."""

    event_type: str
    event_id: str
    time: str
    outcome: str
    decided_by: str
    score: float | None
    facts: tuple[tuple[str, str], ...]
    reasons: tuple[tuple[str, str], ...]
    timelines: tuple[Timeline, ...]
    rules: tuple[tuple[str, bool | None, tuple[Clause, ...]], ...]
    base: float | None = None
    contributions: tuple[Contribution, ...] = ()
    truth: str = ""  # what became of it, where it is known: "fraud: card testing", "genuine"


@dataclass(frozen=True, slots=True)
class Movement:
    """Events of one type whose outcome changed: how many, of them frauds, and their amounts."""

    event_type: str
    before: str
    after: str
    events: int
    amount: int
    frauds: int
    fraud_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of the project and what it does on the same events."""

    title: str
    file: str
    lines: tuple[tuple[str, str], ...]  # ("-" | "+" | " ", text)
    movements: tuple[Movement, ...]
    figures: tuple[Figure, ...]
    before: tuple[int, int]  # fraud amount stopped, fraud amount passed
    after: tuple[int, int]
    customers_gained: int  # good customers stopped before who are not stopped now
    customers_lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A page. What is empty is left out of it."""

    title: str
    subtitle: str
    currency: str
    figures: tuple[Figure, ...] = ()
    span: str = "day"  # what one bar of the charts over time is
    outcomes: tuple[tuple[str, Tally], ...] = ()  # by event type
    kinds_labels: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    scores: tuple[Scores, ...] = ()
    rules: tuple[RuleLine, ...] = ()
    stories: tuple[Story, ...] = ()
    change: Change | None = None
    facts: tuple[tuple[str, str], ...] = ()  # how this page was made, at its foot
