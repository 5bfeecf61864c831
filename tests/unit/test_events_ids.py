"""Ids seen before: the answers of a dict, through growth, forgetting and a snapshot."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from parakh.events import ids
from parakh.events.decode import hash_id
from parakh.events.ids import CONFLICT, DUPLICATE, NEW, REFUSED, IdIndex
from parakh.events.schema import id_salt


@pytest.mark.parametrize("seed", range(8))
def test_the_index_answers_as_a_dict_does(seed: int) -> None:
    random = Random(seed)
    index = IdIndex()
    rows: list[tuple[int, int, int, int]] = []
    for _ in range(60):
        count = random.choice([0, 1, 5, 400])
        # Few low halves, so that high halves must be looked at, and chains grow long.
        hi = np.array([random.randrange(50) for _ in range(count)], np.uint64)
        lo = np.array([random.randrange(60) << random.choice([0, 12, 58]) for _ in range(count)], np.uint64)
        digest = np.array([random.randrange(3) for _ in range(count)], np.uint64)
        times = np.array([random.randrange(1000) for _ in range(count)], np.int64)
        ok = np.array([random.random() < 0.9 for _ in range(count)], np.bool_)
        status, held = np.empty(count, np.uint8), np.empty(count, np.int64)
        index.admit(hi, lo, digest, ok, status, held)
        for place in range(count):
            known = {(row[0], row[1]): number for number, row in enumerate(rows)}
            key = int(hi[place]), int(lo[place])
            if not ok[place]:
                assert (status[place], held[place]) == (REFUSED, -1)
            elif key in known:
                same = rows[known[key]][2] == digest[place]
                assert (status[place], held[place]) == (DUPLICATE if same else CONFLICT, known[key])
            else:
                assert (status[place], held[place]) == (NEW, len(rows))
                rows.append((*key, int(digest[place]), int(times[place])))
        if random.random() < 0.1:
            before = random.randrange(600)
            kept = [row for row in rows if row[3] >= before]
            moved = index.forget(np.array([row[3] < before for row in rows], np.bool_))
            wanted = iter(range(len(kept)))
            assert moved.tolist() == [next(wanted) if row[3] >= before else -1 for row in rows]
            rows = kept
        if random.random() < 0.1:
            index = IdIndex.from_arrays({name: array.copy() for name, array in index.arrays().items()})
        assert len(index) == len(rows)
    if rows:
        hi, lo = (np.array([row[half] for row in rows], np.uint64) for half in (0, 1))
        assert index.find(hi, lo).tolist() == list(range(len(rows)))
    assert index.find(np.array([99], np.uint64), np.array([99], np.uint64)).tolist() == [-1]


def test_ids_that_are_taken_back_were_never_there() -> None:
    """As where a kernel has admitted some events of a batch before it saw that not all of them are new."""
    random = np.random.default_rng(2)
    index = IdIndex()
    for count in (50, 300, 700):
        hi = random.integers(0, 2**63, count).astype(np.uint64)
        lo = (random.integers(0, 40, count) << 40).astype(np.uint64)  # long chains in the table
        digest, ok, known = np.zeros(count, np.uint64), np.ones(count, np.bool_), len(index)
        status, held = np.empty(count, np.uint8), np.empty(count, np.int64)
        before = {name: array.copy() for name, array in index.arrays().items()}
        index.admit(hi, lo, digest, ok, status, held)
        index.taken(known)
        index.take_back(count)
        assert index.find(hi, lo).tolist() == [-1] * count
        assert all((array == before[name]).all() for name, array in index.arrays().items())
        index.admit(hi, lo, digest, ok, status, held)
        assert index.find(hi, lo).tolist() == list(range(known, known + count))


def test_the_table_grows_a_little_with_each_id(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[int] = []
    right = ids._fill

    def counted(rows: Any, first: int, stop: int, table: Any) -> None:
        filled.append(stop - first)
        right(rows, first, stop, table)

    monkeypatch.setattr(ids, "_fill", counted)
    index, random, sizes = IdIndex(), np.random.default_rng(3), set()
    hi, lo = random.integers(0, 2**63, (2, 20_000)).astype(np.uint64)
    one = np.ones(1, np.bool_), np.empty(1, np.uint8), np.empty(1, np.int64)
    for row in range(20_000):
        part = slice(row, row + 1)
        assert index.admit(hi[part], lo[part], lo[part], *one) == 1
        sizes.add(len(index._table))
        if row % 997 == 0:
            assert index.find(hi[: row + 1], lo[: row + 1]).tolist() == list(range(row + 1))
            assert index.admit(hi[part], lo[part], lo[part], *one) == 0
    assert sizes == {2 << shift for shift in range(10, 15)}
    assert sum(filled) > 20_000
    assert max(filled) <= 8
    assert 4 * len(index) <= 3 * len(index._table)


def test_an_id_costs_little_and_leaves_when_forgotten() -> None:
    index, random = IdIndex(), np.random.default_rng(1)
    count = 1_000_000
    hi, lo = random.integers(0, 2**63, (2, count)).astype(np.uint64)
    status, held = np.empty(1000, np.uint8), np.empty(1000, np.int64)
    sizes = []
    for first in range(0, count, 1000):
        part = slice(first, first + 1000)
        index.admit(hi[part], lo[part], lo[part], np.ones(1000, np.bool_), status, held)
        assert (status == NEW).all()
        if first > 100_000:
            sizes.append(index.nbytes / len(index))
    assert np.mean(sizes) < 38
    moved = index.forget(np.arange(count) < 900_000)
    assert (moved[900_000:] == np.arange(100_000)).all()
    assert index.nbytes < 100_000 * 60
    assert index.find(hi[899_999:900_001], lo[899_999:900_001]).tolist() == [-1, 0]


def test_ids_of_different_types_differ() -> None:
    payment, login = id_salt("payment"), id_salt("login")
    assert hash_id(b"1", payment) != hash_id(b"1", login)
    assert hash_id(b"1", payment) == hash_id(b"1", id_salt("payment"))
