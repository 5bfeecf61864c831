"""Counts of past events by segment and by hour or day, made by a replay without labels: what anomalies are seen in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import ProjectLike
from parakh.decisions.plan import TypePlan
from parakh.decisions.replay import Progress
from parakh.errors import InputError
from parakh.events.definition import amount_field
from parakh.events.merge import LogBatch
from parakh.expressions.hints import closest
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.expressions.zones import Zone
from parakh.learning.columns import inputs_of
from parakh.learning.past import Past
from parakh.rules.definition import Outcome

__all__ = ["DAY_US", "HOUR_US", "Tallies", "summed", "tally"]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MOST_SEGMENTS = 2_000
"""Of one field; those with the most events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """Counts by segment (rows) and span of time (columns, one hour or day each, none left out).

    `segments` are (field, value); `starts_us` us UTC; `slot` the hour of the week, or its day, in the project's zone.
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

    Raises InputError where there is no such type or field, a field is personal or has no values to tell apart, or no
    event is in [from_us, to_us).
    """
    replaying = past.replay(project)
    plan = _type(replaying.engine.plan.by_name, past.event_types, event_type)
    fields = [_field(plan, project, name) for name in by]
    layout = plan.layout
    if distinct is not None and distinct not in layout.columns:
        near = closest(distinct, list(layout.columns))
        raise InputError(f"there is no field {distinct!r} to count the values of{f'; {near}' if near else ''}")
    amount = amount_field(plan.event)
    names = [*by, *([distinct] if distinct else []), *([amount] if amount else [])]
    slots = np.array([layout[name].slot for name in names], np.int64)
    words, times, outcomes = list[NDArray[np.int64]](), list[NDArray[np.int64]](), list[NDArray[np.int8]]()

    def take(batch: LogBatch, decisions: Decisions) -> None:
        for part in decisions.parts:
            if part.schema.event_type == plan.event.name:
                words.append(replaying.engine.words[slots[:, None], part.rows])
                times.append(part.event_time_us)
                outcomes.append(part.judgement.outcome)

    replaying.run(None if on_progress is None else (lambda _, progress: on_progress(progress)), on_entries=take)
    time_us = np.concatenate(times) if times else np.empty(0, np.int64)
    inside = np.ones(time_us.size, np.bool_)
    if from_us is not None:
        inside &= time_us >= from_us
    if to_us is not None:
        inside &= time_us < to_us
    if not inside.any():
        raise InputError(f"no event of {plan.event.name} in what was given")
    columns = np.concatenate(words, axis=1)[:, inside]
    money = None if amount is None else layout[amount].type
    segments: list[tuple[str, str]] = [("", "all events")]
    of_event = [np.zeros(int(inside.sum()), np.int64)]
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
        time_us=time_us[inside],
        stopped=np.concatenate(outcomes)[inside] != Outcome.ALLOW,
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
    """Tallies of events in arrays; each of `of_event` gives an event's segment by one field, -1 where it has none."""
    local = (time_us + Zone(zone).offset_us(time_us)) // every_us
    first = int(local.min())
    place, spans = local - first, int(local.max()) - first + 1
    numbers = np.arange(spans) + first
    shape = len(segments), spans
    logs = np.log(np.where(amount > 0, amount, 1.0))
    priced = amount > 0

    def counted(weights: NDArray[np.generic] | None = None) -> NDArray[np.float64]:
        total = np.zeros(shape[0] * shape[1])
        for segment in of_event:
            there = segment >= 0
            at = segment[there] * spans + place[there]
            total += np.bincount(at, None if weights is None else weights[there], minlength=total.size)
        return total.reshape(shape)

    distinct = None
    if key is not None:
        different = np.zeros(shape[0] * shape[1], np.int64)
        keys, coded = np.unique(key, return_inverse=True)
        for segment in of_event:
            there = (segment >= 0) & (key != NULL_WORD)
            pairs = np.unique((segment[there] * spans + place[there]) * keys.size + coded[there])
            different += np.bincount(pairs // keys.size, minlength=different.size)
        distinct = different.reshape(shape)
    week = 7 * DAY_US // every_us
    return Tallies(
        event_type=event_type,
        currency=currency,
        every_us=every_us,
        segments=segments,
        starts_us=Zone(zone).from_local(numbers * every_us),
        slot=(numbers + 3 * DAY_US // every_us) % week,  # 1970 began on a Thursday
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
    decided = [item for item in given if plans[item].decided]
    if name is None:
        if len(decided) != 1:
            raise InputError(f"which event type? One of {', '.join(decided) or 'none'} (hint: --for TYPE)")
        return plans[decided[0]]
    if name not in plans:
        near = closest(name, list(plans))
        raise InputError(f"there is no event type {name!r}{f'; {near}' if near else ''}")
    if not plans[name].decided:
        raise InputError(f"the project has neither a policy nor rules for {name}: nothing is decided on it")
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
