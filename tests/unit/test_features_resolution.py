"""Histories with a resolution: what is merged changes no answer, to the bit, and bounds what a key holds.

Streams are long enough for the index of merged records to have every level; answers are held against a scan of all
events, at a sample of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from feature_streams import START, UNITS, Columns, Stream, bits, feature, payments, project, transfers

from parakh.decisions.definition import Definitions
from parakh.errors import StateLimitError
from parakh.events.definition import Label
from parakh.expressions.types import NULL_WORD
from parakh.features.definition import AggregateKind, Entity

K = AggregateKind
MINUTE, HOUR, DAY = UNITS["m"], UNITS["h"], UNITS["d"]
MERGED = (K.COUNT, K.SUM, K.AVG, K.STDDEV, K.MIN, K.MAX)
BEGIN = START // DAY * DAY
LONG = "40h"  # some 2,200 buckets of a minute: two levels of blocks


def values_in(columns: Columns, i: int, name: str, *, window: str, step: int, delay: int = 0) -> npt.NDArray[Any]:
    """The values, NULLs left out, that a window holds at event i, itself among them unless there is a delay."""
    times, values = columns["paid_at"][: i + 1], columns[name][: i + 1]
    high = int(times[i]) - delay
    length = int(window[:-1]) * UNITS[window[-1]]
    inside = (columns["card"][: i + 1] == columns["card"][i]) & (times <= high)
    inside &= times // step > (high - length) // step
    known: npt.NDArray[Any] = values[inside & ~(np.isnan(values) if values.dtype.kind == "f" else values == NULL_WORD)]
    return known


def deviation(values: list[Any]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@pytest.mark.parametrize("delay", [0, HOUR])
@pytest.mark.parametrize("step", [MINUTE, 7 * MINUTE])
def test_integers_over_merged_records_equal_a_scan(delay: int, step: int) -> None:
    windows = ("10m", "3h", LONG)
    more: dict[str, Any] = {"resolution_us": step, "delay_us": delay}
    stream = Stream(
        project(
            feature("rows", K.COUNT, None, windows, **more),
            *(feature(kind.name.lower(), kind, "amount", windows, **more) for kind in MERGED),
            lateness_us=30 * MINUTE,
        )
    )
    columns = payments(9000, seed=11, disorder_s=1500, gap_s=20)
    got = stream.take_in_batches(columns, 777, sweep=1)
    assert stream.state.records < 4500
    for i in range(0, 9000, 41):
        for window in windows:
            rows = values_in(columns, i, "card", window=window, step=step, delay=delay)
            held = values_in(columns, i, "amount", window=window, step=step, delay=delay).tolist()
            found = {name: got[f"card.{name}_{window}"][i] for name in ("rows", "count", "sum", "min", "max")}
            assert found == {
                "rows": len(rows),
                "count": len(held),
                "sum": sum(held) if held else NULL_WORD,
                "min": min(held, default=NULL_WORD),
                "max": max(held, default=NULL_WORD),
            }, (i, window)
            if len(held) > 1:
                assert got[f"card.avg_{window}"][i] == pytest.approx(sum(held) / len(held) / 100, rel=1e-14)
                assert got[f"card.stddev_{window}"][i] == pytest.approx(deviation(held) / 100, rel=1e-12)


def test_numbers_over_merged_records_equal_exact_sums() -> None:
    windows = ("10m", "3h", LONG)
    stream = Stream(
        project(
            *(feature(kind.name.lower(), kind, "ratio", windows, resolution_us=MINUTE) for kind in MERGED),
            feature("points", K.STDDEV, "points", windows, resolution_us=MINUTE),
            lateness_us=20 * MINUTE,
        )
    )
    columns = payments(9000, seed=12, disorder_s=1100, gap_s=20)
    # What they leave behind must not drown what follows; then sums of merged records that leave float64's range.
    columns["ratio"][700:703] = (1e300, 3.5, -1e250)
    columns["ratio"][4000:4012] = 1.7e308
    columns["ratio"][4012:4100] = np.nan
    columns["ratio"][4100:4112] = -1.7e308
    columns["ratio"][6500:7200] = 0.1
    columns["points"][5000:5020] = 2**63 - 1 - np.arange(20)
    got = stream.take_in_batches(columns, 512, sweep=1)
    assert stream.state.records < 4500
    came_back = 0
    for i in range(0, 9000, 37):
        for window in windows:
            held = values_in(columns, i, "ratio", window=window, step=MINUTE).tolist()
            found = {kind: got[f"card.{kind.name.lower()}_{window}"][i] for kind in MERGED}
            assert found[K.COUNT] == len(held)
            if not held:
                assert np.isnan(found[K.SUM])
                continue
            assert (found[K.MIN], found[K.MAX]) == (min(held), max(held))
            small = [value * 2.0**-64 for value in held]  # so that no sum leaves the range
            size, total = math.fsum(map(abs, small)), math.fsum(small)
            if abs(total) * 2.0**64 == math.inf:
                assert np.isnan(found[K.SUM]), (i, window)
                continue
            came_back += size * 2.0**64 == math.inf
            close: dict[str, Any] = {"abs": 1e-14 * size * 2.0**64 if size < 1e280 else 1e-14 * 1.7e308, "rel": 1e-14}
            assert found[K.SUM] == pytest.approx(total * 2.0**64, **close), (i, window)
            assert found[K.AVG] == pytest.approx(total / len(held) * 2.0**64, **close), (i, window)
            if len(held) > 1 and size * 2.0**64 < 1e100:
                assert found[K.STDDEV] == pytest.approx(deviation(held), rel=1e-10, abs=1e-15 * max(map(abs, held))), (
                    i,
                    window,
                )
            points = values_in(columns, i, "points", window=window, step=MINUTE).tolist()
            if len(points) > 1:
                numerator = len(points) * sum(value * value for value in points) - sum(points) ** 2
                expected = math.sqrt(numerator / (len(points) * (len(points) - 1)))
                assert got[f"card.points_{window}"][i] == pytest.approx(expected, rel=1e-12), (i, window)
    assert came_back >= 10


def merging() -> Definitions:
    windows = ("10m", "3h", "1d")
    more: dict[str, Any] = {"resolution_us": 5 * MINUTE}
    return project(
        feature("rows", K.COUNT, None, windows, **more),
        *(feature(f"a_{kind.name.lower()}", kind, "amount", windows, **more) for kind in MERGED),
        *(feature(f"r_{kind.name.lower()}", kind, "ratio", windows, **more) for kind in MERGED),
        feature("large", K.SUM, "ratio", windows, where="amount > 50", **more),
        feature("delayed", K.AVG, "ratio", windows, delay_us=HOUR, resolution_us=HOUR),
        feature("without", K.MAX, "ratio", windows, include_current=False, **more),
        feature("exact", K.SUM, "ratio", windows),
        horizon_us=2 * DAY,
        lateness_us=20 * MINUTE,
    )


def test_when_records_are_merged_does_not_change_a_bit() -> None:
    count = 6000
    columns = payments(count, seed=13, keys=20, gap_s=60)
    # Sums that cancel: these are added up anew from what is merged and what is not.
    columns["ratio"][::9] *= 1e17
    columns["ratio"][::250] = 1e300 * (-1.0) ** np.arange(count // 250)
    # Silences longer than the longest window: keys empty, whether they are swept or not.
    columns["paid_at"] = columns["paid_at"] + np.arange(count) // 1500 * 3 * DAY
    whole = bits(Stream(merging()).take(columns))
    for size, sweep in ((1, 0), (1, 1), (97, 3), (1000, 10_000)):
        assert bits(Stream(merging()).take_in_batches(columns, size, sweep)) == whole, (size, sweep)
    # A snapshot now and then, taken up by a process that sweeps at other times.
    parts, stream = [], Stream(merging())
    for first in range(0, count, 431):
        parts.append(stream.take({name: values[first : first + 431] for name, values in columns.items()}))
        kept = {name: array.copy() for name, array in stream.state.arrays().items()}
        stream = Stream(merging())
        stream.state.restore(kept)
        if first % 2:
            stream.state.sweep_all()
    assert bits({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}) == whole


def hot(count: int, length_us: int) -> Columns:
    """Payments of one card at even distances."""
    return {
        "paid_at": BEGIN + np.arange(count) * (length_us // count),
        "card": np.zeros(count, np.int64),
        "amount": np.arange(count) % 1000,
        "ratio": np.sin(np.arange(count)),
    }


def test_a_hot_key_holds_no_more_than_its_steps_and_what_is_young() -> None:
    count = 1_000_000
    more: dict[str, Any] = {"resolution_us": MINUTE}
    stream = Stream(
        project(
            feature("rows", K.COUNT, None, ("1d",), **more),
            feature("spent", K.SUM, "amount", ("1h", "1d"), **more),
            feature("usual", K.AVG, "ratio", ("1d",), **more),
            feature("most", K.MAX, "amount", ("1d",), **more),
            lateness_us=10 * MINUTE,
        )
    )
    columns = hot(count, 4 * DAY)
    got = stream.take_in_batches(columns, 1 << 15)
    young = count * 11 // (4 * 24 * 60)  # within the lateness, and of a step that has not ended
    assert young < stream.state.records <= young + 1600
    assert stream.state.nbytes < 2_500_000
    length, step = DAY, MINUTE
    times = columns["paid_at"]
    for i in range(0, count, 99_991):
        low = int(np.searchsorted(times, ((times[i] - length) // step + 1) * step, side="left"))
        assert got["card.rows_1d"][i] == i + 1 - low
        assert got["card.spent_1d"][i] == columns["amount"][low : i + 1].sum()


def test_sweeps_merge_what_nobody_touches_and_narrow_what_a_burst_left() -> None:
    definitions = project(feature("spent", K.SUM, "amount", ("1d",), resolution_us=HOUR), lateness_us=MINUTE)
    stream = Stream(definitions)
    stream.take(hot(20_000, HOUR))
    assert (stream.state.keys, stream.state.records) == (1, 20_000)
    stream.take({"paid_at": np.array([BEGIN + 2 * HOUR]), "card": np.array([1]), "amount": np.array([5])})
    assert stream.state.records == 20_001
    stream.state.sweep_all()
    assert (stream.state.keys, stream.state.records) == (2, 2)
    wide = stream.state.arrays()["arena"].size
    burst = hot(20_000, HOUR)
    stream.take({**burst, "card": burst["card"] + 2, "paid_at": burst["paid_at"] + 3 * HOUR})
    assert stream.state.arrays()["arena"].size < wide + 100, "what was given back is used again"
    back = {"card": np.array([0]), "amount": np.array([7])}
    assert (
        stream.take({**back, "paid_at": np.array([BEGIN + DAY - 1])})["card.spent_1d"][0]
        == 20_000 // 1000 * 499_500 + 7
    )
    assert stream.take({**back, "paid_at": np.array([BEGIN + DAY])})["card.spent_1d"][0] == 14
    stream.take({"paid_at": np.array([BEGIN + 9 * DAY]), "card": np.array([3]), "amount": np.array([1])})
    stream.state.sweep_all()
    assert (stream.state.keys, stream.state.records) == (1, 1)


def test_keys_that_come_and_go_leave_nothing_behind() -> None:
    definitions = project(feature("spent", K.MAX, "amount", ("1d",), resolution_us=MINUTE), lateness_us=MINUTE)
    swept, touched = Stream(definitions), Stream(definitions)
    columns = payments(20_000, seed=16, keys=50, disorder_s=1, gap_s=2)
    sizes = []
    for round in range(6):
        again = {**columns, "paid_at": columns["paid_at"] + round * 4 * DAY}
        for stream in (swept, touched):
            stream.take(again)
            sizes.append(stream.state.arrays()["arena"].size)
        swept.state.sweep_all()
    assert max(sizes[4:]) <= sizes[0] * 1.05, sizes


def test_an_event_enters_once_though_a_key_that_it_reads_needs_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parakh.features.state._grown", lambda words: words)  # so that there is never room to spare
    sent = feature("sent", K.COUNT, None, ("20d",), by=("payer",), resolution_us=MINUTE)
    stream = Stream(transfers(Entity(name="account", features=(sent,)), lateness_us=0))
    count = 4000
    random = np.random.default_rng(15)
    # Who sends seldom is merged when it receives.
    columns = {
        "paid_at": BEGIN + np.arange(count) * MINUTE,
        "payer": random.zipf(1.5, count) % 300,
        "payee": random.integers(0, 300, count),
    }
    got = stream.take_in_batches(columns, 500)
    seen = np.zeros(300, np.int64)
    for i, (payer, payee) in enumerate(zip(columns["payer"].tolist(), columns["payee"].tolist(), strict=True)):
        seen[payer] += 1
        assert (got["payer.sent_20d"][i], got["payee.sent_20d"][i]) == (seen[payer], seen[payee]), i


def test_the_state_limit_is_kept_while_merging() -> None:
    feature_of_all = feature("usual", K.AVG, "ratio", ("7d",), resolution_us=MINUTE)
    stream = Stream(project(feature_of_all, lateness_us=0, state_bytes=300_000))
    count = 20_000
    with pytest.raises(StateLimitError, match="in steps of 60 s: "):
        stream.take(hot(count, count * MINUTE))
    assert stream.state.nbytes <= 300_000


def test_what_cannot_be_merged_keeps_a_history_of_its_own() -> None:
    more: dict[str, Any] = {"resolution_us": HOUR}
    stream = Stream(
        project(
            feature("rows", K.COUNT, None, ("1d",), **more),
            feature("exact", K.COUNT, None, ("1d",)),
            feature("first", K.FIRST, "amount", ("1d",), **more),
            feature("countries", K.DISTINCT, "country", ("1d",), **more),
            feature("frauds", K.SUM, "fraud", ("1d",), **more),
            feature("coarser", K.COUNT, None, ("1d",), resolution_us=DAY),
            labels=(Label(name="fraud"),),
            lateness_us=0,
        )
    )
    assert stream.plan.histories == (
        "card by payment.card in steps of 3600 s",
        "card by payment.card",
        "card by payment.card in steps of 86400 s",
    )
    columns = payments(3000, seed=14, disorder_s=1, gap_s=60)
    columns["paid_at"] = np.sort(columns["paid_at"])
    got = stream.take(columns, held=np.arange(3000))
    for i in range(0, 3000, 101):
        assert got["card.rows_1d"][i] == len(values_in(columns, i, "card", window="1d", step=HOUR))
        assert got["card.exact_1d"][i] == len(values_in(columns, i, "card", window="1d", step=1))
        assert got["card.coarser_1d"][i] == len(values_in(columns, i, "card", window="1d", step=DAY))
        countries = values_in(columns, i, "country", window="1d", step=HOUR)
        assert got["card.countries_1d"][i] == len(set(countries.tolist()))
    stream.label("fraud", [2990, 2995], [1, 1])
    after = {"paid_at": columns["paid_at"][-1:], "card": np.array([0])}
    assert stream.take(after)["card.frauds_1d"].tolist() == [2]


def test_a_resolution_longer_than_the_horizon_is_not_merged_by() -> None:
    stream = Stream(project(feature("rows", K.COUNT, None, (), resolution_us=DAY), horizon_us=HOUR, lateness_us=0))
    assert stream.plan.histories == ("card by payment.card",)
