"""What a request may cost: its rate, its place among those in flight, its size, its depth - known before it is parsed.

Every check is linear in the bytes that were taken in, and stops taking in at the limit. A body that is announced too
large is refused without reading it; one that grows too large while it comes is cut off there; a compressed one is
unpacked in steps, each of which is counted.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import msgspec
import numpy as np

from parakh.service.access import Caller
from parakh.service.problems import Problem, problem
from parakh.service.settings import LimitSettings

__all__ = ["Limits", "Refusal", "check_depth", "check_json", "check_keys"]

Headers = Iterable[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_TIMEOUT_S: Final = 30.0
"""How long a body, or a batch's next part, may take to arrive."""
STEP_BYTES: Final = 64 * 2**10
"""Unpacked at once."""
PACKED_BYTES: Final = 4 * 2**10
"""Fed to the unpacker at once: what is packed too well is noticed after so little of it."""
HIGHEST_RATIO: Final = 100
"""How many times larger than packed a compressed batch may be; NDJSON packs 10 to 30 times."""
RETRY_OVERLOADED_S: Final = 1.0
MOST_BUCKETS: Final = 10_000


class Refusal(Exception):
    """A request that is not taken; carries the problem to answer with."""

    def __init__(self, refused: Problem) -> None:
        self.problem = refused
        super().__init__(refused.code)


class Limits:
    """The limits of one service. Used by the thread of the event loop alone."""

    def __init__(self, settings: LimitSettings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.in_flight = 0
        self._monotonic = monotonic
        self._buckets: dict[str, list[float]] = {}  # key id -> [requests left, when that was so]

    # -- rate and place -----------------------------------------------------------------------------------------------

    def enter(self, caller: Caller) -> Problem | None:
        """Take a place for a request, or the problem that turns it away. Whoever gets None calls `leave` at the end."""
        if self.in_flight >= self.settings.in_flight:
            return problem(
                "overloaded",
                f"{self.settings.in_flight} requests are in flight",
                hint="send fewer at once, or try again",
                retry_after_s=RETRY_OVERLOADED_S,
            )
        rate = caller.rate_per_s or self.settings.rate_per_s
        if rate is not None:
            wait_s = self._take(caller.key_id, rate, 1)
            if wait_s > 0:
                return problem("rate_limited", f"{rate:g} requests a second are allowed", retry_after_s=wait_s)
        self.in_flight += 1
        return None

    def leave(self) -> None:
        """Give a request's place back."""
        self.in_flight -= 1

    def charge(self, caller: Caller, count: int) -> None:
        """Count a batch's events against its key's rate; what is owed is waited for by the key's next request."""
        rate = caller.rate_per_s or self.settings.rate_per_s
        if rate is not None and count > 0:
            self._take(caller.key_id, rate, count, owe=True)

    def _take(self, key_id: str, rate: float, count: int, *, owe: bool = False) -> float:
        """Take of a key's bucket, which holds a second's worth, at least one; 0, or seconds until there is enough."""
        now, full = self._monotonic(), max(rate, 1.0)
        bucket = self._buckets.get(key_id)
        if bucket is None:
            if len(self._buckets) >= MOST_BUCKETS:
                self._buckets.clear()
            bucket = self._buckets[key_id] = [full, now]
        bucket[0] = min(full, bucket[0] + (now - bucket[1]) * rate)
        bucket[1] = now
        if bucket[0] < count and not owe:
            return (count - bucket[0]) / rate
        bucket[0] -= count
        return 0.0

    # -- bodies -------------------------------------------------------------------------------------------------------

    async def read_body(self, receive: Receive, headers: Headers, limit: int | None = None) -> bytes:
        """A whole body of at most `limit` bytes (one event's, unless said). Raises Refusal."""
        limit = self.settings.event_bytes if limit is None else limit
        if _announced(headers, limit):
            raise Refusal(_unpacked_alone())
        parts, size = list[bytes](), 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for part in _parts(receive):
                    size += len(part)
                    if size > limit:
                        raise Refusal(_too_large(limit))
                    parts.append(part)
        except TimeoutError:
            raise Refusal(_too_slow()) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def stream_body(self, receive: Receive, headers: Headers) -> AsyncIterator[bytes]:
        """A batch's body in parts as they come, unpacked where it is gzip. Raises Refusal, also in the middle.

        No line is longer than the limit, so that what is kept of the last, which goes on in the next part, is bounded.
        """
        packed = _announced(headers, self.settings.batch_bytes)
        parts = _timed(_parts(receive))
        most = self.settings.line_bytes
        size = unended = 0
        async for part in _unpacked(parts) if packed else parts:
            size += len(part)
            if size > self.settings.batch_bytes:
                raise Refusal(_too_large(self.settings.batch_bytes))
            first = part.find(b"\n")
            longest = unended + (len(part) if first < 0 else first)
            unended = longest if first < 0 else len(part) - 1 - part.rfind(b"\n")
            if len(part) > most and first >= 0:
                longest = max(longest, *map(len, part.split(b"\n")[1:]))
            if longest > most:
                raise Refusal(problem("line_too_long", f"a line has at most {most:,} bytes", limit_bytes=most))
            yield part


# -- JSON, before it is parsed -----------------------------------------------------------------------------------------

_BRACKETS: Final = b"[]{}"
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STEPS: Final = np.array([1 if byte in b"[{" else -1 for byte in range(256)], dtype=np.int8)
_SPACE_AFTER_QUOTE: Final = re.compile(rb'"[ \t\r\n]')
_NESTING: Final = frozenset({dict, list})
_decode: Final = msgspec.json.Decoder().decode


def check_json(body: bytes, depth: int) -> Problem | None:
    """Why a JSON text may not be parsed: it is nested deeper than `depth`, or has a key twice in an object."""
    return check_depth(body, depth) or check_keys(body)


def check_depth(body: bytes, depth: int) -> Problem | None:
    """The problem of a text that is nested deeper than `depth`; brackets inside strings do not count.

    >>> check_depth(b'{"a": "[[["}', 1), check_depth(b"[" * 100_000, 64).code
    (None, 'too_deep')
    """
    if body.count(b"{") + body.count(b"[") <= depth:
        return None
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    outside = plain.translate(None, bytes(byte for byte in _NOT_BRACKETS if byte != 0x22))
    brackets = b"".join(outside.split(b'"')[::2])
    if not brackets:
        return None
    deepest = int(np.cumsum(_STEPS[np.frombuffer(brackets, np.uint8)], dtype=np.int32).max())
    return None if deepest <= depth else problem("too_deep", f"JSON may be nested {depth} deep")


def check_keys(body: bytes) -> Problem | None:
    """The problem of a JSON text in which an object has a key twice: two readers could take it for two events.

    Text that is no JSON is None here: what is wrong with it is found where it is decoded. The depth was checked before.

    >>> check_keys(b'{"amount": 1, "amount": 2}').code, check_keys(b'{"a": {"a": 1}}')
    ('duplicate_key', None)
    """
    if not _SPACE_AFTER_QUOTE.search(body):
        # Every key is followed by ": at once. Such a pair within a string makes the number larger, never smaller.
        colons = body.count(b'":')
        if colons < 2:
            return None
        try:
            read = _decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            read = None  # no JSON, or NaN: looked at with care
        if read is not None and _count_keys(read) == colons:
            return None
    try:
        json.loads(body, object_pairs_hook=_distinct, parse_int=str, parse_float=str, parse_constant=str)
    except _Twice:
        return problem("duplicate_key", hint="give each key once")
    except (ValueError, RecursionError):
        return None
    return None


def _count_keys(value: Any) -> int:
    """The keys of all objects in a value."""
    if type(value) is dict and _NESTING.isdisjoint(map(type, value.values())):
        return len(value)
    count, waiting = 0, [value] if type(value) in _NESTING else []
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            count += len(value)
            value = value.values()
        waiting += [inner for inner in value if type(inner) in _NESTING]
    return count


class _Twice(Exception):
    """A key that came twice."""


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Twice


# -- bodies, as they come ----------------------------------------------------------------------------------------------


def _announced(headers: Headers, limit: int) -> bool:
    """Whether the body is packed with gzip; raises Refusal where it is announced too large, or packed otherwise."""
    packed = False
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit():
                raise Refusal(problem("bad_request", "Content-Length is not a number"))
            if len(value) > 15 or int(value) > limit:
                raise Refusal(_too_large(limit))
        elif name == b"content-encoding":
            encoding = value.strip().lower()
            if packed or encoding not in (b"gzip", b"x-gzip", b"identity", b""):
                raise Refusal(problem("unsupported_encoding", hint="send the body as it is, or a batch with gzip"))
            packed = encoding.endswith(b"gzip")
    return packed


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(problem("bad_request", "the body has ended before it was whole"))
        part = message.get("body", b"")
        if part:
            yield part
        if not message.get("more_body", False):
            return


async def _timed(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The parts, each of which has to come in time."""
    while True:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                part = await anext(parts, None)
        except TimeoutError:
            raise Refusal(_too_slow()) from None
        if part is None:
            return
        yield part


async def _unpacked(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What gzip has packed, in steps; members that follow one another are one text."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    taken = made = 0
    begun = False
    async for whole in parts:
        for start in range(0, len(whole), PACKED_BYTES):
            part = whole[start : start + PACKED_BYTES]
            taken += len(part)
            while part:
                if unpacker.eof:
                    unpacker, begun = zlib.decompressobj(zlib.MAX_WBITS | 16), False
                try:
                    step = unpacker.decompress(part, STEP_BYTES)
                except zlib.error:
                    raise Refusal(problem("bad_request", "the body is not gzip, as Content-Encoding says")) from None
                begun = True
                part = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
                made += len(step)
                if made > HIGHEST_RATIO * taken + STEP_BYTES:
                    raise Refusal(_a_bomb())
                if step:
                    yield step
                    await asyncio.sleep(0)  # a part that came at once may be much work: others go in between
    if begun and not unpacker.eof:
        raise Refusal(problem("bad_request", "the gzip body ends before it is whole"))


def _a_bomb() -> Problem:
    said = f"the body unpacks to more than {HIGHEST_RATIO} times its size"
    return problem("body_too_large", said, hint="send it as it is")


def _too_large(limit: int) -> Problem:
    return problem("body_too_large", f"at most {limit:,} bytes are taken", limit_bytes=limit)


def _too_slow() -> Problem:
    return problem("request_timeout", f"the body has to come within {BODY_TIMEOUT_S:g} s")


def _unpacked_alone() -> Problem:
    return problem("unsupported_encoding", "only a batch may be packed", hint="send the body as it is")
