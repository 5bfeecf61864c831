"""Both clients against a local server that fails on purpose, and against stand-ins: one set of tests for the two."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parakh.client
from parakh.client import (
    AsyncClient,
    Client,
    Conflict,
    Decision,
    Invalid,
    NotDecided,
    NotFound,
    NotSent,
    Overloaded,
    ProjectRefused,
    Refusal,
    ServerFailed,
    TakenIn,
    TimedOut,
    Unauthorized,
    Unexpected,
    Unreachable,
)
from unit.scripted_server import Asked, Scripted, Step, serving

DECIDED = {
    "decision_id": "0f" * 16,
    "event_type": "payment",
    "event_id": "p1",
    "event_time": "2026-01-01T10:00:00.000000Z",
    "decided_at": "2026-01-01T10:00:00.004113Z",
    "outcome": "block",
    "score": 0.94,
    "decided_by": {"kind": "rule", "name": "card_testing"},
    "reasons": [{"code": "R101", "text": "card testing", "contribution": None}],
    "rules": {"hit": ["card_testing"], "unknown": [], "shadow": []},
    "shadow_scores": {"other": 0.5},
    "flags": ["degraded"],
    "versions": {"project": "ab" * 32, "models": {"payment_fraud": "cd"}},
    "added_by_a_newer_service": {"passed": "over"},
}


@dataclass(frozen=True)
class Kind:
    """One of the two clients, used alike: a call gives its result, a stream the list of its results."""

    client: type[Client] | type[AsyncClient]
    backend: str = ""

    def run(self, url: str, use: Callable[[Any], Any], **settings: Any) -> Any:
        if self.client is Client:
            with Client(url, **settings) as client:
                told = use(client)
                return list(told) if isinstance(told, Iterator) else told

        async def awaited() -> Any:
            async with AsyncClient(url, **settings) as client:
                told = use(client)
                return [item async for item in told] if isinstance(told, AsyncIterator) else await told

        return anyio.run(awaited, backend=self.backend)


KINDS = [Kind(Client), Kind(AsyncClient, "asyncio")]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.client.__name__)
PAYMENT = {"payment_id": "p1", "amount": 10}


def decide(client: Any) -> Any:
    return client.decide("payment", PAYMENT)


def problem(code: str, status: int, **more: object) -> dict[str, object]:
    return {"type": f"https://parakh.dev/problems/{code}", "title": code, "status": status, "code": code, **more}


# -- one event ---------------------------------------------------------------------------------------------------------


@each_kind
def test_a_decision_is_typed(kind: Kind) -> None:
    with serving([Step(body=DECIDED, headers={"Parakh-Replayed": "true"})]) as server:
        decision = kind.run(server.url, lambda c: c.decide("payment", PAYMENT, features=True), api_key="pk_secret")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/decisions/payment?features=true")
    assert asked.body == b'{"payment_id":"p1","amount":10}'
    assert asked.headers["authorization"] == "Bearer pk_secret"
    assert asked.headers["content-type"] == "application/json"
    assert decision.event_time == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert decision.reasons[0].code == "R101"
    assert decision.rules.hit == ("card_testing",)
    assert decision.versions.models == {"payment_fraud": "cd"}
    assert decision.replayed
    assert decision.degraded
    assert not decision.unanswered
    with pytest.raises(AttributeError):
        decision.outcome = "allow"


@each_kind
@pytest.mark.parametrize(
    "trouble",
    [
        [Step(body=DECIDED, share=0.5)],
        [Step(body=DECIDED, share=0.0)],
        [Step(429, problem("overloaded", 429), {"Retry-After": "0"})],
        [Step(503, problem("not_ready", 503))],
        [Step(503, b"<html>"), Step(body=DECIDED, share=0.9), Step(502, b"")],
        [Step(body=DECIDED, after_s=2.5)],
    ],
    ids=["half an answer", "no answer", "429", "503", "several", "slow"],
)
def test_a_try_that_fails_is_sent_again_as_the_same_bytes(kind: Kind, trouble: list[Step]) -> None:
    with serving([*trouble, Step(body=DECIDED)]) as server:
        decision = kind.run(server.url, decide, timeout=3.0)
    assert decision.outcome == "block"
    assert len(server.asked) == len(trouble) + 1
    assert len({(asked.method, asked.path, asked.body) for asked in server.asked}) == 1


@each_kind
@pytest.mark.parametrize(
    "script",
    [
        [Step(body=DECIDED, after_s=30.0)],
        [Step(503, problem("not_ready", 503))],
        [Step(body=DECIDED, share=0.5)],
        [Step(body=DECIDED, drip_s=0.05)],
    ],
    ids=["silent", "503", "broken", "drop by drop"],
)
def test_the_deadline_holds_over_all_tries(kind: Kind, script: list[Step]) -> None:
    with serving(script) as server:
        begun = time.monotonic()
        with pytest.raises((TimedOut, Overloaded, Unreachable)):
            kind.run(server.url, decide, timeout=0.4)
        took = time.monotonic() - begun
        fallen_back = kind.run(server.url, lambda c: c.decide("payment", PAYMENT, timeout=0.2, fallback="review"))
    # Twice the deadline and a second: far from a server that is silent for 30 s, and no test of a busy machine.
    assert took < 1.8
    assert fallen_back == Decision("", "review", event_type="payment", flags=("unanswered",))


@each_kind
def test_nobody_there(kind: Kind) -> None:
    with serving([]) as server:
        pass
    with pytest.raises(Unreachable, match="is the service running"):
        kind.run(server.url, decide, timeout=2.0)


@each_kind
@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "unauthorized", Unauthorized),
        (404, "unknown_event_type", NotFound),
        (422, "conflict", Conflict),
        (422, "bad_json", Invalid),
        (413, "body_too_large", Invalid),
        (422, "project_invalid", ProjectRefused),
        (500, "internal", ServerFailed),
    ],
)
def test_a_refusal_is_an_error_with_its_problem(kind: Kind, status: int, code: str, error: type[Exception]) -> None:
    body = problem(code, status, detail="why it is so", field="amount", hint="what to do")
    with serving([Step(status, body)]) as server, pytest.raises(error) as refused:
        kind.run(server.url, decide)
    assert type(refused.value) is error
    assert len(server.asked) == 1
    assert refused.value.problem.code == code
    for words in ("why it is so", "amount", "what to do", code, str(status)):
        assert words in str(refused.value)
    again = pickle.loads(pickle.dumps(refused.value))
    assert (type(again), str(again), again.problem) == (error, str(refused.value), refused.value.problem)


@each_kind
@pytest.mark.parametrize("body", [b"<html>a proxy", b"[]", b'{"outcome": 5}', b"\xff", b""])
def test_an_answer_of_something_else_is_told(kind: Kind, body: bytes) -> None:
    with serving([Step(body=body)]) as server, pytest.raises(Unexpected, match="Parakh"):
        kind.run(server.url, decide)


@each_kind
def test_a_redirect_is_not_followed(kind: Kind) -> None:
    with serving([Step(302, b"", {"Location": "http://127.0.0.1:1/"})]) as server, pytest.raises(Unexpected):
        kind.run(server.url, decide)


@each_kind
def test_what_cannot_be_sent_is_not(kind: Kind) -> None:
    with serving([Step(body=DECIDED)]) as server:
        for use in (
            lambda c: c.decide("payment", {"amount": float("nan")}),
            lambda c: c.decide("", PAYMENT),
            lambda c: c.decide("..", PAYMENT),
            lambda c: c.decide("payment", PAYMENT, fallback="perhaps"),
            lambda c: c.decide_many("payment", [PAYMENT], batch_lines=0),
            lambda c: c.apply_project(),
        ):
            with pytest.raises(NotSent):
                kind.run(server.url, use)
    assert server.asked == []


def test_the_connection_is_kept_and_threads_share_a_client() -> None:
    with serving(lambda asked: Step(body={**DECIDED, "event_id": json.loads(asked.body)["payment_id"]})) as server:
        told: list[tuple[str, str]] = []

        def ask(number: int) -> None:
            for turn in range(10):
                name = f"p{number}-{turn}"
                told.append((name, client.decide("payment", {"payment_id": name}).event_id))

        with Client(server.url) as client:
            threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(told) == 80
    assert all(sent == came for sent, came in told)


# -- many --------------------------------------------------------------------------------------------------------------


def line_of(asked: Asked) -> bytes:
    """A batch's answer: a decision for each line, a refusal where the amount is negative."""
    out = []
    for number, line in enumerate(asked.body.splitlines(), 1):
        event = json.loads(line)
        if event["amount"] < 0:
            out.append(problem("bad_value", 422, line=number, field="amount"))
        else:
            out.append({**DECIDED, "event_id": event["payment_id"]})
    return b"".join(json.dumps(item).encode() + b"\n" for item in out)


@each_kind
def test_many_keep_their_order_and_refusals_their_places(kind: Kind) -> None:
    events = [{"payment_id": f"p{i}", "amount": -1 if i % 7 == 3 else i} for i in range(25)]
    events[5] = {"payment_id": "p5", "amount": float("nan")}
    with serving(lambda asked: Step(body=line_of(asked))) as server:
        told = kind.run(server.url, lambda c: c.decide_many("payment", iter(events), batch_lines=10))
    assert len(told) == 25
    for number, (event, answer) in enumerate(zip(events, told)):
        if number == 5:
            assert (answer.code, answer.field, answer.line) == ("not_sent", "amount", 6)
        elif event["amount"] < 0:
            assert isinstance(answer, Refusal)
            assert (answer.code, answer.line) == ("bad_value", number + 1)
        else:
            assert answer.event_id == event["payment_id"]
    assert [asked.path for asked in server.asked] == ["/v1/decisions/payment:batch"] * 3
    assert [asked.body.count(b"\n") for asked in server.asked] == [9, 10, 5]
    assert {asked.headers["content-type"] for asked in server.asked} == {"application/x-ndjson"}


def test_many_are_streamed() -> None:
    read: list[int] = []

    def events() -> Iterator[dict[str, object]]:
        for number in range(100):
            read.append(number)
            yield {"payment_id": f"p{number}", "amount": 1}

    with serving(lambda asked: Step(body=line_of(asked))) as server, Client(server.url) as client:
        stream = client.decide_many("payment", events(), batch_lines=10)
        assert read == []
        assert next(stream).event_id == "p0"
        assert len(read) == 10
        assert [item.event_id for item in stream] == [f"p{number}" for number in range(1, 100)]


def test_async_events_are_taken() -> None:
    async def events() -> AsyncIterator[dict[str, object]]:
        for number in range(3):
            await anyio.sleep(0)
            yield {"payment_id": f"p{number}", "amount": 1}

    with serving(lambda asked: Step(body=line_of(asked))) as server:
        told = KINDS[1].run(server.url, lambda c: c.decide_many("payment", events()))
        assert [item.event_id for item in told] == ["p0", "p1", "p2"]
        with pytest.raises(TypeError):
            KINDS[0].run(server.url, lambda c: c.decide_many("payment", events()))


@each_kind
def test_a_chunk_that_breaks_is_sent_again_as_the_same_bytes(kind: Kind) -> None:
    events = [{"payment_id": f"p{i}", "amount": i} for i in range(6)]
    shares = iter([0.5, 1.0, 0.3, 0.7, 1.0])
    with serving(lambda asked: Step(body=line_of(asked), share=next(shares))) as server:
        told = kind.run(server.url, lambda c: c.decide_many("payment", events, batch_lines=3))
    assert [item.event_id for item in told] == [f"p{i}" for i in range(6)]
    assert [asked.body for asked in server.asked[:2]] == [server.asked[0].body] * 2
    assert [asked.body for asked in server.asked[2:]] == [server.asked[2].body] * 3


@each_kind
def test_lines_that_are_refused_for_the_moment_are_sent_again_alone(kind: Kind) -> None:
    full = {"p1", "p3"}

    def answer(asked: Asked) -> Step:
        out = []
        for number, line in enumerate(asked.body.splitlines(), 1):
            name = json.loads(line)["payment_id"]
            if name in full:
                full.remove(name)
                out.append(problem("overloaded", 429, line=number))
            else:
                out.append({**DECIDED, "event_id": name})
        return Step(body=b"\n".join(json.dumps(item).encode() for item in out))

    events = [{"payment_id": f"p{i}"} for i in range(5)]
    with serving(answer) as server:
        told = kind.run(server.url, lambda c: c.decide_many("payment", events))
    assert [item.event_id for item in told] == [f"p{i}" for i in range(5)]
    assert server.asked[1].body == b'{"payment_id":"p1"}\n{"payment_id":"p3"}\n'


@each_kind
def test_what_stays_refused_until_the_deadline_is_told_as_refused(kind: Kind) -> None:
    body = json.dumps(DECIDED).encode() + b"\n" + json.dumps(problem("overloaded", 429, line=2)).encode() + b"\n"
    alone = Step(429, problem("overloaded", 429))
    with serving(lambda asked: Step(body=body) if asked.body.count(b"\n") == 2 else alone) as server:
        told = kind.run(server.url, lambda c: c.decide_many("payment", [PAYMENT, PAYMENT]), timeout=0.3)
    assert told[0].outcome == "block"
    assert (told[1].code, told[1].line, told[1].passing) == ("overloaded", 2, True)


@each_kind
def test_an_answer_that_ends_early_is_asked_for_again(kind: Kind) -> None:
    def answer(asked: Asked) -> Step:
        lines = line_of(asked).splitlines(keepends=True)
        if len(server.asked) == 1:
            return Step(body=b"".join(lines[:2]))
        if len(server.asked) == 2:
            return Step(body=lines[0] + json.dumps(problem("rate_limited", 429)).encode())
        return Step(body=b"".join(lines))

    server: Scripted
    events = [{"payment_id": f"p{i}", "amount": i} for i in range(5)]
    with serving(answer) as server:
        told = kind.run(server.url, lambda c: c.decide_many("payment", events))
    assert [item.event_id for item in told] == [f"p{i}" for i in range(5)]
    assert [asked.body.count(b"\n") for asked in server.asked] == [5, 3, 2]


@each_kind
def test_a_batch_that_is_refused_as_a_whole_is_an_error(kind: Kind) -> None:
    with serving([Step(body=problem("unknown_event_type", 404, line=0))]) as server, pytest.raises(NotFound):
        kind.run(server.url, lambda c: c.decide_many("odd", [PAYMENT]))


@each_kind
def test_a_mistake_under_way_is_raised(kind: Kind) -> None:
    body = json.dumps(DECIDED).encode() + b"\n" + json.dumps(problem("internal", 500)).encode() + b"\n"
    with serving([Step(body=body)]) as server, pytest.raises(ServerFailed):
        kind.run(server.url, lambda c: c.decide_many("payment", [PAYMENT] * 3))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-2, 5), max_size=40),
    st.integers(1, 12),
    st.lists(st.sampled_from(["whole", "short", "full", "503"]), max_size=12),
)
def test_any_failures_give_every_event_one_answer_in_order(amounts: list[int], lines: int, troubles: list[str]) -> None:
    left = list(troubles)

    def handler(request: httpx.Request) -> httpx.Response:
        trouble = left.pop() if left else "whole"
        if trouble == "503":
            return httpx.Response(503, json=problem("not_ready", 503))
        answers = line_of(Asked("POST", "", {}, request.content)).splitlines(keepends=True)
        if trouble == "short":
            answers = answers[: len(answers) // 2]
        if trouble == "full" and answers:
            answers[-1] = json.dumps(problem("overloaded", 429, line=len(answers))).encode()
        return httpx.Response(200, content=b"".join(answers))

    events = [{"payment_id": f"p{number}", "amount": amount} for number, amount in enumerate(amounts)]
    with Client("http://stand-in", timeout=30.0, transport=httpx.MockTransport(handler)) as client:
        client._policy = type(client._policy)(timeout_s=30.0, tries=100, base_s=0.0)
        told = list(client.decide_many("payment", events, batch_lines=lines))
    assert len(told) == len(events)
    for number, (event, answer) in enumerate(zip(events, told), 1):
        if isinstance(answer, Refusal):
            assert event["amount"] < 0
            assert answer.line == number
        else:
            assert answer.event_id == event["payment_id"]


# -- events, labels ----------------------------------------------------------------------------------------------------


@each_kind
def test_events_are_taken_in(kind: Kind) -> None:
    def answer(asked: Asked) -> Step:
        lines = asked.body.splitlines()
        if len(lines) == 1:
            return Step(422, problem("bad_time", 422, field="at")) if b"bad" in lines[0] else Step(body=accepted)
        refused = json.dumps(problem("bad_time", 422, line=2)).encode()
        told = [json.dumps(accepted).encode() if b"bad" not in line else refused for line in lines]
        return Step(body=b"\n".join(told))

    accepted = {"event_type": "login", "event_id": "l1", "status": "accepted"}
    with serving(answer) as server:
        one = kind.run(server.url, lambda c: c.take_in("login", {"login_id": "l1"}))
        bad = kind.run(server.url, lambda c: c.take_in("login", {"login_id": "bad"}))
        many = kind.run(server.url, lambda c: c.take_in("login", [{"login_id": i} for i in ("l1", "bad", "l3")]))
        none = kind.run(server.url, lambda c: c.take_in("login", []))
    assert (one.accepted, one.refused) == (1, ())
    assert (bad.accepted, bad.refused[0].code, bad.refused[0].line) == (0, "bad_time", 1)
    assert (many.accepted, [(item.code, item.line) for item in many.refused]) == (2, [("bad_time", 2)])
    assert (none.accepted, none.refused) == (0, ())
    assert {asked.path for asked in server.asked} == {"/v1/events/login"}


@each_kind
def test_labels(kind: Kind) -> None:
    def answer(asked: Asked) -> Step:
        rows = [json.loads(line) for line in asked.body.splitlines()]
        refused = [{"line": n, "code": "unknown_label"} for n, row in enumerate(rows, 1) if row["label"] == "odd"]
        if refused and len(rows) == 1:
            return Step(422, problem("unknown_label", 422))
        return Step(207 if refused else 200, {"accepted": len(rows) - len(refused), "refused": refused})

    known = datetime(2026, 1, 2, tzinfo=UTC)
    with serving(answer) as server:
        kind.run(server.url, lambda c: c.label("payment", "p1", "fraud", True, known_at=known, source="analyst"))
        with pytest.raises(Invalid, match="unknown_label"):
            kind.run(server.url, lambda c: c.label("payment", "p1", "odd", None))
        rows = [
            {"event_type": "payment", "event_id": f"p{i}", "label": "odd" if i % 2 else "fraud", "value": None}
            for i in range(1005)
        ]
        taken = kind.run(server.url, lambda c: c.label_many(rows))
    assert json.loads(server.asked[0].body) == {
        "event_type": "payment", "event_id": "p1", "label": "fraud", "value": True,
        "known_at": "2026-01-02T00:00:00.000000Z", "source": "analyst",
    }  # fmt: skip
    assert "known_at" not in json.loads(server.asked[1].body)
    assert taken.accepted == 503
    assert [item.line for item in taken.refused] == list(range(2, 1006, 2))


@each_kind
def test_alarms(kind: Kind) -> None:
    def answer(asked: Asked) -> Step:
        alarms = json.loads(asked.body)["alarms"]
        if any(alarm["kind"] == "Odd" for alarm in alarms):
            return Step(422, problem("invalid_request", 422))
        return Step(200, {"accepted": len(alarms)})

    rows = [
        {"kind": "missing", "subject": name, "since": datetime(2026, 1, 5, tzinfo=UTC), "value": 0.25, "bound": None}
        for name in ("age", "country")
    ]
    with serving(answer) as server:
        assert kind.run(server.url, lambda c: c.post_alarms(rows)) == 2
        assert kind.run(server.url, lambda c: c.post_alarms([])) == 0
        with pytest.raises(Invalid, match="invalid_request"):
            kind.run(server.url, lambda c: c.post_alarms([{"kind": "Odd"}]))
    assert server.asked[0].path == "/v1/alarms"
    assert json.loads(server.asked[0].body)["alarms"][1] == {
        "kind": "missing", "subject": "country", "since": "2026-01-05T00:00:00.000000Z", "value": 0.25, "bound": None,
    }  # fmt: skip


# -- reading, the project ----------------------------------------------------------------------------------------------


@each_kind
def test_what_is_read_and_where(kind: Kind) -> None:
    with serving([Step(body=DECIDED)]) as server:
        assert kind.run(server.url, lambda c: c.decision("0f" * 16)).decision_id == "0f" * 16
        kind.run(server.url, lambda c: c.decision_of("payment", "a/b?c#d ü"))
    assert [asked.path for asked in server.asked] == [
        f"/v1/decisions/{'0f' * 16}",
        "/v1/decisions/payment/a%2Fb%3Fc%23d%20%C3%BC",
    ]
    entity = {"entity": "card", "as_of": "2026-01-01T00:00:00Z", "features": {"payments_1h": 3}, "events": [{"a": 1}]}
    with serving([Step(body=entity)]) as server:
        view = kind.run(server.url, lambda c: c.entity("card", "k 1"))
    assert server.asked[0].path == "/v1/entities/card/k%201"
    assert view.features == {"payments_1h": 3}


@each_kind
def test_an_event_that_was_only_taken_in_is_no_decision(kind: Kind) -> None:
    accepted = {"event_type": "login", "event_id": "l1", "status": "accepted"}
    listed = {**accepted, "decision_id": "0e" * 16, "taken_in_at": "2026-01-01T00:00:00Z"}
    with serving([Step(body=accepted), Step(body=accepted), Step(body={"items": [DECIDED, listed]})]) as server:
        of = kind.run(server.url, lambda c: c.decision_of("login", "l1"))
        by_id = kind.run(server.url, lambda c: c.decision("0e" * 16))
        found = kind.run(server.url, lambda c: c.decisions(decided=None))
    assert of == by_id == TakenIn("login", "l1")
    assert [type(item) for item in found] == [Decision, TakenIn]
    assert found[1].taken_in_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert "decided" not in server.asked[2].path


@each_kind
def test_asking_for_a_decision_on_an_event_that_was_only_taken_in(kind: Kind) -> None:
    accepted = {"event_type": "payment", "event_id": "p9", "status": "accepted"}
    lines = b"\n".join([json.dumps(DECIDED).encode(), json.dumps(accepted).encode(), b""])
    with serving([Step(body=accepted), Step(body=lines)]) as server:
        with pytest.raises(NotDecided, match="payment p9 was taken in before") as raised:
            kind.run(server.url, lambda c: c.decide("payment", {"payment_id": "p9"}, fallback="review"))
        one, two = kind.run(server.url, lambda c: c.decide_many("payment", [PAYMENT, {"payment_id": "p9"}]))
    assert raised.value.problem.code == "not_decided"
    assert isinstance(one, Decision)
    assert (two.code, two.line) == ("not_decided", 2)


@each_kind
def test_pages_of_the_ledger_are_followed(kind: Kind) -> None:
    pages = [[f"p{i}" for i in range(3)], [], [f"p{i}" for i in range(3, 5)]]

    def answer(asked: Asked) -> Step:
        number = len(server.asked) - 1
        items = [{**DECIDED, "event_id": name} for name in pages[number]]
        return Step(body={"items": items, "next_cursor": f"c/{number}" if number < 2 else None, "indexed_to": 5})

    server: Scripted
    since = datetime(2026, 1, 1, tzinfo=UTC)
    with serving(answer) as server:
        found = kind.run(server.url, lambda c: c.decisions(outcome=["review", "block"], from_=since, rule=None))
    assert [item.event_id for item in found] == [f"p{i}" for i in range(5)]
    queries = [httpx.URL(asked.path).params for asked in server.asked]
    assert dict(queries[0]) == {"decided": "true", "outcome": "block,review", "from": "2026-01-01T00:00:00.000000Z"}
    assert [query.get("cursor") for query in queries] == [None, "c/0", "c/1"]


@each_kind
def test_a_project_is_sent_whole(kind: Kind, tmp_path: Path) -> None:
    files = {"parakh.toml": b'name = "shop"\r\n', "rules/a.yaml": "rule: ü\n".encode(), "models/m.onnx": b"\xff\x00"}
    for name, content in {**files, ".parakh/service.db": b"state", "rules/.hidden": b""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    state = {"hash": "ab", "state": "building", "progress": 0.25, "previous": "cd"}
    with serving([Step(202, state)]) as server:
        applied = kind.run(server.url, lambda c: c.apply_project(tmp_path))
        kind.run(server.url, lambda c: c.apply_project(files))
        kind.run(server.url, lambda c: c.apply_project(version="cd"))
        kind.run(server.url, lambda c: c.check_project(str(tmp_path)))
    assert (applied.live, applied.progress, applied.previous) == (False, 0.25, "cd")
    sent = [json.loads(asked.body) for asked in server.asked]
    assert sent[0]["files"] == {
        "parakh.toml": 'name = "shop"\r\n',
        "rules/a.yaml": "rule: ü\n",
        "models/m.onnx": {"base64": "/wA="},
    }
    assert sent[1] == sent[0] == sent[3]
    assert sent[2] == {"version": "cd"}
    assert [asked.path for asked in server.asked] == ["/v1/project:apply"] * 3 + ["/v1/project:check"]
    with pytest.raises(NotSent, match=r"parakh\.toml"):
        kind.run("http://nobody", lambda c: c.apply_project(tmp_path / "rules"))


@each_kind
def test_versions_health_and_metrics(kind: Kind) -> None:
    rows = [{"hash": "ab", "name": "shop", "state": "live", "applied_at": "2026-01-01T00:00:00.000001Z", "by": "ci"}]
    with serving([Step(body={"versions": rows})]) as server:
        (version,) = kind.run(server.url, lambda c: c.versions())
    assert (version.hash, version.by, version.state) == ("ab", "ci", "live")
    with serving([Step(body={"status": "ready"}), Step(503, problem("not_ready", 503, detail="reading"))]) as server:
        assert kind.run(server.url, lambda c: c.health())
        ready = kind.run(server.url, lambda c: c.ready())
    assert not ready
    assert ready.detail["detail"] == "reading"
    assert [asked.path for asked in server.asked] == ["/healthz", "/readyz"]
    with serving([Step(body=b"# HELP a b\n")]) as server:
        assert kind.run(server.url, lambda c: c.metrics()) == "# HELP a b\n"


# -- the package -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["ftp://host", "host:8321", "http://", "http://user:pw@host", "http://h?x=1", "http://[::"]
)
def test_an_address_that_is_none(url: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(NotSent, match="base URL"):
            client(url)


def test_the_address_and_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAKH_API_KEY", "pk_of_the_environment")
    with serving([Step(body=DECIDED)]) as server:
        monkeypatch.setenv("PARAKH_URL", server.url + "/")
        with Client() as client:
            decide(client)
            assert "pk_" not in repr(client) + repr(client._address) + repr(vars(client))
        with Client(api_key="") as client:
            decide(client)
    assert server.asked[0].headers["authorization"] == "Bearer pk_of_the_environment"
    assert "authorization" not in server.asked[1].headers
    with pytest.raises(NotSent, match="API key"):
        Client(api_key="pk\r\nX: y")


def test_both_clients_have_the_same_verbs() -> None:
    verbs = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    assert verbs == {name for name in vars(AsyncClient) if not name.startswith("_")} - {"close"}
    for name in verbs:
        mine, other = (inspect.signature(getattr(client, name)) for client in (Client, AsyncClient))
        assert mine == other
        assert next(iter(mine.parameters)) == "self"
        assert inspect.getdoc(getattr(Client, name)), f"{name} says what it does"


def test_every_name_is_exported() -> None:
    for name in parakh.client.__all__:
        assert getattr(parakh.client, name).__name__ == name
    with pytest.raises(AttributeError):
        parakh.client.nothing  # noqa: B018


def test_the_package_is_light() -> None:
    code = "import sys, parakh.client; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx", "msgspec", "numpy", "rich", "fastapi"} & set(loaded)
    code = "import sys; from parakh.client import Client; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("parakh.")}
    assert {name for name in ours if not name.startswith("parakh.client")} == {"parakh.errors"}, (
        "the client stands alone"
    )
    assert not {"numpy", "numba", "pyarrow"} & set(loaded)
