"""How far values are from their baseline: against slow counts by hand, and no alarm from chance alone."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.errors import InputError
from parakh.learning.changes.drift import (
    ALARM,
    Baseline,
    baseline_of,
    chance_index,
    dispersion,
    stability,
    stability_index,
    usual_range,
)

number = st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6), st.just(math.inf))


def slow_index(baseline: Baseline, values: list[float | None]) -> float:
    """The index by counting value by value."""
    counts = [0.0] * baseline.bins
    for value in values:
        if value is None:
            counts[-1] += 1
        else:
            place = 0
            while place < len(baseline.edges) and value > baseline.edges[place]:
                place += 1
            counts[place] += 1
    rows = baseline.count
    before = [share * (1 - baseline.null_share) * rows for share in baseline.shares] + [baseline.null_share * rows]
    index = 0.0
    for old, new in zip(before, counts, strict=True):
        p, q = (old + 0.5) / (sum(before) + 0.5 * len(before)), (new + 0.5) / (len(values) + 0.5 * len(counts))
        index += (q - p) * math.log(q / p)
    return index


@settings(max_examples=150, deadline=None, print_blob=True)
@given(st.lists(number, min_size=1, max_size=60), st.lists(number, min_size=1, max_size=60))
def test_the_index_is_that_of_counts_by_hand(before: list[float | None], after: list[float | None]) -> None:
    def as_array(values: list[float | None]) -> np.ndarray:
        return np.array([math.nan if value is None else value for value in values])

    baseline = baseline_of(as_array(before))
    assert sum(baseline.shares) == pytest.approx(1) or all(value is None for value in before)
    assert baseline.null_share == pytest.approx(before.count(None) / len(before))
    assert list(baseline.edges) == sorted(set(baseline.edges))
    assert stability(baseline, as_array(before)) == pytest.approx(0, abs=1e-9)
    assert stability(baseline, as_array(after)) == pytest.approx(slow_index(baseline, after))
    assert Baseline.of_data(baseline.as_data()) == baseline


def test_deciles_hold_a_tenth_each_and_ties_stay_together() -> None:
    values = np.random.default_rng(1).lognormal(size=10_000)
    assert np.allclose(baseline_of(values).shares, 0.1, atol=0.001)
    tied = np.concatenate([np.zeros(6_000), values[:4_000]])
    found = baseline_of(tied)
    assert found.edges[0] == 0.0
    assert found.shares[0] == pytest.approx(0.6)


def test_a_value_that_never_came_falls_into_a_bin_of_its_own() -> None:
    flags = np.array([0.0, 1.0] * 500)
    baseline = baseline_of(flags)
    assert baseline.edges[1:] == (0.0, 1.0)
    assert baseline.names == ("< 0", "≤ 0", "≤ 1", "> 1", "NULL")
    always = baseline_of(np.ones(1_000))
    assert stability(always, np.array([0.0, 1.0] * 500)) > ALARM
    assert stability(baseline, np.concatenate([flags, np.full(1_000, 7.0)])) > ALARM


def test_weights_count_as_so_many_rows() -> None:
    chance = np.random.default_rng(2)
    values = chance.integers(0, 40, 3_000).astype(float)
    weights = chance.integers(1, 4, 3_000)
    whole = baseline_of(np.repeat(values, weights))
    weighted = baseline_of(values, weights)
    assert weighted.edges == whole.edges
    assert weighted.shares == pytest.approx(whole.shares)
    assert weighted.count < whole.count  # worth less than so many independent rows
    assert stability(weighted, values, weights) == pytest.approx(0, abs=1e-4)


def test_texts_are_counted_by_category_and_rare_ones_together() -> None:
    before = pa.array(["food"] * 700 + ["fuel"] * 200 + [None] * 50 + [f"shop {n}" for n in range(50)])
    baseline = baseline_of(before.dictionary_encode())
    assert baseline.categories == ("food", "fuel")
    assert baseline.shares == pytest.approx((700 / 950, 200 / 950, 50 / 950))
    assert baseline.null_share == pytest.approx(0.05)
    assert stability(baseline, before) == pytest.approx(0, abs=1e-9)
    assert stability(baseline, pa.array(["gift cards"] * 300 + ["food"] * 700).dictionary_encode()) > ALARM
    assert Baseline.of_data(baseline.as_data()) == baseline


def test_what_is_wholly_missing_or_constant_has_a_baseline_too() -> None:
    missing = baseline_of(np.full(100, math.nan))
    assert missing.null_share == 1
    assert missing.mean is None
    assert stability(missing, np.full(100, math.nan)) < 0.01
    assert stability(missing, np.zeros(100)) > ALARM
    constant = baseline_of(np.full(100, 3.0))
    assert stability(constant, np.full(50, 3.0)) < 0.05
    assert stability(constant, np.full(50, 4.0)) > ALARM
    assert math.isnan(stability(constant, np.array([])))
    assert baseline_of(np.array([])).bins == 2


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"null_share": 0, "shares": [1.0], "edges": [1.0]},
        {"null_share": 2, "shares": [1.0], "edges": []},
        {"null_share": 0, "shares": [0.5, 0.25, 0.25], "edges": [2.0, 1.0]},
        {"null_share": "a", "shares": [1]},
    ],
)
def test_a_baseline_that_is_none_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not the baseline"):
        Baseline.of_data(data)


@pytest.mark.parametrize(("before", "after"), [(20_000, 2_000), (3_000, 300), (500, 500)])
def test_chance_exceeds_its_index_as_seldom_as_it_says(before: int, after: int) -> None:
    chance = np.random.default_rng(3)
    over = 0
    for _ in range(1_000):
        baseline = baseline_of(chance.normal(size=before))
        index = stability(baseline, chance.normal(size=after))
        over += index > chance_index(baseline.expected, after, chance=0.05)
    assert 15 <= over <= 80  # 50, and fewer where the half rows smooth


def test_days_that_vary_more_than_events_do_are_seen_to() -> None:
    chance = np.random.default_rng(4)
    calm = chance.multinomial(500, [0.7, 0.2, 0.1], size=60).astype(float)
    assert dispersion(calm) < 1.4
    wild = np.array([chance.multinomial(500, share) for share in chance.dirichlet([70, 20, 10], size=60)], float)
    # A day's shares vary by their own p (1 - p) / 101: each event counts as one of 1 + 499 / 101 that agree.
    assert dispersion(wild) == pytest.approx(1 + 499 / 101, rel=0.3)
    shifted = np.concatenate([calm, chance.multinomial(500, [0.2, 0.2, 0.6], size=60).astype(float)])
    assert dispersion(shifted) > 10
    assert dispersion(shifted, groups=np.repeat([0, 1], 60)) < 1.4


@pytest.mark.parametrize("rate", [0.0005, 0.01, 0.3, 0.97])
@pytest.mark.parametrize(("before", "after"), [(5_000, 1_000), (2_000, 4_000), (60_000, 10_000)])
def test_rates_leave_their_usual_range_as_seldom_as_it_says(rate: float, before: int, after: int) -> None:
    chance = np.random.default_rng(5)
    hits, more = chance.binomial(before, rate, 2_000), chance.binomial(after, rate, 2_000)
    over = 0
    for old, new in zip(hits.tolist(), more.tolist(), strict=True):
        low, high = usual_range(old, before, after, chance=0.05)
        over += not low - 1e-12 <= new / after <= high + 1e-12
    assert over <= 125  # 100 with a margin of 2.5 standard errors; fewer where counts are few


def test_a_rate_that_tripled_leaves_its_range() -> None:
    low, high = usual_range(40, 4_000, 1_000, chance=0.001)
    assert low <= 0.01 <= high < 0.03
    assert usual_range(40, 4_000, 1_000, chance=0.001, dispersion=4)[1] > high
    low, high = usual_range(7_000, 7, 1, chance=0.001, share=False)
    assert 850 < low < 1_000 < high < 1_150


def test_no_reference_expects_everything() -> None:
    assert usual_range(0, 0, 10, chance=0.05) == (-math.inf, math.inf)
    assert chance_index(np.zeros(3), 10, chance=0.05) == math.inf
    assert math.isnan(stability_index(np.zeros(3), np.ones(3)))
