"""What an enrichment's URL says of an event's fields, and whether an enrichment holds together with its project.

Names, types and hosts alone: who asks, and what becomes of the answer, is `parakh.service.enrichment`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from parakh.decisions.definition import Definitions, Enrichment, Settings
from parakh.decisions.hosts import HostError, Pin, pin_of, vetted
from parakh.errors import ExpressionError, SourceText
from parakh.events.definition import EventType, Field
from parakh.expressions.hints import closest
from parakh.expressions.types import BOOLEAN

__all__ = [
    "FROM_ENVIRONMENT",
    "Hole",
    "Refusal",
    "answered",
    "enrichment_refusals",
    "host_refusals",
    "pins_in",
    "template_of",
]

FROM_ENVIRONMENT = "env:"
"""What the value of a header begins with that stands in the environment."""

_RESERVED = ("derived", "degraded")  # ~derived and ~degraded mean something else in a stored event
_OURS = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "accept", "te", "upgrade")
_SECRET = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
_ENVIRONMENT = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}")
_OWN_ENVIRONMENT = "env:PARAKH_"
_HOLE = re.compile(r"\{([^{}]*)\}|[{}]")
_BEFORE_HOLES = re.compile(r"https?://[^/?#]+[/?]")


@dataclass(frozen=True, slots=True)
class Hole:
    """A place of a URL where a field's value goes, percent-encoded; `start` and `end` are offsets of `{field}`."""

    field: str
    start: int
    end: int


class Refusal(NamedTuple):
    """One thing that does not hold: what, the text that says so, and what to do."""

    message: str
    text: str
    hint: str = ""


def template_of(url: str) -> tuple[Hole, ...]:
    """The fields that a URL asks with, in their order. Raises ExpressionError where the template does not hold.

    >>> [hole.field for hole in template_of("https://risk.example.com/v1/ip/{ip}?amount={amount}")]
    ['ip', 'amount']
    """
    holes = []
    begin = _BEFORE_HOLES.match(url)
    for found in _HOLE.finditer(url):
        start, end = found.span()
        if found[1] is None:
            raise ExpressionError("a brace of the URL has no partner", start=start, end=end, hint="write {field}")
        if begin is None or start < begin.end():
            hint = "the host is pinned; fields go into the path or behind the ?"
            raise ExpressionError("a field may not stand in the URL's host", start=start, end=end, hint=hint)
        holes.append(Hole(found[1], start, end))
    return tuple(holes)


def answered(definitions: Definitions) -> Definitions:
    """The definitions over events that come with the answers of enrichments, as the service stores them.

    The columns are fields `NAME.column`, read from `~NAME`, and NULL where an event comes without; nothing is left to
    ask. Definitions without enrichments, or from `stored_definitions`, are given back as they are.
    """
    if not definitions.enrichments:
        return definitions
    return replace(
        definitions, events=tuple(_with_answers(definitions, item) for item in definitions.events), enrichments=()
    )


def _with_answers(definitions: Definitions, event: EventType) -> EventType:
    asked = [item for item in definitions.enrichments if item.event_type == event.name]
    if not asked:
        return event
    columns = [
        Field(name=f"{item.name}.{column.name}", type=column.type, source=f"~{item.name}.{column.name}")
        for item in asked
        for column in item.columns
    ]
    missing = Field(name="~degraded", type=BOOLEAN, source="~degraded")
    return replace(event, fields=(*event.fields, *columns, missing))


def pins_in(settings: Settings) -> tuple[Pin, ...]:
    """The hosts that a project's enrichments may ask; entries that are no hosts are left out."""
    pins = []
    for entry in settings.enrichment_hosts:
        try:
            pins.append(pin_of(entry))
        except HostError:
            continue
    return tuple(pins)


def host_refusals(settings: Settings) -> Iterator[Refusal]:
    """What is wrong with `[enrichments] hosts` of parakh.toml."""
    for entry in settings.enrichment_hosts:
        try:
            pin_of(entry)
        except HostError as error:
            yield Refusal(f"[enrichments] hosts: {error.message}", entry, error.hint)


def enrichment_refusals(enrichment: Enrichment, event: EventType, definitions: Definitions) -> Iterator[Refusal]:
    """What is wrong with an enrichment of an event type of the project."""
    yield from _name(enrichment, event, definitions)
    seen = set[str]()
    for column in enrichment.columns:
        if column.name in seen:
            yield Refusal(f"column {enrichment.name}.{column.name} is defined twice", column.name)
        seen.add(column.name)
    if not enrichment.columns:
        yield Refusal(f"enrichment {enrichment.name!r} has no columns", enrichment.name, "columns: {risk: number}")
    yield from _url(enrichment.url, event, pins_in(definitions.settings))
    yield from _headers(enrichment.headers)
    policy = definitions.policy(event.name)
    if policy is not None and enrichment.timeout_us >= policy.deadline_us:
        yield Refusal(
            f"enrichment {enrichment.name!r} may take {enrichment.timeout_us / 1000:g} ms, and the whole decision on "
            f"{event.name!r} {policy.deadline_us / 1000:g} ms",
            enrichment.name,
            "a `timeout` shorter than the policy's `deadline`",
        )


def _name(enrichment: Enrichment, event: EventType, definitions: Definitions) -> Iterator[Refusal]:
    name = enrichment.name
    if name in _RESERVED:
        yield Refusal(f"an enrichment cannot be named {name!r}", name, "rename it")
    signals = [pair[0] for item in definitions.signals if item.event_type == event.name for pair in item.define]
    taken = (
        ("an entity", [item.name for item in definitions.entities]),
        ("an event type", [item.name for item in definitions.events]),
        (f"a field of event {event.name!r}", [item.name for item in event.fields]),
        (f"a derived value of event {event.name!r}", [item[0] for item in event.derive]),
        (f"a label of event {event.name!r}", [item.name for item in event.labels]),
        (f"a signal of event {event.name!r}", signals),
        ("a model", [item.name for item in definitions.models]),
    )
    for what, names in taken:
        if name in names:
            yield Refusal(f"enrichment {name!r} has the name of {what}", name, "rename it")


def _url(url: str, event: EventType, pins: Sequence[Pin]) -> Iterator[Refusal]:
    try:
        holes = template_of(url)
    except ExpressionError as error:
        yield Refusal(error.message, _part(url, error.start, error.end), error.hint)
        return
    try:
        vetted(_HOLE.sub("x", url), pins)
    except HostError as error:
        unlisted = "not a pinned host" in error.message
        hint = "add the host to parakh.toml: [enrichments] hosts = [...]" if unlisted else error.hint
        yield Refusal(f"the URL is refused: {error.message}", _part(url, 0, len(url)), hint)
    fields = {item.name: item for item in event.fields}
    derived = {name for name, _ in event.derive}
    for hole in holes:
        text = _part(url, hole.start, hole.end)
        field = fields.get(hole.field)
        if field is None:
            hint = closest(hole.field, fields) or f"fields of {event.name}: {', '.join(list(fields)[:12])}"
            if hole.field in derived:
                hint = "it is asked before anything is derived: only what the event brings can be asked with"
            yield Refusal(f"event {event.name!r} has no field {hole.field!r}", text, hint)
        elif field.personal is not None:
            yield Refusal(
                f"{hole.field!r} is personal and would leave in the clear",
                text,
                "ask with a field that is not `personal`, or leave it out",
            )


def _headers(headers: Sequence[tuple[str, str]]) -> Iterator[Refusal]:
    seen = set[str]()
    for name, value in headers:
        if name.lower() in seen:
            yield Refusal(f"header {str(name)!r} is given twice", name)
        seen.add(name.lower())
        if name.lower() in _OURS:
            yield Refusal(f"header {str(name)!r} is set by the service itself", name, "leave it out")
        if value.startswith(FROM_ENVIRONMENT):
            if not _ENVIRONMENT.fullmatch(value):
                yield Refusal("this names no variable of the environment", value, "such as env:RISK_TOKEN")
            elif value.startswith(_OWN_ENVIRONMENT):
                hint = "copy what is meant for others into a variable of its own"
                yield Refusal("the service's own secrets are not sent out", value, hint)
        elif _SECRET.search(name):
            yield Refusal(f"header {str(name)!r} is a secret and stands in the project", name, "env:NAME_OF_A_VARIABLE")


def _part(text: str, start: int, end: int) -> str:
    """A part of a text that still knows its place."""
    return SourceText(text[start:end], text.at(start)) if isinstance(text, SourceText) else text[start:end]
