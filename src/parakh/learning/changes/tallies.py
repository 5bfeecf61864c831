"""Counts of past events by segment and by hour or day, made by a replay without labels: what anomalies are seen in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import DAY_US, HOUR_US, ProjectLike
from parakh.decisions.plan import TypePlan
from parakh.decisions.replay import Progress
from parakh.errors import InputError
from parakh.events.definition import amount_field
from parakh.events.ids import NEW
from parakh.events.merge import LABEL, LogBatch
from parakh.expressions.hints import closest
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.expressions.values import iso_time
from parakh.expressions.zones import Zone
from parakh.learning.columns import inputs_of
from parakh.learning.past import Past
from parakh.rules.definition import Outcome

__all__ = ["Tallies", "summed", "tally"]

MOST_SEGMENTS = 2_000
"""Of one field; those with the most events."""
MOST_COUNTS = 10_000_000
"""Segments times spans: some fifteen arrays of that size are held at once, 80 MB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """Counts by segment (rows) and span of time (columns, one hour or day each, none left out).

    `segments` are (field, value); `starts_us` us UTC; `slot` the hour of the week, or its day, in the project's zone:
    where clocks change an hour of the week comes twice or not at all, and a day is longer or shorter.
    `amounts`, `logs` and `squares` are of the amounts above zero: how many, the sum of their logarithms and of the
    squares of these. `distinct` counts different values of a field, where one was asked for. `left_out` are values
    beyond the most frequent.
    """

    event_type: str
    currency: str
    every_us: int
    segments: tuple[tuple[str, str], ...]
    starts_us: NDArray[np.int64]
    slot: NDArray[np.int64]
    events: NDArray[np.int64]
    stopped: NDArray[np.int64]
    amounts: NDArray[np.int64]
    logs: NDArray[np.float64]
    squares: NDArray[np.float64]
    distinct: NDArray[np.int64] | None = None
    distinct_of: str = ""
    left_out: int = 0

    @property
    def slots(self) -> int:
        """How many slots a week has."""
        return 7 * DAY_US // self.every_us

    @property
    def lengths(self) -> NDArray[np.float64]:
        """How long each span is, in hours or days: all 1 but days on which clocks change."""
        return np.append(np.diff(self.starts_us) / self.every_us, 1.0)


def tally(
    project: ProjectLike,
    past: Past,
    *,
    event_type: str | None = None,
    by: Sequence[str] = (),
    distinct: str | None = None,
    every_us: int = DAY_US,
    from_us: int | None = None,
    to_us: int | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> Tallies:
    """Replay the past and count the events of one type: all together, and by each value of the fields `by`.

    Of a type that is not decided none is stopped. Raises InputError where there is no such type or field, a field is
    personal or has no values to tell apart, no event is in [from_us, to_us), or there would be too many counts.
    """
    replaying = past.replay(project)
    plan = _type(replaying.engine.plan.by_name, past.event_types, event_type)
    fields = [_field(plan, project, name) for name in by]
    layout = plan.layout
    if distinct is not None and distinct not in layout.columns:
        near = closest(distinct, list(layout.columns))
        raise InputError(f"there is no field {distinct!r} to count the values of{f'; {near}' if near else ''}")
    amount = amount_field(plan.event)
    names = [*by, *([distinct] if distinct else []), *([amount] if amount else []), plan.event.time]
    slots = np.array([layout[name].slot for name in names], np.int64)
    words, times, outcomes = list[NDArray[np.int64]](), list[NDArray[np.int64]](), list[NDArray[np.int8]]()

    def keep(rows: NDArray[np.int64], outcome: NDArray[np.int8]) -> None:
        held = replaying.engine.words[slots[:, None], rows]
        inside = np.ones(rows.size, np.bool_)
        if from_us is not None:
            inside &= held[-1] >= from_us
        if to_us is not None:
            inside &= held[-1] < to_us
        words.append(held[:-1, inside])
        times.append(held[-1, inside])
        outcomes.append(outcome[inside])

    def take(batch: LogBatch, decisions: Decisions) -> None:
        if not plan.decided:
            events = np.flatnonzero(batch.kinds != LABEL)
            mine = events[(batch.kinds[events] == plan.index) & (decisions.statuses == NEW)]
            keep(batch.rows[mine].astype(np.int64), np.full(mine.size, Outcome.ALLOW, np.int8))
        for part in decisions.parts:
            if part.schema.event_type == plan.event.name:
                keep(part.rows, part.judgement.outcome)

    told = None if on_progress is None else (lambda _, progress: on_progress(progress))
    summary = replaying.run(told, on_entries=take)
    time_us = np.concatenate(times) if times else np.empty(0, np.int64)
    if not time_us.size:
        sides = [f"{word} {iso_time(at)}" for word, at in (("from", from_us), ("before", to_us)) if at is not None]
        refused = sum(summary.quarantined.values())
        raise InputError(
            f"no event of {plan.event.name} {' and '.join(sides) or 'in what was given'}; "
            f"{summary.accepted:,} events were accepted and {refused:,} quarantined"
        )
    columns = np.concatenate(words, axis=1)
    money = None if amount is None else layout[amount].type
    segments: list[tuple[str, str]] = [("", "all events")]
    of_event = [np.zeros(time_us.size, np.int64)]
    left_out = 0
    for number, (name, type) in enumerate(fields):
        values, code, more = _values(columns[number], type, replaying.engine.strings)
        of_event.append(np.where(code >= 0, code + len(segments), -1))
        segments += [(name, value) for value in values]
        left_out += more
    return summed(
        event_type=plan.event.name,
        currency=(money.currency if money is not None else None) or project.definitions.settings.currency,
        every_us=every_us,
        zone=project.definitions.settings.time_zone,
        segments=tuple(segments),
        of_event=of_event,
        time_us=time_us,
        stopped=np.concatenate(outcomes) != Outcome.ALLOW,
        amount=np.full(of_event[0].size, np.nan)
        if money is None
        else np.where(columns[-1] == NULL_WORD, np.nan, columns[-1] / 10.0**money.digits),
        key=columns[len(by)] if distinct else None,
        distinct_of=distinct or "",
        left_out=left_out,
    )


def summed(
    *,
    event_type: str,
    currency: str,
    every_us: int,
    zone: str,
    segments: tuple[tuple[str, str], ...],
    of_event: Sequence[NDArray[np.int64]],
    time_us: NDArray[np.int64],
    stopped: NDArray[np.bool_],
    amount: NDArray[np.float64],
    key: NDArray[np.int64] | None = None,
    distinct_of: str = "",
    left_out: int = 0,
) -> Tallies:
    """Tallies of events in arrays; each of `of_event` gives an event's segment by one field, -1 where it has none.

    Days are those of the zone, as long as they are. Hours follow one another by UTC, from a whole hour of the zone on,
    so that each is an hour long where clocks change. Raises InputError where there would be too many counts.
    """
    there = Zone(zone)
    ahead_us = there.offset_us(time_us)
    if every_us < DAY_US:
        ahead_us = there.offset_us(time_us[:1]) % HOUR_US
    number = (time_us + ahead_us) // every_us
    first = int(number.min())
    place, spans = number - first, int(number.max()) - first + 1
    shape = len(segments), spans
    if shape[0] * shape[1] > MOST_COUNTS:
        span, less = ("days", "") if every_us == DAY_US else ("hours", "days instead, ")
        raise InputError(
            f"{shape[0]:,} segments in {spans:,} {span} are more than the {MOST_COUNTS:,} counts that are held at once "
            f"(hint: {less}a shorter time, or a field with fewer values)"
        )
    numbers = np.arange(spans) + first
    if every_us == DAY_US:
        starts_us, local = there.from_local(numbers * DAY_US), numbers
    else:
        starts_us = numbers * every_us - ahead_us
        local = (starts_us + there.offset_us(starts_us)) // every_us
    logs = np.log(np.where(amount > 0, amount, 1.0))
    priced = amount > 0

    def counted(weights: NDArray[np.generic] | None = None) -> NDArray[np.float64]:
        total = np.zeros(shape[0] * shape[1])
        for segment in of_event:
            some = segment >= 0
            at = segment[some] * spans + place[some]
            total += np.bincount(at, None if weights is None else weights[some], minlength=total.size)
        return total.reshape(shape)

    distinct = None
    if key is not None:
        different = np.zeros(shape[0] * shape[1], np.int64)
        keys, coded = np.unique(key, return_inverse=True)
        for segment in of_event:
            some = (segment >= 0) & (key != NULL_WORD)
            pairs = np.unique((segment[some] * spans + place[some]) * keys.size + coded[some])
            different += np.bincount(pairs // keys.size, minlength=different.size)
        distinct = different.reshape(shape)
    week = 7 * DAY_US // every_us
    return Tallies(
        event_type=event_type,
        currency=currency,
        every_us=every_us,
        segments=segments,
        starts_us=starts_us,
        slot=(local + 3 * DAY_US // every_us) % week,  # 1970 began on a Thursday
        events=counted().astype(np.int64),
        stopped=counted(stopped).astype(np.int64),
        amounts=counted(priced).astype(np.int64),
        logs=counted(np.where(priced, logs, 0.0)),
        squares=counted(np.where(priced, logs * logs, 0.0)),
        distinct=distinct,
        distinct_of=distinct_of,
        left_out=left_out,
    )


def _type(plans: dict[str, TypePlan], given: Sequence[str], name: str | None) -> TypePlan:
    """The type that is asked for: the only one given, or the only one of them that is decided, unless said."""
    if name is None:
        decided = [item for item in given if plans[item].decided]
        choice = given if len(given) == 1 else decided
        if len(choice) != 1:
            raise InputError(f"which event type? One of {', '.join(given) or 'none'} (hint: --for TYPE)")
        return plans[choice[0]]
    if name not in plans:
        near = closest(name, list(plans))
        raise InputError(f"there is no event type {name!r}{f'; {near}' if near else ''}")
    return plans[name]


def _field(plan: TypePlan, project: ProjectLike, name: str) -> tuple[str, Type]:
    """A field by which events are told apart; raises InputError where that cannot be."""
    inputs, personal = inputs_of(plan, project.definitions)
    if name in personal:
        raise InputError(f"{name} is personal: it is kept out of reports")
    found = next((item for item in inputs if item.name == name), None)
    if found is None:
        near = closest(name, [item.name for item in inputs])
        raise InputError(f"there is no field {name!r}{f'; {near}' if near else ''}")
    if found.column.type.kind not in (Kind.STRING, Kind.BOOLEAN, Kind.INTEGER):
        raise InputError(f"{name} is {found.column.type}: segments are by a text, an integer or a boolean")
    return name, found.column.type


def _values(words: NDArray[np.int64], type: Type, strings: Strings) -> tuple[list[str], NDArray[np.int64], int]:
    """The values of a field, most frequent first, each event's place among them (-1: none), and how many are left out.

    Of equally frequent values the first seen comes first.
    """
    known, first, code, counts = np.unique(words, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    order = order[known[order] != NULL_WORD]
    kept = order[:MOST_SEGMENTS]
    place = np.full(known.size, -1, np.int64)
    place[kept] = np.arange(kept.size)
    if type.kind is Kind.STRING:
        texts = [text or "" for text in strings.texts(known[kept])]
    else:
        shown = ("false", "true") if type.kind is Kind.BOOLEAN else None
        texts = [shown[word] if shown else str(word) for word in known[kept].tolist()]
    return texts, place[code], order.size - kept.size
