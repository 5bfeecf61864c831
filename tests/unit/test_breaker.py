"""The circuit breaker against a plain model that keeps every outcome."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.service.breaker import Breaker, BreakerState


class Plain:
    """The breaker as its documentation says it, over whole histories."""

    def __init__(self) -> None:
        self.outcomes: list[bool] = []  # since it closed last; True: failed
        self.waits: list[float] = []  # since it closed last
        self.opened_at = 0.0
        self.probe = False

    def state(self, now: float) -> BreakerState:
        if not self.waits:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.opened_at + self.waits[-1] else BreakerState.HALF_OPEN

    def admits(self, now: float) -> bool:
        state = self.state(now)
        if state is BreakerState.HALF_OPEN and not self.probe:
            self.probe = True
            return True
        return state is BreakerState.CLOSED

    def outcome(self, failed: bool, now: float) -> None:
        if self.waits:
            self.probe = False
            if failed:
                self.waits.append(min(60.0, 5.0 * 2 ** len(self.waits)))
                self.opened_at = now
            else:
                self.waits, self.outcomes = [], []
            return
        self.outcomes.append(failed)
        if self.outcomes[-5:] == [True] * 5 or sum(self.outcomes[-20:]) > 10:
            self.waits, self.opened_at = [5.0], now


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.booleans()),
        st.tuples(st.just("call"), st.just(True)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.5, 4.999, 5.0, 10.0, 39.0, 60.0, 61.0])),
        st.tuples(st.just("begin"), st.booleans()),
        st.tuples(st.just("end"), st.booleans()),
    ),
    max_size=120,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_it_does_what_the_plain_model_does(steps: list[tuple[str, float | bool]]) -> None:
    now = [0.0]
    breaker, plain = Breaker(lambda: now[0]), Plain()
    under_way: list[tuple[int, int]] = []  # (ticket, how often the model had changed when it was given)
    changes = 0
    for what, value in steps:
        before = plain.waits.copy()
        if what == "wait":
            now[0] += float(value)
        elif what == "end":
            if under_way:
                ticket, epoch = under_way.pop(0)
                if epoch == changes:
                    plain.outcome(bool(value), now[0])
                (breaker.failed if value else breaker.succeeded)(ticket)
        else:
            ticket_or_none = breaker.ask()
            assert (ticket_or_none is not None) == plain.admits(now[0])
            if ticket_or_none is not None and what == "call":
                plain.outcome(bool(value), now[0])
                (breaker.failed if value else breaker.succeeded)(ticket_or_none)
            elif ticket_or_none is not None:
                under_way.append((ticket_or_none, changes))
        changes += plain.waits != before
        assert breaker.state is plain.state(now[0])


@given(st.lists(st.booleans(), max_size=60))
@settings(max_examples=200, deadline=None)
def test_what_only_fails_is_left_alone_within_20_failures_whatever_came_before(before: list[bool]) -> None:
    breaker = Breaker(lambda: 0.0)
    for failed in before:
        ticket = breaker.ask()
        (breaker.failed if failed else breaker.succeeded)(ticket)
    failures = 0
    while (ticket := breaker.ask()) is not None:
        breaker.failed(ticket)
        failures += 1
    assert failures <= 5
    assert breaker.state is BreakerState.OPEN


def test_the_wait_doubles_up_to_a_minute_and_one_success_closes() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(5):
        breaker.failed(breaker.ask())
    for wait in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        now[0] += wait - 0.25
        assert breaker.ask() is None
        now[0] += 0.25
        assert breaker.state is BreakerState.HALF_OPEN
        probe = breaker.ask()
        assert probe is not None
        assert breaker.ask() is None, "one probe at a time"
        breaker.failed(probe)
    now[0] += 60.0
    breaker.succeeded(breaker.ask())
    assert breaker.state is BreakerState.CLOSED
    for _ in range(4):
        breaker.failed(breaker.ask())
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(breaker.ask())
    assert breaker.state is BreakerState.OPEN
    assert breaker.opened == 8  # six probes have failed
