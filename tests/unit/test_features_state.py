"""The state of windows as a whole: its size, its bound, its sweep, and keys that are numbers or joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from feature_streams import START, UNITS, Stream, feature, transfers

from parakh.decisions.definition import Definitions
from parakh.errors import ExpressionError, StateLimitError
from parakh.events.definition import EventType, Field
from parakh.expressions.types import INTEGER, NULL_WORD, TIMESTAMP
from parakh.features import tables
from parakh.features.definition import AggregateKind, Entity, FeatureDefinition
from parakh.features.state import FeatureState

K = AggregateKind


def accounts(*features: FeatureDefinition) -> Entity:
    return Entity(name="account", features=features)


def columns(count: int, keys: int, seed: int = 0, gap_us: int = 1_000_000) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "paid_at": START + np.arange(count) * gap_us,
        "payer": random.integers(0, keys, count),
        "payee": random.integers(0, keys, count),
        "device": random.integers(-(2**60), 2**60, count),
        "amount": random.integers(0, 100, count),
    }


SENT = feature("sent", K.SUM, "amount", ("1h",), by=("payer",))
RECEIVED = feature("received", K.COUNT, None, ("1h",), by=("payee",), include_current=False)


def test_roles_read_each_others_histories() -> None:
    stream = Stream(transfers(accounts(SENT, RECEIVED)))
    data = {
        "paid_at": START + np.arange(5),
        "payer": np.array([1, 2, 1, 7, NULL_WORD]),
        "payee": np.array([2, 1, 1, NULL_WORD, 1]),
        "amount": np.array([10, 20, 40, 80, 160]),
    }
    got = stream.take(data)
    # The third pays itself: read through either role the account is the same, the event itself counts once as sent.
    assert got["payer.sent_1h"].tolist() == [10, 20, 50, 80, NULL_WORD]
    assert got["payee.sent_1h"].tolist()[:3] == [NULL_WORD, 10, 50]
    assert got["payee.sent_1h"].tolist()[3:] == [NULL_WORD, 50]
    assert got["payer.received_1h"].tolist() == [0, 1, 1, 0, NULL_WORD]
    assert got["payee.received_1h"].tolist() == [0, 0, 1, NULL_WORD, 2]


def test_joined_and_numeric_keys_are_told_apart() -> None:
    pair = Entity(name="route", key=("payer", "payee", "device"), features=(feature("seen", K.COUNT, None, ("1h",)),))
    alone = Entity(name="device", features=(feature("seen", K.COUNT, None, ("1h",)),))
    stream = Stream(transfers(pair, alone))
    random = np.random.default_rng(3)
    count = 3000
    data = {
        "paid_at": START + np.arange(count),
        "payer": random.integers(0, 8, count),
        "payee": random.integers(0, 8, count),
        "device": random.choice(np.array([-1, 0, 1, 2**62, -(2**62), *range(100, 400)]), count),
    }
    data["device"][::50] = NULL_WORD
    got = stream.take(data)
    seen: dict[tuple[int, ...], int] = {}
    devices: dict[int, int] = {}
    for i in range(count):
        device = int(data["device"][i])
        if device == NULL_WORD:
            assert got["route.seen_1h"][i] == NULL_WORD
            assert got["device.seen_1h"][i] == NULL_WORD
            continue
        key = (int(data["payer"][i]), int(data["payee"][i]), device)
        seen[key] = seen.get(key, 0) + 1
        devices[device] = devices.get(device, 0) + 1
        assert got["route.seen_1h"][i] == seen[key]
        assert got["device.seen_1h"][i] == devices[device]
    assert stream.state.keys == len(seen) + len(devices)


def test_keys_and_records_are_counted_and_swept() -> None:
    stream = Stream(transfers(accounts(SENT), lateness_us=UNITS["m"]))
    stream.take(columns(5000, keys=700))
    state = stream.state
    assert state.records == 5000 - swept_or_dropped(stream, 5000)
    stream.take({**columns(1, keys=1), "paid_at": np.array([START + UNITS["d"]])})
    while state.keys > 1:
        before = state.keys
        assert state.sweep(100) <= 100
        assert state.keys <= before
    assert (state.keys, state.records) == (1, 1)
    held = state.nbytes
    again = columns(5000, keys=700)
    stream.take({**again, "paid_at": again["paid_at"] + 2 * UNITS["d"]})
    assert state.nbytes == held  # what was given back is used again


def swept_or_dropped(stream: Stream, count: int) -> int:
    """Records that were dropped on the way because a ring was full: never more than what is forgotten."""
    gone = count - stream.state.records
    assert 0 <= gone <= count - 3660
    return gone


def test_a_sweep_narrows_what_a_burst_left_wide() -> None:
    stream = Stream(transfers(accounts(SENT), lateness_us=0))
    burst = columns(20_000, keys=1, gap_us=1000)
    stream.take(burst)
    wide = stream.state.arrays()["arena"].size
    calm = {**columns(200, keys=1), "paid_at": START + UNITS["d"] + np.arange(200) * UNITS["m"]}
    stream.take(calm)
    stream.state.sweep_all()
    assert stream.state.records <= 62
    again = columns(20_000, keys=1, gap_us=1000)
    again["paid_at"] = again["paid_at"] + 2 * UNITS["d"]
    stream.take(again)
    assert stream.state.arrays()["arena"].size <= wide * 1.1


def test_the_bound_is_kept_and_said() -> None:
    stream = Stream(transfers(accounts(SENT), state_bytes=600_000))
    with pytest.raises(StateLimitError, match=r"account by payment\.payer: [\d,]+ records of [\d,]+ keys") as caught:
        stream.take(columns(200_000, keys=50_000))
    assert "parakh.toml" in str(caught.value)
    assert stream.state.nbytes <= 600_000


def test_what_is_forgotten_is_forgotten_swept_or_not() -> None:
    first = feature("first", K.FIRST, "amount", by=("payer",))
    settings = {"horizon_us": UNITS["h"], "lateness_us": UNITS["m"]}
    data = {
        "paid_at": START + np.array([0, 30, 59, 62, 121, 200]) * UNITS["m"],
        "payer": np.ones(6, np.int64),
        "amount": np.arange(6),
    }
    answers = []
    for sweep in (False, True):
        stream = Stream(transfers(accounts(first), **settings))
        got = []
        for i in range(6):
            got.append(stream.take({name: values[i : i + 1] for name, values in data.items()})["payer.first"][0])
            if sweep:
                stream.state.sweep_all()
        answers.append(got)
    assert answers[0] == answers[1] == [NULL_WORD, 0, 0, 1, 3, NULL_WORD]


def test_labels_find_events_by_key_and_follow_when_rows_move() -> None:
    stream = Stream(transfers(accounts(feature("bad", K.SUM, "fraud", ("1d",), by=("payer",)))))
    data = {**columns(6, keys=1), "payer": np.array([1, 2, 1, 2, 1, 2]), "payee": np.array([3, 3, 3, 3, 3, 1])}
    stream.take(data, held=np.arange(6))
    state = stream.state
    assert state.held_with_key(0, ("payer",), [1]).tolist() == [0, 2, 4]
    assert state.held_with_key(0, ("payee",), [1]).tolist() == [5]
    assert state.held_with_key(0, ("device",), [1]).tolist() == []
    # The engine forgets the first two rows; the others move up.
    state.held.move(np.array([-1, -1, 0, 1, 2, 3]))
    assert state.held_with_key(0, ("payer",), [1]).tolist() == [0, 2]
    stream.label("fraud", [0, 1, 4], [1, 1, 1])  # row 4 is nobody's now
    later = {"paid_at": np.array([START + UNITS["h"]] * 2), "payer": np.array([1, 2])}
    assert stream.take(later)["payer.bad_1d"].tolist() == [1, 1]


def test_a_key_has_one_type() -> None:
    definitions = transfers(accounts(SENT, RECEIVED))
    login = EventType(
        name="login",
        id="row",
        time="at",
        fields=(Field(name="at", type=TIMESTAMP), Field(name="account", type=INTEGER, entity="account")),
    )
    mixed = Definitions(
        settings=definitions.settings, events=(*definitions.events, login), entities=definitions.entities
    )
    with pytest.raises(ExpressionError, match="the key of account is integer in login"):
        Stream(mixed)


def test_an_empty_batch_and_a_project_without_features() -> None:
    stream = Stream(transfers())
    assert stream.take(columns(10, keys=3)) == {}
    assert stream.state.clock_us == START + 9_000_000
    assert stream.state.sweep() == 0
    assert (stream.state.keys, stream.state.records) == (0, 0)
    empty = {name: values[:0] for name, values in columns(1, keys=1).items()}
    assert stream.take(empty) == {}


# -- the hash of values, which grows while it is used ------------------------------------------------------------------


def home(value: int, identity: int) -> int:
    """Where an entry of the hash is looked for first, but for the mask."""
    x = (value * 0x9E3779B97F4A7C1 + identity * 0x2545F4914F6CDD1D) % 2**64
    x ^= x >> 32 & 0xFFFFFFFF
    x = x * 0x2127599BF4325C37 % 2**64
    return x ^ (x >> 29 & 0x7FFFFFFFF)


def reachable(table: np.ndarray[Any, np.dtype[np.int64]], left: int | None = None) -> int:
    """How many entries a table of the hash has; each is found by going on from its home."""
    mask = len(table) - 1
    held = np.flatnonzero(table[:, 1])
    for slot in held.tolist():
        first = home(int(table[slot, 0]), int(table[slot, 1]) >> 30) & mask
        assert all(table[i & mask, 1] for i in range(first, first + (slot - first & mask))), slot
    assert left is None or not held.size or held[-1] < left
    return held.size


def held_in_hash(state: FeatureState) -> int:
    """How many values stand in the hash, and in the table before where it is on its way from one to the other."""
    before = 0 if state._hash_before is None else reachable(state._hash_before, int(state._growth[tables.LEFT]))
    found = reachable(state._hash) + before
    assert found == int(state._control[tables.HASH_USED])
    return found


@pytest.mark.parametrize("size", [1, 37, 500])
def test_values_are_found_while_the_hash_grows(size: int) -> None:
    """Distinct values of few busy keys, with late events and others that leave their windows, at any size of batch."""
    count, keys = 12_000, 5
    random = np.random.default_rng(11)
    data = columns(count, keys, seed=11)
    data["paid_at"] += random.integers(-40, 1, count) * UNITS["s"]
    # Few values at first, then ever more: some of them leave in the middle of a growth.
    data["device"] = random.integers(0, np.linspace(50, 20_000, count).astype(np.int64))
    definitions = transfers(
        accounts(feature("devices", K.DISTINCT, "device", ("1h",), by=("payer",))), lateness_us=60 * UNITS["s"]
    )
    stream, moving = Stream(definitions), 0
    got: list[int] = []
    for first in range(0, count, size):
        batch = {name: values[first : first + size] for name, values in data.items()}
        got += stream.take(batch)["payer.devices_1h"].tolist()
        if first % 500 < size and (held_in_hash(stream.state) or not first):
            moving += stream.state._hash_before is not None
            stream.state.sweep(2)
    times, payers, devices = (data[name].tolist() for name in ("paid_at", "payer", "device"))
    for i in random.integers(0, count, 400).tolist():
        since = times[i] - UNITS["h"]
        seen = {devices[j] for j in range(i + 1) if payers[j] == payers[i] and since < times[j] <= times[i]}
        assert got[i] == len(seen), i
    assert moving, "it was never looked at while it grew"
    assert len(stream.state._hash) >= 8 * 1024


def test_a_snapshot_in_the_middle_of_a_growth_has_everything() -> None:
    definitions = transfers(accounts(feature("devices", K.DISTINCT, "device", ("1h",), by=("payer",))))
    data = columns(9_000, 3, seed=5, gap_us=100_000)
    data["device"] = np.random.default_rng(5).integers(0, 6_000, 9_000)
    whole, other, taken = Stream(definitions), Stream(definitions), 0
    for first in range(0, 9_000, 100):
        batch = {name: values[first : first + 100] for name, values in data.items()}
        expected = whole.take(batch)["payer.devices_1h"]
        if taken:
            assert other.take(batch)["payer.devices_1h"].tolist() == expected.tolist(), first
        if whole.state._hash_before is not None:
            other = Stream(definitions, strings=whole.strings)
            other.state.restore({name: array.copy() for name, array in whole.state.arrays().items()})
            assert whole.state._hash_before is None
            assert held_in_hash(whole.state) == held_in_hash(other.state) > 0
            taken += 1
    assert taken > 1


def test_a_chain_over_the_end_of_the_table_is_found_while_it_is_moved() -> None:
    definitions = transfers(accounts(feature("devices", K.DISTINCT, "device", ("1h",), by=("payer",))))
    stream, seen = Stream(definitions), set[int]()

    def take(values: list[int]) -> None:
        count = len(values)
        data = {**columns(count, 1, gap_us=0), "device": np.array(values)}
        got = stream.take(data)["payer.devices_1h"].tolist()
        for value, distinct in zip(values, got):
            seen.add(value)
            assert distinct == len(seen), value

    take([*range(100)])
    state = stream.state
    identity = int(state._hash[np.flatnonzero(state._hash[:, 1])[0], 1]) >> 30
    last = [value for value in range(100, 60_000) if home(value, identity) & 1023 >= 1021]
    take(last[:40])
    assert np.count_nonzero(state._hash[:20, 1]) == 20, "the chain goes over the end"
    fresh = iter(range(60_000, 70_000))
    while state._hash_before is None:
        take([next(fresh)])
    while state._hash_before is not None:
        for value in last[:40]:
            take([value])
        take([next(fresh)])
        held_in_hash(state)
