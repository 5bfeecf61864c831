"""The order of the log: streams by their running clock, labels at their time, whatever the sizes of batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from parakh.errors import InputError
from parakh.events.chunks import Chunk, ObjectRows
from parakh.events.decode import Decoder, hash_id, lay_out
from parakh.events.definition import EventType, Field, Label
from parakh.events.labels import LabelSchema, read_labels
from parakh.events.merge import LABEL, LogBatch, Merger, Stream, quarantine_part
from parakh.events.quarantine import Quarantine
from parakh.events.schema import id_salt
from parakh.events.sources import Source, memory_source
from parakh.expressions.columns import Layout
from parakh.expressions.strings import Strings
from parakh.expressions.types import INTEGER, NULL_WORD, NUMBER, STRING, TIMESTAMP

SECOND = 1_000_000
START = 1_767_225_600 * SECOND
TYPES = tuple(
    EventType(
        name=name,
        id="id",
        time="at",
        fields=(
            Field(name="id", type=STRING),
            Field(name="at", type=TIMESTAMP),
            Field(name="n", type=INTEGER),
            Field(name="card", type=STRING),
        ),
        labels=(Label(name="fraud", source="fraud"), Label(name="loss", type=NUMBER, source="loss")),
    )
    for name in ("payment", "login", "transfer")
)
SCHEMA = LabelSchema(TYPES, ("card",), ("analyst", "bank"))
Record = Mapping[str, Any]


def chunked(records: Sequence[Record], size: int) -> Source:
    chunks: Iterator[Chunk] = (
        ObjectRows("memory", list(records[place : place + size])) for place in range(0, len(records), size)
    )
    return Source(chunks, "memory", None)


def run(
    streams: Sequence[Sequence[Record]],
    *,
    labels: Sequence[Record] = (),
    delay: int | None = None,
    batch: int = 1024,
    chunk: int = 100,
    stage: int = 8192,
) -> list[tuple[Any, ...]]:
    """The log as a list: ("payment", id, n) or ("label", type, label, id or key, value, place)."""
    strings = Strings()
    ids = {
        tuple(int(half) for half in hash_id(record["id"].encode(), id_salt(event_type.name))): record["id"]
        for event_type, records in zip(TYPES, streams)
        for record in records
    }
    members, layouts = [], []
    for index, records in enumerate(streams):
        layout = Layout()
        layout.scratch()
        lay_out(TYPES[index], layout)
        layouts.append(layout)
        members.append(Stream(index, Decoder(TYPES[index], layout, strings), chunked(records, chunk)))
    quarantine = Quarantine()
    rows = read_labels(memory_source(list(labels)), SCHEMA, strings, quarantine)
    assert quarantine.total == 0
    merger = Merger(members, labels=rows, label_delay_us=delay, stage_rows=stage)
    words = np.full((8, batch), 77, np.int64)
    log: list[tuple[Any, ...]] = []
    while (taken := merger.next(words)) is not None:
        assert 0 < taken.count <= batch
        texts = {}
        for part in taken.parts:
            texts[part.type_index] = part.start, part.decoded.id_texts(), part
        for kind, row in zip(taken.kinds.tolist(), taken.rows.tolist()):
            if kind == LABEL:
                log.append(label_entry(taken, row, ids, strings))
                continue
            start, names, part = texts[kind]
            n = int(words[layouts[kind]["n"].slot, row])
            name = TYPES[kind].name
            log.append((name, names[row - start], n) if part.decoded.problem[row - start] == 0 else (name, None, None))
    return log


def label_entry(batch: LogBatch, row: int, ids: Mapping[tuple[int, ...], str], strings: Strings) -> tuple[Any, ...]:
    labels = batch.labels
    event_type = TYPES[labels.event_type[row]]
    label = event_type.labels[labels.label[row]]
    value = float(labels.value.view(np.float64)[row]) if label.type is NUMBER else int(labels.value[row])
    if labels.entity[row] >= 0:
        about: Any = (SCHEMA.entities[labels.entity[row]], strings.text(int(labels.key[row])))
    else:
        about = ids.get((int(labels.id_hi[row]), int(labels.id_lo[row])), "unknown")
    return "label", event_type.name, label.name, about, value, int(labels.known_at[row]) - START


def expected(
    streams: Sequence[Sequence[Record]], labels: Sequence[Record] = (), delay: int | None = None
) -> list[tuple[Any, ...]]:
    """The same from the definition: one entry after another, looking at everything that could be next."""
    heads = [0] * len(streams)
    clocks = []
    for records in streams:
        clock, row = -(2**63), []
        for record in records:
            if record["at"] is not None:
                clock = max(clock, record["at"])
            row.append(clock)
        clocks.append(row)
    waiting: list[tuple[int, int, int, tuple[Any, ...]]] = []
    seen = {(item.name, record["id"]) for item, records in zip(TYPES, streams) for record in records}
    for place, label in enumerate(sorted(labels, key=lambda label: label["known_at"])):
        waiting.append((label["known_at"], 0, place, (label,)))
    log: list[tuple[Any, ...]] = []
    serial = 0
    while True:
        ready = [(clocks[s][heads[s]], s) for s in range(len(streams)) if heads[s] < len(streams[s])]
        clock, best = min(ready) if ready else (None, -1)
        waiting.sort(key=lambda item: item[:3])
        while waiting and (clock is None or waiting[0][0] <= clock):
            known, _, _, content = waiting.pop(0)
            log.append(as_entry(content, known, seen))
        if clock is None:
            return log
        record = streams[best][heads[best]]
        heads[best] += 1
        name = TYPES[best].name
        if record["at"] is None:
            log.append((name, None, None))
            continue
        log.append((name, record["id"], record["n"]))
        if delay is not None:
            for label in ("fraud", "loss"):
                if record.get(label) is not None:
                    waiting.append((record["at"] + delay, 1, serial, (name, label, record["id"], record[label])))
                    serial += 1


def as_entry(content: tuple[Any, ...], known: int, seen: set[tuple[str, str]]) -> tuple[Any, ...]:
    if len(content) == 4:
        return "label", *content, known - START
    label = content[0]
    if "entity" in label:
        about: Any = (label["entity"], label["key"])
    else:
        about = label["event_id"] if (label["event_type"], label["event_id"]) in seen else "unknown"
    value = NULL_WORD if label["value"] is None else label["value"]
    return "label", label["event_type"], label["label"], about, value, known - START


def random_streams(random: Random) -> tuple[list[list[dict[str, Any]]], list[dict[str, Any]]]:
    streams = []
    for index in range(random.randint(1, 3)):
        clock, records = START, []
        for n in range(random.randint(0, 40)):
            clock += random.choice([0, 0, 1, 5]) * SECOND
            at = None if random.random() < 0.1 else clock - random.choice([0, 0, 3, 20]) * SECOND
            record = {"id": f"{TYPES[index].name}-{n}", "at": at, "n": n, "card": random.choice("abc")}
            if random.random() < 0.5:
                record["fraud"] = random.choice([0, 1])
            if random.random() < 0.2:
                record["loss"] = random.choice([0.5, 2.0])
            records.append(record)
        streams.append(records)
    labels = []
    for n in range(random.randint(0, 15)):
        label: dict[str, Any] = {
            "event_type": random.choice(["payment", "login"]), "label": "fraud", "value": random.choice([0, 1, None]),
            "known_at": START + random.randint(-5, 90) * SECOND,
        }  # fmt: skip
        if random.random() < 0.3:
            label |= {"entity": "card", "key": random.choice("abc")}
        else:
            label["event_id"] = f"{label['event_type']}-{n}"
        labels.append(label)
    return streams, labels


@pytest.mark.parametrize("seed", range(60))
def test_the_order_is_that_of_the_definition_whatever_the_sizes(seed: int) -> None:
    random = Random(seed)
    streams, labels = random_streams(random)
    delay = random.choice([None, 0, 4 * SECOND, 1000 * SECOND])
    wanted = expected(streams, labels, delay)
    for batch, chunk, stage in ((1024, 100, 8192), (1, 1, 1), (7, 3, 2), (2, 50, 5)):
        assert run(streams, labels=labels, delay=delay, batch=batch, chunk=chunk, stage=stage) == wanted, f"seed {seed}"


def test_a_label_without_delay_stands_right_after_its_event() -> None:
    events = [
        {"id": "a", "at": START, "n": 1, "card": "x", "fraud": 1},
        {"id": "b", "at": START, "n": 2, "card": "x", "fraud": None},
    ]
    log = run([events], delay=0)
    assert log == [("payment", "a", 1), ("label", "payment", "fraud", "a", 1, 0), ("payment", "b", 2)]


def test_ties_go_by_the_order_of_the_streams_and_labels_first() -> None:
    one = [{"id": "p", "at": START, "n": 1, "card": "x"}]
    two = [{"id": "l", "at": START, "n": 1, "card": "x"}]
    label = {"event_type": "login", "event_id": "l", "label": "fraud", "value": True, "known_at": START}
    assert [entry[0] for entry in run([one, two], labels=[label])] == ["label", "payment", "login"]


def test_what_stood_before_a_break_is_given_before_the_error() -> None:
    def chunks() -> Iterator[Chunk]:
        yield ObjectRows("memory", [{"id": "a", "at": START, "n": 1, "card": "x"}])
        raise InputError("cut off")

    layout, strings = Layout(), Strings()
    lay_out(TYPES[0], layout)
    merger = Merger([Stream(0, Decoder(TYPES[0], layout, strings), Source(chunks(), "memory", None))])
    words = np.empty((layout.width, 10), np.int64)
    batch = merger.next(words)
    assert batch is not None
    assert batch.count == 1
    for _ in range(2):
        with pytest.raises(InputError, match="cut off"):
            merger.next(words)


def test_refused_events_keep_their_bytes_and_place() -> None:
    layout, strings, lines = Layout(), Strings(), []
    lay_out(TYPES[0], layout)
    records = [{"id": f"e{n}", "at": START, "n": "x" if n % 3 == 2 else n, "card": "c"} for n in range(10)]
    merger = Merger([Stream(0, Decoder(TYPES[0], layout, strings), chunked(records, 4))], stage_rows=3)
    quarantine = Quarantine(lines.append)
    words = np.empty((layout.width, 64), np.int64)
    while (batch := merger.next(words)) is not None:
        assert sum(quarantine_part(part, quarantine) for part in batch.parts) == 3
    assert quarantine.counts == {"wrong_type": 3}
    kept = [json.loads(line) for line in lines]
    assert [json.loads(item["raw"])["id"] for item in kept] == ["e2", "e5", "e8"]
    assert {(item["field"], item["event_type"], item["source"]) for item in kept} == {("n", "payment", "memory")}


def test_labels_that_are_none_are_refused_with_their_reason() -> None:
    sound = {"event_type": "payment", "event_id": "p", "label": "fraud", "value": True, "known_at": START}
    bad: list[tuple[str, dict[str, Any]]] = [
        ("unknown_type", {"event_type": "payments"}),
        ("unknown_type", {"event_type": None}),
        ("unknown_label", {"label": "frauds"}),
        ("unknown_source", {"source": "rumour"}),
        ("missing_event", {"event_id": None}),
        ("missing_event", {"event_id": None, "entity": "card"}),
        ("unknown_type", {"event_id": None, "entity": "cards", "key": "x"}),
        ("wrong_type", {"value": "perhaps"}),
        ("wrong_type", {"label": "loss", "value": True}),
        ("missing_time", {"known_at": None}),
        ("wrong_type", {"known_at": "soon"}),
        ("not_finite", {"label": "loss", "value": float("nan")}),
    ]
    good: list[dict[str, Any]] = [
        sound,
        sound | {"value": None},
        sound | {"source": "bank"},
        sound | {"source": "analyst", "value": 0},
        sound | {"label": "loss", "value": 2.5},
        sound | {"event_id": None, "entity": "card", "key": "x"},
        sound | {"event_id": 17},
    ]
    lines: list[bytes] = []
    quarantine = Quarantine(lines.append)
    rows = read_labels(memory_source(good + [sound | change for _, change in bad]), SCHEMA, Strings(), quarantine)
    assert [json.loads(line)["reason"] for line in lines] == [reason for reason, _ in bad]
    assert rows.count == len(good)
    assert rows.value.tolist()[:4] == [1, NULL_WORD, 1, 0]
    assert rows.rank.tolist()[:4] == [0, 0, 1, 2]
    assert rows.value.view(np.float64)[4] == 2.5
    assert rows.entity.tolist() == [-1, -1, -1, -1, -1, 0, -1]


def test_labels_of_one_time_keep_the_order_in_which_they_were_read() -> None:
    labels = [
        {"event_type": "payment", "event_id": str(n), "label": "fraud", "value": n % 2, "known_at": START - n // 3}
        for n in range(9)
    ]
    rows = read_labels(memory_source(labels), SCHEMA, Strings(), Quarantine())
    assert rows.place.tolist() == [6, 7, 8, 3, 4, 5, 0, 1, 2]
