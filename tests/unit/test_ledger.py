"""The ledger over a real log: pages equal a plain scan, through blocks, restarts, damage, trims and new decisions."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_streams import (
    CARDS,
    HOSTILE,
    RULES,
    SECOND,
    START,
    Story,
    definitions,
    expected,
    ledger_of,
    scan,
    shown,
)

from parakh.decisions.engine import Engine
from parakh.decisions.record import read_record
from parakh.decisions.samples import sample_events, sample_project
from parakh.service.ledger import BadCursor, Ledger, LedgerFilter
from parakh.service.ledger.block import Tail
from parakh.service.ledger.keys import KeyReader, KeyReaders, entity_terms
from parakh.streams.entries import EVENTS, Events, lengths_of, read_events
from parakh.streams.log import EmbeddedLog

SEED = int(os.environ.get("PARAKH_SEED", "11"))


def all_pages(ledger: Ledger, parameters: dict[str, str], limit: int = 500) -> list[tuple[str, str]]:
    async def read() -> list[bytes]:
        asked = LedgerFilter.of(parameters)
        items: list[bytes] = []
        cursor = None
        while True:
            page = await ledger.query(asked, cursor, limit)
            assert page.complete
            assert len(page.items) <= limit
            items += page.items
            cursor = page.next_cursor
            if cursor is None:
                return items

    return shown(asyncio.run(read()))


def right(story: Story, parameters: dict[str, str]) -> list[tuple[str, str]]:
    return expected(scan(story.events, LedgerFilter.of(parameters)))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with EmbeddedLog(tmp_path_factory.mktemp("log"), segment_bytes=1 << 16) as log:
        story = Story(log, Random(SEED))
        story.write(300)
        yield story


@pytest.fixture(scope="module")
def ledger(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return ledger_of(tmp_path_factory.mktemp("ledger"), story.log)


def instant(us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()


TIMES = st.integers(START - 200 * SECOND, START + 500 * SECOND).map(instant)
KEYS = st.sampled_from([str(card) for card in CARDS])
ENTITIES = st.one_of(
    st.tuples(st.sampled_from(("card", "device", "account", "shop", "price", "nobody", "card_device")), KEYS).map(
        lambda pair: f"{pair[0]}:{pair[1]}"
    ),
    st.tuples(KEYS, st.sampled_from(("d1", "d2", "5", "d9"))).map(
        lambda pair: "card_device:" + msgspec.json.encode(pair).decode()
    ),
    st.sampled_from(("shop:1", "shop:1.0", "shop:01", "price:12.5", "price:12.50", "price:1250", "device:d1")),
)
SOME = {
    "event_type": st.sampled_from(("payment", "transfer", "login", *(text for text in HOSTILE if text))),
    "outcome": st.sampled_from(("allow", "block", "allow,review", "block,review,challenge,allow")),
    "decided": st.sampled_from(("true", "false")),
    "entity": ENTITIES,
    "from": TIMES,
    "to": TIMES,
    "by": st.sampled_from(("decided", "event")),
    "rule": st.sampled_from((*RULES, *(text for text in HOSTILE if text), "never")),
    "flag": st.sampled_from(("late", "degraded", "overflow")),
    "min_score": st.sampled_from(("0", "0.25", "0.3", "1", "-1", "1e-3")),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_filter_gives_what_a_scan_gives(story: Story, ledger: Ledger, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(SOME)), unique=True, max_size=4))
    parameters = {name: data.draw(SOME[name], label=name) for name in names}
    if "from" in parameters and "to" in parameters and parameters["from"] >= parameters["to"]:
        del parameters["to"]
    limit = data.draw(st.sampled_from((1, 7, 50, 500)))
    assert all_pages(ledger, parameters, limit) == right(story, parameters), f"seed {SEED}"


def test_no_filter_gives_everything(story: Story, ledger: Ledger) -> None:
    assert all_pages(ledger, {}) == expected(list(reversed(story.events)))
    assert len(list((ledger._index._folder).glob("*.idx"))) > 5


@pytest.mark.parametrize("entity", ["card", "device", "account", "shop"])
def test_every_key_is_found_however_it_was_written(story: Story, ledger: Ledger, entity: str) -> None:
    found = 0
    for card in {str(card) for card in CARDS} | {"1", "2", "d1", "5"}:
        parameters = {"entity": f"{entity}:{card}"}
        assert all_pages(ledger, parameters) == right(story, parameters)
        found += len(right(story, parameters))
    assert found > 20


def test_pages_stay_while_new_decisions_come_in(tmp_path: Path) -> None:
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 16) as log:
        story = Story(log, Random(3))
        story.write(60)
        ledger = ledger_of(tmp_path, log, block_rows=20)
        before = expected(list(reversed(story.events)))

        async def read() -> list[bytes]:
            items: list[bytes] = []
            page = await ledger.query(LedgerFilter(limit=9))
            while page.next_cursor is not None:
                items += page.items
                story.write(5)
                page = await ledger.query(LedgerFilter(limit=9), page.next_cursor)
            return items + page.items

        assert shown(asyncio.run(read())) == before
        assert all_pages(ledger, {}) == expected(list(reversed(story.events)))


def test_a_query_sees_what_was_durable_when_it_began(tmp_path: Path) -> None:
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 16) as log:
        story = Story(log, Random(4))
        ledger = ledger_of(tmp_path, log)
        for _ in range(10):
            story.write(1)
            assert all_pages(ledger, {}, limit=500) == expected(list(reversed(story.events)))


def test_a_page_says_where_it_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 16) as log:
        story = Story(log, Random(5))
        story.write(20)
        ledger = ledger_of(tmp_path, log)

        async def never(*_: object) -> bool:
            return False

        monkeypatch.setattr(ledger, "catch_up", never)
        page = asyncio.run(ledger.query(LedgerFilter()))
        assert (page.items, page.complete) == ([], False)
        assert msgspec.json.decode(page.encode()) == {"items": [], "next_cursor": None, "indexed_to": ""}
        monkeypatch.undo()
        page = asyncio.run(ledger.query(LedgerFilter(limit=2)))
        read = msgspec.json.decode(page.encode())
        assert (len(read["items"]), read["next_cursor"], "indexed_to" in read) == (2, page.next_cursor, False)


def test_the_follower_keeps_up_and_stops(tmp_path: Path) -> None:
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 16) as log:
        story = Story(log, Random(6))
        ledger = ledger_of(tmp_path, log, block_rows=15)

        async def follow() -> None:
            task = asyncio.create_task(ledger.run())
            for _ in range(5):
                story.write(20)
                while ledger.position < log.durable:
                    await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(asyncio.wait_for(follow(), 30))
        assert all_pages(ledger, {}) == expected(list(reversed(story.events)))


def test_many_may_ask_at_once(story: Story, tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, story.log, block_rows=25)

    async def ask() -> list[list[bytes]]:
        asked = [LedgerFilter(limit=500, outcomes=(number % 4,)) for number in range(20)]
        return [page.items for page in await asyncio.gather(*(ledger.query(item) for item in asked))]

    for number, items in enumerate(asyncio.run(ask())):
        assert shown(items) == expected(scan(story.events, LedgerFilter(outcomes=(number % 4,))))[:500]


# -- the index on disk ------------------------------------------------------------------------------------------------


def everything_is_found(story: Story, folder: Path, **more: Any) -> None:
    ledger = ledger_of(folder, story.log, block_rows=40, **more)
    for parameters in ({}, {"entity": "card:k1"}, {"rule": "big"}, {"outcome": "block"}, {"entity": "device:d1"}):
        assert all_pages(ledger, parameters) == right(story, parameters)


def test_the_index_is_read_back_and_not_made_again(story: Story, tmp_path: Path) -> None:
    everything_is_found(story, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()}
    reads: list[int] = []

    class Counted:
        first = story.log.first

        @property
        def durable(self) -> int:
            return story.log.durable

        def read(self, position: int, limit_bytes: int = 1 << 20) -> Any:
            reads.append(position)
            return story.log.read(position, limit_bytes)

    ledger = ledger_of(tmp_path, Counted(), block_rows=40)
    assert all_pages(ledger, {"entity": "card:nobody"}) == []
    assert len(reads) < 8
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()} == files


@pytest.mark.parametrize("which", ["first", "middle", "last", "all"])
@pytest.mark.parametrize("damage", ["gone", "flipped", "cut", "empty", "header", "version", "longer", "other"])
def test_a_damaged_index_is_made_again(story: Story, tmp_path: Path, which: str, damage: str) -> None:
    everything_is_found(story, tmp_path)
    files = sorted((tmp_path / "index").glob("*.idx"))
    chosen = {"first": files[:1], "middle": files[3:4], "last": files[-1:], "all": files}[which]
    for path in chosen:
        data = bytearray(path.read_bytes())
        if damage == "gone":
            path.unlink()
            continue
        if damage == "flipped":
            for place in range(len(data) // 2, len(data), 97):
                data[place] ^= 0x5A
        elif damage == "cut":
            del data[-100:]
        elif damage == "empty":
            data.clear()
        elif damage == "header":
            data[30] ^= 1
        elif damage == "version":
            data[8] += 1
        elif damage == "longer":
            data += bytes(64)
        else:
            data = bytearray(files[1].read_bytes())
        path.write_bytes(data)
    (tmp_path / "index" / "left.new").write_bytes(b"half")
    everything_is_found(story, tmp_path)
    assert not list((tmp_path / "index").glob("*.new"))
    for path, again in zip(files, sorted((tmp_path / "index").glob("*.idx")), strict=True):
        assert path == again


def test_every_flipped_byte_of_a_block_is_seen(story: Story, tmp_path: Path) -> None:
    everything_is_found(story, tmp_path)
    path = sorted((tmp_path / "index").glob("*.idx"))[2]
    data = path.read_bytes()
    random = Random(SEED)
    for _ in range(10):
        place = random.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :])
        everything_is_found(story, tmp_path)


def test_an_index_of_another_log_is_not_believed(story: Story, tmp_path: Path) -> None:
    everything_is_found(story, tmp_path)
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 16) as log:
        other = Story(log, Random(99))
        other.write(300)
        everything_is_found(other, tmp_path)
    with EmbeddedLog(tmp_path / "short", segment_bytes=1 << 16) as log:
        other = Story(log, Random(SEED))
        other.write(20)
        everything_is_found(other, tmp_path)


def test_without_a_disk_the_index_stays_in_memory(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("parakh.service.ledger.index.write_block", full)
    monkeypatch.setattr("parakh.service.ledger.index._MOST_UNSAVED", 3)
    everything_is_found(story, tmp_path)
    assert not list((tmp_path / "index").iterdir())


def test_what_is_trimmed_is_not_found_any_more(tmp_path: Path) -> None:
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 14) as log:
        story = Story(log, Random(8))
        story.write(200)
        ledger = ledger_of(tmp_path, log, block_rows=30)
        assert all_pages(ledger, {}) == expected(list(reversed(story.events)))
        page = asyncio.run(ledger.query(LedgerFilter(limit=500)))
        cut = story.events[len(story.events) // 2].place[0]
        assert log.trim(cut) > 0
        kept = [event for event in story.events if event.place[0] >= log.first]
        assert 0 < len(kept) < len(story.events)
        # Before it is told: what the log no longer has is passed over.
        assert all_pages(ledger, {}) == expected(list(reversed(kept)))
        ledger.forget_before(log.first)
        assert all_pages(ledger, {}) == expected(list(reversed(kept)))
        assert all_pages(ledger_of(tmp_path, log, block_rows=30), {}) == expected(list(reversed(kept)))
        # A block that begins before the cut can be made again as far as it is kept.
        first = min((tmp_path / "index").glob("*.idx"))
        data = bytearray(first.read_bytes())
        data[-200] ^= 255
        first.write_bytes(data)
        assert all_pages(ledger_of(tmp_path, log, block_rows=30), {}) == expected(list(reversed(kept)))
        # An index that never saw what was trimmed begins where the log does.
        assert all_pages(ledger_of(tmp_path / "new", log, block_rows=30), {}) == expected(list(reversed(kept)))
        ledger.forget_before(log.durable)
        assert all_pages(ledger, {}) == []
        assert page.items


def test_a_log_trimmed_beyond_the_index_is_taken_up_where_it_begins(tmp_path: Path) -> None:
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 14) as log:
        story = Story(log, Random(9))
        ledger = ledger_of(tmp_path, log)
        story.write(200)
        log.trim(story.events[-20].place[0])
        kept = [event for event in story.events if event.place[0] >= log.first]
        assert all_pages(ledger, {}) == expected(list(reversed(kept)))


def test_a_search_that_finds_little_is_cut_into_pages(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parakh.service.ledger.query._MOST_BLOCKS", 2)
    monkeypatch.setattr("parakh.service.ledger.query._MOST_READS", 30)
    ledger = ledger_of(tmp_path, story.log, block_rows=20)
    for parameters in ({"entity": "card:k1"}, {"rule": "a,b", "flag": "late"}, {}):
        assert all_pages(ledger, parameters) == right(story, parameters)
    page = asyncio.run(ledger.query(LedgerFilter(entity=("card", ("never",)))))
    assert page.items == []


def test_a_cursor_of_the_future_or_of_another_filter_is_refused(story: Story, ledger: Ledger) -> None:
    page = asyncio.run(ledger.query(LedgerFilter(limit=1)))
    assert page.next_cursor is not None
    for asked, cursor in (
        (LedgerFilter(rule="big"), page.next_cursor),
        (LedgerFilter(), "AAAA"),
        (LedgerFilter(), "\udc80"),
    ):
        with pytest.raises(BadCursor):
            asyncio.run(ledger.query(asked, cursor))


# -- keys and records -------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.one_of(st.text(max_size=8), st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.none()), max_size=6
    )
)
def test_a_term_is_the_same_however_a_value_is_written(values: list[object]) -> None:
    reader = KeyReader(definitions(), definitions().event_type("payment"))
    bodies = [json.dumps({"CARD": value, "shop": value}, ensure_ascii=len(values) % 2 == 0) for value in values]
    try:
        encoded = [body.encode() for body in bodies]
    except UnicodeEncodeError:
        return
    together = reader.terms(encoded, np.arange(len(encoded)))
    alone = [reader.terms([body], np.array([row])) for row, body in enumerate(encoded)]
    for role, (terms, rows) in enumerate(together):
        found = [(int(a), int(b)) for item in alone for a, b in zip(*item[role])]
        assert sorted(zip(terms.tolist(), rows.tolist())) == sorted(found)
    for (entity, _), (terms, rows) in zip(reader.roles, together):
        for term, row in zip(terms.tolist(), rows.tolist()):
            if entity in ("card", "shop"):
                value = values[row]
                text = str(int(Decimal(repr(value)))) if isinstance(value, int | float) else str(value)
                assert reader.carries(encoded[row], entity, (text,))
                assert term in entity_terms(entity, (text,))


def test_records_of_the_engine_are_indexed_as_they_are_read(tmp_path: Path) -> None:
    project = sample_project()
    engine = Engine(project)
    events = sample_events()
    decisions = engine.decide(events)
    records = list(decisions.records())
    bodies = [msgspec.json.encode(event) for event in events]
    read = [read_record(record) for record in records]
    entry = Events(
        project=project.hash, types=("payment",), unanswered=(), kinds=np.zeros(len(records), np.uint8),
        id_hi=np.array([int.from_bytes(item.decision_id[:8], "big") for item in read], np.uint64),
        id_lo=np.array([int.from_bytes(item.decision_id[8:], "big") for item in read], np.uint64),
        times_us=np.array([item.event_time_us for item in read], np.int64),
        outcomes=np.array([item.outcome for item in read], np.int8),
        body_lengths=lengths_of(bodies), record_lengths=lengths_of(records),
        bodies=b"".join(bodies), records=b"".join(records),
    )  # fmt: skip
    assert {item.outcome for item in read} != {0}
    with EmbeddedLog(tmp_path / "log", segment_bytes=1 << 20) as log:
        log.wait(log.append(EVENTS, entry.encode(), arrived_us=START))
        ledger = ledger_of(tmp_path, log, knows=lambda _: project.definitions)
        for rule in ("high", "listed", "never"):
            found = [item.event_id for item in read if rule in item.hits + item.shadow_hits]
            assert [id for _, id in all_pages(ledger, {"rule": rule})] == found[::-1]
        for score in (0.0, 0.3, 0.5, 0.9):
            found = [item.event_id for item in read if item.score is not None and item.score >= score]
            assert [id for _, id in all_pages(ledger, {"min_score": str(score)})] == found[::-1]
        card = events[0]["card"]
        found = [event["payment_id"] for event in events if event["card"] == card]
        assert [id for _, id in all_pages(ledger, {"entity": f"card:{card}"})] == found[::-1]
        found = [event["payment_id"] for event in events if (event["card"], event["device"]) == (card, "d")]
        assert [id for _, id in all_pages(ledger, {"entity": f'card_device:["{card}","d"]'})] == found[::-1]


def test_what_is_no_record_is_an_error_and_enters_nothing(story: Story) -> None:
    entry = next(entry for entry in story.log.read(0) if entry.kind == EVENTS)
    events = read_events(entry.payload)
    good = b"".join(record or b"" for record in events.all_records())
    random = Random(SEED)
    readers = KeyReaders(lambda _: definitions())
    refused = 0
    for _ in range(500):
        broken = bytearray(good or b"\x92")
        for _ in range(random.randint(1, 3)):
            broken[random.randrange(len(broken))] = random.randrange(256)
        tail = Tail(0, readers)
        spoilt = Events(
            events.project, events.types, (), events.kinds, events.id_hi, events.id_lo, events.times_us,
            events.outcomes, events.body_lengths, events.record_lengths, events.bodies, bytes(broken),
        )  # fmt: skip
        try:
            tail.extend([(entry, spoilt)], entry.next)
        except ValueError:
            refused += 1
            assert (tail.count, tail.next) == (0, 0)
    assert refused or not good
