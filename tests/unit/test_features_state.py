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
from parakh.features.definition import AggregateKind, Entity, FeatureDefinition

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
