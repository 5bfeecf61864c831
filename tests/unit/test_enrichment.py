"""Enrichment calls against real local servers: right answers, no answers, wrong answers, and answers that lie."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from enrichment_servers import COLUMNS, GOOD, always, project_asking, telling
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.decisions.definition import Definitions, Enrichment, EnrichmentColumn
from parakh.decisions.hosts import HostError
from parakh.errors import ProjectError
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, Type, money
from parakh.project.project import Project
from parakh.service.breaker import BreakerState
from parakh.service.enrichment import Enrichments, _Question, _Unaskable, _Unusable, check_environment

ASKED = {"payment_id": "p1", "paid_at": "2026-01-01T10:00:00Z", "ip": "1.2.3.4", "amount": 12.5}
FOUND = {"~ip_risk": {"risk": 0.7, "country": "IN"}}
MISSING: tuple[dict[str, Any], bool] = ({}, True)


def run(test: Awaitable[None]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(whole())


class Open(Enrichments):
    """Enrichments that close with their block."""

    async def __aenter__(self) -> Open:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def asking(definitions: Definitions, **more: Any) -> Open:
    return Open(Project.of(definitions).definitions, clock=more.pop("clock", time.monotonic), **more)


def test_an_answer_becomes_the_keys_of_the_stored_event() -> None:
    async def test() -> None:
        async with telling(always()) as server:
            definitions = project_asking(server.port, path="/v1/{ip}?a={amount}", headers=(("X-Key", "env:RISK"),))
            async with asking(definitions, environment={"RISK": "s3cret\n"}) as enrichments:
                assert enrichments.asks("payment")
                assert not enrichments.asks("login")
                assert await enrichments.answer("payment", ASKED, 1.0) == (FOUND, False)
                assert await enrichments.answer("login", ASKED, 1.0) == ({}, False)
                assert dict(enrichments.counts["ip_risk"]) | {"asked": 1, "answered": 1} == dict(
                    enrichments.counts["ip_risk"]
                )
            assert server.asked == ["/v1/1.2.3.4?a=12.50"]
            assert b"\r\nX-Key: s3cret\r\n" in server.headers[0]
            assert b"\r\naccept: application/json\r\n" in server.headers[0]

    run(test())


def test_a_connection_serves_many_questions() -> None:
    async def test() -> None:
        async with telling(always()) as server, asking(project_asking(server.port)) as enrichments:
            for number in range(50):
                added, missing = await enrichments.answer("payment", {**ASKED, "ip": f"1.2.3.{number}"}, 1.0)
                assert (added, missing) == (FOUND, False)
            assert len(server.asked) == 50
            assert server.connections == 1

    run(test())


def test_answers_are_kept_for_as_long_as_is_said_and_no_more_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parakh.service.enrichment._CACHED", 3)
    now = [0.0]

    async def test() -> None:
        async with telling(always()) as server:
            definitions = project_asking(server.port, cache_us=60_000_000)
            async with asking(definitions, clock=lambda: now[0]) as enrichments:

                async def ask(ip: str) -> None:
                    assert await enrichments.answer("payment", {**ASKED, "ip": ip}, 1.0) == (FOUND, False)

                for ip in ("a", "a", "b", "c", "a"):
                    await ask(ip)
                assert server.asked == ["/ip/a", "/ip/b", "/ip/c"]
                await ask("d")  # b goes: it was read longest ago
                for ip in ("a", "c", "d"):
                    await ask(ip)
                assert len(server.asked) == 4
                await ask("b")
                assert len(server.asked) == 5
                now[0] = 59.9
                await ask("b")
                now[0] = 60.0
                await ask("b")
                assert len(server.asked) == 6
                assert enrichments.counts["ip_risk"].cached == 6

    run(test())


def test_what_is_not_to_be_kept_is_asked_again() -> None:
    async def test() -> None:
        async with telling(always()) as server, asking(project_asking(server.port)) as enrichments:
            for _ in range(3):
                await enrichments.answer("payment", ASKED, 1.0)
            assert len(server.asked) == 3

    run(test())


def test_events_that_ask_the_same_at_once_share_one_call() -> None:
    async def test() -> None:
        async with telling(always(after_s=0.1)) as server, asking(project_asking(server.port)) as enrichments:
            answers = await asyncio.gather(*(enrichments.answer("payment", ASKED, 2.0) for _ in range(40)))
            assert answers == [(FOUND, False)] * 40
            assert len(server.asked) == 1
            assert enrichments.counts["ip_risk"].joined == 39

    run(test())


def test_an_event_that_is_given_up_takes_no_answer_from_the_others() -> None:
    async def test() -> None:
        async with telling(always(after_s=0.2)) as server, asking(project_asking(server.port)) as enrichments:
            first = asyncio.create_task(enrichments.answer("payment", ASKED, 2.0))
            second = asyncio.create_task(enrichments.answer("payment", ASKED, 2.0))
            hurried = asyncio.create_task(enrichments.answer("payment", ASKED, 0.05))
            await asyncio.sleep(0.05)
            first.cancel()
            assert await hurried == MISSING
            assert await second == (FOUND, False)
            assert len(server.asked) == 1
            assert enrichments.breakers["ip_risk"].state is BreakerState.CLOSED

    run(test())


def test_several_enrichments_are_asked_at_once() -> None:
    async def test() -> None:
        async with telling(always(after_s=0.2)) as server:
            definitions = project_asking(server.port)
            (one,) = definitions.enrichments
            more = tuple(replace(one, name=f"also_{number}", needed=False) for number in range(5))
            async with asking(replace(definitions, enrichments=(one, *more))) as enrichments:
                begun = time.perf_counter()
                added, missing = await enrichments.answer("payment", ASKED, 2.0)
                assert time.perf_counter() - begun < 0.9, "one after another they take 1.2 s"
                assert list(added) == ["~ip_risk", *(f"~also_{number}" for number in range(5))]
                assert not missing

    run(test())


def test_what_is_not_needed_is_not_missed() -> None:
    async def test() -> None:
        async with telling(always(b"{}")) as server, asking(project_asking(server.port, needed=False)) as enrichments:
            assert await enrichments.answer("payment", ASKED, 1.0) == ({}, False)
            assert enrichments.counts["ip_risk"].failed == 1

    run(test())


# -- what is no answer -------------------------------------------------------------------------------------------------

NO_ANSWERS = {
    "an error": always(status="500 Internal Server Error"),
    "another success": always(status="201 Created"),
    "nothing": always(b"", status="204 No Content"),
    "an empty body": always(b""),
    "garbage": always(b"\x00\xff\xfe garbage"),
    "HTML": always(b"<html>not found</html>"),
    "cut off": always(GOOD[:-3]),
    "two objects": always(GOOD + GOOD),
    "a list": always(b"[" + GOOD + b"]"),
    "a number": always(b"0.7"),
    "null": always(b"null"),
    "NaN": always(b'{"score": NaN, "country": "IN"}'),
    "infinity": always(b'{"score": -Infinity, "country": "IN"}'),
    "too large a number": always(b'{"score": 1e999, "country": "IN"}'),
    "none of the columns": always(b'{"error": "quota exceeded"}'),
    "a text for a number": always(b'{"score": "high", "country": "IN"}'),
    "a truth for a number": always(b'{"score": true, "country": "IN"}'),
    "an object for a number": always(b'{"score": {"a": 1}, "country": "IN"}'),
    "a list for a text": always(b'{"score": 0.7, "country": ["IN"]}'),
    "a fraction for a text": always(b'{"score": 0.7, "country": 0.5}'),
    "half a character": always(b'{"score": 0.7, "country": "\\ud800"}'),
    "not UTF-8": always(b'{"score": 0.7, "country": "\xff"}'),
    "a huge text": always(json.dumps({"score": 0.7, "country": "x" * 2000}).encode()),
    "huge": always(b'{"score": 0.7, "pad": "' + b"x" * 2**20 + b'"}'),
    "deep": always(b'{"score":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    "compressed": always(gzip.compress(GOOD), header="Content-Encoding: gzip\r\n"),
    "a redirect": always(b"", status="302 Found", header="Location: http://127.0.0.1:9/\r\n"),
    "a permanent redirect": always(b"", status="308 Permanent Redirect", header="Location: /elsewhere\r\n"),
}


async def _not_http(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")


async def _hang_up(path: str, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _endless(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
        await writer.drain()


async def _endless_headers(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"y" * 4096 + b"\r\n")
        await writer.drain()


async def _cut_short(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + GOOD)
    await writer.drain()
    writer.transport.abort()


NO_ANSWERS |= {
    "not HTTP": _not_http,
    "hung up": _hang_up,
    "without end": _endless,
    "headers without end": _endless_headers,
    "cut short": _cut_short,
}


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_no_answer_is_missing_and_never_lets_pass(what: str) -> None:
    async def test() -> None:
        async with (
            telling(NO_ANSWERS[what]) as server,
            asking(project_asking(server.port, cache_us=60_000_000, timeout_us=500_000)) as enrichments,
        ):
            for _ in range(2):
                assert await enrichments.answer("payment", ASKED, 2.0) == MISSING
            counts = enrichments.counts["ip_risk"]
            assert (counts.asked, counts.failed + counts.timed_out) == (2, 2), "nothing is kept of it"
            assert counts.answered == 0

    run(test())


def test_nobody_there_is_no_answer() -> None:
    async def test() -> None:
        async with telling(always()) as server:
            port = server.port
        async with asking(project_asking(port)) as enrichments:
            assert await enrichments.answer("payment", ASKED, 1.0) == MISSING

    run(test())


async def _trickle(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode())
    for number in range(len(GOOD)):
        writer.write(GOOD[number : number + 1])
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("what", ["hung", "slow", "trickling"])
def test_a_late_answer_costs_the_timeout_and_no_more_and_the_breaker_opens(what: str) -> None:
    """R16. Every event asks something else, so that none shares the call of another."""
    server_of = {"hung": always(after_s=30), "slow": always(after_s=0.3), "trickling": _trickle}
    timeout_s, took = 0.05, list[float]()

    async def test() -> None:
        async with (
            telling(server_of[what]) as server,
            asking(project_asking(server.port, timeout_us=50_000)) as enrichments,
        ):
            for number in range(300):
                begun = time.perf_counter()
                assert await enrichments.answer("payment", {**ASKED, "ip": str(number)}, 1.0) == MISSING
                took.append(time.perf_counter() - begun)
            counts = enrichments.counts["ip_risk"]
            assert counts.asked == counts.timed_out == 5, "the breaker opens within 20 failures"
            assert counts.broken == 295
            assert enrichments.breakers["ip_risk"].state is BreakerState.OPEN

    run(test())
    took.sort()
    assert took[297] <= timeout_s + 0.010 + 0.2  # the figure, and what a busy machine may add
    assert took[150] < 0.01


def test_a_decision_that_has_less_time_waits_for_less() -> None:
    async def test() -> None:
        async with telling(always(after_s=1.0)) as server, asking(project_asking(server.port)) as enrichments:
            begun = time.perf_counter()
            answers = await asyncio.gather(
                *(enrichments.answer("payment", {**ASKED, "ip": str(n)}, 0.05) for n in range(30))
            )
            assert answers == [MISSING] * 30
            assert time.perf_counter() - begun < 0.9
            assert await enrichments.answer("payment", ASKED, 0.0) == MISSING
            counts = enrichments.counts["ip_risk"]
            assert (counts.hurried, counts.timed_out, counts.failed) == (31, 0, 0)
            assert enrichments.breakers["ip_risk"].state is BreakerState.CLOSED, "its own haste is not their fault"

    run(test())


def test_calls_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parakh.service.enrichment._FLIGHTS", 8)

    async def test() -> None:
        async with telling(always(after_s=0.2)) as server, asking(project_asking(server.port)) as enrichments:
            asked = [enrichments.answer("payment", {**ASKED, "ip": str(number)}, 2.0) for number in range(30)]
            answers = await asyncio.gather(*asked)
            assert answers == [(FOUND, False)] * 8 + [MISSING] * 22
            assert enrichments.counts["ip_risk"].crowded == 22
            assert server.connections <= 8

    run(test())


def test_the_breaker_lets_one_call_try_and_closes_when_it_is_answered() -> None:
    now, well = [0.0], [False]

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        await always(status="200 OK" if well[0] else "503 Service Unavailable")(path, writer)

    async def test() -> None:
        async with telling(answer) as server, asking(project_asking(server.port), clock=lambda: now[0]) as enrichments:

            async def ask() -> bool:
                return not (await enrichments.answer("payment", ASKED, 1.0))[1]

            assert [await ask() for _ in range(8)] == [False] * 8
            assert len(server.asked) == 5
            now[0] = 5.0
            assert not await ask()
            assert len(server.asked) == 6
            well[0], now[0] = True, 14.9
            assert not await ask()
            assert len(server.asked) == 6
            now[0] = 15.0
            assert [await ask() for _ in range(3)] == [True] * 3
            assert enrichments.breakers["ip_risk"].state is BreakerState.CLOSED

    run(test())


def test_a_redirect_to_a_private_host_is_not_followed() -> None:
    async def test() -> None:
        async with telling(always()) as private:
            header = f"Location: http://127.0.0.1:{private.port}/admin\r\n"
            async with telling(always(b"", status="302 Found", header=header)) as server:
                async with asking(project_asking(server.port)) as enrichments:
                    assert await enrichments.answer("payment", ASKED, 1.0) == MISSING
                assert len(server.asked) == 1
            assert private.asked == []

    run(test())


def test_a_host_that_is_not_pinned_is_not_asked() -> None:
    """The check of a project refuses it; what asks does so once more, for the URL and for what a name resolves to."""
    definitions = project_asking(9)
    with pytest.raises(HostError, match="not https"):
        Open(
            replace(definitions, settings=replace(definitions.settings, enrichment_hosts=("risk.example.com",))),
            clock=time.monotonic,
        )

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "10.0.0.1", "::1"]

    async def test() -> None:
        async with telling(always()) as server:
            definitions = project_asking(server.port, url=f"https://risk.example.com:{server.port}/{{ip}}")
            pinned = replace(definitions.settings, enrichment_hosts=(f"risk.example.com:{server.port}",))
            async with asking(replace(definitions, settings=pinned), resolve=resolve) as enrichments:
                assert await enrichments.answer("payment", ASKED, 1.0) == MISSING
                assert enrichments.counts["ip_risk"].failed == 1
            assert server.connections == 0

    run(test())


@pytest.mark.parametrize(("after_s", "expected"), [(0.2, (FOUND, False)), (30.0, MISSING)])
def test_closing_lets_end_what_is_under_way(after_s: float, expected: tuple[dict[str, Any], bool]) -> None:
    async def test() -> None:
        async with telling(always(after_s=after_s)) as server:
            enrichments = asking(project_asking(server.port, timeout_us=1_500_000))
            waiting = asyncio.create_task(enrichments.answer("payment", ASKED, 9.0))
            await asyncio.sleep(0.05)
            begun = time.perf_counter()
            await enrichments.aclose()
            assert time.perf_counter() - begun < 5
            assert await waiting == expected

    run(test())


def test_without_enrichments_nothing_is_opened() -> None:
    async def test() -> None:
        enrichments = asking(replace(project_asking(1), enrichments=()))
        assert await enrichments.answer("payment", ASKED, 1.0) == ({}, False)
        assert (enrichments.counts, enrichments.breakers) == ({}, {})
        await enrichments.aclose()

    run(test())


@pytest.mark.parametrize("secret", [None, "", " ", "a\r\nX-Evil: 1", "a\x00b", "s\u00e9cret"])
def test_a_secret_that_is_missing_or_no_header_is_said_without_its_value(secret: str | None) -> None:
    definitions = project_asking(9, headers=(("Authorization", "env:RISK"),))
    environment = {} if secret is None else {"RISK": secret}
    with pytest.raises(ProjectError, match="RISK of the environment") as caught:
        asking(definitions, environment=environment)
    with pytest.raises(ProjectError, match="RISK of the environment"):
        check_environment(definitions, environment)
    check_environment(definitions, {"RISK": "token"})
    assert "Evil" not in str(caught.value)


def test_nothing_that_is_asked_with_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        for answer in (always(), always(status="500 No"), _hang_up, always(b"garbage")):
            async with telling(answer) as server, asking(project_asking(server.port)) as enrichments:
                await enrichments.answer("payment", {**ASKED, "ip": "canary-4111"}, 1.0)

    with caplog.at_level("DEBUG"):
        run(test())
    assert "4111" not in caplog.text


# -- the question ------------------------------------------------------------------------------------------------------


def question(path: str, **changed: Any) -> _Question:
    definitions = project_asking(9, path=path, **changed)
    return _Question(definitions.enrichments[0], definitions.events[0])


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({"ip": "1.2.3.4"}, "/1.2.3.4"),
        ({"ip": "a/../b?c#d&e=f%2F\\é \r\n"}, "/a%2F..%2Fb%3Fc%23d%26e%3Df%252F%5C%C3%A9%20%0D%0A"),
        ({"ip": 7}, "/7"),
        ({"ip": ""}, "/"),
        ({"ip": "..."}, "/..."),
        ({}, None),
        ({"ip": None}, None),
    ],
)
def test_a_value_is_one_part_of_the_url_whatever_is_in_it(event: dict[str, Any], path: str | None) -> None:
    assert question("/{ip}").target(event) == path


@pytest.mark.parametrize(
    "event", [{"ip": "."}, {"ip": ".."}, {"ip": {}}, {"ip": [1]}, {"ip": True}, {"ip": "x" * 5000}]
)
def test_a_value_that_leads_elsewhere_is_not_asked_with(event: dict[str, Any]) -> None:
    with pytest.raises(_Unaskable):
        question("/a/{ip}?x=1").target(event)

    async def test() -> None:
        async with telling(always()) as server, asking(project_asking(server.port, path="/a/{ip}?b=c")) as enrichments:
            assert await enrichments.answer("payment", {**ASKED, **event}, 1.0) == MISSING
            assert server.asked == []

    run(test())


def test_two_values_together_do_not_lead_elsewhere_either() -> None:
    with pytest.raises(_Unaskable):
        question("/a/{ip}{payment_id}/b").target({"ip": ".", "payment_id": "."})


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("amount", 12.5, "12.50"),
        ("amount", "1234567890123456.78", "1234567890123456.78"),
        ("amount", -0.05, "-0.05"),
        ("online", {"online": True}, "true"),
        ("online", {"online": 0}, "false"),
        ("count", 9007199254740993, "9007199254740993"),
        ("share", 0.1, "0.1"),
        ("share", 5, "5"),
        ("share", 1e300, "1e%2B300"),
        ("paid_at", "2026-01-01 15:30:00+05:30", "2026-01-01T10%3A00%3A00.000000Z"),
        ("paid_at", 1767261600, "2026-01-01T10%3A00%3A00.000000Z"),
    ],
)
def test_a_value_has_one_form_however_it_was_written(field: str, value: Any, text: str) -> None:
    key = "how" if field == "online" else field
    assert question(f"/{{{field}}}").target({key: value}) == f"/{text}"


def test_a_field_that_is_unknown_leaves_nothing_to_ask_and_nothing_missing() -> None:
    async def test() -> None:
        async with telling(always()) as server, asking(project_asking(server.port)) as enrichments:
            assert await enrichments.answer("payment", {**ASKED, "ip": None}, 1.0) == ({}, False)
            assert server.asked == []
            assert enrichments.counts["ip_risk"].unasked == 1

    run(test())


@given(st.dictionaries(st.sampled_from(["ip", "payment_id"]), st.text(max_size=30), min_size=2, max_size=2))
@settings(max_examples=300, deadline=None)
def test_what_a_server_reads_is_what_the_event_said(event: dict[str, str]) -> None:
    try:
        target = question("/v/{ip}/end?id={payment_id}&last=1").target(event)
    except _Unaskable:
        assert event["ip"] in (".", "..") or any(0xD800 <= ord(sign) < 0xE000 for sign in "".join(event.values()))
        return
    assert target is not None
    assert httpx.URL(f"https://a.com{target}").raw_path.decode() == target, "another reader leaves it as it is"
    path, query = urlsplit(target).path, urlsplit(target).query
    assert path.startswith("/v/")
    assert path.endswith("/end")
    assert path.count("/") == 3
    assert unquote(path.removeprefix("/v/").removesuffix("/end")) == event["ip"]
    assert parse_qs(query, keep_blank_values=True) == {"id": [event["payment_id"]], "last": ["1"]}


# -- the answer --------------------------------------------------------------------------------------------------------

_TYPES = {
    "number": NUMBER, "integer": INTEGER, "boolean": BOOLEAN, "string": STRING, "money": money("INR"),
    "timestamp": TIMESTAMP,
}  # fmt: skip


def read(type: Type, body: bytes, source: str | None = None) -> Any:
    enrichment = Enrichment(name="a", event_type="b", url="", columns=(EnrichmentColumn("x", type, source),))
    return _Question(enrichment, project_asking(9).events[0]).read(body)["x"]


@pytest.mark.parametrize(
    ("type", "answer", "stored"),
    [
        ("number", "0.7", 0.7),
        ("number", "7", 7.0),
        ("number", '"0.25"', 0.25),
        ("number", "null", None),
        ("integer", "9007199254740993", 9007199254740993),
        ("integer", "5.0", 5),
        ("boolean", "true", True),
        ("boolean", "0", False),
        ("string", '"a \\u00e9"', "a é"),
        ("string", "12", "12"),
        ("money", "12.5", "12.50"),
        ("money", '"90071992547409.93"', "90071992547409.93"),
        ("timestamp", '"2026-01-01T15:30:00+05:30"', "2026-01-01T10:00:00.000000Z"),
        ("timestamp", "1767261600", "2026-01-01T10:00:00.000000Z"),
    ],
)
def test_an_answer_is_stored_as_the_declared_type_and_read_again_as_the_same(
    type: str, answer: str, stored: Any
) -> None:
    value = read(_TYPES[type], b'{"x": ' + answer.encode() + b"}")
    assert value == stored
    assert isinstance(value, stored.__class__)
    again = read(_TYPES[type], json.dumps({"x": value}).encode())
    assert again == value


@pytest.mark.parametrize(
    ("type", "answer"),
    [
        ("integer", "0.5"),
        ("integer", "9223372036854775808"),
        ("integer", '"x"'),
        ("boolean", "2"),
        ("boolean", '"perhaps"'),
        ("string", "{}"),
        ("money", "0.001"),
        ("money", "1e30"),
        ("timestamp", '"soon"'),
        ("timestamp", "true"),
        ("timestamp", "1e19"),
    ],
)
def test_an_answer_of_another_type_is_none(type: str, answer: str) -> None:
    with pytest.raises(_Unusable):
        read(_TYPES[type], b'{"x": ' + answer.encode() + b"}")


def test_an_answer_may_be_nested_and_partly_unknown() -> None:
    assert read(NUMBER, b'{"a": {"b": 0.5}}', "a.b") == 0.5
    assert read(NUMBER, b'{"a": {"b": null}}', "a.b") is None
    assert read(NUMBER, b'{"a.b": 0.5}', "a.b") == 0.5
    for body in (b'{"a": null}', b'{"a": {}}', b'{"b": 1}', b'{"a": 5}', b'{"a": [0.5]}'):
        with pytest.raises(_Unusable):
            read(NUMBER, body, "a.b")
    enrichment = Enrichment(name="a", event_type="b", url="", columns=COLUMNS)
    assert _Question(enrichment, project_asking(9).events[0]).read(b'{"score": 1}') == {"risk": 1.0, "country": None}


@given(st.sampled_from(sorted(_TYPES)), st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=8,
).map(lambda value: json.dumps({"x": value}).encode()))  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_whatever_comes_is_a_value_of_the_type_or_no_answer(type: str, body: bytes) -> None:
    try:
        value = read(_TYPES[type], body)
    except _Unusable:
        return
    kinds = {"number": float, "integer": int, "boolean": bool, "string": str, "money": str, "timestamp": str}
    assert value is None or value.__class__ is kinds[type]
    json.dumps(value, allow_nan=False)
