"""`AsyncClient`: carries the same plans out over httpx, awaiting in the caller's event loop (asyncio or Trio)."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import httpx

from parakh.client import calls, lines
from parakh.client.errors import Unexpected
from parakh.client.exchange import END, Action, Emit, Failure, Plan, Pull, Reply, Send, Stream, as_method
from parakh.client.retrying import Policy
from parakh.client.transport import LIMITS, MOST_BYTES, Address, Remaining, failure_of, too_large

__all__ = ["AsyncClient"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _verb(call: Callable[Concatenate[Policy, _P], Plan[_T]]) -> Callable[Concatenate[AsyncClient, _P], Awaitable[_T]]:
    """A plan as a method to await."""

    @functools.wraps(call)
    async def verb(client: AsyncClient, *given: _P.args, **named: _P.kwargs) -> _T:
        return await client._run(call(client._policy, *given, **named))

    return as_method(verb, call, "AsyncClient")


def _stream(
    call: Callable[Concatenate[Policy, _P], Stream[_T]],
) -> Callable[Concatenate[AsyncClient, _P], AsyncIterator[_T]]:
    """A stream as a method to iterate with `async for`."""

    @functools.wraps(call)
    def verb(client: AsyncClient, *given: _P.args, **named: _P.kwargs) -> AsyncIterator[_T]:
        return client._each(call(client._policy, *given, **named))

    return as_method(verb, call, "AsyncClient")


class AsyncClient:
    """As `Client`, to be awaited, in one event loop; what takes an iterable of events takes an async one too.

    >>> async def ask(transport):
    ...     async with AsyncClient(transport=transport) as client:
    ...         return (await client.decide("payment", {"payment_id": "p1"})).outcome
    >>> answer = httpx.Response(200, json={"decision_id": "0", "outcome": "allow"})
    >>> anyio.run(ask, httpx.MockTransport(lambda request: answer))
    'allow'
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 5.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._policy = Policy(timeout_s=timeout)
        self._address = Address.of(base_url, api_key)
        self._http = httpx.AsyncClient(
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

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._address.base_url!r})"

    async def _run(self, plan: Plan[_T]) -> _T:
        answer: Any = None
        while True:
            try:
                action = plan.send(answer)
            except StopIteration as done:
                return done.value
            answer = await self._act(action)

    async def _each(self, stream: Stream[_T]) -> AsyncIterator[_T]:
        answer: Any = None
        while True:
            try:
                action = stream.send(answer)
            except StopIteration:
                return
            if isinstance(action, Emit):
                for item in action.items:
                    yield item
                answer = None
            else:
                answer = await self._act(action)

    async def _act(self, action: Action) -> Any:
        if isinstance(action, Send):
            return await self._send(action)
        if isinstance(action, Pull):
            if isinstance(action.source, AsyncIterator):
                return await anext(action.source, END)
            return next(action.source, END)
        await anyio.sleep(action.seconds)
        return None

    async def _send(self, action: Send) -> Reply | Failure:
        timeouts = Remaining(action.seconds)
        try:
            with anyio.move_on_after(action.seconds):
                response = await self._http.send(
                    self._address.request(self._http, action.request, timeouts), stream=True
                )
                try:
                    body = bytearray()
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) > MOST_BYTES:
                            raise Unexpected(too_large())
                finally:
                    await response.aclose()
                return Reply(response.status_code, response.headers, bytes(body))
        except httpx.TransportError as error:
            return failure_of(error)
        return Failure("timed_out", "the answer did not come in time")
