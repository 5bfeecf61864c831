"""What may be done with personal fields once they are treated: the rest of a definition sees a token, or nothing.

`derive` runs before that and may read everything; a derived value that is the text of a personal field, or made of its
letters, is personal as the field is. Behind it a tokenised value allows equality with other tokens and with literals,
in_list, lookup, distinct and entity; a masked one can be asked for NULL, a dropped one cannot be read at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from parakh.errors import ExpressionError
from parakh.events.definition import EventType
from parakh.expressions.parse import parse
from parakh.expressions.syntax import Call, Case, Compare, Expression, In, IsNull, Literal, Name, Syntax
from parakh.features.definition import AggregateKind, Entity
from parakh.features.reads import key_fields, readable

__all__ = ["feature_tokens", "personal_names", "reads_personal", "refused_reads", "told_apart", "unlike_keys"]

_EQUALITY = ("=", "!=", "is distinct from", "is not distinct from")
_WHOLE_VALUE = ("in_list", "lookup")
_PASSING = ("lower", "upper", "coalesce", "least", "greatest")
"""Functions whose value is one of their arguments, or has its letters."""

_STRICTEST = ("token", "mask", "drop")
_HINTS = {
    "token": "a token allows =, in, in_list, lookup, count(distinct) and entity; `derive` sees the text",
    "mask": "derive from it what is needed, or make it `personal: token`",
    "drop": "derive from it what is needed, or make it `personal: token`",
}


def personal_names(event: EventType) -> dict[str, str]:
    """How each personal name of an event type is treated: its fields, and the derived values that are their text.

    What was derived from fields treated differently is treated as the strictest: drop, then mask, then token.

    >>> from parakh.events.definition import Field
    >>> from parakh.expressions.types import STRING
    >>> login = EventType(name="login", id="row", time="at", fields=(
    ...     Field(name="email", type=STRING, personal="token"),),
    ...     derive=(("small", "lower(email)"), ("own", "email like '%@example.com'")))
    >>> personal_names(login)
    {'email': 'token', 'small': 'token'}
    """
    kinds = {item.name: item.personal for item in event.fields if item.personal is not None}
    if not kinds:
        return {}
    for name, text in event.derive:
        expression = _parsed(text)
        carried = [] if expression is None else [kinds[item] for item in _carried(expression.root) if item in kinds]
        if carried:
            kinds[name] = max(carried, key=_STRICTEST.index)
    return kinds


def reads_personal(event: EventType) -> tuple[str, ...]:
    """The derived values that read a personal field, themselves or through others: computed before it is treated."""
    reading = {item.name for item in event.fields if item.personal is not None}
    found = []
    for name, text in event.derive if reading else ():
        expression = _parsed(text)
        if expression is not None and not reading.isdisjoint(expression.names):
            reading.add(name)
            found.append(name)
    return tuple(found)


def feature_tokens(entities: Iterable[Entity], event: EventType, events: Mapping[str, EventType]) -> dict[str, str]:
    """The features that an event type reads and whose value is a token: the first or last of a tokenised field."""
    found = {}
    for read in readable(entities, event):
        definition = read.feature.definition
        if definition.aggregate.kind not in (AggregateKind.FIRST, AggregateKind.LAST):
            continue
        expression = _parsed(definition.aggregate.argument or "")
        if expression is None or not isinstance(expression.root, Name):
            continue
        kinds = (
            personal_names(events[name]).get(expression.root.name) for name in definition.sources if name in events
        )
        if "token" in kinds:
            found.update(dict.fromkeys((read.name, *read.aliases), "token"))
    return found


def told_apart(node: Syntax) -> tuple[Syntax, ...]:
    """The values that a node compares for equality alone; empty where it does something else."""
    if isinstance(node, Compare) and node.operator in _EQUALITY:
        return (node.left, node.right)
    return (node.operand, *node.items) if isinstance(node, In) else ()


def refused_reads(
    expression: Expression, personal: Mapping[str, str], *, whole: bool = False
) -> Iterator[ExpressionError]:
    """Reads of personal values that an expression behind `derive` may not make; `personal` says how each is treated.

    `whole` is true where the expression's own value is only counted or told apart, as in count(distinct x).

    >>> expression = parse("starts_with(phone, '+91') or phone = 'x'")
    >>> [error.message for error in refused_reads(expression, {"phone": "token"})]
    ["'phone' is tokenised: its text cannot be read here"]
    """
    if not personal:
        return
    pending: list[tuple[Syntax, bool, bool]] = [(expression.root, whole, False)]
    while pending:
        node, allowed, asked_for_null = pending.pop()
        if isinstance(node, Name):
            kind = personal.get(node.name)
            message = ""
            if kind == "token" and not allowed:
                message = f"{node.name!r} is tokenised: its text cannot be read here"
            elif kind == "mask" and not asked_for_null:
                message = f"{node.name!r} is masked before anything but `derive` reads it"
            elif kind == "drop":
                message = f"{node.name!r} is dropped before anything but `derive` reads it"
            if kind is not None and message:
                yield ExpressionError(message, start=node.start, end=node.end, hint=_HINTS[kind])
            continue
        compared = told_apart(node)
        tokens = [item.name for item in compared if isinstance(item, Name) and personal.get(item.name) == "token"]
        if tokens:
            yield from _unlike(compared, tokens[0], personal)
        alone = isinstance(node, Call) and node.function in _WHOLE_VALUE
        null = isinstance(node, IsNull)
        pending.extend((child, bool(compared) or alone or null, null) for child in reversed(node.children))


def unlike_keys(entities: Iterable[Entity], events: Iterable[EventType]) -> Iterator[tuple[Entity, str, str, str, str]]:
    """Fields that are one key of an entity, of which one is a token and the other not: they would never be equal.

    (entity, event type, field, and those of the one before that is treated otherwise).
    """
    types = tuple(events)
    for entity in entities:
        known: dict[int, tuple[str | None, str, str]] = {}
        for event in types:
            roles = list(key_fields(entity, event))
            for definition in entity.features:
                if definition.by is not None and event.name in definition.sources:
                    roles.extend(key_fields(entity, event, definition.by))
            for role in dict.fromkeys(roles):
                for place, name in enumerate(role):
                    kind, other_event, other = known.setdefault(place, (event.field(name).personal, event.name, name))
                    if (kind == "token") != (event.field(name).personal == "token"):
                        yield entity, event.name, name, other_event, other


def _unlike(compared: tuple[Syntax, ...], token: str, personal: Mapping[str, str]) -> Iterator[ExpressionError]:
    """What a token is compared with and can never equal: anything but other tokens and literals."""
    for item in compared:
        if isinstance(item, Literal) or (isinstance(item, Name) and item.name in personal):
            continue
        yield ExpressionError(
            f"{token!r} is tokenised and this is not: they are never equal",
            start=item.start,
            end=item.end,
            hint="compare it with a text or with another `personal: token` field, or compare them in `derive`",
        )


def _carried(node: Syntax) -> Iterator[str]:
    """The names whose value, or its letters, a node's value may be."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, Case):
        for _, then in node.branches:
            yield from _carried(then)
        if node.otherwise is not None:
            yield from _carried(node.otherwise)
    elif isinstance(node, Call) and node.function in _PASSING:
        for argument in node.arguments:
            yield from _carried(argument)
    elif isinstance(node, Call) and node.function == "nullif":
        yield from _carried(node.arguments[0])


def _parsed(text: str) -> Expression | None:
    """The expression, or None where it is reported elsewhere that it is none."""
    try:
        return parse(text)
    except ExpressionError:
        return None
