"""What the service says when it refuses: RFC 9457 problem details, with codes from one closed table.

A code is stable: callers branch on it. `title` says what the code means, `detail` what went wrong this time, `hint`
what to do about it. Nothing of the caller's input is repeated beyond the name of a field, so that a problem never
carries a personal value into a log.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from parakh.events.reasons import Reason

__all__ = ["CODES", "CONTENT_TYPE", "TYPE_BASE", "Code", "Problem", "problem", "refusal"]

CONTENT_TYPE: Final = b"application/problem+json"
TYPE_BASE: Final = "https://parakh.dev/problems/"
LONGEST_DETAIL: Final = 2_000
"""Characters of a detail that are sent; a message about a hostile input must not grow with it."""


class Code(NamedTuple):
    """What a code stands for: its HTTP status and its meaning in words."""

    status: int
    title: str


CODES: Final[dict[str, Code]] = {
    "bad_request": Code(400, "The request cannot be read"),
    "bad_cursor": Code(400, "The cursor is not one that this service gave"),
    "bad_filter": Code(400, "The filter cannot be understood"),
    "unauthorized": Code(401, "A valid API key is needed"),
    "forbidden": Code(403, "The API key does not have the scope that this needs"),
    "not_found": Code(404, "There is nothing under this address"),
    "unknown_event_type": Code(404, "The project has no event type of that name"),
    "method_not_allowed": Code(405, "The address does not take this method"),
    "request_timeout": Code(408, "The request did not arrive in time"),
    "body_too_large": Code(413, "The body is larger than the limit"),
    "unsupported_encoding": Code(415, "The body's content encoding is not taken here"),
    "invalid_request": Code(422, "The request does not have the form that this needs"),
    "too_deep": Code(422, "The JSON is nested deeper than the limit"),
    "duplicate_key": Code(422, "A JSON object has the same key twice"),
    "reserved_key": Code(422, "A key that begins with ~ is reserved"),
    "project_invalid": Code(422, "The project's definitions do not hold"),
    "rate_limited": Code(429, "The API key is over its rate"),
    "overloaded": Code(429, "The service has as much to do as it can do in time"),
    "internal": Code(500, "A mistake of the service's own"),
    "not_ready": Code(503, "The service is not ready yet"),
    "log_full": Code(503, "The log cannot be written: the disk is full"),
} | {reason.code: Code(422, reason.text[:1].upper() + reason.text[1:]) for reason in Reason if reason is not Reason.OK}
"""Every code there is; one for each reason for which the engine refuses an event or a label (422)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal that is ready to be sent: a status, a body and the headers that go with it."""

    code: str
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    @property
    def content_type(self) -> bytes:
        """The media type of problem details, as an answer has one."""
        return CONTENT_TYPE


_HEADERS: Final = ((b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"))
_encode = msgspec.json.Encoder().encode


def problem(
    code: str, detail: str = "", *, hint: str = "", field: str = "", retry_after_s: float | None = None, **more: object
) -> Problem:
    """A problem of the table of codes; `more` are members of its own (`line`, `problems`, `id`), None left out.

    `retry_after_s` becomes the header Retry-After, in whole seconds and at least 1. A code that is not in the table is
    a mistake of ours: KeyError.

    >>> refused = problem("rate_limited", "500 requests a second are allowed", retry_after_s=0.2)
    >>> refused.status, dict(refused.headers)[b"retry-after"]
    (429, b'1')
    """
    status, title = CODES[code]
    content: dict[str, object] = {"type": TYPE_BASE + code, "title": title, "status": status, "code": code}
    if detail:
        content["detail"] = detail if len(detail) <= LONGEST_DETAIL else detail[: LONGEST_DETAIL - 1] + "…"
    if hint:
        content["hint"] = hint
    if field:
        content["field"] = field
    for name, value in more.items():
        if value is not None:
            content[name] = value
    headers: tuple[tuple[bytes, bytes], ...] = _HEADERS
    if status == 401:
        headers += ((b"www-authenticate", b'Bearer realm="parakh"'),)
    if retry_after_s is not None:
        headers += ((b"retry-after", str(max(1, math.ceil(retry_after_s))).encode()),)
    try:
        body = _encode(content)
    except UnicodeEncodeError:  # half of a surrogate pair, out of an escape such as \ud800
        body = json.dumps(content).encode("ascii")
    return Problem(code, status, body, headers)


def refusal(reason: Reason, detail: str = "", *, field: str = "", line: int | None = None) -> Problem:
    """The problem of an event or a label that the engine refuses.

    >>> refusal(Reason.CONFLICT).code
    'conflict'
    """
    return problem(reason.code, detail, field=field, line=line)
