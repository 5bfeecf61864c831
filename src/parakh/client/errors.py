"""What can go wrong between a program and the service; each error says what, why and what to do next.

    ClientError                 everything the client raises on purpose
    |-- NotSent                 what was given cannot be sent (NaN, a reserved key, a bad address)
    |-- Unreachable             no connection, or it broke before the answer was whole, on every try
    |-- TimedOut                the deadline passed without an answer
    |-- Unexpected              an answer that is not a Parakh service's
    `-- Refused                 the service said no; `problem` has its words (RFC 9457)
        |-- Unauthorized        401: no key, or one that does not hold
        |-- Forbidden           403: the key lacks the scope
        |-- NotFound            404: no such decision, entity, event type
        |-- Invalid             400, 405, 413, 415, 422: the request or the event does not hold
        |   |-- Conflict        another event was taken under this id
        |   `-- ProjectRefused  the project's definitions do not hold; `problem.problems` has them
        |-- NotDecided          the event was taken in before, without a decision
        |-- Overloaded          429, 503, until the deadline: it would be taken later
        `-- ServerFailed        other 5xx: a mistake of the service's own, or of a proxy before it

After Unreachable, TimedOut, Overloaded and ServerFailed the event may have been decided all the same. Send it again
under the same id: the answer is the decision that was made, never a second one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parakh.errors import ParakhError

if TYPE_CHECKING:
    from parakh.client.results import Refusal

__all__ = [
    "ClientError",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotDecided",
    "NotFound",
    "NotSent",
    "Overloaded",
    "ProjectRefused",
    "Refused",
    "ServerFailed",
    "TimedOut",
    "Unauthorized",
    "Unexpected",
    "Unreachable",
]


class ClientError(ParakhError):
    """Everything the client raises on purpose."""


class NotSent(ClientError, ValueError):
    """What was given cannot be sent; nothing left the process. `field` names the value, "" where it is none's."""

    def __init__(self, message: str, *, field: str = "") -> None:
        self.field = field
        super().__init__(message)


class Unreachable(ClientError):
    """No connection, or it broke before the answer was whole, on every try; the same event may be sent again."""


class TimedOut(ClientError):
    """The deadline passed without an answer; the event may have been decided, and may be sent again."""


class Unexpected(ClientError):
    """An answer that is not a Parakh service's: look at the address, and at proxies on the way."""


class Refused(ClientError):
    """The service said no; `problem` has the code, the words and the field."""

    next_step = ""

    def __init__(self, problem: Refusal, context: str = "") -> None:
        self.problem = problem
        self.context = context
        told = f"{problem.title or 'refused'} ({problem.code}, HTTP {problem.status})"
        if problem.detail:
            told += f": {problem.detail}"
        if problem.field:
            told += f" [field {problem.field}]"
        for more in (context, problem.hint or ("" if problem.detail else self.next_step)):
            told += f"; {more}" if more else ""
        super().__init__(told)

    def __reduce__(self) -> tuple[type[Refused], tuple[Refusal, str]]:
        return type(self), (self.problem, self.context)


class Unauthorized(Refused):
    """401: no API key, or one that does not hold."""

    next_step = "give api_key=, or set PARAKH_API_KEY"


class Forbidden(Refused):
    """403: the API key lacks the scope."""

    next_step = "use a key with the scope: decide, read, label or admin"


class NotFound(Refused):
    """404: there is no such decision, entity or event type."""

    next_step = "an unknown event type may be one that the live project does not have yet"


class Invalid(Refused):
    """400, 405, 413, 415, 422: the request or the event does not hold; sending it again changes nothing."""


class Conflict(Invalid):
    """Another event was taken under this id, and the decision that was made stands."""

    next_step = "an id names one event for good: send a changed event under an id of its own"


class NotDecided(Refused):
    """The event was only taken in before (`take_in`): it stands in the log without a decision, and never gets one."""


class ProjectRefused(Invalid):
    """The project's definitions do not hold; `problem.problems` has every mistake. The live version goes on."""

    next_step = "`parakh check` shows each mistake with its line"


class Overloaded(Refused):
    """429 or 503 until the deadline; `retry_after_s` is what the service asked for, None where it did not say."""

    next_step = "send it again later under the same id"

    def __init__(self, problem: Refusal, context: str = "", retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(problem, context)

    def __reduce__(self) -> tuple[type[Refused], tuple[Refusal, str, float | None]]:  # type: ignore[override]
        return type(self), (self.problem, self.context, self.retry_after_s)


class ServerFailed(Refused):
    """A 5xx that is not for lack of room: a mistake of the service's own, or of a proxy before it."""

    next_step = "look at the service's log; the event may be sent again under the same id"
