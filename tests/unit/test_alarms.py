"""Alarms: read, kept in the log, sent once to those who listen, also across a crash at every step."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from outbox_parts import BEGAN_US, Clock, ListLog, asked, decision, made, receiving, running, until
from test_outbox_crashes import STEPS, Killer, lived, tick

from parakh.service.alarms import Alarm, AlarmError, read_alarm, read_alarms
from parakh.service.deliveries import KEEP_DELIVERED_US, KEEP_TOLD_US
from parakh.service.webhooks import Filter, WebhookError, iso, message_id, read_request
from parakh.streams.entries import ALARMS, Alarms, UnknownEntry, expect_known

DAY_US = 86_400_000_000


def alarm(number: int, **changes: Any) -> Alarm:
    given = {
        "kind": "missing", "subject": f"input_{number}", "since_us": BEGAN_US - 7 * DAY_US, "value": 0.25,
        "bound": 0.125, "text": f"input_{number} is missing in 25 %",
    }  # fmt: skip
    return Alarm(**(given | changes))


def logged(log: ListLog, *alarms: Alarm) -> None:
    log.append(kind=ALARMS, payload=Alarms(tuple(item.encode() for item in alarms), "a job").encode())


def posted(**changes: Any) -> bytes:
    form = {"kind": "missing", "subject": "age", "since": "2026-01-05T00:00:00Z", "value": 0.25, "bound": 0.125,
            "text": "age is missing in 25 %"}  # fmt: skip
    return json.dumps({"alarms": [form | changes]}).encode()


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_an_alarm_is_read_and_kept_as_it_was_posted() -> None:
    (read,) = read_alarms(posted(since="2026-01-05T05:30:00.250+05:30"))
    assert read == Alarm("missing", "age", BEGAN_US + 4 * DAY_US + 250_000, 0.25, 0.125, "age is missing in 25 %")
    assert read_alarm(read.encode()) == read
    assert json.loads(read.encode())["since"] == "2026-01-05T00:00:00.250000Z"
    assert read_alarms(b'{"alarms": []}') == []
    (bare,) = read_alarms(b'{"alarms":[{"kind":"a","subject":"b","since":"2026-01-05T00:00:00Z","value":1}]}')
    assert (bare.bound, bare.text) == (None, "")


def test_kind_subject_event_type_and_since_name_it_and_nothing_else() -> None:
    first = alarm(1)
    assert alarm(1, value=0.5, bound=None, text="otherwise").id == first.id
    others = {alarm(2).id, alarm(1, kind="stability").id, alarm(1, since_us=0).id, alarm(1, subject="input_1 ").id,
              alarm(1, event_type="payment").id, alarm(1, event_type="transfer").id}  # fmt: skip
    assert len(others | {first.id}) == 7
    (payment,), (transfer,) = (read_alarms(posted(event_type=name)) for name in ("payment", "transfer"))
    assert payment.id != transfer.id
    assert read_alarm(payment.encode()) == payment
    assert read_alarms(posted(event_type=None)) == read_alarms(posted())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "Missing"}, "kind"),
        ({"kind": "a b"}, "kind"),
        ({"kind": "é"}, "kind"),
        ({"kind": "x" * 65}, "kind"),
        ({"subject": ""}, "subject"),
        ({"subject": "x" * 201}, "subject"),
        ({"subject": "a\nb"}, "subject"),
        ({"subject": "4111 1111 1111 1111"}, "subject"),
        ({"text": "x" * 501}, "text"),
        ({"text": "card 4111111111111111 pays"}, "text"),
        ({"text": "\x1b[2J"}, "text"),
        ({"since": "2026-01-05T00:00:00"}, "since"),
        ({"event_type": "4111 1111 1111 1111"}, "event_type"),
        ({"event_type": ""}, "event_type"),
    ],
)
def test_what_is_no_alarm_is_refused_with_its_place(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(AlarmError) as refused:
        read_alarms(posted(**changes))
    assert refused.value.field == f"alarms[0].{field}"
    assert "4111" not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"alarms":null}', b'{"alarms":[1]}', b'{"alarms":[],"more":1}',
     posted(value="much"), posted(value=None), posted(odd=1), posted(since="yesterday"), b"[" * 50_000,
     b'{"alarms":[' + b",".join([posted()[12:-2]] * 1_001) + b"]}",
     b'{"alarms":[{"kind":"a","subject":"b","since":"2026-01-05T00:00:00Z","value":1e999}]}'],
)  # fmt: skip
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(AlarmError):
        read_alarms(body)


def test_entries_of_a_newer_version_are_refused_in_words() -> None:
    expect_known(ALARMS, 0)
    with pytest.raises(UnknownEntry, match=r"position 4,096 is of kind 6.*a newer one wrote it"):
        expect_known(6, 4096)


# -- who listens -------------------------------------------------------------------------------------------------------


def test_a_filter_without_kinds_asks_for_decisions_alone() -> None:
    def read(filter: dict[str, Any]) -> Filter:
        body = json.dumps({"url": "https://hooks.example.com/", "filter": filter}).encode()
        return read_request(body, (), public=True).filter

    assert read({}).kinds == ("decision",)
    assert read({}).as_data() == {}
    both = read({"kinds": ["alarm", "decision"], "outcomes": ["block"]})
    assert both.as_data() == {"kinds": ["decision", "alarm"], "outcomes": ["block"]}
    assert both.is_wanted("payment", 3)
    alone = read({"kinds": ["alarm"]})
    assert not alone.is_wanted("payment", 3)
    assert not alone.matches(decision(1))
    with pytest.raises(WebhookError):
        read({"kinds": ["alarms"]})
    stored = msgspec.json.Decoder(Filter).decode(b'{"outcomes":["block"]}')  # as an older version wrote it
    assert stored == Filter(outcomes=("block",))


def test_each_is_sent_what_it_listens_to_and_an_alarm_once(tmp_path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(tmp_path / "db", log, clock, [receiver.host])) as outbox:
            plain, _ = await outbox.subscribe(asked(receiver.url))
            alarms, _ = await outbox.subscribe(asked(receiver.url, filter={"kinds": ["alarm"]}))
            both, _ = await outbox.subscribe(asked(receiver.url, filter={"kinds": ["alarm", "decision"]}))
            log.append(decision(1))
            logged(log, alarm(1), alarm(2))
            logged(log, alarm(1, value=0.5, text="worse"), alarm(3))
            wanted = [message_id(decision(1).decision_id, item.id) for item in (plain, both)]
            wanted += [message_id(alarm(n).id, item.id) for n in (1, 2, 3) for item in (alarms, both)]
            await receiver.wait_for(len(wanted))
            logged(log, alarm(2), alarm(3))  # as a job that looks every night
            log.append(decision(2))
            wanted += [message_id(decision(2).decision_id, item.id) for item in (plain, both)]
            await receiver.wait_for(len(wanted))
            assert Counter(receiver.ids) == Counter(wanted)
            body = next(body for headers, body in receiver.got if headers["webhook-id"] == wanted[2])
            told = json.loads(body)
            assert told == {
                "type": "alarm", "timestamp": iso(BEGAN_US),
                "data": {"kind": "missing", "subject": "input_1", "since": iso(BEGAN_US - 7 * DAY_US), "value": 0.25,
                         "bound": 0.125, "text": "input_1 is missing in 25 %"},
            }  # fmt: skip

    asyncio.run(story())


def test_an_alarm_that_is_posted_for_months_is_told_once_and_again_after_a_year_of_silence(tmp_path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(tmp_path / "db", log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url, filter={"kinds": ["alarm"]}))
            for _ in range(6):
                logged(log, alarm(1))
                await until(lambda: outbox.counts.lag_bytes == 0 and outbox.messages(item.id).pending == 0)
                clock.advance(80 * 86_400)
                await outbox._call(
                    outbox._deliveries.sweep, clock.now_us
                )  # its message is gone, that it was told stays
            assert 80 * DAY_US > KEEP_DELIVERED_US
            assert len(receiver.got) == 1
            clock.advance(KEEP_TOLD_US / 1_000_000)
            await outbox._call(outbox._deliveries.sweep, clock.now_us)
            logged(log, alarm(1))
            await receiver.wait_for(2)

    asyncio.run(story())


def test_a_dead_alarm_is_sent_again_when_asked(tmp_path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        outbox = made(tmp_path / "db", log, clock, ["127.0.0.1:1"], attempts=1)
        async with receiving() as receiver:
            outbox.close()
            async with running(made(tmp_path / "db", log, clock, [receiver.host], attempts=1)) as outbox:
                item, _ = await outbox.subscribe(asked(receiver.url, filter={"kinds": ["alarm"]}))
                receiver.reply = lambda headers: (400, {})
                logged(log, alarm(1))
                await until(lambda: outbox.counts.dead == 1)
                receiver.reply = lambda headers: (204, {})
                assert await outbox.resend(item.id) == 1
                await until(lambda: outbox.messages(item.id).delivered == 1)
                assert receiver.ids == [message_id(alarm(1).id, item.id)] * 2

    asyncio.run(story())


# -- crashes -----------------------------------------------------------------------------------------------------------


async def crash_and_go_on(path: Path, killers: list[Killer], flaky: Random | None) -> None:
    log, clock = ListLog(limit=2), Clock()
    async with receiving() as receiver:
        first = made(path, log, clock, [receiver.host])
        both = [(await first.subscribe(asked(receiver.url, filter={"kinds": ["alarm"]})))[0].id for _ in range(2)]
        first.close()
        for number in range(8):
            logged(log, alarm(number), alarm(number + 1))  # each but two is posted twice
            log.append(decision(number))
        wanted = {message_id(alarm(n).id, name) for n in range(9) for name in both}
        taken: Counter[str] = Counter()
        done = asyncio.Event()

        def reply(headers: dict[str, str]) -> tuple[int, dict[str, str]]:
            if flaky is not None and flaky.random() < 0.3:
                return 500, {}
            taken[headers["webhook-id"]] += 1
            if set(taken) == wanted:
                done.set()
            return 204, {}

        receiver.reply = reply
        for killer in killers:
            outbox = made(path, log, clock, [receiver.host], reach=killer)
            ticking = asyncio.create_task(tick(clock, outbox))
            await lived(outbox, done)
            ticking.cancel()
        last = made(path, log, clock, [receiver.host])
        ticking = asyncio.create_task(tick(clock, last))
        assert await lived(last, done)
        ticking.cancel()
        assert set(taken) == wanted
        assert set(receiver.ids) == wanted
        # A crash may send again what was under way, at most 16 to each, and nothing else is sent twice.
        assert sum(taken.values()) - len(wanted) <= 32 * len(killers)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_every_step_loses_no_alarm(tmp_path: Path, step: str, count: int) -> None:
    killer = Killer(step, count)
    asyncio.run(crash_and_go_on(tmp_path / "service.db", [killer], None))
    assert killer.seen[step], "the step was not reached"


@pytest.mark.parametrize("seed", range(3))
def test_many_crashes_with_receivers_that_fail_lose_no_alarm(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    killers = [Killer(chance.choice(STEPS), chance.randrange(1, 5)) for _ in range(6)]
    asyncio.run(crash_and_go_on(tmp_path / "service.db", killers, Random(seed + 100)))
