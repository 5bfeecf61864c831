"""What the service answers, as frozen values; members that a newer service adds are passed over.

Times are in UTC; scores are between 0 and 1 where the model gives a probability; None is "unknown" throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec

from parakh.client.exchange import Reply

__all__ = [
    "Building",
    "Change",
    "Checked",
    "DecidedBy",
    "Decision",
    "EntityView",
    "GivenUp",
    "Health",
    "Page",
    "ProjectState",
    "Reason",
    "Refusal",
    "Rules",
    "Taken",
    "TakenIn",
    "Version",
    "Versions",
]


class Reason(msgspec.Struct, frozen=True):
    """Why an event was not simply allowed: a stable code, the words, and what it added to the score."""

    code: str
    text: str = ""
    contribution: float | None = None


class DecidedBy(msgspec.Struct, frozen=True):
    """What won: kind "rule", "band", "otherwise" or "fallback", and its name; "holdout" and what it would have been."""

    kind: str
    name: str = ""


class Rules(msgspec.Struct, frozen=True):
    """Names of the rules that hit, that could not be told for want of a value, and that would have hit in shadow."""

    hit: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()


class Versions(msgspec.Struct, frozen=True):
    """What decided: the project's hash, and the digest of each model's file."""

    project: str = ""
    models: dict[str, str] = {}


class Decision(msgspec.Struct, frozen=True):
    """A decision, as it stands in the log for good.

    `replayed` is true where the event had been decided before and this is that decision. `unanswered` decisions were
    made up here, by `fallback=`, because none came in time: they have no `decision_id`.
    """

    decision_id: str
    outcome: str
    event_type: str = ""
    event_id: str = ""
    event_time: datetime | None = None
    decided_at: datetime | None = None
    score: float | None = None
    decided_by: DecidedBy | None = None
    reasons: tuple[Reason, ...] = ()
    rules: Rules = Rules()
    shadow_scores: dict[str, float | None] = {}
    flags: tuple[str, ...] = ()
    versions: Versions = Versions()
    replayed: bool = False
    features: dict[str, Any] | None = None

    @property
    def unanswered(self) -> bool:
        """Whether this is the fallback, not the service's decision."""
        return "unanswered" in self.flags

    @property
    def degraded(self) -> bool:
        """Whether the service decided without something that the project needs."""
        return "degraded" in self.flags

    @property
    def held_out(self) -> bool:
        """Whether it was let through as one of the policy's holdout, so that its label becomes known."""
        return "held_out" in self.flags


class Refusal(msgspec.Struct, frozen=True):
    """Problem details (RFC 9457): what was refused and why. `code` is stable; `line` counts what was given from 1."""

    code: str
    status: int = 0
    title: str = ""
    detail: str = ""
    hint: str = ""
    field: str = ""
    line: int | None = None
    problems: tuple[Any, ...] = ()

    @classmethod
    def of(cls, reply: Reply) -> Refusal:
        """The problem of an answer; where it has none (a proxy answered) one with the code `http_STATUS`."""
        try:
            problem = msgspec.json.decode(reply.body, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError):
            code = f"http_{reply.status}"
            title = HTTPStatus(reply.status).phrase if reply.status in set(HTTPStatus) else "refused"
            return cls(code=code, status=reply.status, title=title, detail="the answer is not a Parakh service's")
        return problem if problem.status else msgspec.structs.replace(problem, status=reply.status)

    @property
    def passing(self) -> bool:
        """Whether the same event may be taken later: the service was full, slow or not ready."""
        return self.status in (429, 503)


class Taken(msgspec.Struct, frozen=True):
    """What became of events or labels that were sent to be taken in; `line` of a refusal counts them from 1."""

    accepted: int = 0
    refused: tuple[Refusal, ...] = ()


class TakenIn(msgspec.Struct, frozen=True):
    """An event that the service took in without deciding on it; the times are told by the ledger only."""

    event_type: str
    event_id: str
    event_time: datetime | None = None
    taken_in_at: datetime | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of the ledger; `next_cursor` is that of the page after it, None at the end."""

    items: tuple[msgspec.Raw, ...] = ()
    next_cursor: str | None = None


class EntityView(msgspec.Struct, frozen=True):
    """An entity's features as they stand at `as_of`, and its last events, decided on or only taken in."""

    entity: str
    as_of: datetime | None = None
    features: dict[str, Any] = {}
    events: tuple[dict[str, Any], ...] = ()


class Change(msgspec.Struct, frozen=True):
    """A definition that a project adds, removes or changes: status "added", "removed", "changed"."""

    kind: str
    name: str
    status: str


class Checked(msgspec.Struct, frozen=True):
    """A project that holds: its hash, that of the `live` one, and whether applying it keeps the history as it is.

    `history` is "kept" (it decides at once) or "rebuilt" (from the log first); `changes` is None where the service does
    not tell them.
    """

    hash: str
    live: str = ""
    history: str = ""
    changes: tuple[Change, ...] | None = None


class Building(msgspec.Struct, frozen=True):
    """A version whose history is built: how far, from 0 to 1, and why it was given up ("" while it goes on)."""

    hash: str
    progress: float = 0.0
    failed: str = ""


class GivenUp(msgspec.Struct, frozen=True):
    """A version whose history is not built any more, and the hash of the one that was applied instead."""

    hash: str
    replaced_by: str = ""


class ProjectState(msgspec.Struct, frozen=True):
    """A version of the project: `state` "live" decides, "building" still reads its history, with `progress` 0 to 1.

    `previous` is the hash of the version before; `building` is the version that is to decide next, if there is one, and
    `given_up` the one that was being built when another was applied. `replaced`, in the answer to an apply, is the hash
    of the version that was given up for it.
    """

    hash: str
    name: str = ""
    state: str = "live"
    progress: float = 1.0
    previous: str | None = None
    building: Building | None = None
    given_up: GivenUp | None = None
    replaced: str | None = None

    @property
    def live(self) -> bool:
        """Whether this version decides."""
        return self.state == "live"

    @property
    def is_replaced_soon(self) -> bool:
        """Whether another is being built that is to decide instead."""
        return self.building is not None and not self.building.failed


class Version(msgspec.Struct, frozen=True):
    """A version that decides (`state` "live") or decided: its hash, since when, and who applied it."""

    hash: str
    name: str = ""
    state: str = ""
    applied_at: datetime | None = None
    by: str = ""


class Health(msgspec.Struct, frozen=True):
    """Whether the service lives or is ready, true or false by itself; `detail` is what it says."""

    ok: bool
    detail: Mapping[str, Any] = {}

    def __bool__(self) -> bool:
        return self.ok
