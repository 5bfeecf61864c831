"""Every verb of the client as a plan, written once for both clients: what is sent, and what becomes of the answer.

The first argument of each is the client's policy, the rest what a caller gives. `lines` has the verbs that send many.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from parakh.client.encoding import Event, encode_event, encode_object
from parakh.client.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotDecided,
    NotFound,
    NotSent,
    Overloaded,
    ProjectRefused,
    Refused,
    ServerFailed,
    TimedOut,
    Unauthorized,
    Unexpected,
    Unreachable,
)
from parakh.client.exchange import Emit, Failure, Plan, Reply, Request, Send, Stream
from parakh.client.files import ProjectSource, as_sent, files_of
from parakh.client.results import Checked, Decision, EntityView, Health, Page, ProjectState, Refusal, TakenIn, Version
from parakh.client.retrying import Budget, Policy, ask, given_up

__all__ = [
    "apply_project",
    "check_project",
    "decide",
    "decision",
    "decision_of",
    "decisions",
    "entity",
    "health",
    "metrics",
    "parsed",
    "post_alarms",
    "project",
    "ready",
    "refused",
    "segment",
    "versions",
]

Outcome = Literal["allow", "challenge", "review", "block"]
_Value = TypeVar("_Value")

_OUTCOMES: Final = ("allow", "challenge", "review", "block")
_PROJECT_TIMEOUT_S: Final = 60.0  # a project is read and checked, with its models, before it is answered


def decide(
    policy: Policy,
    event_type: str,
    event: Event,
    *,
    features: bool = False,
    timeout: float | None = None,
    fallback: Outcome | None = None,
) -> Plan[Decision]:
    """Ask for the decision on one event; it is on disk before it is answered.

    `event` is a mapping, a dataclass, a msgspec Struct, or JSON in bytes. Tried again within `timeout` seconds (the
    client's, unless given) as the same bytes, so that it is decided once. With `features` the decision has what it saw.

    With `fallback` a payment goes on without an answer: where none comes in time this returns a decision made up here,
    with that outcome and the flag `unanswered`, in place of Unreachable, TimedOut, Overloaded or ServerFailed. The
    service may decide on the event all the same: ask again under the same id for the decision that stands.

    Raises NotSent, Refused (Conflict: another event was taken under this id; NotDecided: it was only taken in before),
    Unreachable, TimedOut, Unexpected.
    """
    if fallback is not None and fallback not in _OUTCOMES:
        raise NotSent(f"fallback is one of {', '.join(_OUTCOMES)}, not {fallback!r}", field="fallback")
    path = f"/v1/decisions/{segment(event_type, 'event_type')}{'?features=true' if features else ''}"
    request = Request("POST", path, encode_event(event))
    try:
        reply = yield from _answered(request, policy.within(timeout))
    except (Unreachable, TimedOut, Overloaded, ServerFailed):
        if fallback is None:
            raise
        return Decision(decision_id="", outcome=fallback, event_type=event_type, flags=("unanswered",))
    held = _held(reply)
    if isinstance(held, TakenIn):
        raise NotDecided(not_decided(held))
    return held


def decision(policy: Policy, decision_id: str) -> Plan[Decision | TakenIn]:
    """The decision with this id, as it was first given; TakenIn where the event was only taken in. Raises NotFound."""
    reply = yield from _answered(Request("GET", f"/v1/decisions/{segment(decision_id, 'decision_id')}"), policy)
    return _held(reply)


def decision_of(policy: Policy, event_type: str, event_id: str) -> Plan[Decision | TakenIn]:
    """The decision on an event, as it was first given; TakenIn for one that was only taken in.

    Raises NotFound where the service holds no such event.
    """
    path = f"/v1/decisions/{segment(event_type, 'event_type')}/{segment(event_id, 'event_id')}"
    reply = yield from _answered(Request("GET", path), policy)
    return _held(reply)


def decisions(policy: Policy, /, **filter: object) -> Stream[Decision | TakenIn]:
    """The decisions that a filter finds, in the ledger's order; pages are fetched as they are read.

    Filters are those of `GET /v1/decisions`: event_type, outcome (one or a list), entity ("card:k1"), from_ and to
    (datetimes), by, rule, flag, min_score; `limit` is the size of a page. Nothing is asked before the first is read.
    Only decisions are found, unless `decided` is given: with False events that were only taken in, as TakenIn, with
    None both.
    Raises Invalid with the code bad_filter for a filter that the service does not have.
    """
    wanted = {"decided": True, **filter}
    asked = {name.removesuffix("_"): _filter(name, value) for name, value in wanted.items() if value is not None}
    while True:
        reply = yield from _answered(Request("GET", f"/v1/decisions?{urlencode(asked)}"), policy)
        page = parsed(Page, reply)
        yield Emit(tuple(_held(Reply(reply.status, {}, bytes(item))) for item in page.items))
        if page.next_cursor is None or page.next_cursor == asked.get("cursor"):
            return
        asked["cursor"] = page.next_cursor


def entity(policy: Policy, entity: str, key: str) -> Plan[EntityView]:
    """The features of an entity as they stand now, and its last events: `entity("card", "4111...")`."""
    path = f"/v1/entities/{segment(entity, 'entity')}/{segment(key, 'key')}"
    reply = yield from _answered(Request("GET", path), policy)
    return parsed(EntityView, reply)


def project(policy: Policy) -> Plan[ProjectState]:
    """The project that decides and, where another is being built, how far that is."""
    reply = yield from _answered(Request("GET", "/v1/project"), policy)
    return parsed(ProjectState, reply)


def check_project(
    policy: Policy, project: ProjectSource, *, timeout: float | None = _PROJECT_TIMEOUT_S
) -> Plan[Checked]:
    """Have the service check a project (a folder, or files by path) without applying it. Raises ProjectRefused."""
    body = encode_object({"files": as_sent(files_of(project))})
    reply = yield from _answered(Request("POST", "/v1/project:check", body), policy.within(timeout))
    return parsed(Checked, reply)


def apply_project(
    policy: Policy,
    project: ProjectSource | None = None,
    *,
    version: str | None = None,
    timeout: float | None = _PROJECT_TIMEOUT_S,
) -> Plan[ProjectState]:
    """Let a project decide from now on: a folder, files by path, or the hash of a `version` that was applied before.

    The answer's state is "building" while the history of new features is read; the old version decides until then.
    A version that is still being built is given up for this one: `replaced` is its hash.
    Applying the same files again changes nothing. Raises ProjectRefused, NotFound for an unknown version.
    """
    if (project is None) == (version is None):
        raise NotSent("give a project (a folder, or files by path) or version=, one of the two")
    content = {"version": version} if project is None else {"files": as_sent(files_of(project))}
    request = Request("POST", "/v1/project:apply", encode_object(content))
    reply = yield from _answered(request, policy.within(timeout))
    return parsed(ProjectState, reply)


def versions(policy: Policy) -> Plan[tuple[Version, ...]]:
    """The versions of the project, newest first."""
    reply = yield from _answered(Request("GET", "/v1/project/versions"), policy)
    return parsed(_Versions, reply).versions


class _Versions(msgspec.Struct, frozen=True):
    versions: tuple[Version, ...] = ()


def post_alarms(policy: Policy, alarms: Sequence[Mapping[str, Any]]) -> Plan[int]:
    """Tell the service of drift: mappings with kind, subject, since (a datetime, or ISO 8601), value, and where
    there are any event_type, bound and text.

    Returns how many were taken, which is all: they are on disk. Webhooks that listen to alarms are sent each of them
    once, however often it is posted. Raises Refused (Invalid: an alarm is not as it must be, and none was taken).
    """
    body = encode_object({"alarms": [dict(alarm) for alarm in alarms]})
    reply = yield from _answered(Request("POST", "/v1/alarms", body), policy)
    return parsed(_AlarmsTaken, reply).accepted


class _AlarmsTaken(msgspec.Struct, frozen=True):
    accepted: int


def health(policy: Policy) -> Plan[Health]:
    """Whether the service lives; asked once. Raises Unreachable or TimedOut where nobody answers."""
    return _probe(policy, "/healthz")


def ready(policy: Policy) -> Plan[Health]:
    """Whether the service decides by now (it reads its log first); asked once, and false is an answer too."""
    return _probe(policy, "/readyz")


def _probe(policy: Policy, path: str) -> Plan[Health]:
    budget = Budget(policy)
    told: Reply | Failure = yield Send(Request("GET", path), budget.next_try_s())
    if isinstance(told, Failure):
        raise given_up(told, budget)
    if told.status not in (200, 503):
        raise refused(told)
    try:
        detail = msgspec.json.decode(told.body)
    except msgspec.DecodeError:
        detail = {}
    return Health(told.status == 200, detail if isinstance(detail, dict) else {})


def metrics(policy: Policy) -> Plan[str]:
    """The service's metrics in Prometheus' text format."""
    reply = yield from _answered(Request("GET", "/metrics"), policy)
    return reply.body.decode("utf-8", "replace")


def _answered(request: Request, policy: Policy) -> Plan[Reply]:
    """The answer of a request that was taken; raises Refused otherwise."""
    reply = yield from ask(request, Budget(policy))
    if not 200 <= reply.status < 300:
        raise refused(reply)
    return reply


def refused(reply: Reply) -> Refused | Unexpected:
    """The error that an answer stands for."""
    problem, status = Refusal.of(reply), reply.status
    if status < 400:
        return Unexpected(f"HTTP {status} where a Parakh service gives an answer; is the base URL right?")
    if status >= 500:
        return ServerFailed(problem)
    if problem.code == "conflict":
        return Conflict(problem)
    if problem.code == "project_invalid":
        return ProjectRefused(problem)
    kinds: dict[int, type[Refused]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    return kinds.get(status, Invalid)(problem)


def parsed(kind: type[_Value], reply: Reply) -> _Value:
    """The body of an answer; raises Unexpected where it is something else."""
    try:
        return _decoder(kind).decode(reply.body)  # type: ignore[arg-type]  # a class can be hashed
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unexpected(
            f"the answer is not what a Parakh service says ({error}); is the base URL right, or a proxy between?"
        ) from None


@functools.cache
def _decoder(kind: type[_Value]) -> msgspec.json.Decoder[_Value]:
    return msgspec.json.Decoder(kind)


def _decision(reply: Reply) -> Decision:
    decision = parsed(Decision, reply)
    if reply.headers.get("parakh-replayed") == "true":
        return msgspec.structs.replace(decision, replayed=True)
    return decision


class _Status(msgspec.Struct, frozen=True):
    status: str = ""


def _held(reply: Reply) -> Decision | TakenIn:
    """What the service holds of an event: only one that was not decided on has a status."""
    return parsed(TakenIn, reply) if parsed(_Status, reply).status == "accepted" else _decision(reply)


def not_decided(taken: TakenIn) -> Refusal:
    """What is said where a decision was asked for on an event that was only taken in before."""
    return Refusal(
        code="not_decided",
        status=200,
        title="no decision",
        detail=f"the {taken.event_type} {taken.event_id} was taken in before without a decision, and never gets one",
        hint="what is to be decided on is sent to be decided first, or under an id of its own",
    )


def segment(text: str, field: str) -> str:
    """A text as one segment of a path; raises NotSent for one that cannot be.

    >>> segment("a/b ü", "key")
    'a%2Fb%20%C3%BC'
    """
    if not isinstance(text, str) or text in ("", ".", ".."):
        raise NotSent(f"{field} is {text!r}; it is a text that stands in an address", field=field)
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise NotSent(f"{field} has half of a surrogate pair, which UTF-8 does not have", field=field) from None


def _filter(name: str, value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return encode_object({name: value}).split(b'"')[3].decode()
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(sorted(_filter(name, item) for item in value))
    return str(value)
