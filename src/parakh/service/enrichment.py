"""Asks services outside about an event before it is decided: in time, within bounds, the answer's types checked.

What is asked is a project's `enrichment`. An answer becomes part of the event as it is stored, so that a replay asks
nobody. One that is late, broken or of another type than was declared is none at all: its columns are NULL, and where it
is needed the decision is degraded. Values of events go into the request and nowhere else: nothing here logs.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import ssl
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from parakh.decisions.definition import Definitions, Enrichment, EnrichmentColumn
from parakh.decisions.enrichments import FROM_ENVIRONMENT, template_of
from parakh.decisions.hosts import pins_of, vetted
from parakh.errors import Problem, ProjectError
from parakh.events.convert import convert, find_path, parse_json
from parakh.events.definition import EventType, Field
from parakh.events.reasons import Reason, Refused
from parakh.expressions.types import Kind, Type
from parakh.service.addresses import Resolve, Vetting, trusted
from parakh.service.asking import Asker
from parakh.service.breaker import Breaker, Clock

__all__ = ["EnrichmentCounts", "Enrichments", "check_environment"]

_FLIGHTS = 64  # calls under way at once, for each enrichment
_CACHED = 10_000  # answers kept, for each enrichment
_BODY_BYTES = 64 * 1024
_TARGET_LENGTH = 4_096
_TEXT_LENGTH = 1_024
_MOMENT_S = 0.005
_ORIGIN = re.compile(r"https?://[^/?]*")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Values = dict[str, Any]
"""An answer as it is stored: column -> value of JSON, None where it is unknown."""


@dataclass(slots=True)
class EnrichmentCounts:
    """What became of the questions of one enrichment, since the service started."""

    asked: int = 0  # calls made
    answered: int = 0  # calls that gave an answer
    failed: int = 0  # calls without a usable answer: refused, not 200, too large, not JSON, of another type
    timed_out: int = 0  # calls without an answer in time
    cached: int = 0  # events that were answered from the cache
    joined: int = 0  # events that waited for a call that was under way for another
    broken: int = 0  # events that were not asked for, as the breaker was open
    crowded: int = 0  # events that were not asked for, as too many calls were under way
    hurried: int = 0  # events whose own time was up before the call's
    unasked: int = 0  # events without a value that the URL asks with, or with one that no URL can carry

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(what, how many), in this order."""
        return ((item.name, getattr(self, item.name)) for item in fields(self))


def check_environment(definitions: Definitions, environment: Mapping[str, str] = os.environ) -> None:
    """Raise ProjectError where a header's variable is missing: before a version takes over, not after."""
    for item in definitions.enrichments:
        _headers(item, environment)


class Enrichments:
    """The enrichments of one version of a project (its own definitions, not those of its stored events).

    For one event loop; `aclose` it when another version has taken over.

    `clock` is monotonic, in seconds; `resolve` and `verify` stand in for the system's name servers and trusted
    certificates. Raises ProjectError where a header's variable is missing in the environment.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        clock: Clock,
        resolve: Resolve | None = None,
        verify: ssl.SSLContext | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._by_type: dict[str, tuple[_Caller, ...]] = {}
        self._vetting: Vetting | None = None
        if not definitions.enrichments:
            return
        pins = pins_of(definitions.settings.enrichment_hosts)
        self._vetting = Vetting(pins, resolve=resolve)
        for item in definitions.enrichments:
            question = _Question(item, definitions.event_type(item.event_type))
            origin = vetted(question.origin, pins)
            if origin.scheme == "https" and verify is None:
                verify = trusted()
            headers = _headers(item, environment)
            asker = Asker(origin, self._vetting, headers=headers, body_bytes=_BODY_BYTES, verify=verify)
            caller = _Caller(item, question, asker, clock)
            self._by_type[item.event_type] = (*self._by_type.get(item.event_type, ()), caller)

    @property
    def counts(self) -> dict[str, EnrichmentCounts]:
        """By enrichment."""
        return {caller.name: caller.counts for caller in self._callers()}

    @property
    def breakers(self) -> dict[str, Breaker]:
        """By enrichment."""
        return {caller.name: caller.breaker for caller in self._callers()}

    def asks(self, event_type: str) -> bool:
        """Whether anything is asked for events of the type."""
        return event_type in self._by_type

    async def answer(self, event_type: str, event: Mapping[str, Any], budget_s: float) -> tuple[dict[str, Any], bool]:
        """The keys to add to the stored event, and whether an answer that its decision needs is missing.

        All enrichments of the type are asked at once; none is waited for longer than its own timeout and `budget_s`.
        `event` is the event's JSON object. Where the URL asks with a field that is NULL there is nothing to ask, and
        nothing is missing: the columns are NULL as all is that is computed from what is unknown.
        """
        callers = self._by_type.get(event_type)
        if callers is None:
            return {}, False
        if len(callers) == 1:
            answers = [await callers[0].answer(event, budget_s)]
        else:
            answers = await asyncio.gather(*(caller.answer(event, budget_s) for caller in callers))
        added = {f"~{caller.name}": found.values for caller, found in zip(callers, answers) if found.values is not None}
        return added, any(found.missing for found in answers)

    async def aclose(self) -> None:
        """Let end what is under way, which its timeout bounds, and close the connections.

        Events that were on their way when another version took over are so answered by the version that they asked.
        """
        await asyncio.gather(*(caller.aclose() for caller in self._callers()))
        if self._vetting is not None:
            self._vetting.close()

    def _callers(self) -> Iterator[_Caller]:
        return (caller for callers in self._by_type.values() for caller in callers)


@dataclass(frozen=True, slots=True)
class _Answer:
    values: Values | None
    missing: bool


_NOTHING_TO_ASK = _Answer(None, False)


@dataclass(slots=True)
class _Caller:
    """Asks one enrichment's service: cache, single flight, breaker and bounds."""

    enrichment: Enrichment
    question: _Question
    asker: Asker
    clock: Clock
    counts: EnrichmentCounts = field(default_factory=EnrichmentCounts)
    breaker: Breaker = field(init=False)
    _missing: _Answer = field(init=False)
    _flights: dict[str, asyncio.Task[Values | None]] = field(default_factory=dict)
    _cache: OrderedDict[str, tuple[float, Values]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.clock)
        self._missing = _Answer(None, self.enrichment.needed)

    @property
    def name(self) -> str:
        return self.enrichment.name

    async def answer(self, event: Mapping[str, Any], budget_s: float) -> _Answer:
        try:
            target = self.question.target(event)
        except _Unaskable:
            self.counts.unasked += 1
            return self._missing
        if target is None:
            self.counts.unasked += 1
            return _NOTHING_TO_ASK
        values = self._cached(target)
        if values is not None:
            self.counts.cached += 1
            return _Answer(values, False)
        if budget_s <= 0:
            self.counts.hurried += 1
            return self._missing
        flight = self._flight(target)
        if flight is None:
            return self._missing
        # Not cancelled with this event: others may wait for it, and its answer serves the next one. It keeps its own
        # time, and is given a moment to say that it is up.
        own_s = self.enrichment.timeout_us / 1e6
        done, _ = await asyncio.wait((flight,), timeout=min(own_s + _MOMENT_S, budget_s))
        if not done:
            self.counts.hurried += 1
            return self._missing
        values = None if flight.cancelled() else flight.result()  # cancelled with its loop
        return self._missing if values is None else _Answer(values, False)

    def _cached(self, target: str) -> Values | None:
        held = self._cache.get(target)
        if held is None:
            return None
        if self.clock() >= held[0]:
            del self._cache[target]
            return None
        self._cache.move_to_end(target)
        return held[1]

    def _flight(self, target: str) -> asyncio.Task[Values | None] | None:
        """The call that is under way for a URL, or a new one; None where there can be none now."""
        flight = self._flights.get(target)
        if flight is not None:
            self.counts.joined += 1
            return flight
        if len(self._flights) >= _FLIGHTS:
            self.counts.crowded += 1
            return None
        ticket = self.breaker.ask()
        if ticket is None:
            self.counts.broken += 1
            return None
        self.counts.asked += 1
        flight = asyncio.create_task(self._fly(target, ticket))
        self._flights[target] = flight
        flight.add_done_callback(lambda _: self._flights.pop(target, None))
        return flight

    async def _fly(self, target: str, ticket: int) -> Values | None:
        """One call, whole: its answer, or None; the breaker learns of it, and the cache."""
        succeeded = False
        try:
            async with asyncio.timeout(self.enrichment.timeout_us / 1e6):
                values = self.question.read(await self._body(target))
            succeeded = True
        except TimeoutError:
            self.counts.timed_out += 1
            return None
        except Exception:  # whatever the network and its libraries raise: the event is decided without an answer
            self.counts.failed += 1
            return None
        finally:
            (self.breaker.succeeded if succeeded else self.breaker.failed)(ticket)
        self.counts.answered += 1
        if self.enrichment.cache_us:
            self._cache[target] = (self.clock() + self.enrichment.cache_us / 1e6, values)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return values

    async def _body(self, target: str) -> bytes:
        reply = await self.asker.get(target)
        if reply.status != 200 or reply.encoding not in ("", "identity"):
            raise _Unusable
        return reply.body

    async def aclose(self) -> None:
        if self._flights:
            await asyncio.wait(self._flights.values())
        self.asker.close()


class _Unaskable(Exception):
    """A value of the event that cannot go into the URL."""


class _Unusable(Exception):
    """An answer that is none."""


class _Question:
    """An enrichment's URL over an event, and its columns over an answer."""

    def __init__(self, enrichment: Enrichment, event: EventType) -> None:
        self._pieces: list[tuple[str, Field]] = []
        begin = _ORIGIN.match(enrichment.url)
        end = begin.end() if begin else 0
        self.origin = enrichment.url[:end]
        for hole in template_of(enrichment.url):
            self._pieces.append((enrichment.url[end : hole.start], event.field(hole.field)))
            end = hole.end
        self._rest = enrichment.url[end:]
        self._columns = enrichment.columns

    def target(self, event: Mapping[str, Any]) -> str | None:
        """The path and query of the URL; None where a value that it asks with is NULL. Raises _Unaskable."""
        parts: list[str] = []
        for text, item in self._pieces:
            source = item.source or item.name
            try:
                value = convert(find_path(event, source, tuple(source.split("."))), item.type)
                if value is None:
                    return None
                parts += (text, quote(_text(value, item.type), safe=""))
            except Refused:
                raise _Unaskable from None  # the event will be refused for the same reason
        target = "".join((*parts, self._rest))
        if not target.startswith("/"):
            target = f"/{target}"
        path = target.partition("?")[0].split("/")
        if len(target) > _TARGET_LENGTH or "." in path or ".." in path:  # a path that would lead elsewhere
            raise _Unaskable
        return target

    def read(self, body: bytes) -> Values:
        """The columns of an answer. Raises _Unusable where it is not what was declared.

        A column that the answer leaves out is unknown; an answer without any of them is an answer to something else.
        """
        try:
            parsed = parse_json(body)
            if parsed.constants or not isinstance(parsed.value, dict):
                raise _Unusable
            values, known = {}, False
            for column in self._columns:
                found = _Found(parsed.value, column)
                known = known or found.present
                values[column.name] = _stored(convert(found.value, column.type), column.type)
        except Refused:
            raise _Unusable from None
        if not known:
            raise _Unusable
        return values


class _Found:
    """A column's value in an answer, and whether the answer has its key at all."""

    __slots__ = ("present", "value")

    def __init__(self, answer: Mapping[str, Any], column: EnrichmentColumn) -> None:
        source = column.source or column.name
        path = source.split(".")
        self.value = find_path(answer, source, tuple(path))
        self.present = self.value is not None or source in answer
        if not self.present and len(path) > 1:
            inner = find_path(answer, ".".join(path[:-1]), tuple(path[:-1]))
            self.present = isinstance(inner, Mapping) and path[-1] in inner


def _text(value: int | float | str, type: Type) -> str:
    """A converted value as a URL has it: an amount in major units, a time in ISO 8601."""
    if isinstance(value, str):
        return value
    if type.kind is Kind.BOOLEAN:
        return "true" if value else "false"
    if type.kind is Kind.MONEY:
        return f"{Decimal(value).scaleb(-type.digits):f}"
    if type.kind is Kind.TIMESTAMP:
        return _iso(int(value))
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else str(value)


def _stored(value: int | float | str | None, type: Type) -> Any:
    """A converted value as JSON says it, so that it is read again as the same. Raises Refused."""
    if isinstance(value, str):
        if len(value) > _TEXT_LENGTH:
            raise _Unusable
        return value
    if value is None or type.kind in (Kind.NUMBER, Kind.INTEGER):
        return value
    return bool(value) if type.kind is Kind.BOOLEAN else _text(value, type)


def _iso(time_us: int) -> str:
    try:
        at = _EPOCH + datetime.timedelta(microseconds=time_us)
    except OverflowError:
        raise Refused(Reason.OUT_OF_RANGE) from None
    return f"{at.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _headers(enrichment: Enrichment, environment: Mapping[str, str]) -> dict[str, str]:
    """The headers of an enrichment's requests. Raises ProjectError."""
    headers = {"accept": "application/json"}
    for name, value in enrichment.headers:
        if value.startswith(FROM_ENVIRONMENT):
            variable = value.removeprefix(FROM_ENVIRONMENT)
            secret = environment.get(variable, "").strip()
            if not secret or not secret.isascii() or not secret.isprintable():
                what = "is not a header's value" if secret else "is not set"
                message = f"enrichment {enrichment.name!r}: {variable} of the environment {what}"
                raise ProjectError((Problem(message, hint="set it where the service is started"),))
            value = secret
        headers[name] = value
    return headers
