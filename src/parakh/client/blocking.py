"""`Client`: carries plans out over httpx, one after another in the caller's thread; threads may share one client."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from parakh.client import calls, lines
from parakh.client.errors import Unexpected
from parakh.client.exchange import END, Action, Emit, Failure, Plan, Pull, Reply, Send, Stream, as_method
from parakh.client.retrying import Policy
from parakh.client.transport import LIMITS, MOST_BYTES, Address, Remaining, failure_of, too_large

__all__ = ["Client"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _verb(call: Callable[Concatenate[Policy, _P], Plan[_T]]) -> Callable[Concatenate[Client, _P], _T]:
    """A plan as a method that runs it."""

    @functools.wraps(call)
    def verb(client: Client, *given: _P.args, **named: _P.kwargs) -> _T:
        return client._run(call(client._policy, *given, **named))

    return as_method(verb, call, "Client")


def _stream(call: Callable[Concatenate[Policy, _P], Stream[_T]]) -> Callable[Concatenate[Client, _P], Iterator[_T]]:
    """A stream as a method that yields its results."""

    @functools.wraps(call)
    def verb(client: Client, *given: _P.args, **named: _P.kwargs) -> Iterator[_T]:
        return client._each(call(client._policy, *given, **named))

    return as_method(verb, call, "Client")


class Client:
    """A client of the service, with a pool of connections; share one between threads, and close it at the end.

    `base_url` is PARAKH_URL or http://127.0.0.1:8321 unless given, `api_key` that of PARAKH_API_KEY. `timeout` is in
    seconds, for a call with all its retries. Two things may take longer: looking a host's name up, which the system
    bounds, and an answer that stalls halfway, which ends within twice the time (`AsyncClient` ends both on time).
    `transport` is an httpx transport: `httpx.HTTPTransport(verify=..., proxy=...)`, or a stand-in for tests.

    >>> answer = httpx.Response(200, json={"decision_id": "0", "outcome": "allow"})
    >>> with Client(transport=httpx.MockTransport(lambda request: answer)) as client:
    ...     client.decide("payment", {"payment_id": "p1", "amount": 10}).outcome
    'allow'
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 5.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._policy = Policy(timeout_s=timeout)
        self._address = Address.of(base_url, api_key)
        self._http = httpx.Client(
            headers=self._address.headers(), limits=LIMITS, transport=transport, verify=self._address.verify()
        )

    decide = _verb(calls.decide)
    decide_many = _stream(lines.decide_many)
    take_in = _verb(lines.take_in)
    label = _verb(lines.label)
    label_many = _verb(lines.label_many)
    post_alarms = _verb(calls.post_alarms)
    decision = _verb(calls.decision)
    decision_of = _verb(calls.decision_of)
    decisions = _stream(calls.decisions)
    entity = _verb(calls.entity)
    project = _verb(calls.project)
    check_project = _verb(calls.check_project)
    apply_project = _verb(calls.apply_project)
    versions = _verb(calls.versions)
    health = _verb(calls.health)
    ready = _verb(calls.ready)
    metrics = _verb(calls.metrics)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._address.base_url!r})"

    def _run(self, plan: Plan[_T]) -> _T:
        answer: Any = None
        while True:
            try:
                action = plan.send(answer)
            except StopIteration as done:
                return done.value
            answer = self._act(action)

    def _each(self, stream: Stream[_T]) -> Iterator[_T]:
        answer: Any = None
        while True:
            try:
                action = stream.send(answer)
            except StopIteration:
                return
            if isinstance(action, Emit):
                yield from action.items
                answer = None
            else:
                answer = self._act(action)

    def _act(self, action: Action) -> Any:
        if isinstance(action, Send):
            return self._send(action)
        if isinstance(action, Pull):
            return next(action.source, END)  # type: ignore[arg-type]  # an async one raises TypeError, and says so
        time.sleep(action.seconds)
        return None

    def _send(self, action: Send) -> Reply | Failure:
        timeouts = Remaining(action.seconds)
        try:
            response = self._http.send(self._address.request(self._http, action.request, timeouts), stream=True)
            try:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MOST_BYTES:
                        raise Unexpected(too_large())
                    if timeouts.over:
                        return Failure("timed_out", "the answer did not end in time")
            finally:
                response.close()
        except httpx.TransportError as error:
            return failure_of(error)
        return Reply(response.status_code, response.headers, bytes(body))
