"""Anomalies in time: planted bursts are found where they are, and chance alone raises as few alarms as asked."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from parakh.decisions.definition import DAY_US, HOUR_US
from parakh.errors import InputError
from parakh.expressions.zones import Zone
from parakh.learning.changes.anomalies import Anomaly, _benjamini_hochberg, _count_chance, anomalies
from parakh.learning.changes.tallies import Tallies, summed

SEGMENTS = 8
MONDAY_US = 4 * DAY_US  # 1970-01-05


def stream(seed: int, *, weeks: int = 7, total: int = 30_000, scatter: float = 0.0) -> dict[str, Any]:
    """Payments of segments of very different sizes, with a day and a week of their own."""
    rng = np.random.default_rng(seed)
    hours = np.arange(weeks * 168)
    rhythm = 1 + 0.7 * np.sin(2 * np.pi * (hours % 24 - 8) / 24) + 0.3 * (hours // 24 % 7 >= 5)
    level = rng.lognormal(0, 1.5, SEGMENTS)
    times, segments = list[np.ndarray](), list[np.ndarray]()
    for number in range(SEGMENTS):
        expected = np.roll(rhythm, rng.integers(-3, 4))
        expected = expected / expected.sum() * total * level[number] / level.sum()
        if scatter:
            expected = expected * np.repeat(rng.gamma(1 / scatter, scatter, hours.size // 24), 24)
        counts = rng.poisson(expected)
        times.append(((np.repeat(hours, counts) + rng.random(counts.sum())) * HOUR_US).astype(np.int64) + MONDAY_US)
        segments.append(np.full(counts.sum(), number))
    time_us, segment = np.concatenate(times), np.concatenate(segments)
    n = time_us.size
    return {
        "time_us": time_us,
        "segment": segment,
        "stopped": rng.random(n) < 0.03,
        "amount": np.round(rng.lognormal(3.5, 1.0, n), 2),
        "key": rng.integers(0, 2_000, n),
    }


def tallied(made: dict[str, Any], every_us: int = DAY_US) -> Tallies:
    n = made["time_us"].size
    names = [("country", str(number)) for number in range(SEGMENTS)]
    return summed(
        event_type="payment",
        currency="EUR",
        every_us=every_us,
        zone="UTC",
        segments=(("", "all events"), *names),
        of_event=[np.zeros(n, np.int64), made["segment"] + 1],
        time_us=made["time_us"],
        stopped=made["stopped"],
        amount=made["amount"],
        key=made["key"],
        distinct_of="card",
    )


def with_burst(made: dict[str, Any], *, segment: int, at_us: int, count: int, key: int | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(99)
    more = {
        "time_us": at_us + rng.integers(0, HOUR_US, count),
        "segment": np.full(count, segment),
        "stopped": np.zeros(count, np.bool_),
        "amount": np.round(rng.lognormal(3.5, 1.0, count), 2),
        "key": rng.integers(0, 2_000, count) if key is None else np.full(count, key),
    }
    return {name: np.concatenate([made[name], more[name]]) for name in made}


@pytest.mark.parametrize(("every_us", "scatter", "seeds"), [(DAY_US, 0.0, 60), (DAY_US, 0.02, 60), (HOUR_US, 0.0, 8)])
def test_chance_raises_as_few_alarms_as_asked(every_us: int, scatter: float, seeds: int) -> None:
    """Where nothing happened every alarm is false: in at most so many streams as the asked rate, beyond luck."""
    loud = [seed for seed in range(seeds) if anomalies(tallied(stream(seed, scatter=scatter), every_us), rate=0.05)]
    # A stream that scatters shows by how much only as it goes on; there twice the rate is granted.
    allowed = stats.binom.ppf(0.95, seeds, 0.05 if not scatter else 0.1)
    assert len(loud) <= allowed, f"{len(loud)} of {seeds} streams: seeds {loud}"


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), segment=st.integers(0, SEGMENTS - 1), day=st.integers(16, 40))
def test_a_planted_burst_is_found_where_it_is(seed: int, segment: int, day: int) -> None:
    made = stream(seed)
    before = tallied(made).events[segment + 1]
    usual = max(float(np.median(before)), 1.0)
    count = int(4 * usual + 30)
    burst = with_burst(made, segment=segment, at_us=MONDAY_US + day * DAY_US + 10 * HOUR_US, count=count)
    found = [item for item in anomalies(tallied(burst)) if item.measure == "events" and item.field == "country"]
    assert found, f"segment {segment}, day {day}, seed {seed}"
    first = min(found, key=lambda item: item.chance)
    assert first.value == str(segment)
    assert first.start_us <= MONDAY_US + day * DAY_US < first.end_us
    assert first.observed >= count
    assert first.times > 2


def test_a_burst_of_an_hour_stands_out_among_hours() -> None:
    burst = with_burst(stream(1), segment=2, at_us=MONDAY_US + 30 * DAY_US + 3 * HOUR_US, count=120)
    found = anomalies(tallied(burst, HOUR_US))
    first = next(item for item in found if (item.field, item.value, item.measure) == ("country", "2", "events"))
    assert (first.start_us - MONDAY_US) // HOUR_US == 30 * 24 + 3
    assert first.as_data()["from"] == "1970-02-04T03:00:00Z"


def test_an_outage_stands_out_too() -> None:
    made = stream(2)
    day = (made["time_us"] - MONDAY_US) // DAY_US
    largest = int(np.argmax(np.bincount(made["segment"])))
    kept = ~((made["segment"] == largest) & (day == 33))
    found = anomalies(tallied({name: values[kept] for name, values in made.items()}))
    mine = [item for item in found if item.value == str(largest) and item.measure == "events"]
    assert [(item.start_us - MONDAY_US) // DAY_US for item in mine] == [33]
    assert mine[0].times < 0.1


def test_stops_and_amounts_and_cards_have_histories_of_their_own() -> None:
    def measures(changed: dict[str, Any]) -> set[str]:
        return {item.measure for item in anomalies(tallied(changed)) if item.value == str(largest)}

    made = stream(3)
    day = (made["time_us"] - MONDAY_US) // DAY_US
    largest = int(np.argmax(np.bincount(made["segment"])))
    there = (made["segment"] == largest) & (day == 35)
    rng = np.random.default_rng(0)
    assert measures(made) == set()
    assert measures(made | {"stopped": made["stopped"] | (there & (rng.random(there.size) < 0.3))}) == {"stopped"}
    assert measures(made | {"amount": np.where(there, made["amount"] * 2, made["amount"])}) == {"amount"}
    assert measures(made | {"key": np.where(there, 7, made["key"])}) == {"distinct"}


def test_a_burst_does_not_hide_the_next() -> None:
    made = stream(4)
    for day in (20, 27, 34):  # the same day of the week
        made = with_burst(made, segment=1, at_us=MONDAY_US + day * DAY_US, count=1_500)
    found = anomalies(tallied(made))
    days = {(item.start_us - MONDAY_US) // DAY_US for item in found if item.value == "1" and item.measure == "events"}
    assert {20, 27, 34} <= days


def test_the_future_changes_nothing_of_what_was_told() -> None:
    """Usual values of a day come from the days before it: the same whether or not the stream goes on."""
    burst = with_burst(stream(5), segment=3, at_us=MONDAY_US + 25 * DAY_US, count=3_000)
    whole = {(item.start_us, item.value, item.measure): item.usual for item in anomalies(tallied(burst))}
    until = burst["time_us"] < MONDAY_US + 28 * DAY_US
    short = anomalies(tallied({name: values[until] for name, values in burst.items()}))
    assert any(item.value == "3" for item in short)
    for item in short:
        assert whole[item.start_us, item.value, item.measure] == pytest.approx(item.usual)


def test_a_segment_that_was_never_seen_is_new() -> None:
    made = stream(6)
    made["segment"][made["segment"] == 4] = 5
    found = anomalies(tallied(with_burst(made, segment=4, at_us=MONDAY_US + 30 * DAY_US, count=60)))
    assert ("4", "events") in {(item.value, item.measure) for item in found}


def test_counts_are_those_of_a_plain_recount() -> None:
    made = stream(7, total=3_000)
    told = tallied(made, HOUR_US)
    for segment in range(SEGMENTS + 1):
        mine = np.ones(made["segment"].size, np.bool_) if not segment else made["segment"] == segment - 1
        for span in range(0, told.starts_us.size, 37):
            start = int(told.starts_us[span])
            there = mine & (made["time_us"] >= start) & (made["time_us"] < start + HOUR_US)
            assert told.events[segment, span] == there.sum()
            assert told.stopped[segment, span] == made["stopped"][there].sum()
            assert told.distinct is not None
            assert told.distinct[segment, span] == np.unique(made["key"][there]).size
            assert told.logs[segment, span] == pytest.approx(np.log(made["amount"][there]).sum())
            assert told.slot[span] == (start - MONDAY_US) // HOUR_US % 168


def test_days_are_those_of_the_zone() -> None:
    at = np.array([MONDAY_US - 1, MONDAY_US - 6 * HOUR_US, MONDAY_US + 20 * HOUR_US])
    told = summed(
        event_type="payment", currency="INR", every_us=DAY_US, zone="Asia/Kolkata", segments=(("", "all events"),),
        of_event=[np.zeros(3, np.int64)], time_us=at, stopped=np.zeros(3, np.bool_), amount=np.full(3, np.nan),
    )  # fmt: skip
    assert told.events[0].tolist() == [1, 1, 1]
    assert told.slot.tolist() == [6, 0, 1]
    assert told.starts_us.tolist() == [MONDAY_US - DAY_US - 11 * HOUR_US // 2, MONDAY_US - 11 * HOUR_US // 2,
                                       MONDAY_US + DAY_US - 11 * HOUR_US // 2]  # fmt: skip
    assert told.amounts.sum() == 0


def of_berlin(monday: str, weeks: int, every_us: int, *, an_hour: float = 200.0) -> Tallies:
    """Weeks of a stream with a day and a week of its own in local time, from a Monday in Berlin on."""
    rng = np.random.default_rng(3)
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    began = int(datetime.fromisoformat(monday).replace(tzinfo=berlin).timestamp())
    hours = began * 1_000_000 + np.arange(weeks * 168) * HOUR_US
    local = (hours + Zone("Europe/Berlin").offset_us(hours)) // HOUR_US
    counts = rng.poisson(an_hour * (1 + 0.7 * np.sin(2 * np.pi * (local % 24 - 8) / 24)))
    time_us = np.repeat(hours, counts) + rng.integers(0, HOUR_US, counts.sum())
    n = time_us.size
    return summed(
        event_type="payment", currency="EUR", every_us=every_us, zone="Europe/Berlin", segments=(("", "all events"),),
        of_event=[np.zeros(n, np.int64)], time_us=time_us, stopped=np.zeros(n, np.bool_), amount=np.full(n, np.nan),
        key=rng.integers(0, 10**9, n),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("monday", "changed", "hours"), [("2025-09-22", "2025-10-26", 25), ("2025-02-24", "2025-03-30", 23)]
)
def test_where_clocks_change_nothing_is_unusual(monday: str, changed: str, hours: int) -> None:
    told = of_berlin(monday, 7, HOUR_US)
    assert (np.diff(told.starts_us) == HOUR_US).all()
    assert (told.events[0] > 0).all()
    sunday = [index for index, at in enumerate(told.starts_us.tolist()) if local_day(at) == changed]
    slots = [slot for slot in range(144, 168) if slot != 146]
    assert told.slot[sunday].tolist() == (sorted([*slots, 146, 146]) if hours == 25 else slots)
    assert anomalies(told) == []
    days = of_berlin(monday, 7, DAY_US, an_hour=2_000)
    (place,) = (index for index, at in enumerate(days.starts_us.tolist()) if local_day(at) == changed)
    assert days.lengths[place] * 24 == pytest.approx(hours)
    assert np.delete(days.lengths, place) == pytest.approx(1.0)
    assert days.slot[place] == 6
    assert anomalies(days) == []


def local_day(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone(zoneinfo.ZoneInfo('Europe/Berlin')):%Y-%m-%d}"


def test_hours_are_whole_ones_of_the_zone() -> None:
    at = MONDAY_US + np.arange(5) * HOUR_US
    told = summed(
        event_type="payment", currency="INR", every_us=HOUR_US, zone="Asia/Kolkata", segments=(("", "all events"),),
        of_event=[np.zeros(5, np.int64)], time_us=at, stopped=np.zeros(5, np.bool_), amount=np.full(5, np.nan),
    )  # fmt: skip
    assert told.starts_us[0] == MONDAY_US - HOUR_US // 2
    assert told.slot.tolist() == [5, 6, 7, 8, 9]


def test_too_many_counts_are_refused_before_they_are_made() -> None:
    at = np.array([0, 3 * 365 * DAY_US])
    with pytest.raises(InputError, match=r"1,001 segments in 26,281 hours are more than .* \(hint: days instead, a"):
        summed(
            event_type="payment", currency="EUR", every_us=HOUR_US, zone="UTC",
            segments=tuple(("country", str(number)) for number in range(1_001)), of_event=[np.zeros(2, np.int64)],
            time_us=at, stopped=np.zeros(2, np.bool_), amount=np.full(2, np.nan),
        )  # fmt: skip


def test_chances_are_those_of_the_negative_binomial() -> None:
    seen = np.array([[0.0, 3.0, 12.0, 40.0]])
    usual, shape = np.full((1, 4), 8.0), np.full((1, 4), 5.0)
    law = stats.nbinom(5.0, 5.0 / 13.0)
    wanted = [min(1.0, 2 * min(law.sf(count - 1), law.cdf(count))) for count in seen[0]]
    assert _count_chance(seen, usual, shape)[0] == pytest.approx(wanted)


def test_q_values_are_those_of_scipy() -> None:
    chances = np.random.default_rng(8).random((3, 50)) ** 3
    wanted = stats.false_discovery_control(chances.ravel()).reshape(3, 50)
    assert _benjamini_hochberg(chances) == pytest.approx(wanted)
    chances[1, 4] = np.nan
    assert np.isnan(_benjamini_hochberg(chances)[1, 4])


def test_too_short_a_past_is_said() -> None:
    with pytest.raises(InputError, match="14 are the history"):
        anomalies(tallied(stream(9, weeks=2)))
    with pytest.raises(InputError, match="share of false alarms"):
        anomalies(tallied(stream(9, weeks=4)), rate=1.0)


def test_what_was_never_usual_is_infinitely_many_times_so() -> None:
    item = Anomaly(
        field="f", value="v", measure="events", start_us=0, end_us=1, observed=3, usual=0, chance=0.01
    )  # fmt: skip
    assert item.times == float("inf")
    assert item.as_data()["times"] is None
