"""Subscriptions and their messages: filters against a naive oracle, signatures against an independent reading."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outbox_parts import Clock, ListLog, asked, decision, made, receiving, running, until

from parakh.decisions.hosts import HostError
from parakh.decisions.record import Record
from parakh.service.webhooks import Filter, WebhookError, body_of, read_request, signed_headers

TYPES = ("payment", "transfer", "login")
RULES = ("often", "far_away", "card_tried")
FLAGS = {"overflow": 1, "late": 2, "degraded": 4}
WORDS = ("allow", "challenge", "review", "block")


def wanted(parts: dict[str, object], record: Record) -> bool:
    """The oracle: each part of a filter, read as the documentation has it."""
    checks = []
    if parts.get("event_types"):
        checks.append(any(record.event_type == name for name in parts["event_types"]))  # type: ignore[attr-defined]
    if parts.get("outcomes"):
        checks.append(WORDS[record.outcome] in parts["outcomes"])  # type: ignore[operator]
    if parts.get("rules"):
        checks.append(len(set(record.hits) & set(parts["rules"])) > 0)  # type: ignore[call-overload]
    if parts.get("min_score") is not None:
        checks.append(record.score is not None and not record.score < parts["min_score"])  # type: ignore[operator]
    if parts.get("flags"):
        checks.append(sum(FLAGS[name] for name in parts["flags"]) & record.flags != 0)  # type: ignore[attr-defined]
    return all(checks)


def some(names: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=len(names))


filters = st.fixed_dictionaries(
    {},
    optional={
        "event_types": some((*TYPES, "unheard_of")),
        "outcomes": some(WORDS),
        "rules": some((*RULES, "unheard_of")),
        "min_score": st.none() | st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
        "flags": some(tuple(FLAGS)),
    },
)
records = st.builds(
    lambda number, event_type, outcome, score, hits, flags: decision(
        number, event_type=event_type, outcome=outcome, score=score, hits=tuple(hits), flags=flags
    ),
    st.integers(0, 9),
    st.sampled_from(TYPES),
    st.integers(0, 3),
    st.none() | st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
    some(RULES),
    st.integers(0, 7),
)


@given(filters, records)
def test_a_filter_is_what_it_says(parts: dict[str, object], record: Record) -> None:
    read = read_request(asked("https://hooks.example.com/x", filter=parts), (), public=True).filter
    assert read.matches(record) == wanted(parts, record)
    assert read.is_wanted(record.event_type, record.outcome) or not read.matches(record)
    again = read_request(asked("https://hooks.example.com/x", filter=read.as_data()), (), public=True).filter
    assert again == read


def test_filters_hold_from_the_log_to_the_receiver(tmp_path: Path) -> None:
    """Many subscriptions over one log: each is sent what the oracle says, and nothing else."""
    every = [
        decision(
            n, event_type=TYPES[n % 3], outcome=n % 4, flags=n % 8, score=None if n % 5 == 0 else n / 60,
            hits=RULES[: n % 4],
        )
        for n in range(60)
    ]  # fmt: skip
    asked_for: list[dict[str, object]] = [
        {},
        {"outcomes": ["block", "review"]},
        {"event_types": ["login"], "min_score": 0.5},
        {"rules": ["far_away"], "flags": ["degraded"]},
        {"event_types": ["unheard_of"]},
    ]

    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(tmp_path / "db", log, clock, [receiver.host])) as outbox:
            items = [(await outbox.subscribe(asked(receiver.url, filter=parts)))[0] for parts in asked_for]
            for begin in range(0, 60, 7):
                log.append(*every[begin : begin + 7])
            expected = {
                (record.decision_id.hex(), item.id)
                for item, parts in zip(items, asked_for, strict=True)
                for record in every
                if wanted(parts, record)
            }
            await until(lambda: outbox.counts.delivered == len(expected) and outbox.counts.lag_bytes == 0)
            got = {tuple(name.removeprefix("msg_").split("_", 1)) for name in receiver.ids}
            assert got == expected
            assert len(receiver.ids) == len(expected)

    asyncio.run(story())


def verified(secrets: list[str], headers: dict[str, str], body: bytes) -> list[bool]:
    """Which secrets a message is signed with, read from the standard's text and not from our code."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    given = [part.split(",", 1) for part in headers["webhook-signature"].split(" ")]
    found = []
    for secret in secrets:
        key = base64.b64decode(secret.split("_", 1)[1])
        right = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        found.append(any(version == "v1" and hmac.compare_digest(right, text) for version, text in given))
    return found


def test_the_signature_is_that_of_the_standards_example() -> None:
    """The example that the libraries of Standard Webhooks are tested with."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [key], 1_614_265_330_000_000)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_messages_are_signed_and_both_secrets_sign_for_a_day(tmp_path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(tmp_path / "db", log, clock, [receiver.host])) as outbox:
            item, first = await outbox.subscribe(asked(receiver.url))
            assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32
            log.append(decision(1))
            await receiver.wait_for(1)
            rotated = await outbox.rotate(item.id)
            assert rotated is not None
            second = rotated[1]
            log.append(decision(2))
            await receiver.wait_for(2)
            clock.advance(86_400)
            log.append(decision(3))
            await receiver.wait_for(3)
            told = [verified([first, second], headers, body) for headers, body in receiver.got]
            assert told == [[True, False], [True, True], [False, True]]
            headers, body = receiver.got[2]
            assert verified([second], headers, body + b" ") == [False]
            assert verified([second], headers | {"webhook-timestamp": "1"}, body) == [False]
            assert verified([second], headers | {"webhook-id": "msg_other"}, body) == [False]

    asyncio.run(story())


def test_a_body_is_json() -> None:
    assert json.loads(body_of('de"cision', 5, b'{"a":1}')) == {
        "type": 'de"cision',
        "timestamp": "1970-01-01T00:00:00.000005Z",
        "data": {"a": 1},
    }


HOSTILE = [
    "http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd", "https://", "", "hooks.example.com",
    "https://127.0.0.1/", "https://127.1/", "https://0x7f.1/", "https://2130706433/", "https://0177.0.0.1/",
    "https://10.0.0.1/", "https://172.16.3.4/", "https://192.168.0.1/", "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/", "https://0.0.0.0/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://[fd00::1]/",
    "https://[fe80::1]/", "https://localhost/", "https://a.localhost/", "https://user:pass@hooks.example.com/",
    "https://hooks.example.com\\@127.0.0.1/", "https://hooks.example.com#@127.0.0.1/", "https://hooks.example.com:0/",
    "https://hooks.example.com:99999/", "https://hooks.exam ple.com/", "https://hooks.example.com/\r\nx: y",
    "https://[64:ff9b::10.0.0.1]/", "https://１２７.0.0.1/", "https://hooks.example.com./",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls_are_refused(url: str) -> None:
    with pytest.raises((HostError, WebhookError)):
        read_request(asked(url), (), public=True)


def test_only_listed_hosts_where_the_public_is_not_allowed() -> None:
    allowed = ["hooks.example.com", "127.0.0.1:9000"]
    for url in ("https://hooks.example.com/x?y=1", "http://127.0.0.1:9000/x"):
        assert read_request(asked(url), allowed, public=False).url == url
    for url in ("https://other.example.com/", "http://127.0.0.1:9001/", "http://hooks.example.com/"):
        with pytest.raises(HostError):
            read_request(asked(url), allowed, public=False)


def test_a_name_that_turns_out_private_is_not_called(tmp_path: Path) -> None:
    """The URL is fine, and was taken; what its name resolves to is not."""

    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(tmp_path / "db", log, clock)) as outbox:
            item, _ = await outbox.subscribe(asked(f"https://127.0.0.1.nip.invalid:{receiver.port}/"))
            log.append(decision(1))
            await until(lambda: outbox.counts.failed == 1)
            assert not receiver.got
            held = outbox.subscription(item.id)
            assert held is not None
            assert held.last_error

    asyncio.run(story())


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"url": 1}', b'{"url": "https://a.example.com", "secret": "x"}',
        asked("https://a.example.com", filter={"outcomes": ["denied"]}),
        asked("https://a.example.com", filter={"flags": ["odd"]}),
        asked("https://a.example.com", filter={"rules": [""]}),
        asked("https://a.example.com", filter={"rules": ["r"] * 101}),
        asked("https://a.example.com", filter={"rules": ["r" * 201]}),
        asked("https://a.example.com", filter={"min_score": "0.5"}),
        asked("https://a.example.com", filter={"min_scores": 0.5}),
        asked("https://a.example.com", start="yesterday"),
        asked("https://a.example.com", start="2026-01-01T00:00:00"),
        asked("https://a.example.com", start=-1),
        asked("https://a.example.com", start=2**63),
        asked("https://a.example.com", start=True),
        asked("https://a.example.com", description="d" * 201),
        asked("https://a.example.com/" + "x" * 2048),
        b'{"url": "https://a.example.com", "filter": {"min_score": 1e999}}',
        b'{"url":' * 5000,
    ],
    ids=lambda body: body[:60].decode("latin-1"),
)  # fmt: skip
def test_what_is_no_subscription_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookError):
        read_request(body, (), public=True)


def test_a_subscription_shows_no_secret() -> None:
    async def story(path: Path) -> None:
        outbox = made(path, ListLog(), Clock())
        item, secret = await outbox.subscribe(asked("https://hooks.example.com/x"))
        key = base64.b64decode(secret.removeprefix("whsec_"))
        assert repr(key)[2:-1] not in repr(item)
        assert secret.removeprefix("whsec_") not in json.dumps(item.as_data())
        outbox.close()

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder) / "db"))


def test_an_empty_filter_lets_all_through() -> None:
    assert Filter().matches(decision(1, outcome=0, score=None, hits=()))
