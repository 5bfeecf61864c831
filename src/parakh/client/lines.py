"""The verbs that send many: events and labels in chunks of lines, answered line by line, refused lines among them.

A chunk is one request. It is sent again as a whole where its answer did not arrive whole; lines that were refused for
the moment (429, 503) are sent again by themselves. What cannot be sent at all is a `Refusal` with the code `not_sent`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from parakh.client.calls import not_decided, parsed, refused, segment
from parakh.client.encoding import Event, encode_line
from parakh.client.errors import (
    NotSent,
    Overloaded,
    ServerFailed,
    TimedOut,
    Unexpected,
    Unreachable,
)
from parakh.client.exchange import END, Emit, Failure, Plan, Pull, Reply, Request, Stream, Wait
from parakh.client.results import Decision, Refusal, Taken, TakenIn
from parakh.client.retrying import Budget, Policy, ask, given_up

__all__ = ["Events", "decide_many", "label", "label_many", "take_in"]

Events = Iterable[Event] | AsyncIterable[Event]
_Answer = TypeVar("_Answer")

_NDJSON: Final = "application/x-ndjson"
_CHUNK_BYTES: Final = 4 * 2**20
_CHUNK_LINES: Final = 1_000
_OF_AN_EVENT: Final = (413, 422)
_DECISION: Final = b'{"decision_id":'  # how a line begins that need not be looked at twice


def decide_many(
    policy: Policy, event_type: str, events: Events, *, batch_lines: int = _CHUNK_LINES, features: bool = False
) -> Stream[Decision | Refusal]:
    """Ask for the decisions on many events, in their order; a refused event is a `Refusal` in its place.

    Nothing is sent before the first is read. Events are taken as they are sent, `batch_lines` (or 4 MB) in a request;
    each request has the client's timeout. Where one has no answer the error is raised; what was yielded stands, and
    sending all again gives the same decisions. Raises NotSent, Refused, Unreachable, TimedOut, Unexpected.
    """
    if batch_lines < 1:
        raise NotSent(f"batch_lines is {batch_lines}; at least 1", field="batch_lines")
    path = f"/v1/decisions/{segment(event_type, 'event_type')}:batch{'?features=true' if features else ''}"
    reading = _Reading(_iterator(events), batch_lines)
    while chunk := (yield from reading.next_chunk()):
        yield Emit((yield from _sent(path, chunk, _decided, policy)))


def take_in(policy: Policy, event_type: str, events: Events | Event) -> Plan[Taken]:
    """Take events in without deciding on them (logins, device pings): one event, or an iterable of them.

    Refused events are in `refused`, their `line` counted from 1; the others are on disk. Raises as `decide_many`.
    """
    path = f"/v1/events/{segment(event_type, 'event_type')}"
    return (yield from _all_taken(path, _iterator(events), policy))


def label(
    policy: Policy,
    event_type: str,
    event_id: str,
    label: str,
    value: object,
    *,
    known_at: datetime | None = None,
    source: str | None = None,
) -> Plan[None]:
    """Say what an event turned out to be: `label("payment", "p1", "fraud", True)`; the value None withdraws it.

    `known_at` is when it became known (now, unless given), `source` who says so, as ranked by the project. Raises
    Refused where the label is.
    """
    row = {"event_type": event_type, "event_id": event_id, "label": label, "value": value}
    row |= {name: given for name, given in (("known_at", known_at), ("source", source)) if given is not None}
    taken = yield from _all_taken("/v1/labels", iter([encode_line(row)]), policy)
    if taken.refused:
        problem = taken.refused[0]
        raise Overloaded(problem) if problem.passing else refused(Reply(problem.status or 422, {}, _encode(problem)))


def label_many(policy: Policy, labels: Events) -> Plan[Taken]:
    """Send many labels: mappings with event_type, event_id (or entity and key), label, value, known_at, source."""
    return (yield from _all_taken("/v1/labels", _iterator(labels), policy))


_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Line:
    """What stands at a place of the caller's iterable: bytes to be sent, or why they cannot be."""

    number: int
    content: bytes
    refusal: Refusal | None = None


@dataclass(slots=True)
class _Reading:
    """Takes the caller's events a chunk at a time."""

    source: Iterator[Any] | AsyncIterator[Any]
    most: int
    read: int = 0
    _over: _Line | None = field(default=None)

    def next_chunk(self) -> Plan[list[_Line]]:
        """The next lines, [] at the end; a line that would make the chunk too large begins the next one."""
        chunk, size = list[_Line](), 0
        while len(chunk) < self.most:
            line, self._over = self._over, None
            if line is None:
                event = yield Pull(self.source)
                if event is END:
                    break
                line = self._line(event)
            if chunk and size + len(line.content) > _CHUNK_BYTES:
                self._over = line
                break
            chunk.append(line)
            size += len(line.content) + 1
        return chunk

    def _line(self, event: Any) -> _Line:
        self.read += 1
        try:
            return _Line(self.read, encode_line(event))
        except NotSent as error:
            refusal = Refusal("not_sent", 0, "The event cannot be sent", str(error), field=error.field, line=self.read)
            return _Line(self.read, b"", refusal)


def _iterator(events: Any) -> Iterator[Any] | AsyncIterator[Any]:
    """The events one by one; what is one event by itself (a mapping, bytes, a Struct, a dataclass) is the only one."""
    if isinstance(events, AsyncIterable):
        return aiter(events)
    if isinstance(events, Mapping | bytes | bytearray | memoryview) or not isinstance(events, Iterable):
        return iter([events])
    return iter(events)


def _all_taken(path: str, source: Iterator[Any] | AsyncIterator[Any], policy: Policy) -> Plan[Taken]:
    reading, accepted, gone = _Reading(source, _CHUNK_LINES), 0, list[Refusal]()
    while chunk := (yield from reading.next_chunk()):
        for answer in (yield from _sent(path, chunk, _accepted, policy)):
            if isinstance(answer, Refusal):
                gone.append(answer)
            else:
                accepted += 1
    return Taken(accepted, tuple(gone))


def _sent(
    path: str, chunk: Sequence[_Line], read: Callable[[Reply, int], list[_Answer | Refusal]], policy: Policy
) -> Plan[list[_Answer | Refusal]]:
    """An answer for every line, in their order; `read` makes them of a reply to so many lines."""
    rows = _Rows[_Answer](chunk)
    budget = Budget(policy)
    while rows.open:
        body = b"\n".join(line.content for line in rows.open) + b"\n"
        try:
            reply = yield from ask(Request("POST", path, body, _NDJSON), budget)
        except (Unreachable, TimedOut, Overloaded, ServerFailed):
            if rows.whole:
                break
            raise
        if 200 <= reply.status < 300:
            rows.take(read(reply, len(rows.open)))
        elif len(rows.open) == 1 and reply.status in _OF_AN_EVENT:
            rows.take([Refusal.of(reply)])  # one line alone is answered as one event is
        else:
            raise refused(reply)
        if rows.open:
            pause_s = budget.pause_s(None)
            if pause_s is None:
                break
            yield Wait(pause_s)
    if not rows.whole:
        raise given_up(Failure("broken", "the answer has fewer lines than were sent"), budget)
    return rows.answers()


class _Rows(Generic[_Answer]):
    """The lines of a chunk with what is known of each; `open` are those to be sent, or sent again."""

    def __init__(self, lines: Sequence[_Line]) -> None:
        self._lines = lines
        self._known: dict[int, _Answer | Refusal] = {
            line.number: line.refusal for line in lines if line.refusal is not None
        }
        self.open = [line for line in lines if line.refusal is None]

    @property
    def whole(self) -> bool:
        """Whether every line has an answer, be it "not now"."""
        return len(self._known) == len(self._lines)

    def take(self, answers: Sequence[_Answer | Refusal]) -> None:
        """Take the answers to the first lines of `open`."""
        for line, answer in zip(self.open, answers):
            if isinstance(answer, Refusal):
                answer = msgspec.structs.replace(answer, line=line.number)
            self._known[line.number] = answer
        self.open = [line for line in self.open if self._waits(line)]

    def _waits(self, line: _Line) -> bool:
        answer = self._known.get(line.number)
        return answer is None or (isinstance(answer, Refusal) and answer.passing)

    def answers(self) -> list[_Answer | Refusal]:
        return [self._known[line.number] for line in self._lines]


class _Told(msgspec.Struct):
    """What tells one kind of line from another."""

    code: str = ""
    status: str | int = ""
    accepted: int | None = None
    refused: tuple[Refusal, ...] = ()


def _lines_of(reply: Reply, most: int) -> list[bytes]:
    lines = [line for line in reply.body.split(b"\n") if line.strip()]
    if len(lines) > most:
        raise Unexpected(f"{len(lines)} lines answer {most}; is a proxy between?")
    return lines


def _decided(reply: Reply, most: int) -> list[Decision | Refusal]:
    """A decision or a refusal for each line; fewer where the answer ended early."""
    answers, lines = list[Decision | Refusal](), _lines_of(reply, most)
    for line in lines:
        one = Reply(reply.status, reply.headers, line)
        told = _Told() if line.startswith(_DECISION) else parsed(_Told, one)
        if told.status == "accepted":
            answers.append(not_decided(parsed(TakenIn, one)))
        else:
            answers.append(parsed(Refusal, one) if told.code else parsed(Decision, one))
    last = answers[-1] if answers else None
    if isinstance(last, Refusal) and (last.line == 0 or (last.line is None and len(answers) < most)):
        # The whole of it went wrong, before the first line (as line 0) or under way: this problem is of no line.
        if not last.passing:
            raise refused(Reply(last.status or 500, {}, lines[-1]))
        answers.pop()
    return answers


def _accepted(reply: Reply, most: int) -> list[bool | Refusal]:
    """True or a refusal for each line; the service answers line by line, or once for all."""
    lines = _lines_of(reply, most)
    whole = parsed(_Told, Reply(reply.status, reply.headers, lines[0])) if lines else _Told()
    if whole.accepted is None:
        answers = list[bool | Refusal]()
        for line in lines:
            one = Reply(reply.status, reply.headers, line)
            answers.append(parsed(Refusal, one) if parsed(_Told, one).code else True)
        return answers
    if whole.accepted + len(whole.refused) > most:
        raise Unexpected(f"{whole.accepted + len(whole.refused)} answers to {most} lines")
    placed: list[bool | Refusal] = [True] * most
    for number, refusal in enumerate(whole.refused, 1):
        place = refusal.line if refusal.line is not None and 1 <= refusal.line <= most else number
        placed[place - 1] = refusal
    return placed
