"""The window kernels on long histories of one key, against a scan of all records written here in plain NumPy.

Histories are long enough for every level of the index of a ring, out of order, and swept and cut at will.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from feature_streams import START, UNITS, Stream, bits, feature, payments, project, scan

from parakh.decisions.definition import Definitions
from parakh.events.definition import Label
from parakh.expressions.types import NULL_WORD, money
from parakh.features.definition import AggregateKind

K = AggregateKind


def plain(length: str, delay: str = "0s") -> tuple[Callable[[int], int], Callable[[int], int]]:
    def us(text: str) -> int:
        return int(text[:-1]) * UNITS[text[-1]]

    return (lambda t: t - us(delay) - us(length)), (lambda t: t - us(delay))


LONG = "9h"  # some 1,600 records: two levels of blocks
SHORT = "10m"
WINDOWS = (SHORT, "2h", LONG)


def word(value: float | int | None) -> Any:
    return NULL_WORD if value is None else value


@pytest.mark.parametrize("delay", ["0s", "1h"])
def test_integers_in_long_windows_equal_a_scan(delay: str) -> None:
    delay_us = int(delay[:-1]) * UNITS[delay[-1]]
    kinds = (K.COUNT, K.SUM, K.MIN, K.MAX, K.FIRST, K.LAST, K.DISTINCT)
    stream = Stream(
        project(*(feature(kind.name.lower(), kind, "amount", WINDOWS, delay_us=delay_us) for kind in kinds))
    )
    columns = payments(4000, seed=1)
    got = stream.take_in_batches(columns, 333, sweep=1)
    for window in WINDOWS:
        low, high = plain(window, delay)
        with_current = scan(columns, low, high, "amount", current=True)
        without = scan(columns, low, high, "amount", current=False)
        expected = {
            "count": [len(values) for values in with_current],
            "sum": [word(sum(values) if values else None) for values in with_current],
            "min": [word(min(values, default=None)) for values in with_current],
            "max": [word(max(values, default=None)) for values in with_current],
            "distinct": [len(set(values)) for values in with_current],
            "first": [word(values[0] if values else None) for values in without],
            "last": [word(values[-1] if values else None) for values in without],
        }
        for name, values in expected.items():
            assert got[f"card.{name}_{window}"].tolist() == values, (name, window)


def test_numbers_in_long_windows_equal_exact_sums() -> None:
    kinds = (K.COUNT, K.SUM, K.AVG, K.STDDEV, K.MIN, K.MAX)
    stream = Stream(project(*(feature(kind.name.lower(), kind, "ratio", WINDOWS) for kind in kinds)))
    columns = payments(3500, seed=2)
    columns["ratio"][700:703] = (1e300, 3.5, -1e250)  # what they leave behind must not drown what follows
    got = stream.take_in_batches(columns, 512)
    for window in WINDOWS:
        held = scan(columns, *plain(window), "ratio", current=True)
        for i, values in enumerate(held):
            if not values:
                assert math.isnan(got[f"card.sum_{window}"][i])
                continue
            size = math.fsum(map(abs, values))
            assert got[f"card.count_{window}"][i] == len(values)
            assert got[f"card.sum_{window}"][i] == pytest.approx(math.fsum(values), abs=1e-14 * size, rel=1e-14)
            assert got[f"card.min_{window}"][i] == min(values)
            assert got[f"card.max_{window}"][i] == max(values)
            mean = math.fsum(values) / len(values)
            assert got[f"card.avg_{window}"][i] == pytest.approx(mean, abs=1e-14 * size / len(values), rel=1e-14)
            if len(values) > 1 and size < 1e100:
                deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
                assert got[f"card.stddev_{window}"][i] == pytest.approx(deviation, rel=1e-10)


def test_stddev_of_integers_is_exact_for_small_and_close_for_huge() -> None:
    stream = Stream(
        project(
            feature("amounts", K.STDDEV, "amount", WINDOWS),
            feature("points", K.STDDEV, "points", WINDOWS),
        )
    )
    columns = payments(1500, seed=3)
    columns["amount"][100:400] = 777  # no deviation at all
    columns["points"][500:520] = 2**63 - 1 - np.arange(20)
    got = stream.take_in_batches(columns, 100)
    for window in WINDOWS:
        for name, column, scale in (("amounts", "amount", 100), ("points", "points", 1)):
            for i, values in enumerate(scan(columns, *plain(window), column, current=True)):
                if len(values) < 2:
                    assert math.isnan(got[f"card.{name}_{window}"][i])
                    continue
                # n * sum of squares - square of the sum, in whole numbers
                n = len(values)
                numerator = n * sum(value * value for value in values) - sum(values) ** 2
                expected = math.sqrt(numerator / (n * (n - 1))) / scale
                assert got[f"card.{name}_{window}"][i] == pytest.approx(expected, rel=1e-12)


def test_decreasing_amounts_do_not_change_the_answer_or_the_order_of_work() -> None:
    count = 3000
    columns = payments(count, seed=4, disorder_s=1)
    columns["amount"] = np.arange(count, 0, -1)
    stream = Stream(project(feature("max", K.MAX, "amount", WINDOWS), feature("min", K.MIN, "amount", WINDOWS)))
    got = stream.take_in_batches(columns, 700)
    for window in WINDOWS:
        held = scan(columns, *plain(window), "amount", current=True)
        assert got[f"card.max_{window}"].tolist() == [max(values) for values in held]
        assert got[f"card.min_{window}"].tolist() == [min(values) for values in held]


def test_where_and_missing_values_look_back_to_the_right_record() -> None:
    stream = Stream(
        project(
            feature("last", K.LAST, "points", WINDOWS, where="amount > 90"),
            feature("first", K.FIRST, "points", WINDOWS, where="amount > 90"),
            feature("idle", K.SINCE_LAST, None, (LONG,), where="amount > 90"),
            feature("large", K.COUNT, None, WINDOWS, where="amount > 90"),
        )
    )
    columns = payments(2500, seed=5)
    got = stream.take_in_batches(columns, 64)
    masked = dict(columns)
    masked["points"] = np.where(columns["amount"] > 9000, columns["points"], NULL_WORD)
    masked["amount"] = np.where(columns["amount"] > 9000, columns["paid_at"], NULL_WORD)
    for window in WINDOWS:
        without = scan(masked, *plain(window), "points", current=False)
        assert got[f"card.last_{window}"].tolist() == [word(values[-1] if values else None) for values in without]
        assert got[f"card.first_{window}"].tolist() == [word(values[0] if values else None) for values in without]
        counted = scan(masked, *plain(window), "amount", current=True)
        assert got[f"card.large_{window}"].tolist() == [len(values) for values in counted]
    before = scan(masked, *plain(LONG), "amount", current=False)
    for i, values in enumerate(before):
        seconds = got[f"card.idle_{LONG}"][i]
        assert (math.isnan(seconds) and not values) or seconds == (columns["paid_at"][i] - values[-1]) / 1e6


def test_integer_sums_are_exact_up_to_64_bits_and_flagged_beyond() -> None:
    stream = Stream(project(feature("sum", K.SUM, "points", WINDOWS), feature("avg", K.AVG, "points", WINDOWS)))
    columns = payments(600, seed=6)
    random = np.random.default_rng(6)
    columns["points"] = random.choice([2**62, -(2**62), 2**63 - 1, -(2**63) + 1, 5], 600)
    got = stream.take(columns)
    flagged = np.zeros(600, bool)
    for window in WINDOWS:
        for i, values in enumerate(scan(columns, *plain(window), "points", current=True)):
            total = sum(values)
            fits = abs(total) < 2**63
            flagged[i] |= not fits
            assert got[f"card.sum_{window}"][i] == (total if fits else NULL_WORD)
            assert got[f"card.avg_{window}"][i] == pytest.approx(total / len(values), rel=1e-15, abs=1e-15)
    assert (stream.flags == flagged).all()
    assert flagged.any()
    assert not flagged.all()


def test_calendar_days_and_steps_of_resolution() -> None:
    day, step = UNITS["d"], 7 * UNITS["m"]
    stream = Stream(
        project(
            feature("today", K.COUNT, None, ("calendar_day",)),
            feature("coarse", K.COUNT, None, ("2h",), resolution_us=step),
            time_zone="Asia/Kolkata",
        )
    )
    columns = payments(3000, seed=7, gap_s=120)
    got = stream.take_in_batches(columns, 500)
    offset = 5 * UNITS["h"] + 30 * UNITS["m"]
    midnight = scan(columns, lambda t: (t + offset) // day * day - offset - 1, lambda t: t, "card", current=True)
    assert got["card.today_calendar_day"].tolist() == [len(values) for values in midnight]
    coarse = scan(columns, lambda t: ((t - 2 * UNITS["h"]) // step + 1) * step - 1, lambda t: t, "card", current=True)
    assert got["card.coarse_2h"].tolist() == [len(values) for values in coarse]


def every_aggregate() -> Definitions:
    return project(
        *(feature(f"a_{kind.name.lower()}", kind, "amount", WINDOWS) for kind in K if kind is not K.SINCE_LAST),
        *(feature(f"r_{kind.name.lower()}", kind, "ratio", WINDOWS) for kind in K if kind is not K.SINCE_LAST),
        feature("delayed", K.DISTINCT, "country", WINDOWS, delay_us=UNITS["h"]),
        feature("without", K.MAX, "ratio", WINDOWS, include_current=False),
        feature("idle", K.SINCE_LAST),
        horizon_us=UNITS["d"],
        lateness_us=UNITS["h"],
    )


def test_batches_sweeps_and_snapshots_do_not_change_a_bit() -> None:
    columns = payments(6000, seed=8, keys=40, gap_s=60)
    # Silences longer than the horizon: keys empty, whether they are swept or not.
    columns["paid_at"] = columns["paid_at"] + np.arange(6000) // 1500 * 3 * UNITS["d"]
    whole = bits(Stream(every_aggregate()).take(columns))
    for size, sweep in ((1, 0), (97, 3), (1000, 10_000)):
        assert bits(Stream(every_aggregate()).take_in_batches(columns, size, sweep)) == whole, (size, sweep)
    first, second = Stream(every_aggregate()), Stream(every_aggregate())
    half = {name: values[:3100] for name, values in columns.items()}
    rest = {name: values[3100:] for name, values in columns.items()}
    first.take(half)
    second.state.restore({name: array.copy() for name, array in first.state.arrays().items()})
    expected = {name: values[8 * 3100 :] for name, values in whole.items()}
    assert bits(second.take(rest)) == expected
    assert bits(first.take(rest)) == expected


def test_late_events_read_nothing_and_leave_nothing() -> None:
    columns = payments(200, seed=9, disorder_s=1)
    stream, other = Stream(every_aggregate()), Stream(every_aggregate())
    late = np.arange(200) % 5 == 0
    got = stream.take(columns, late=late)
    kept = other.take({name: values[~late] for name, values in columns.items()})
    for name, values in got.items():
        unknown = np.isnan(values[late]) if values.dtype.kind == "f" else values[late] == NULL_WORD
        assert unknown.all(), name
        assert values[~late].tobytes() == kept[name].tobytes(), name


def test_labels_change_long_histories_as_if_they_had_been_known() -> None:
    labels = (Label(name="fraud"), Label(name="loss", type=money("INR")))
    definitions = project(
        feature("share", K.AVG, "fraud", WINDOWS),
        feature("lost", K.SUM, "loss", WINDOWS),
        feature("worst", K.MAX, "loss", WINDOWS),
        feature("countries", K.DISTINCT, "country", WINDOWS, where="fraud and amount > 10"),
        feature("good", K.COUNT, None, WINDOWS, where="not fraud"),
        feature("deviation", K.STDDEV, "ratio", WINDOWS, where="fraud"),
        feature("largest", K.MAX, "amount", WINDOWS, where="fraud"),
        labels=labels,
    )
    random = np.random.default_rng(10)
    columns = payments(3000, seed=10)
    stream = Stream(definitions)
    half = 2500
    stream.take({name: values[:half] for name, values in columns.items()}, held=np.arange(half))
    fraud = np.full(3000, NULL_WORD)
    loss = np.full(3000, NULL_WORD)
    for _ in range(4):  # given, corrected, withdrawn
        chosen = random.choice(half, 700, replace=False)
        fraud[chosen] = random.choice([0, 1, NULL_WORD], 700)
        stream.label("fraud", chosen.tolist(), fraud[chosen].tolist())
        chosen = random.choice(half, 300, replace=False)
        loss[chosen] = random.choice([5, 700, 90_000, NULL_WORD], 300)
        stream.label("loss", chosen.tolist(), loss[chosen].tolist())
    got = stream.take({name: values[half:] for name, values in columns.items()}, held=np.arange(half, 3000))
    yes, no = fraud == 1, fraud == 0
    table = {
        **columns,
        "share": np.where(yes, 1, 0),
        "lost": np.where(loss == NULL_WORD, 0, loss),
        "countries": np.where(yes & (columns["amount"] > 1000), columns["country"], NULL_WORD),
        "good": np.where(no, 1, NULL_WORD),
        "deviation": np.where(yes, columns["ratio"], np.nan),
        "largest": np.where(yes, columns["amount"], NULL_WORD),
    }
    for window in WINDOWS:
        held = {
            name: scan(table, *plain(window), name, current=True)[half:]
            for name in ("share", "lost", "countries", "good", "deviation", "largest")
        }
        for i in range(3000 - half):
            here = {name: values[i] for name, values in held.items()}
            where = (window, i)
            assert got[f"card.share_{window}"][i] == sum(here["share"]) / len(here["share"]), where
            assert got[f"card.lost_{window}"][i] == sum(here["lost"]), where
            assert got[f"card.worst_{window}"][i] == max(here["lost"]), where
            assert got[f"card.countries_{window}"][i] == len(set(here["countries"])), where
            assert got[f"card.good_{window}"][i] == len(here["good"]), where
            assert got[f"card.largest_{window}"][i] == word(max(here["largest"], default=None)), where
            if len(here["deviation"]) > 1:
                expected = np.std(here["deviation"], ddof=1)
                assert got[f"card.deviation_{window}"][i] == pytest.approx(expected, rel=1e-9), where


def test_the_higher_source_holds_and_a_withdrawal_gives_way() -> None:
    definitions = project(feature("frauds", K.SUM, "fraud", ("1d",)), labels=(Label(name="fraud"),))
    stream = Stream(definitions)
    one = {"paid_at": np.array([START]), "card": np.array([0])}
    stream.take(one, held=np.array([0]))

    def seen() -> int:
        again = {"paid_at": np.array([START]), "card": np.array([0])}
        return int(stream.take(again)["card.frauds_1d"][0])

    stream.label("fraud", [0], [1], [2])
    assert seen() == 1
    stream.label("fraud", [0], [0], [1])  # a lower source
    assert seen() == 1
    stream.label("fraud", [0], [0], [2])  # its own correction
    assert seen() == 0
    stream.label("fraud", [0], [1], [3])
    assert seen() == 1
    stream.label("fraud", [0], [NULL_WORD], [3])  # withdrawn: any source may speak again
    assert seen() == 0
    stream.label("fraud", [0], [1], [0])
    assert seen() == 1
