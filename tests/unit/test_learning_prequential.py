"""Folds by time: nothing of a fold's training lies after T less the delay, no label was known after T."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.errors import InputError
from parakh.learning.fitting.prequential import make_folds

DAY = 86_400_000_000


@given(
    st.integers(0, 2**32 - 1),
    st.integers(20, 300),
    st.floats(0.5, 20.0),
    st.integers(1, 6),
    st.one_of(st.none(), st.floats(0.2, 5.0)),
)
@settings(max_examples=300, deadline=None)
def test_a_fold_learns_only_from_what_was_known(
    seed: int, rows: int, delay_days: float, count: int, length_days: float | None
) -> None:
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(0, 60 * DAY, rows)) + 1_600_000_000_000_000
    label = rng.random(rows) < 0.4
    known = time + rng.integers(0, 30 * DAY, rows)
    delay = round(delay_days * DAY)
    length = None if length_days is None else round(length_days * DAY)
    try:
        folds = make_folds(time, label, known, delay_us=delay, count=count, length_us=length)
    except InputError as error:
        assert "hint" in str(error)  # noqa: PT017 - most random spans are refused or not, both are looked at
        return
    assert [fold.number for fold in folds] == list(range(1, count + 1))
    for fold, after in zip(folds, [*folds[1:], None], strict=True):
        assert after is None or fold.to_us == after.at_us
        for row, positive in zip(fold.train.tolist(), fold.label.tolist(), strict=True):
            assert time[row] <= fold.at_us - delay
            assert not positive or known[row] <= fold.at_us
            assert positive == (label[row] and known[row] <= fold.at_us)
        assert set(fold.train.tolist()) == {row for row in range(rows) if time[row] <= fold.at_us - delay}
        assert set(fold.test.tolist()) == {row for row in range(rows) if fold.at_us <= time[row] < fold.to_us}
    assert folds[-1].to_us > time[-1] >= folds[-1].at_us or length is not None
    assert folds[0].label.any()


def test_a_label_that_comes_later_changes_nothing_earlier() -> None:
    time = np.arange(40) * DAY
    label = np.arange(40) % 4 == 0
    known = time + 3 * DAY
    later = known.copy()
    folds = make_folds(time, label, known, delay_us=2 * DAY)
    row = int(folds[0].train[np.flatnonzero(folds[0].label)[-1]])
    later[row] = folds[0].at_us + 1
    moved = make_folds(time, label, later, delay_us=2 * DAY)
    assert moved[0].label.sum() == folds[0].label.sum() - 1
    assert moved[1].label.tolist() == folds[1].label.tolist()


def test_folds_of_whole_days_begin_at_midnight() -> None:
    time = np.arange(0, 40 * 24) * (DAY // 24) + DAY // 3
    folds = make_folds(time, np.arange(time.size) % 9 == 0, time + DAY, delay_us=7 * DAY)
    assert [fold.at_us % DAY for fold in folds] == [0] * 4
    assert {fold.to_us - fold.at_us for fold in folds} == {4 * DAY}


@pytest.mark.parametrize(
    ("days", "fraud", "known_after", "reason"),
    [
        (6, slice(None, None, 2), 1, "too little beside a label delay of 7.0 days"),
        (40, slice(0, 0), 1, "is no fraud to learn from"),
        (40, slice(None), 1, "are frauds alone to learn from"),
        (40, slice(None, None, 2), 60, "is no fraud to learn from"),
        (40, slice(0, 5), 1, "there is no fraud to find"),
    ],
)
def test_spans_that_teach_nothing_are_refused(days: int, fraud: slice, known_after: int, reason: str) -> None:
    time = np.arange(days) * DAY
    label = np.zeros(days, np.bool_)
    label[fraud] = True
    with pytest.raises(InputError, match=reason):
        make_folds(time, label, time + known_after * DAY, delay_us=7 * DAY)


def test_no_rows_are_refused() -> None:
    none = np.empty(0, np.int64)
    with pytest.raises(InputError, match="no rows"):
        make_folds(none, none.astype(np.bool_), none, delay_us=DAY)
