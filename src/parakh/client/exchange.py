"""What a plan asks of its driver, and what it is told: one request, one wait, one more event; an answer, or a failure.

A *plan* is a generator that yields these actions and returns a result. It does no input or output, reads no clock but
the one it was given, and so is tried in tests without a network; `blocking` and `awaiting` carry plans out. A *stream*
is a plan that also yields results on its way, as `Emit`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

__all__ = [
    "END",
    "Action",
    "Emit",
    "Failure",
    "Plan",
    "Pull",
    "Reply",
    "Request",
    "Send",
    "Stream",
    "Wait",
    "as_method",
]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

END: Final[Any] = object()
"""What a driver answers to `Pull` where there are no more events."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request, the same on every try: its path (quoted, with the query) and its bytes."""

    method: Literal["GET", "POST"]
    path: str
    body: bytes | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that arrived whole. Names of headers are in small letters, or the mapping does not mind."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """A try without an answer: no connection, a connection that broke, or no answer in the time of the try."""

    kind: Literal["unreachable", "broken", "timed_out"]
    detail: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request and answer with `Reply` or `Failure` within so many seconds."""

    request: Request
    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pull:
    """Answer with the next of the caller's events, or `END`."""

    source: Iterator[Any] | AsyncIterator[Any]


@dataclass(frozen=True, slots=True)
class Emit(Generic[_Item]):
    """Hand these results to the caller, in this order."""

    items: Sequence[_Item]


Action: TypeAlias = Send | Wait | Pull
Plan: TypeAlias = Generator[Action, Any, _Result]
Stream: TypeAlias = Generator[Action | Emit[_Item], Any, None]


def as_method(verb: Any, call: Callable[..., Any], owner: str) -> Any:
    """A function that runs a plan, made to look like a method: `self` stands where the plan has its policy."""
    first, *rest = inspect.signature(call).parameters.values()
    own = first.replace(name="self", annotation=inspect.Parameter.empty, kind=inspect.Parameter.POSITIONAL_ONLY)
    verb.__signature__ = inspect.Signature([own, *rest])
    verb.__qualname__ = f"{owner}.{call.__name__}"
    return verb
