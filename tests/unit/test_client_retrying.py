"""The plan of retries, tried without a network on a clock of its own: deadline, tries, waits, and the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakh.client import Decision, Overloaded, Refused, ServerFailed, TimedOut, Unreachable
from parakh.client.calls import decide
from parakh.client.errors import ClientError
from parakh.client.exchange import Failure, Reply, Request, Send, Wait
from parakh.client.retrying import Policy, retry_after_s

DECIDED = Reply(200, {}, b'{"decision_id":"d1","outcome":"block"}')


@dataclass
class World:
    """A network and a clock: a script of (what comes of a try, how long it takes); chance is a script too."""

    script: list[tuple[Reply | Failure, float]]
    chances: list[float] = field(default_factory=lambda: [0.5])
    now: float = 100.0
    tries: list[tuple[Request, float]] = field(default_factory=list)
    came: list[Reply | Failure] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def policy(self, timeout_s: float, tries: int = 8) -> Policy:
        return Policy(timeout_s=timeout_s, tries=tries, clock=lambda: self.now, chance=self.chance)

    def chance(self) -> float:
        return self.chances[len(self.waits) % len(self.chances)]

    def run(self, policy: Policy, fallback: str | None = None) -> Decision:
        plan = decide(policy, "payment", {"payment_id": "p1"}, fallback=fallback)  # type: ignore[arg-type]
        answer: Reply | Failure | None = None
        while True:
            try:
                action = plan.send(answer)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            answer = None
            if isinstance(action, Send):
                told, takes = self.script[min(len(self.tries), len(self.script) - 1)]
                self.tries.append((action.request, action.seconds))
                if takes > action.seconds:
                    told, takes = Failure("timed_out", "nothing came in time"), action.seconds
                self.now += takes
                self.came.append(told)
                answer = told
            else:
                assert isinstance(action, Wait)
                self.waits.append(action.seconds)
                self.now += action.seconds


_TOLD = st.sampled_from(
    [
        DECIDED,
        Reply(429, {"retry-after": "1"}, b""),
        Reply(429, {}, b""),
        Reply(503, {"retry-after": "3"}, b""),
        Reply(502, {}, b"<html>"),
        Reply(500, {}, b""),
        Reply(422, {}, b'{"code":"conflict","status":422}'),
        Reply(401, {}, b'{"code":"unauthorized","status":401}'),
        Failure("unreachable", "connection refused"),
        Failure("broken", "closed"),
    ]
)


@given(
    script=st.lists(st.tuples(_TOLD, st.floats(0.0, 2.0)), min_size=1, max_size=12),
    chances=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=5),
    timeout_s=st.floats(0.01, 10.0),
    most=st.integers(1, 10),
)
def test_a_call_keeps_its_deadline_its_tries_and_its_bytes(
    script: list[tuple[Reply | Failure, float]], chances: list[float], timeout_s: float, most: int
) -> None:
    world = World(script, chances)
    policy = world.policy(timeout_s, most)
    error: ClientError | None = None
    try:
        assert world.run(policy).outcome == "block"
    except ClientError as raised:
        error = raised
    assert world.now - 100.0 <= timeout_s + 1e-9
    assert 1 <= len(world.tries) <= most
    assert len(world.waits) == len(world.tries) - 1
    assert len({request for request, _ in world.tries}) == 1, "the same bytes under the same id, on every try"
    enough = 0.03 * timeout_s
    assert all(seconds >= enough for _, seconds in world.tries), "no try without time to be answered in"
    assert all(0 <= wait <= policy.timeout_s for wait in world.waits)
    *passed, last = world.came
    assert all(_may_pass(told) for told in passed), "what settles the matter ends the call"
    if error is None:
        assert last == DECIDED
    elif isinstance(last, Failure):
        assert isinstance(error, TimedOut if last.kind == "timed_out" else Unreachable)
    else:
        assert isinstance(error, Overloaded if last.status in (429, 503) else Refused)


def _may_pass(told: Reply | Failure) -> bool:
    return isinstance(told, Failure) or told.status in (429, 502, 503, 504)


@given(chances=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=8))
def test_waits_are_a_share_of_a_limit_that_doubles(chances: list[float]) -> None:
    world = World([(Failure("unreachable", "refused"), 0.0)], chances)
    policy = world.policy(1000.0, tries=12)
    with pytest.raises(Unreachable, match="12 tries"):
        world.run(policy)
    for number, wait in enumerate(world.waits):
        assert wait == pytest.approx(chances[number % len(chances)] * min(2.0, 0.05 * 2**number))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422])
def test_what_will_not_change_is_not_tried_again(status: int) -> None:
    world = World([(Reply(status, {}, b""), 0.0)])
    with pytest.raises(Refused):
        world.run(world.policy(5.0))
    assert len(world.tries) == 1


def test_a_mistake_of_the_server_is_not_tried_again() -> None:
    world = World([(Reply(500, {}, b""), 0.0)])
    with pytest.raises(ServerFailed):
        world.run(world.policy(5.0))
    assert len(world.tries) == 1


def test_the_wait_that_is_asked_for_is_kept() -> None:
    world = World([(Reply(503, {"retry-after": "2"}, b""), 0.0), (DECIDED, 0.0)])
    assert world.run(world.policy(5.0)).outcome == "block"
    assert 2.0 <= world.waits[0] < 2.1


def test_a_wait_beyond_the_deadline_ends_the_call_at_once() -> None:
    world = World([(Reply(429, {"retry-after": "60"}, b'{"code":"overloaded","status":429}'), 0.01)])
    with pytest.raises(Overloaded, match="asks for 60 s more") as refused:
        world.run(world.policy(5.0))
    assert refused.value.retry_after_s == 60
    assert world.waits == []
    assert world.now < 101.0


def test_a_try_that_hangs_leaves_time_for_another() -> None:
    world = World([(DECIDED, 99.0), (DECIDED, 0.01)], chances=[0.0])
    assert world.run(world.policy(1.0)).outcome == "block"
    assert [seconds for _, seconds in world.tries] == pytest.approx([0.75, 0.1875])


@pytest.mark.parametrize(
    "told",
    [
        Failure("unreachable", "refused"),
        Failure("broken", "closed"),
        Failure("timed_out", "late"),
        Reply(503, {}, b""),
        Reply(504, {}, b""),
        Reply(500, {}, b""),
    ],
    ids=str,
)
def test_a_payment_goes_on_with_the_fallback(told: Reply | Failure) -> None:
    world = World([(told, 0.01)])
    decision = world.run(world.policy(0.2), fallback="review")
    assert (decision.outcome, decision.flags, decision.decision_id) == ("review", ("unanswered",), "")
    assert decision.unanswered
    assert world.now <= 100.2


def test_a_refusal_is_not_covered_by_the_fallback() -> None:
    for status in (401, 404, 422):
        world = World([(Reply(status, {}, b""), 0.0)])
        with pytest.raises(Refused):
            world.run(world.policy(1.0), fallback="allow")


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        (format_datetime(NOW + timedelta(seconds=5), usegmt=True), 5.0),
        (format_datetime(NOW - timedelta(seconds=5), usegmt=True), 0.0),
        ("9" * 400, 999999999.0),
        ("-1", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read(text: str, seconds: float | None) -> None:
    assert retry_after_s(Reply(503, {"retry-after": text}, b""), lambda: NOW) == seconds
