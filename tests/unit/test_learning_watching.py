"""What is told of drift: nothing of a stream that stays as it is, and what was changed on purpose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parakh.decisions.replay import Summary
from parakh.errors import InputError
from parakh.expressions.types import NULL_WORD
from parakh.learning.changes.drift import baseline_of
from parakh.learning.changes.watching import Drift, usual_beginning, watch
from parakh.learning.history import History
from parakh.rules.definition import Outcome, Rule

BEGAN_US = 1_735_516_800_000_000  # Monday, 2024-12-30
DAY_US = 86_400_000_000
DAYS, SINCE, CHANGED = 84, 56, 70
SINCE_US, CHANGED_US = BEGAN_US + SINCE * DAY_US, BEGAN_US + CHANGED * DAY_US
RATES = (0.0005, 0.004, 0.03, 0.2)


def rule(number: int) -> Rule:
    return Rule(name=f"rule_{number}", event_types=("payment",), when="amount > 1", then=Outcome.REVIEW)


def summary(events: int) -> Summary:
    return Summary(
        received=events + 3, accepted=events, duplicates=1, quarantined={"wrong_type": 2}, late=0, decided=events,
        outcomes={}, seconds=0.0, judged={}, labels={},
    )  # fmt: skip


class Stream:
    """A stream of 12 weeks; `wobble` makes the days differ more than independent events would."""

    def __init__(self, seed: int, *, a_day: float = 120.0, wobble: float = 0.0, days: int = DAYS) -> None:
        chance = np.random.default_rng(seed)
        loads = chance.poisson(a_day * chance.gamma(1 / wobble, wobble, days) if wobble else a_day, days)
        self.day = np.repeat(np.arange(days), loads)
        n = self.day.size
        self.time_us = np.sort(BEGAN_US + self.day * DAY_US + chance.integers(0, DAY_US, n))
        shift = chance.normal(0, math.sqrt(wobble), DAYS)[self.day] if wobble else np.zeros(n)
        self.amount = chance.lognormal(3 + shift, 1.0)
        self.age = np.where(chance.random(n) < 0.06, np.nan, chance.exponential(90, n))
        self.tries = chance.poisson(0.4, n).astype(float)
        self.country = chance.choice(["IN", "AE", "SG"], n, p=[0.8, 0.15, 0.05])
        tilt = chance.gamma(1 / wobble, wobble, DAYS)[self.day] if wobble else np.ones(n)
        self.hits = [chance.random(n) < np.minimum(1, rate * tilt) for rate in RATES]
        self.fraud = chance.random(n) < 0.012
        self.score = 1 / (1 + np.exp(-chance.normal(-3 + 4 * self.fraud, 1.0)))
        self.days = days
        self.matured = self.time_us < BEGAN_US + (days - 7) * DAY_US
        self.new = self.day >= CHANGED
        self.chance = chance

    def only(self, kept: np.ndarray) -> None:
        """Leave events out."""
        for name in ("day", "time_us", "amount", "age", "tries", "country", "fraud", "score", "matured", "new"):
            setattr(self, name, getattr(self, name)[kept])
        self.hits = [hit[kept] for hit in self.hits]

    def history(self) -> History:
        n = self.day.size
        bits = np.zeros((n, 1), np.uint64)
        for number, hit in enumerate(self.hits):
            bits[:, 0] |= hit.astype(np.uint64) << np.uint64(number)
        known = self.matured & self.fraud
        return History(
            event_type="payment", label="fraud", project_hash="hash", currency="EUR",
            ids=pa.array([str(i) for i in range(n)]), time_us=self.time_us, amount=self.amount,
            outcome=np.zeros(n, np.int8), won=np.zeros(n, np.int32), deciders=(), score=self.score,
            scores={"payment_fraud": self.score}, rules=tuple(map(rule, range(len(RATES)))), hits=bits,
            unknown=np.zeros((n, 1), np.uint64), flags=np.zeros(n, np.uint8), fraud=known, matured=self.matured,
            labelled=known, known_at_us=np.where(known, self.time_us, NULL_WORD),
            inputs={
                "amount": self.amount, "age": self.age, "tries": self.tries,
                "country": pa.array(self.country.tolist()).dictionary_encode(),
            },
            known_by_us=BEGAN_US + self.days * DAY_US, summary=summary(n),
        )  # fmt: skip


def looked(stream: Stream, **how: Any) -> Drift:
    return watch(stream.history(), since_us=SINCE_US, **how)


def told(drift: Drift) -> set[tuple[str, str]]:
    return {(item.kind, item.subject) for item in drift.alarming}


@pytest.mark.parametrize(("every", "wobble"), [("week", 0.0), ("week", 0.02), ("day", 0.0), ("week", 0.1)])
def test_a_stream_that_stays_as_it_is_raises_no_alarm(every: str, wobble: float) -> None:
    seeds = range(100)
    alarmed = {seed: told(looked(Stream(seed, wobble=wobble), every=every)) for seed in seeds}
    raised = {seed: found for seed, found in alarmed.items() if found}
    assert len(raised) <= 5, raised


def test_little_is_even_to_be_watched_of_a_stream_that_stays_as_it_is() -> None:
    watched = [seed for seed in range(100) if looked(Stream(seed)).alarms]
    assert len(watched) <= 10, watched


def test_a_stream_with_few_events_raises_no_alarm() -> None:
    alarmed = [seed for seed in range(100) if told(looked(Stream(seed, a_day=3)))]
    assert len(alarmed) <= 5, alarmed


def test_baselines_of_a_card_raise_none_either() -> None:
    alarmed = []
    for seed in range(100):
        learned, now = Stream(1_000 + seed).history(), Stream(seed).history()
        of_inputs = {name: baseline_of(values) for name, values in learned.inputs.items()}
        of_score = {"payment_fraud": baseline_of(learned.scores["payment_fraud"])}
        if told(watch(now, since_us=SINCE_US, baselines=of_inputs, scores=of_score)):
            alarmed.append(seed)
    assert len(alarmed) <= 5, alarmed


def shifted(stream: Stream) -> None:
    stream.amount[stream.new] *= 3


def recoded(stream: Stream) -> None:
    stream.country[stream.new & (stream.country == "IN")] = "in"


def lost(stream: Stream) -> None:
    stream.age[stream.new & (stream.chance.random(stream.day.size) < 0.15)] = np.nan


def found_again(stream: Stream) -> None:
    stream.age[stream.new] = 10.0


def hit_more(stream: Stream) -> None:
    stream.hits[1] |= stream.new & (stream.chance.random(stream.day.size) < 0.02)


def never_hit(stream: Stream) -> None:
    stream.hits[2] &= ~stream.new


def scored_otherwise(stream: Stream) -> None:
    stream.score[stream.new] **= 0.5


def more_fraud(stream: Stream) -> None:
    stream.fraud |= stream.new & (stream.chance.random(stream.day.size) < 0.05)


def fewer(stream: Stream) -> None:
    stream.only(~stream.new | (stream.chance.random(stream.day.size) < 0.4))


@pytest.mark.parametrize(
    ("change", "kind", "subject"),
    [
        (shifted, "stability", "amount"),
        (recoded, "stability", "country"),
        (lost, "missing", "age"),
        (found_again, "missing", "age"),
        (hit_more, "hit_rate", "rule_1"),
        (never_hit, "hit_rate", "rule_2"),
        (scored_otherwise, "stability", "score payment_fraud"),
        (more_fraud, "label_rate", "fraud"),
        (fewer, "received", "payment"),
    ],
)
def test_what_was_changed_is_told_with_its_time(change: Any, kind: str, subject: str) -> None:
    missed, others = [], 0
    for seed in range(20):
        stream = Stream(seed)
        change(stream)
        drift = looked(stream)
        mine = [item for item in drift.alarming if (item.kind, item.subject) == (kind, subject)]
        if not mine or mine[0].since_us != CHANGED_US:
            missed.append(seed)
        others += len({name for _, name in told(drift)} - {subject, "score payment_fraud"})
    assert len(missed) <= 1, missed
    assert others <= 2


def test_an_alarm_says_what_since_when_and_from_what_to_what() -> None:
    stream = Stream(1)
    lost(stream)
    (alarm,) = (item for item in looked(stream).alarming if item.kind == "missing")
    track = next(item for item in looked(stream).of_kind("missing") if item.subject == "age")
    assert alarm.as_data() == {
        "event_type": "payment", "kind": "missing", "subject": "age", "since": "2025-03-10T00:00:00Z",
        "value": track.value[-1], "bound": track.high[-1], "text": alarm.text,
    }  # fmt: skip
    assert alarm.text.startswith("age is missing in ")
    assert "of payment events since 2025-03-10; it was " in alarm.text
    assert track.value[-1] > 0.17
    assert track.value[1] < 0.09


def test_the_reference_may_end_before_what_is_watched_begins() -> None:
    stream = Stream(2)
    early = stream.day < 20
    stream.amount[~early] *= 4
    assert ("stability", "amount") in told(looked(stream, reference_to_us=BEGAN_US + 20 * DAY_US))
    late = Stream(2)
    late.amount[late.day >= SINCE] *= 4
    assert ("stability", "amount") in told(looked(late))


def test_it_is_the_same_twice_and_goes_into_json() -> None:
    import json

    first, second = (json.dumps(looked(Stream(3), every="day").as_data(), allow_nan=False) for _ in range(2))
    assert first == second
    data = json.loads(first)
    assert data["quarantined"] == {"wrong_type": 2}
    assert len(data["periods"]) == DAYS - SINCE
    assert {item["kind"] for item in data["tracks"]} == {"stability", "missing", "hit_rate", "label_rate", "received"}


def test_nothing_to_watch_or_to_compare_with_is_said() -> None:
    history = Stream(4).history()
    with pytest.raises(InputError, match="nothing can be watched"):
        watch(history, since_us=BEGAN_US + 400 * DAY_US)
    with pytest.raises(InputError, match="nothing to compare with"):
        watch(history, since_us=BEGAN_US)


def test_without_a_reference_the_card_alone_is_compared_with() -> None:
    stream = Stream(5)
    known = baseline_of(stream.amount)
    stream.amount *= 5
    drift = watch(stream.history(), since_us=BEGAN_US, baselines={"amount": known})
    assert told(drift) == {("stability", "amount")}
    assert math.isnan(drift.of_kind("label_rate")[0].reference)
    assert not drift.of_kind("label_rate")[0].state.any()


# -- a job that looks every week, or every night -----------------------------------------------------------------------


def usual_look(history: History, until_us: int, *, every: str = "week") -> Drift:
    """What a job finds that runs at a time, without --since and without --model."""
    then = replace(history.take(np.flatnonzero(history.time_us < until_us)), known_by_us=until_us)
    return watch(then, since_us=usual_beginning(then, every=every, zone="UTC"), every=every)


@pytest.mark.parametrize("change", [shifted, lost, hit_more, fewer])
def test_a_job_that_looks_every_week_tells_the_same_beginning_as_long_as_it_lasts(change: Any) -> None:
    stream = Stream(11, days=26 * 7)
    stream.new = stream.day >= 15 * 7
    change(stream)
    history = stream.history()
    told_at: dict[tuple[str, str], dict[int, int]] = {}
    for week in range(14, 27):
        for item in usual_look(history, BEGAN_US + week * 7 * DAY_US).alarming:
            told_at.setdefault((item.kind, item.subject), {})[week] = (item.since_us - BEGAN_US) // (7 * DAY_US)
    wanted = {shifted: ("stability", "amount"), lost: ("missing", "age"), hit_more: ("hit_rate", "rule_1"),
              fewer: ("received", "payment")}  # fmt: skip
    found = told_at.pop(wanted[change])
    assert set(found.values()) == {15}
    assert {16, 17, 18, 19, 20, 22} <= set(found)  # longer than four weeks
    assert not {key for key, weeks in told_at.items() if len(weeks) > 1}


def test_a_job_that_looks_every_night_tells_the_same_beginning() -> None:
    stream = Stream(12)
    shifted(stream)
    history = stream.history()
    since = set()
    for day in range(CHANGED + 1, DAYS):
        found = usual_look(history, BEGAN_US + day * DAY_US, every="day").alarming
        since |= {item.since_us for item in found if (item.kind, item.subject) == ("stability", "amount")}
    assert since == {CHANGED_US}


def test_the_beginning_is_looked_for_behind_a_reference_that_ended_too() -> None:
    stream = Stream(2)
    stream.amount[stream.day >= 35] *= 4
    drift = looked(stream, reference_to_us=BEGAN_US + 20 * DAY_US)
    (alarm,) = (item for item in drift.alarming if (item.kind, item.subject) == ("stability", "amount"))
    assert alarm.since_us == BEGAN_US + 35 * DAY_US


# -- days without events -----------------------------------------------------------------------------------------------


def received(drift: Drift) -> Any:
    return drift.of_kind("received")[0]


@pytest.mark.parametrize("every", ["week", "day"])
@pytest.mark.parametrize("days", [range(5), range(4), (0, 2, 5), range(1, 7)])
def test_days_of_rest_are_no_change_of_volume(days: Any, every: str) -> None:
    watched = []
    for seed in range(20):
        stream = Stream(seed)
        stream.only(np.isin(stream.day % 7, list(days)))
        drift = looked(stream, every=every)
        if any(item.kind == "received" for item in drift.alarms):
            watched.append(seed)
    assert len(watched) <= 1, watched
    assert received(drift).reference == pytest.approx(120 * len(list(days)) / 7, rel=0.05)


def test_days_that_rest_here_and_there_are_none_either() -> None:
    watched = []
    for seed in range(20):
        stream = Stream(seed)
        stream.only((np.random.default_rng(seed).random(DAYS) < 4 / 7)[stream.day])
        if any(item.kind == "received" for item in looked(stream).alarms):
            watched.append(seed)
    assert len(watched) <= 1, watched


def test_a_week_that_is_not_over_is_held_against_the_same_days() -> None:
    """Up to Saturday noon of a week whose weekends are thrice as busy."""
    stream = Stream(7, a_day=360.0)
    stream.only((stream.day % 7 >= 5) | (stream.chance.random(stream.day.size) < 1 / 3))
    for hours in (24, 60, 108, 132, 160):
        drift = usual_look(stream.history(), BEGAN_US + 77 * DAY_US + hours * DAY_US // 24)
        assert not [item for item in drift.alarms if item.kind == "received"]
        last = received(drift).last
        assert received(drift).count[last] == (stream.day[stream.day >= 77] < 77 + hours // 24).sum()


def test_an_outage_that_lasts_is_told_though_nothing_came_since() -> None:
    stream = Stream(8)
    stream.only(stream.day < DAYS - 9)
    drift = looked(stream)
    assert drift.events[-1] == 0
    assert told(drift) == {("received", "payment")}
    (alarm,) = drift.alarming
    assert (alarm.value, alarm.text.startswith("0 payment events a day came since 2025-03-")) == (0.0, True)
    stream.only(stream.day < SINCE)  # nothing came at all
    assert told(looked(stream)) == {("received", "payment")}
    assert usual_beginning(stream.history(), every="week", zone="UTC") == SINCE_US


def test_what_was_cut_off_on_purpose_is_no_outage() -> None:
    stream = Stream(9)
    until_us = BEGAN_US + 75 * DAY_US
    stream.only(stream.time_us < until_us)
    assert ("received", "payment") not in told(watch(stream.history(), since_us=SINCE_US, to_us=until_us))


def test_a_day_on_which_nothing_ever_came_is_told() -> None:
    stream = Stream(10)
    stream.only((stream.day % 7 < 6) | (stream.day == 83))
    drift = looked(stream, every="day")
    assert told(drift) == {("received", "payment")}
