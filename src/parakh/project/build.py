"""One document's values -> one frozen definition, as `parakh.*.definition` knows it.

What a definition says about others (names, types) is checked later, over the whole project (`decisions.check`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parakh.decisions.definition import Band, Policy, Signals
from parakh.errors import ExpressionError, ModelError, Problem, SourceText
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.aggregate import parse_aggregate
from parakh.expressions.hints import closest
from parakh.expressions.parse import is_name, parse
from parakh.expressions.types import BOOLEAN, STRING, Kind, Type, money
from parakh.features.definition import Aggregate, AggregateKind, Entity, FeatureDefinition
from parakh.models.check import check_inputs, read_model
from parakh.models.definition import Model
from parakh.project import keys
from parakh.project.csv_rows import CsvRows
from parakh.project.reading import MISSING, Reading, Values
from parakh.project.values import Misread, RawValue, instant_us, read_value
from parakh.project.yaml_nodes import Document, Mapping
from parakh.rules.definition import (
    ListEntry,
    LookupTable,
    Mode,
    Outcome,
    Rule,
    RuleTest,
    TableRow,
    Value,
    ValueList,
)

__all__ = ["Built", "Definition", "Files", "NamedFile", "build"]

Definition = EventType | Entity | Signals | Rule | Model | Policy | ValueList | LookupTable

Files = Callable[[SourceText], "NamedFile | None"]
"""Reads a file that a definition names, beside the file it stands in; None after reporting why it cannot be read."""

RESERVED_COLUMNS = ("key", "since", "until")
"""Names that a row of a lookup table uses itself."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a definition names: its name in the project, and its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Built:
    """What one document gave: its definition (None where nothing could be made of it) and what is wrong."""

    kind: str
    definition: Definition | None
    problems: tuple[Problem, ...] = ()
    suspects: frozenset[str] = frozenset()
    """Names that mistakes have left undefined or half defined."""


def build(document: Document, file: str, currency: str, files: Files, problems: list[Problem]) -> Built:
    """The definition in a document. `problems` is the list that `files` reports to."""
    reading = Reading(file, document.text, plain_column=is_name)
    reading.problems = problems
    root = document.root
    if root is None:
        return Built("", None, (*document.problems, *problems))
    if not isinstance(root, Mapping):
        kinds = ", ".join(keys.KINDS)
        reading.problem("a document is a mapping that begins with its kind and name", root, hint=f"kinds are {kinds}")
        return Built("", None, (*document.problems, *problems))
    if not root.entries:
        reading.problem("the document is empty", root)
        return Built("", None, (*document.problems, *problems))
    present = [entry.key.text for entry in root.entries]
    kind = present[0]
    if kind not in keys.KINDS:
        found = next((name for name in present if name in keys.KINDS), "")
        hint = f"put `{found}:` first" if found else closest(kind, keys.KINDS) or f"kinds are {', '.join(keys.KINDS)}"
        reading.problem(f"a document begins with its kind; {kind!r} is none", root.entries[0].key, hint=hint)
        return Built("", None, (*document.problems, *problems))
    name = getattr(root.entries[0].value, "text", "")
    what = f"{kind} {name!r}" if name else kind
    values = reading.record(root, keys.KINDS[kind], what)
    assert isinstance(values, Values)
    builder = _Builder(reading, currency, files, what)
    definition = builder.build(kind, values)
    if definition is None and name:
        reading.suspects.add(name)
    return Built(kind, definition, (*document.problems, *problems), frozenset(reading.suspects))


class _Builder:
    def __init__(self, reading: Reading, currency: str, files: Files, what: str) -> None:
        self.reading = reading
        self.currency = currency
        self.files = files
        self.what = what

    def build(self, kind: str, values: Values) -> Definition | None:
        if kind not in values:
            return None
        makers: dict[str, Callable[[Values], Definition | None]] = {
            "event": self._event,
            "entity": self._entity,
            "signals": self._signals,
            "rule": self._rule,
            "model": self._model,
            "policy": self._policy,
            "list": self._list,
            "table": self._table,
        }
        return makers[kind](values)

    def report(self, message: str, text: object, *, hint: str = "") -> None:
        place = text.place if isinstance(text, SourceText | Values) else None
        shown = str(text).partition("\n")[0] if isinstance(text, str) else ""
        self.reading.problems.append(Problem(message, place, shown, hint))

    # -- events and features ------------------------------------------------------------------------------------------

    def _type(self, values: Values, default: Type = STRING) -> Type:
        word = values.get("type")
        if word is None:
            return default
        kind = Kind(str(word))
        if kind is Kind.MONEY:
            return money(str(values.get("currency", self.currency)))
        if "currency" in values:
            self.report(f"currency is for money; this is {kind.value}", values.get("currency"))
        return Type(kind)

    @staticmethod
    def _is_money(values: Values) -> bool:
        return values.get("type") == Kind.MONEY.value

    def _event(self, values: Values) -> EventType | None:
        if "id" not in values or "time" not in values or "fields" not in values:
            return None
        fields = []
        for name, given in values.get("fields"):
            if "type" not in given or ("currency" not in given and given.whole is False and self._is_money(given)):
                self.reading.suspects.add(str(name))
                continue
            fields.append(
                Field(
                    name=name,
                    type=self._type(given),
                    entity=given.get("entity"),
                    personal=given.get("personal"),
                    source=given.get("from"),
                    description=given.get("description", ""),
                )
            )
        labels = tuple(
            Label(
                name=name,
                type=self._type(given, BOOLEAN),
                source=given.get("from"),
                description=given.get("description", ""),
            )
            for name, given in values.get("labels", ())
        )
        return EventType(
            name=values.get("event"),
            id=values.get("id"),
            time=values.get("time"),
            fields=tuple(fields),
            derive=tuple(values.get("derive", ())),
            labels=labels,
            description=values.get("description", ""),
        )

    def _entity(self, values: Values) -> Entity:
        features = []
        for name, given in values.get("features", ()):
            feature = self._feature(values.get("entity"), name, given)
            if feature is None:
                self.reading.suspects.add(str(name))
            else:
                features.append(feature)
                if not given.whole:
                    self.reading.suspects.add(str(name))
        return Entity(
            name=values.get("entity"),
            key=tuple(values.get("key", ())),
            features=tuple(features),
            description=values.get("description", ""),
        )

    def _feature(self, entity: str, name: SourceText, given: Values) -> FeatureDefinition | None:
        if "from" not in given or "aggregate" not in given:
            return None
        if not _reads_as_column(f"{entity}.{name}"):
            self.report(f"{str(name)!r} is a word of SQL and cannot name a feature", name, hint="rename it")
            return None
        aggregate = self._aggregate(given.get("aggregate"))
        if aggregate is None:
            return None
        by = given.get("by")
        return FeatureDefinition(
            name=name,
            sources=tuple(given.get("from")),
            aggregate=aggregate,
            where=given.get("where"),
            over=tuple(given.get("over", ())),
            delay_us=given.get("delay", 0),
            include_current=given.get("current", "include") == "include",
            by=tuple(by) if by is not None else None,
            resolution_us=given.get("resolution"),
            description=given.get("description", ""),
        )

    def _aggregate(self, text: SourceText) -> Aggregate | None:
        try:
            parsed = parse_aggregate(text)
        except ExpressionError as error:
            shown = text[error.start : error.end] or text
            self.reading.problems.append(Problem(error.message, text.at(error.start), str(shown), error.hint))
            return None
        kind = AggregateKind.DISTINCT if parsed.distinct else AggregateKind(parsed.function)
        if parsed.argument is None:
            return Aggregate(kind)
        return Aggregate(kind, SourceText(parsed.argument, text.at(parsed.offset)))

    def _signals(self, values: Values) -> Signals:
        return Signals(event_type=values.get("signals"), define=tuple(values.get("define", ())))

    # -- judgement ----------------------------------------------------------------------------------------------------

    def _rule(self, values: Values) -> Rule | None:
        if not all(key in values for key in ("for", "when", "then")):
            return None
        tests = tuple(
            RuleTest(given=tuple(given.get("given")), expect=given.get("expect"))
            for given in values.get("tests", ())
            if "given" in given and "expect" in given
        )
        return Rule(
            name=values.get("rule"),
            event_types=tuple(values.get("for")),
            when=values.get("when"),
            then=_outcome(values.get("then")),
            reason=values.get("reason", ""),
            text=values.get("text", ""),
            mode=Mode(str(values.get("mode", "live"))),
            override=values.get("override", False),
            tests=tests,
            tags=tuple(values.get("tags", ())),
            owner=values.get("owner", ""),
            description=values.get("description", ""),
        )

    def _model(self, values: Values) -> Model | None:
        if not all(key in values for key in ("for", "file", "inputs")):
            return None
        file = values.get("file")
        named = self.files(file)
        if named is None:
            return None
        self._check_content(file, named.content, tuple(values.get("inputs")))
        return Model(
            name=values.get("model"),
            event_type=values.get("for"),
            file=file,
            inputs=tuple(values.get("inputs")),
            content=named.content,
            mode=Mode(str(values.get("mode", "live"))),
            card=tuple(values.get("card", ())),
            description=values.get("description", ""),
        )

    def _check_content(self, file: SourceText, content: bytes, inputs: tuple[str, ...]) -> None:
        try:
            check_inputs(inputs, read_model(content))
        except ModelError as error:
            self.report(str(error), file)

    def _policy(self, values: Values) -> Policy | None:
        if "for" not in values:
            return None
        bands = tuple(Band(_outcome(outcome), when) for outcome, when in values.get("bands", ()))
        return Policy(
            event_type=values.get("for"),
            name=values.get("policy"),
            score=values.get("score"),
            bands=bands,
            otherwise=_outcome(values.get("otherwise", "allow")),
            deadline_us=values.get("deadline", Policy(event_type="").deadline_us),
            fallback=_outcome(values.get("fallback", "review")),
            description=values.get("description", ""),
        )

    # -- lists and lookup tables --------------------------------------------------------------------------------------

    def _list(self, values: Values) -> ValueList:
        type = self._type(values)
        entries = list[ListEntry]()
        for given in values.get("items", ()):
            if "value" in given:
                value = self._listed(given.get("value"), type)
                if value is not MISSING:
                    entries.append(
                        ListEntry(
                            value=value,
                            since_us=given.get("since"),
                            until_us=given.get("until"),
                            note=given.get("note", ""),
                        )
                    )
                    self._ordered(given.get("since"), given.get("until"), given.get("value"))
        for row in self._csv(values, "items", required=("value",), optional=("since", "until", "note")):
            value = self._listed(row["value"], type)
            since, until = self._instant(row.get("since")), self._instant(row.get("until"))
            self._ordered(since, until, row["value"])
            if value is not MISSING:
                entries.append(ListEntry(value=value, since_us=since, until_us=until, note=str(row.get("note") or "")))
        return ValueList(
            name=values.get("list"), type=type, entries=tuple(entries), description=values.get("description", "")
        )

    def _listed(self, text: RawValue, type: Type) -> Any:
        """A value of a list; MISSING after reporting that it is none."""
        value = self._value(text, type)
        if value is None:
            self.report("a list cannot hold null", text, hint=f"nothing equals null; the text is written '{text}'")
            return MISSING
        return value

    def _table(self, values: Values) -> LookupTable | None:
        if "key" not in values or "columns" not in values or "type" not in values.get("key"):
            return None
        key = self._type(values.get("key"))
        columns = list[tuple[str, Type]]()
        for name, given in values.get("columns"):
            if name in RESERVED_COLUMNS:
                self.report(f"a column cannot be called {str(name)!r}: a row uses it itself", name, hint="rename it")
            elif "type" in given:
                columns.append((name, self._type(given)))
        rows = list[TableRow]()
        for pairs in values.get("rows", ()):
            row = self._row(dict(pairs), key, columns, pairs[0][0] if pairs else values)
            rows.extend(row)
        names = tuple(str(name) for name, _ in columns)
        for given in self._csv(values, "rows", required=("key", *names), optional=("since", "until")):
            rows.extend(self._row(given, key, columns, given["key"]))
        self._one_at_a_time(rows, values)
        return LookupTable(
            name=values.get("table"),
            key=key,
            columns=tuple(columns),
            rows=tuple(rows),
            description=values.get("description", ""),
        )

    def _row(
        self, given: dict[str, RawValue], key: Type, columns: list[tuple[str, Type]], start: object
    ) -> list[TableRow]:
        known = {"key", "since", "until", *(name for name, _ in columns)}
        for name, text in given.items():
            if name not in known:
                hint = closest(name, known) or f"columns are {', '.join(sorted(known))}"
                at = name if isinstance(name, SourceText) else text
                self.report(f"unknown column {str(name)!r}", at, hint=hint)
        if "key" not in given:
            self.report("a row has no `key`", start)
            return []
        read_key = self._value(given["key"], key)
        cells = tuple(self._value(given[name], type) if name in given else None for name, type in columns)
        since, until = self._instant(given.get("since")), self._instant(given.get("until"))
        self._ordered(since, until, given["key"])
        if read_key is None:
            self.report("a row's key cannot be null", given["key"])
        if read_key is MISSING or read_key is None or any(cell is MISSING for cell in cells):
            return []
        return [TableRow(key=read_key, values=cells, since_us=since, until_us=until)]

    def _one_at_a_time(self, rows: list[TableRow], values: Values) -> None:
        """Of rows with one key the one that began last holds; so no two may begin together."""
        seen = set[tuple[Value, int | None]]()
        for row in rows:
            if (row.key, row.since_us) in seen:
                hint = "give each its own `since`: the row that began last holds"
                self.report(f"key {row.key!r} has two rows that begin at one time", values.get("table"), hint=hint)
            seen.add((row.key, row.since_us))

    def _value(self, text: RawValue, type: Type) -> Any:
        """A value of `type`; MISSING after reporting that it is none."""
        try:
            return read_value(text, type)
        except Misread as wrong:
            self.report(wrong.message, text, hint=wrong.hint)
            return MISSING

    def _instant(self, text: RawValue | None) -> int | None:
        if text is None or not text:
            return None
        try:
            return instant_us(text)
        except Misread as wrong:
            self.report(wrong.message, text, hint=wrong.hint)
            return None

    def _ordered(self, since: int | None, until: int | None, text: object) -> None:
        if since is not None and until is not None and until <= since:
            self.report("`until` does not come after `since`", text)

    def _csv(self, values: Values, key: str, *, required: tuple[str, ...], optional: tuple[str, ...]) -> CsvRows:
        """The rows of the CSV file that a list or table names."""
        file = values.get("file")
        if (file is None) == (key not in values):
            self.report(
                f"{self.what} has both `{key}` and `file`"
                if file is not None
                else f"{self.what} has neither `{key}` nor `file`",
                file if file is not None else values,
                hint="give one of them",
            )
            return CsvRows.none()
        named = None if file is None else self.files(file)
        if file is None or named is None:
            return CsvRows.none()
        return CsvRows.read(named.content, named.name, file.place, required, optional, self.reading.problems)


def _reads_as_column(name: str) -> bool:
    try:
        return parse(name).names == (name,)
    except ExpressionError:
        return False


def _outcome(word: str) -> Outcome:
    return Outcome[word.upper()]
