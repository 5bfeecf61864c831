"""Webhooks: who is told of which decisions and alarms, and the signed message that they are sent (Standard Webhooks).

A message is signed as https://www.standardwebhooks.com has it: HMAC-SHA256 of `id.timestamp.body` under the secret that
subscriber and service share. Its id is made of the decision or the alarm and the subscription, so it is the same at
every try and after every crash: a receiver that remembers ids acts once.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import msgspec

from parakh.decisions.hosts import vetted
from parakh.decisions.policy import FLAG_NAMES
from parakh.decisions.record import Record
from parakh.errors import ParakhError
from parakh.rules.definition import Outcome

__all__ = [
    "ALARM", "BACK_OFF_S", "DECISION", "EVERYTHING", "KINDS", "LONGEST_S", "Filter", "Request", "State", "Subscription",
    "WebhookError", "body_of", "iso", "message_id", "new_id", "new_secret", "read_request", "retry_delay_s",
    "signed_headers", "written_secret",
]  # fmt: skip

BACK_OFF_S: Final = (5, 30, 120, 600, 3_600, 10_800, 21_600, 36_000, 50_400, 57_600, 72_000)
"""Seconds between one try and the next; twelve tries in about 70 hours."""
LONGEST_S: Final = 72 * 3_600
"""After so long a message that still does not get through is dead."""
SECRET_BYTES: Final = 32
DECISION, ALARM = "decision", "alarm"
KINDS: Final = (DECISION, ALARM)
"""What a message may tell of."""
LONGEST_URL: Final = 2_048
MOST_NAMES: Final = 100
LONGEST_NAME: Final = 200
_OUTCOMES: Final = tuple(outcome.word for outcome in Outcome)
_FLAGS: Final = tuple(name for _, name in FLAG_NAMES)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class WebhookError(ParakhError):
    """A subscription that cannot be as it was asked for; `field` is the key that is to blame."""

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        self.message = message
        self.field = field
        self.hint = hint
        super().__init__(message + (f" (hint: {hint})" if hint else ""))


class State(enum.Enum):
    """Active, paused by a person (or by a receiver that answered 410 Gone), or failing for long but still tried."""

    ACTIVE = "active"
    PAUSED = "paused"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages are sent: of these `kinds`, and of decisions those that agree with every part; an empty part
    agrees with all.

    rules: one of them hit (live rules). min_score: there is a score, and it is no less. flags: one of them is set.

    >>> Filter(outcomes=("block", "review")).is_wanted("payment", 3)
    True
    """

    kinds: tuple[str, ...] = (DECISION,)
    event_types: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    min_score: float | None = None
    flags: tuple[str, ...] = ()

    def is_wanted(self, event_type: str, outcome: int) -> bool:
        """What can be told without reading the decision's record: False is final."""
        if DECISION not in self.kinds:
            return False
        if self.event_types and event_type not in self.event_types:
            return False
        return not self.outcomes or _OUTCOMES[outcome] in self.outcomes

    def matches(self, record: Record) -> bool:
        """Whether a decision is sent."""
        if not self.is_wanted(record.event_type, record.outcome):
            return False
        if self.min_score is not None and (record.score is None or record.score < self.min_score):
            return False
        if self.rules and not any(rule in self.rules for rule in record.hits):
            return False
        return not self.flags or any(name in self.flags for name in record.flag_names)

    def as_data(self) -> dict[str, Any]:
        """The parts that are not empty, as JSON has them."""
        parts = {name: list(getattr(self, name)) for name in ("kinds", "event_types", "outcomes", "rules", "flags")}
        given = {name: part for name, part in parts.items() if part and (name, part) != ("kinds", [DECISION])}
        return given | ({} if self.min_score is None else {"min_score": self.min_score})


EVERYTHING: Final = Filter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A receiver of messages. Times are microseconds UTC.

    cursor: position of the log up to which it was looked at for this subscription. since_us: decisions that arrived
    earlier are not sent. secrets: the one that signs, and while it is being rotated the one before. failures: tries in
    a row that failed, since `failing_since_us`. missed_bytes: of the log that was trimmed before it was looked at.
    dropped: dead messages that were removed because there were too many, or for their age.
    """

    id: str
    url: str
    filter: Filter = EVERYTHING
    description: str = ""
    state: State = State.ACTIVE
    created_us: int
    cursor: int
    since_us: int = 0
    secret: bytes = field(repr=False)
    old_secret: bytes | None = field(default=None, repr=False)
    old_until_us: int = 0
    failures: int = 0
    failing_since_us: int | None = None
    last_error: str = ""
    missed_bytes: int = 0
    dropped: int = 0

    def secrets_at(self, now_us: int) -> tuple[bytes, ...]:
        """The secrets that sign now, the current one first."""
        if self.old_secret is not None and now_us < self.old_until_us:
            return self.secret, self.old_secret
        return (self.secret,)

    def as_data(self) -> dict[str, Any]:
        """What is shown of a subscription: all but its secrets."""
        return {
            "id": self.id,
            "url": self.url,
            "description": self.description,
            "filter": self.filter.as_data(),
            "state": self.state.value,
            "created": iso(self.created_us),
            "cursor": self.cursor,
            "failures": self.failures,
            "failing_since": None if self.failing_since_us is None else iso(self.failing_since_us),
            "last_error": self.last_error or None,
            "missed_bytes": self.missed_bytes,
            "dropped": self.dropped,
        }


# -- asking for a subscription -----------------------------------------------------------------------------------------


class _FilterForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kinds: list[str] = []
    event_types: list[str] = []
    outcomes: list[str] = []
    rules: list[str] = []
    min_score: float | None = None
    flags: list[str] = []


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    filter: _FilterForm = _FilterForm()
    description: str = ""
    start: str | int = msgspec.field(default="now", name="from")


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription as it is asked for. `start` is a position of the log, or None for its end; see `since_us`."""

    url: str
    filter: Filter
    description: str
    start: int | None
    since_us: int


_decode_form = msgspec.json.Decoder(_Form).decode


def read_request(body: bytes, allowed: Sequence[str], *, public: bool) -> Request:
    """A subscription from its JSON: {"url", "filter", "description", "from": "now" | "start" | a time | a position}.

    Raises WebhookError; HostError where the URL may not be called (see `parakh.decisions.hosts.vetted`).
    """
    try:
        form = _decode_form(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WebhookError(f"this is not a subscription: {error}") from None
    if len(form.url) > LONGEST_URL:
        raise WebhookError(f"a URL has at most {LONGEST_URL} characters", field="url")
    if len(form.description) > LONGEST_NAME:
        raise WebhookError(f"a description has at most {LONGEST_NAME} characters", field="description")
    vetted(form.url, allowed, public=public)
    start, since_us = _start(form.start)
    return Request(form.url, _filter(form.filter), form.description, start, since_us)


def _filter(form: _FilterForm) -> Filter:
    for name in ("kinds", "event_types", "outcomes", "rules", "flags"):
        names: list[str] = getattr(form, name)
        if len(names) > MOST_NAMES:
            raise WebhookError(f"at most {MOST_NAMES} names can be listed", field=f"filter.{name}")
        if any(not item or len(item) > LONGEST_NAME for item in names):
            raise WebhookError(f"a name has 1 to {LONGEST_NAME} characters", field=f"filter.{name}")
    for name, known in (("kinds", KINDS), ("outcomes", _OUTCOMES), ("flags", _FLAGS)):
        if not set(getattr(form, name)) <= set(known):
            raise WebhookError(f"this is none of {', '.join(known)}", field=f"filter.{name}")
    return Filter(
        kinds=tuple(kind for kind in KINDS if kind in form.kinds) or (DECISION,),
        event_types=tuple(dict.fromkeys(form.event_types)),
        outcomes=tuple(dict.fromkeys(form.outcomes)),
        rules=tuple(dict.fromkeys(form.rules)),
        min_score=form.min_score,
        flags=tuple(dict.fromkeys(form.flags)),
    )


def _start(given: str | int) -> tuple[int | None, int]:
    """The position to begin at (None: the end) and the time before which nothing is sent."""
    if isinstance(given, int):
        if not 0 <= given < 2**62:
            raise WebhookError("a position is not negative", field="from")
        return given, 0
    if given == "now":
        return None, 0
    if given == "start":
        return 0, 0
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise WebhookError(
            "this is no place to begin at", field="from", hint="now, start, a time with its zone, or a position"
        )
    return 0, max(0, (moment - _EPOCH) // _MICROSECOND)


# -- messages ----------------------------------------------------------------------------------------------------------


def new_id() -> str:
    """A name for a subscription that nobody can guess."""
    return f"wh_{secrets.token_hex(8)}"


def new_secret() -> bytes:
    """A secret for signatures, from the system's own source of chance."""
    return secrets.token_bytes(SECRET_BYTES)


def written_secret(secret: bytes) -> str:
    """A secret as it is told to its subscriber, once.

    >>> written_secret(bytes(32))
    'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
    """
    return "whsec_" + base64.b64encode(secret).decode()


def message_id(named: bytes, subscription: str) -> str:
    """The id under which a subscription is told of a decision, or of an alarm, at every try.

    >>> message_id(bytes(15) + bytes([7]), "wh_a")
    'msg_00000000000000000000000000000007_wh_a'
    """
    return f"msg_{named.hex()}_{subscription}"


def body_of(kind: str, at_us: int, data: bytes) -> bytes:
    """The body of a message: its kind, when what it tells of happened, and that as JSON.

    >>> body_of("decision", 0, b'{"outcome":"allow"}')
    b'{"type":"decision","timestamp":"1970-01-01T00:00:00.000000Z","data":{"outcome":"allow"}}'
    """
    head = f'{{"type":{msgspec.json.encode(kind).decode()},"timestamp":"{iso(at_us)}","data":'
    return b"".join((head.encode(), data, b"}"))


def signed_headers(message: str, body: bytes, keys: Sequence[bytes], now_us: int) -> dict[str, str]:
    """The headers of one try at `now_us`: a signature for each key, the current one first."""
    at = str(now_us // 1_000_000)
    content = b".".join((message.encode(), at.encode(), body))
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    return {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def retry_delay_s(tries: int, chance: Random) -> float:
    """How long to wait after so many tries (1 after the first), up to a fifth sooner or later than `BACK_OFF_S` says.

    Receivers that failed together are so not called together.
    """
    return BACK_OFF_S[min(tries, len(BACK_OFF_S)) - 1] * chance.uniform(0.8, 1.2)


def iso(time_us: int) -> str:
    """A time as JSON has it, UTC with microseconds."""
    return (_EPOCH + time_us * _MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
