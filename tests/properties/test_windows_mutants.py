"""The random streams are sharp enough: each way in which an engine could be wrong shows within a few of them.

A mutant is the oracle with one mistake built in. The seeds are fixed: these tests measure the streams, not the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from oracle import windows
from oracle.comparing import EVENT_STATUSES, different
from oracle.log import Event, LabelEntry
from oracle.windows import Answer, Near, answers
from parakh.expressions.types import Kind
from parakh.features.definition import AggregateKind, Calendar, Feature, FeatureDefinition
from parakh.features.reads import key_fields
from properties.strategies import STARTED_US, scenario

Patch = Callable[[pytest.MonkeyPatch], None]
Run = windows._Run
SEEDS = range(60)


def _window(change: Callable[[Feature, int, int], tuple[int, int]]) -> Patch:
    """A mistake at a window's edges: `change(feature, low, high)`."""
    right = Run.window

    def wrong(self: Any, feature: Feature, time: int) -> tuple[int, int]:
        return change(feature, *right(self, feature, time))

    return lambda patch: patch.setattr(Run, "window", wrong)


def _definition(change: Callable[[FeatureDefinition], FeatureDefinition]) -> Patch:
    """A mistake in what a definition says."""
    right = Run.feature

    def wrong(self: Any, read: Any, reader: Any) -> Any:
        definition = change(read.feature.definition)
        return right(self, replace(read, feature=replace(read.feature, definition=definition)), reader)

    return lambda patch: patch.setattr(Run, "feature", wrong)


def _aggregate(change: Callable[[AggregateKind, Kind, list[Any]], Any]) -> Patch:
    """A mistake in an aggregate; `change` gives None where it makes none."""
    right = windows._aggregate

    def wrong(aggregate: AggregateKind, kind: Kind, values: list[Any]) -> Any:
        changed = change(aggregate, kind, values)
        return right(aggregate, kind, values) if changed is None else changed

    return lambda patch: patch.setattr(windows, "_aggregate", wrong)


def _label(change: Callable[[LabelEntry], LabelEntry | None]) -> Patch:
    """A mistake in what a label says when it acts; None does not act at all."""
    right = Run.apply

    def wrong(self: Any, entry: LabelEntry, held: Any) -> None:
        changed = change(entry)
        if changed is not None:
            right(self, changed, held)

    return lambda patch: patch.setattr(Run, "apply", wrong)


def _key_of_the_field(self: Any, feature: Feature, event: Event) -> Any:
    """Counts an event under any of its roles that comes first."""
    if event.type not in feature.definition.sources:
        return None
    ways = key_fields(self.entities[feature.entity], self.types[event.type]) or (feature.definition.by or (),)
    key = tuple(event.fields.get(name) for name in ways[0])
    return None if None in key else key


def _wrapped(aggregate: AggregateKind, kind: Kind, values: list[Any]) -> Any:
    """A sum that wraps around in 64 bits."""
    if aggregate is not AggregateKind.SUM or kind is not Kind.INTEGER or not values:
        return None
    return (sum(values) + 2**63) % 2**64 - 2**63, False


def _drifting(aggregate: AggregateKind, kind: Kind, values: list[Any]) -> Any:
    """A sum of numbers from which a huge one was taken away again."""
    if aggregate is not AggregateKind.SUM or kind is not Kind.NUMBER or not values:
        return None
    total = 1e300
    for value in values:
        total += value
    return Near(total - 1e300, 0.0), False


def _no_order_of_times(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "sorted", lambda values, key: list(values), raising=False)


def _late_enters(patch: pytest.MonkeyPatch) -> None:
    right = Run.event

    def wrong(self: Any, event: Event) -> Answer:
        answer = right(self, event)
        if answer.late:
            self.held[-1].late = False
        return answer

    patch.setattr(Run, "event", wrong)


def _lateness_is_open(patch: pytest.MonkeyPatch) -> None:
    right = Run.event

    def wrong(self: Any, event: Event) -> Answer:
        settings = self.settings
        self.settings = replace(settings, lateness_us=settings.lateness_us - 1)
        answer = right(self, event)
        self.settings = settings
        return answer

    patch.setattr(Run, "event", wrong)


def _labels_do_not_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Run, "labels_that_waited_for", lambda self, held: None)


def _labels_wait_for_ever(patch: pytest.MonkeyPatch) -> None:
    right = Run.labels_that_waited_for

    def wrong(self: Any, held: Any) -> None:
        settings = self.settings
        self.settings = replace(settings, lateness_us=10**18)
        right(self, held)
        self.settings = settings

    patch.setattr(Run, "labels_that_waited_for", wrong)


def _ranks_do_not_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Run, "rank", lambda self, source: 0)


def _unlabelled_is_unknown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        windows, "_labels", lambda held, phrase: {name: held.labels.get(name, (None, 0))[0] for name in phrase.reads}
    )


def _calendar_in_utc(patch: pytest.MonkeyPatch) -> None:
    right = windows._calendar_start
    patch.setattr(windows, "_calendar_start", lambda calendar, time, zone: right(calendar, time, "UTC"))


def _week_from_sunday(patch: pytest.MonkeyPatch) -> None:
    right = windows._calendar_start
    day = 86_400_000_000

    def wrong(calendar: Calendar, time: int, zone: str) -> int:
        return right(calendar, time + day, zone) - day if calendar is Calendar.WEEK else right(calendar, time, zone)

    patch.setattr(windows, "_calendar_start", wrong)


def _conflict_is_duplicate(patch: pytest.MonkeyPatch) -> None:
    right = Run.event

    def wrong(self: Any, event: Event) -> Answer:
        answer = right(self, event)
        return replace(answer, status="duplicate") if answer.status == "conflict" else answer

    patch.setattr(Run, "event", wrong)


MUTANTS: dict[str, Patch] = {
    "the left edge is closed": _window(lambda feature, low, high: (low - 1, high)),
    "the left edge is a microsecond late": _window(lambda feature, low, high: (low + 1, high)),
    "the right edge is open": _window(lambda feature, low, high: (low, high - 1)),
    "a delayed window ends at the event": _window(lambda feature, low, high: (low, high + feature.definition.delay_us)),
    "there is no horizon": _window(lambda feature, low, high: (low if feature.window else 0, high)),
    "resolution is not kept": _definition(lambda definition: replace(definition, resolution_us=None)),
    "the current one always counts": _definition(lambda definition: replace(definition, include_current=True)),
    "the current one never counts": _definition(lambda definition: replace(definition, include_current=False)),
    "where is not asked": _definition(lambda definition: replace(definition, where=None)),
    "a role counts under the first field": lambda patch: patch.setattr(Run, "key_written", _key_of_the_field),
    "first and last go by arrival": _no_order_of_times,
    "late events enter windows": _late_enters,
    "the edge of lateness is late": _lateness_is_open,
    "sums wrap around": _aggregate(_wrapped),
    "large numbers leave dust": _aggregate(_drifting),
    "labels do not act": _label(lambda entry: None),
    "withdrawals do not act": _label(lambda entry: None if entry.value is None else entry),
    "verdicts on a key do not act": _label(lambda entry: entry if entry.entity is None else None),
    "labels do not wait": _labels_do_not_wait,
    "labels wait for ever": _labels_wait_for_ever,
    "ranks of sources do not count": _ranks_do_not_count,
    "unlabelled is unknown in an aggregate": _unlabelled_is_unknown,
    "calendar days are those of UTC": _calendar_in_utc,
    "a week begins on Sunday": _week_from_sunday,
    "a conflict is taken for a duplicate": _conflict_is_duplicate,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in SEEDS:
        case = scenario(Random(seed), events=70)
        right = answers(case.definitions, case.log, started_us=STARTED_US)
        with monkeypatch.context() as patch:
            MUTANTS[name](patch)
            wrong = answers(case.definitions, case.log, started_us=STARTED_US)
        if any(different(left, _made(other)) for left, other in zip(right, wrong, strict=True)):
            return
    pytest.fail(f"{len(SEEDS)} random streams do not show that {name}")


def _made(answer: Answer) -> dict[str, Any]:
    """An answer as the engine gives it."""
    features = {name: value.value if isinstance(value, Near) else value for name, value in answer.features.items()}
    status = answer.status if answer.status in EVENT_STATUSES else "label"
    return {"status": status, "late": answer.late, "overflow": answer.overflow, "features": features}


def test_the_oracle_agrees_with_itself() -> None:
    case = scenario(Random(1), events=70)
    for answer in answers(case.definitions, case.log, started_us=STARTED_US):
        assert not different(answer, _made(answer))
