"""From the definitions of a project to those of its stored events: what the engine runs on behind the service.

The service stores an event with its personal fields treated, with what was derived from them beforehand and with the
answers of enrichments (keys that begin with ~). `stored_definitions` says the same project over such events, so that
the engine decides on them as the original project decides on what came from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from parakh.decisions.definition import Definitions
from parakh.decisions.names import Names
from parakh.decisions.personal import feature_tokens, personal_names, reads_personal, told_apart
from parakh.events.definition import ROW_ID, EventType, Field
from parakh.expressions.parse import parse
from parakh.expressions.syntax import Call, In, Literal, Name, Syntax
from parakh.expressions.types import BOOLEAN, STRING
from parakh.features.definition import Entity, FeatureDefinition
from parakh.rules.definition import LookupTable, Rule, TableRow, ValueList

__all__ = ["DEGRADED_KEY", "DERIVED_KEY", "ROW_KEY", "sealed", "stored_definitions"]

DERIVED_KEY = "~derived"
"""The key of a stored event under which derived values stand that were computed before fields were treated."""

ROW_KEY = "~id"
"""The key of the id that the service gives to an event of a type without one (`id: row`): it is stored with the event,
since the number of a row differs after a restart, and with every body that was refused."""

DEGRADED_KEY = "~degraded"
"""The key that is true where an enrichment that the project needs did not answer in time."""

_Tokens = Mapping[str, str]
_Tokenise = Callable[[str], str]
_LONG_LIST = 8
"""An IN list of more values becomes a table of the project: tokens are longer than values, and a text has a limit."""


def sealed(definitions: Definitions, event_type: str) -> tuple[str, ...]:
    """The derived values of an event type that are computed before its fields are treated, and stored.

    Those that are the text of a dropped field are computed too, where others read them, but not stored.
    """
    event = definitions.event_type(event_type)
    kinds = personal_names(event)
    return tuple(name for name in reads_personal(event) if kinds.get(name) != "drop")


def stored_definitions(definitions: Definitions, tokenise: _Tokenise) -> Definitions:
    """The definitions of a checked project over its stored events.

    Dropped fields are gone; tokenised and masked ones are plain texts. A derived value that reads a personal field is a
    field read from `~derived`. The columns of an event type's enrichments are fields `NAME.column`, read from `~NAME`,
    and `~degraded` is one (`enrichments` is empty: nothing is left to ask). A type without an id has its `~id` for one.
    What was compared with a tokenised field - literals, IN lists, lists and tables - is tokenised; a list or table that
    is also read by other fields is there twice. One that nothing reads any more is left out, so that the engine holds
    no text of it. A rule over event types of which not all treat a field alike becomes several of its name. Rules that
    are changed have no tests.

    Definitions without personal fields and enrichments, all of whose events have ids, are given back as they are.

    >>> from parakh.decisions.samples import sample_project
    >>> definitions = sample_project().definitions
    >>> stored_definitions(definitions, str.upper) is definitions
    True
    """
    treated = any(event.id == ROW_ID or any(item.personal for item in event.fields) for event in definitions.events)
    if not treated and not definitions.enrichments:
        return definitions
    return _Storing(definitions, tokenise).definitions()


@dataclass(slots=True)
class _Uses:
    """How lists or tables of one kind are read: by tokens, by plain values, or both."""

    by_token: set[str] = field(default_factory=set)
    plainly: set[str] = field(default_factory=set)

    def renamed(self, name: str) -> str:
        """The name of the tokenised form."""
        return f"{name}~tokens" if name in self.plainly else name


class _Storing:
    """Every text is read twice: to see how lists and tables are used, and to write it anew."""

    def __init__(self, definitions: Definitions, tokenise: _Tokenise) -> None:
        self._of = definitions
        self._tokenise = tokenise
        self._events = {item.name: item for item in definitions.events}
        self._kinds = {item.name: personal_names(item) for item in definitions.events}
        self._sealed = {item.name: reads_personal(item) for item in definitions.events}
        self._decided = {
            item.name: {
                **feature_tokens(definitions.entities, item, self._events),
                **self._ingested((item.name,)),
            }
            for item in definitions.events
        }
        self._lists, self._tables = _Uses(), _Uses()
        self._new_tables: dict[tuple[str, ...], str] = {}

    def definitions(self) -> Definitions:
        self._see_uses()
        of = self._of
        names = Names(of)
        entities = tuple(self._entity(item) for item in of.entities)
        signals = tuple(
            replace(
                item,
                define=tuple((name, self._text(text, self._decided[item.event_type])) for name, text in item.define),
            )
            for item in of.signals
        )
        rules = tuple(rule for item in of.rules for rule in self._rules(item))
        policies = tuple(
            replace(
                item,
                bands=tuple(replace(b, when=self._text(b.when, self._decided[item.event_type])) for b in item.bands),
            )
            for item in of.policies
        )
        return replace(
            of,
            events=tuple(self._event(item, names) for item in of.events),
            entities=entities,
            signals=signals,
            rules=rules,
            policies=policies,
            lists=tuple(self._stored_lists()),
            tables=tuple(self._stored_tables()),
            enrichments=(),
        )

    # -- what is defined ----------------------------------------------------------------------------------------------

    def _event(self, event: EventType, names: Names) -> EventType:
        kinds = self._kinds[event.name]
        fields = [replace(item, personal=None) for item in event.fields if item.personal != "drop"]
        before = self._sealed[event.name]
        if before:
            types = names.ingest(event).columns
            fields += [
                Field(name=name, type=types[name], source=f"{DERIVED_KEY}.{name}")
                for name in before
                if kinds.get(name) != "drop"
            ]
        asked = [item for item in self._of.enrichments if item.event_type == event.name]
        fields += [
            Field(name=f"{item.name}.{column.name}", type=column.type, source=f"~{item.name}.{column.name}")
            for item in asked
            for column in item.columns
        ]
        if asked:
            fields.append(Field(name=DEGRADED_KEY, type=BOOLEAN, source=DEGRADED_KEY))
        if event.id == ROW_ID:
            fields.append(Field(name=ROW_KEY, type=STRING, source=ROW_KEY))
            event = replace(event, id=ROW_KEY)
        if len(fields) == len(event.fields) and not kinds:
            return event
        derive = tuple((name, text) for name, text in event.derive if name not in before)
        return replace(event, fields=tuple(fields), derive=derive)

    def _entity(self, entity: Entity) -> Entity:
        return replace(entity, features=tuple(self._feature(item) for item in entity.features))

    def _feature(self, definition: FeatureDefinition) -> FeatureDefinition:
        tokens = self._ingested(definition.sources)
        argument, where = definition.aggregate.argument, definition.where
        return replace(
            definition,
            aggregate=replace(
                definition.aggregate, argument=None if argument is None else self._text(argument, tokens)
            ),
            where=None if where is None else self._text(where, tokens),
        )

    def _rules(self, rule: Rule) -> list[Rule]:
        """A rule, one for each way in which its event types make its text."""
        texts: dict[str, list[str]] = {}
        for event_type in rule.event_types:
            texts.setdefault(self._text(rule.when, self._decided[event_type]), []).append(event_type)
        if set(texts) <= {rule.when}:
            return [rule]
        return [
            replace(rule, event_types=tuple(types), when=text, tests=rule.tests if text == rule.when else ())
            for text, types in texts.items()
        ]

    def _stored_lists(self) -> list[ValueList]:
        stored = []
        for item in self._of.lists:
            if item.name in self._lists.plainly:
                stored.append(item)
            if item.name in self._lists.by_token:
                entries = tuple(replace(entry, value=self._token(entry.value)) for entry in item.entries)
                stored.append(replace(item, name=self._lists.renamed(item.name), entries=entries))
        return stored

    def _stored_tables(self) -> list[LookupTable]:
        stored = []
        for item in self._of.tables:
            if item.name in self._tables.plainly:
                stored.append(item)
            if item.name in self._tables.by_token:
                rows = tuple(replace(row, key=self._token(row.key)) for row in item.rows)
                stored.append(replace(item, name=self._tables.renamed(item.name), rows=rows))
        for values, name in self._new_tables.items():
            rows = tuple(TableRow(key=value, values=(value,)) for value in values)
            stored.append(LookupTable(name=name, key=STRING, columns=(("text", STRING),), rows=rows))
        return stored

    # -- texts --------------------------------------------------------------------------------------------------------

    def _ingested(self, sources: Iterable[str]) -> dict[str, str]:
        """The tokens among fields and derived values; the check of a project sees that sources agree."""
        return {name: kind for source in sources for name, kind in self._kinds[source].items() if kind == "token"}

    def _texts(self) -> Iterable[tuple[str, _Tokens]]:
        """Every text that is computed over stored events, and the names that are tokens in it."""
        for event in self._of.events:
            for name, text in event.derive:
                if name not in self._sealed[event.name]:
                    yield text, {}
        for entity in self._of.entities:
            for definition in entity.features:
                for part in (definition.aggregate.argument, definition.where):
                    if part is not None:
                        yield part, self._ingested(definition.sources)
        for signals in self._of.signals:
            for _, text in signals.define:
                yield text, self._decided[signals.event_type]
        for rule in self._of.rules:
            for event_type in rule.event_types:
                yield rule.when, self._decided[event_type]
        for policy in self._of.policies:
            for band in policy.bands:
                yield band.when, self._decided[policy.event_type]

    def _see_uses(self) -> None:
        for text, tokens in self._texts():
            if "in_list" not in text.lower() and "lookup" not in text.lower():
                continue
            for node in parse(text).walk():
                for uses, name, key in _references(self._lists, self._tables, node):
                    (uses.by_token if _is_token(key, tokens) else uses.plainly).add(str(name.value))

    def _text(self, text: str, tokens: _Tokens) -> str:
        """A text with its literals, and the names of its lists and tables, as its tokens need them."""
        if not tokens:
            return text
        changes: list[tuple[int, int, str]] = []
        for node in parse(text).walk():
            if isinstance(node, In) and _is_token(node.operand, tokens) and _is_long(node):
                changes.append(self._long_list(text, node))
                continue
            compared = told_apart(node)
            if any(_is_token(item, tokens) for item in compared):
                changes += [self._literal(item) for item in compared if isinstance(item, Literal) and _is_text(item)]
            for uses, name, key in _references(self._lists, self._tables, node):
                if _is_token(key, tokens):
                    changes.append((name.start, name.end, f"'{uses.renamed(str(name.value))}'"))
        for start, end, new in sorted(changes, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _literal(self, literal: Literal) -> tuple[int, int, str]:
        return literal.start, literal.end, f"'{self._tokenise(str(literal.value))}'"

    def _long_list(self, text: str, node: In) -> tuple[int, int, str]:
        """The values of a long IN list as a table that answers with its key: equal to the operand where it is there.

        What is not there gives '', which is no token; so NULL alone gives NULL, as in the list.
        """
        values = tuple(
            dict.fromkeys(self._tokenise(str(item.value)) for item in node.items if isinstance(item, Literal))
        )
        name = self._new_tables.setdefault(values, f"~texts_{len(self._new_tables) + 1}")
        operand = text[node.operand.start : node.operand.end]
        return node.items[0].start, node.items[-1].end, f"coalesce(lookup('{name}', {operand}, 'text'), '')"

    def _token(self, value: object) -> str | None:
        return None if value is None else self._tokenise(str(value))


def _is_token(node: Syntax, tokens: _Tokens) -> bool:
    return isinstance(node, Name) and tokens.get(node.name) == "token"


def _is_long(node: In) -> bool:
    return len(node.items) > _LONG_LIST and all(isinstance(item, Literal) for item in node.items)


def _is_text(literal: Literal) -> bool:
    return isinstance(literal.value, str)


def _references(lists: _Uses, tables: _Uses, node: Syntax) -> list[tuple[_Uses, Literal, Syntax]]:
    """The list or table that a node reads: its kind, its name's literal and the value that is looked for."""
    if isinstance(node, Call) and node.function in ("in_list", "lookup"):
        in_list = node.function == "in_list"
        key, name = node.arguments[:2] if in_list else (node.arguments[1], node.arguments[0])
        if isinstance(name, Literal):
            return [(lists if in_list else tables, name, key)]
    return []
