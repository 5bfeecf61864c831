"""Limits: rates against a slow oracle, sizes and depths as they come, and what hostile bodies may cost."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import time
import tracemalloc
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parakh.service import limits as module
from parakh.service.access import Caller
from parakh.service.limits import Limits, Refusal, check_depth, check_json, check_keys
from parakh.service.settings import LimitSettings

SMALL = LimitSettings(event_bytes=1_000, batch_bytes=5_000_000, line_bytes=2_000, bulk_bytes=10_000, in_flight=3)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def caller(rate: float | None = None, name: str = "k") -> Caller:
    return Caller(name, name, frozenset({"decide"}), rate)


def sent(parts: Iterable[bytes], *, ends: bool = True) -> Any:
    """What a server hands on: the parts of a body, then its end or the caller's leaving."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b""} if ends else {"type": "http.disconnect"})
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    return receive


def read(parts: Iterable[bytes], headers: Any = (), limits: Limits | None = None, **more: Any) -> bytes | str:
    async def go() -> bytes:
        return await (limits or Limits(SMALL)).read_body(sent(parts, **more), headers)

    try:
        return asyncio.run(go())
    except Refusal as refused:
        return refused.problem.code


def stream(parts: Iterable[bytes], headers: Any = (), limits: Limits | None = None, **more: Any) -> bytes | str:
    async def go() -> bytes:
        return b"".join([part async for part in (limits or Limits(SMALL)).stream_body(sent(parts, **more), headers)])

    try:
        return asyncio.run(go())
    except Refusal as refused:
        return refused.problem.code


# -- rate and place ----------------------------------------------------------------------------------------------------


def test_a_rate_holds_over_any_time_and_refusals_say_when_to_come_back() -> None:
    seed = int(os.environ.get("PARAKH_SEED", random.randrange(2**32)))
    dice, clock = random.Random(seed), Clock()
    limits = Limits(LimitSettings(), monotonic=clock)
    let_in: list[float] = []
    for _ in range(5_000):
        clock.now += dice.choice([0.0, 0.001, 0.02, 0.3])
        refused = limits.enter(caller(10.0))
        if refused is None:
            limits.leave()
            let_in.append(clock.now)
        else:
            assert refused.code == "rate_limited", f"seed {seed}"
            assert dict(refused.headers)[b"retry-after"] == b"1"
    for first in range(0, len(let_in), 37):
        for last in range(first, min(first + 200, len(let_in))):
            assert last - first + 1 <= 10 + 10 * (let_in[last] - let_in[first]) + 1e-6, f"seed {seed}"
    assert len(let_in) > 0.9 * 10 * (let_in[-1] - let_in[0]), f"seed {seed}: less than the rate was let in"


def test_a_slow_rate_lets_one_in_and_then_waits() -> None:
    clock = Clock()
    limits = Limits(LimitSettings(), monotonic=clock)
    assert limits.enter(caller(0.5)) is None
    refused = limits.enter(caller(0.5))
    assert refused is not None
    assert dict(refused.headers)[b"retry-after"] == b"2"
    clock.now += 2
    assert limits.enter(caller(0.5)) is None


def test_each_key_has_its_own_rate_and_the_service_s_where_it_has_none() -> None:
    clock = Clock()
    limits = Limits(LimitSettings(rate_per_s=1.0), monotonic=clock)
    assert limits.enter(caller(name="a")) is None
    assert limits.enter(caller(name="a")) is not None
    assert limits.enter(caller(name="b")) is None
    assert all(limits.enter(caller(100.0, name="c")) is None for _ in range(50))


def test_what_a_batch_owes_is_waited_for() -> None:
    clock = Clock()
    limits = Limits(LimitSettings(), monotonic=clock)
    assert limits.enter(caller(10.0)) is None
    limits.charge(caller(10.0), 109)
    refused = limits.enter(caller(10.0))
    assert refused is not None
    assert dict(refused.headers)[b"retry-after"] == b"11"
    clock.now += 10.2
    assert limits.enter(caller(10.0)) is None


def test_places_are_given_and_given_back() -> None:
    limits = Limits(SMALL)
    assert [limits.enter(caller()) for _ in range(3)] == [None] * 3
    refused = limits.enter(caller())
    assert refused is not None
    assert (refused.code, refused.status) == ("overloaded", 429)
    assert b"retry-after" in dict(refused.headers)
    limits.leave()
    assert limits.enter(caller()) is None


def test_buckets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BUCKETS", 5)
    limits = Limits(LimitSettings(in_flight=100))
    for number in range(50):
        limits.enter(caller(5.0, name=str(number)))
    assert len(limits._buckets) <= 5


# -- bodies ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=400), max_size=6))
def test_a_body_is_its_parts_up_to_the_limit(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    assert read(parts) == (whole if len(whole) <= SMALL.event_bytes else "body_too_large")


def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("it was read")

    for value in (b"1001", b"9" * 500, b"100000000"):
        with pytest.raises(Refusal) as raised:
            asyncio.run(Limits(SMALL).read_body(receive, [(b"content-length", value)]))
        assert raised.value.problem.status == 413
    for value in (b"-1", b"+5", b"1e3", b"", b"\xb2", b"0x10"):
        with pytest.raises(Refusal) as raised:
            asyncio.run(Limits(SMALL).read_body(receive, [(b"content-length", value)]))
        assert raised.value.problem.code == "bad_request"


def test_a_caller_that_leaves_is_no_body() -> None:
    assert read([b"{"], ends=False) == "bad_request"
    assert stream([b"{"], ends=False) == "bad_request"


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_TIMEOUT_S", 0.02)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(5)
        raise AssertionError("it was waited for")

    async def slowly() -> dict[str, Any]:
        await asyncio.sleep(0.005)
        return {"type": "http.request", "body": b"x", "more_body": True}

    for waited in (receive, slowly):
        with pytest.raises(Refusal) as raised:
            asyncio.run(Limits(SMALL).read_body(waited, ()))
        assert raised.value.problem.code == "request_timeout"

    async def first_part() -> None:
        async for _ in Limits(SMALL).stream_body(receive, ()):
            pass

    with pytest.raises(Refusal) as raised:
        asyncio.run(first_part())
    assert raised.value.problem.status == 408


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3_000), max_size=5), st.integers(1, 700))
def test_a_batch_is_streamed_packed_or_not_as_long_as_its_lines_are_short(lines: list[bytes], step: int) -> None:
    body = b"\n".join(lines)
    expected = body if max(map(len, body.split(b"\n"))) <= SMALL.line_bytes else "line_too_long"
    assert stream([body[at : at + step] for at in range(0, len(body), step)]) == expected
    assert stream([body]) == expected
    packed = gzip.compress(body)
    headers = [(b"content-encoding", b"gzip")]
    found = stream([packed[at : at + step] for at in range(0, len(packed), step)], headers)
    assert found == expected or (found == "body_too_large" and len(packed) * 100 < len(body))
    two = gzip.compress(body[: len(body) // 2]) + gzip.compress(body[len(body) // 2 :])
    assert stream([two], headers) == expected


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, gzip", b"zstd", b"\xff"])
def test_other_packings_are_not_taken(encoding: bytes) -> None:
    assert stream([b"{}"], [(b"content-encoding", encoding)]) == "unsupported_encoding"
    assert read([b"{}"], [(b"content-encoding", encoding)]) == "unsupported_encoding"
    assert read([gzip.compress(b"{}")], [(b"content-encoding", b"gzip")]) == "unsupported_encoding"
    assert stream([b""], [(b"content-encoding", b"gzip"), (b"content-encoding", b"gzip")]) == "unsupported_encoding"


@pytest.mark.parametrize(
    "body",
    [b"{}", gzip.compress(b"{}" * 50)[:-9], gzip.compress(b"{}") + b"rest", zlib.compress(b"{}")],
    ids=["plain", "cut", "more", "zlib"],
)
def test_what_is_not_gzip_is_told(body: bytes) -> None:
    assert stream([body], [(b"content-encoding", b"gzip")]) == "bad_request"


# -- JSON --------------------------------------------------------------------------------------------------------------

pieces = st.lists(
    st.sampled_from([b"{", b"[", b"]", b"}", b'"', b"\\", b'\\"', b"a", b":", b",", b" ", b"\n", b"\\\\"])
)


def slow_depth(body: bytes) -> int | None:
    """The deepest nesting, byte by byte; None where a backslash stands outside of strings, which is no JSON."""
    depth = deepest = 0
    inside = escaped = False
    for byte in body:
        if escaped:
            escaped = False
        elif inside and byte == 0x5C:
            escaped = True
        elif byte == 0x22:
            inside = not inside
        elif not inside and byte == 0x5C:
            return None
        elif not inside:
            depth += (byte in b"[{") - (byte in b"]}")
            deepest = max(deepest, depth)
    return deepest


@settings(max_examples=500)
@given(pieces, st.integers(0, 4))
def test_depth_agrees_with_a_reader_that_goes_byte_by_byte(parts: list[bytes], depth: int) -> None:
    body = b"".join(parts)
    expected = slow_depth(body)
    assume(expected is not None)
    assert (check_depth(body, depth) is not None) == (expected > depth)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just('":'), st.just("a")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(st.tuples(st.sampled_from(["a", "b", 'c"', "d\\", "é", "", ":"]), inner), max_size=4),
    ),
    max_leaves=12,
)


def written(value: Any, dice: random.Random) -> tuple[str, bool]:
    """JSON of a value, where a list of pairs is an object; and whether an object has a key twice."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        names = [name for name, _ in value]
        parts, twice = [], len(set(names)) != len(names)
        for name, inner in value:
            text, below = written(inner, dice)
            key = json.dumps(name, ensure_ascii=dice.random() < 0.5)
            if dice.random() < 0.2 and name == "a":
                key = '"\\u0061"'
            parts.append(f"{key}{dice.choice(['', '', ' ', chr(10)])}:{dice.choice(['', ' '])}{text}")
            twice |= below
        return "{" + ",".join(parts) + "}", twice
    if isinstance(value, list):
        told = [written(inner, dice) for inner in value]
        return "[" + ", ".join(text for text, _ in told) + "]", any(twice for _, twice in told)
    return json.dumps(value, ensure_ascii=dice.random() < 0.5), False


@settings(max_examples=600, deadline=None)
@given(values, st.integers(0, 2**32))
def test_keys_that_come_twice_are_found_and_no_others(value: Any, seed: int) -> None:
    text, twice = written(value, random.Random(seed))
    assert (check_keys(text.encode()) is not None) == twice, text


@given(st.one_of(st.binary(max_size=60), pieces.map(b"".join)))
def test_no_bytes_break_the_checks(body: bytes) -> None:
    check_depth(body, 3)
    check_keys(body)


MB = 2**20
HOSTILE = {
    "depth 100,000": (b'{"a":' * 100_000, "too_deep"),
    "brackets, 1 MB": (b"[" * MB, "too_deep"),
    "brackets and quotes": (b'[{}"a",' * (MB // 7), "too_deep"),
    "quotes, 1 MB": (b'"' * MB, None),
    "backslashes, 1 MB": (b'"' + b"\\" * (MB - 1), None),
    "lists, 1 MB": (b"[" + b"[]," * (MB // 3 - 1) + b"1]", None),
    "NaN": (b'{"amount": NaN, "amount": NaN}', "duplicate_key"),
    "a number of a million digits": (b'{"a":' + b"9" * (MB - 10) + b"}", None),
    "duplicate keys": (b"{" + b'"amount":1,' * 1_000 + b'"amount":2}', "duplicate_key"),
    "half a surrogate": (b'{"a":"\\ud800","a" :1}', "duplicate_key"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_costs_little(name: str) -> None:
    """S18. 100 ms is the goal on a quiet machine; the test's own bound is loose, since others work beside it."""
    body, expected = HOSTILE[name]
    limits = Limits(LimitSettings())
    taken = []
    for _ in range(3):
        begun = time.process_time()
        found = check_json(body, limits.settings.depth)
        taken.append(time.process_time() - begun)
    assert (found.code if found else None) == expected
    assert min(taken) < 0.5
    tracemalloc.start()
    check_json(body, limits.settings.depth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * MB


def test_a_bomb_is_stopped_while_it_is_small() -> None:
    """S18: gzip 1000:1."""
    bomb = gzip.compress(b"\n" * (200 * MB), 9)
    assert len(bomb) < MB
    limits = Limits(LimitSettings())
    tracemalloc.start()
    begun = time.process_time()
    parts = [bomb[at : at + 65_536] for at in range(0, len(bomb), 65_536)]
    found = []

    async def go() -> None:
        async for part in limits.stream_body(sent(parts), [(b"content-encoding", b"gzip")]):
            found.append(len(part))

    with pytest.raises(Refusal) as raised:
        asyncio.run(go())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raised.value.problem.code == "body_too_large"
    assert sum(found) < MB
    assert time.process_time() - begun < 1.0
    assert peak < 50 * MB


def test_a_hundred_megabytes_that_are_not_announced_are_cut_off_at_the_limit() -> None:
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 65_536
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": taken < 100 * MB}

    with pytest.raises(Refusal) as raised:
        asyncio.run(Limits(LimitSettings()).read_body(receive, ()))
    assert raised.value.problem.status == 413
    assert taken <= MB + 2 * 65_536
