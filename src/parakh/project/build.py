"""One document's values -> one frozen definition, as `parakh.*.definition` knows it.

What a definition says about others (names, types) is checked later, over the whole project (`decisions.check`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from parakh.decisions.definition import Band, Enrichment, EnrichmentColumn, Holdout, Policy, Signals
from parakh.errors import ExpressionError, ModelError, Problem, SourceText
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.aggregate import parse_aggregate
from parakh.expressions.hints import closest
from parakh.expressions.parse import is_name, parse
from parakh.expressions.types import BOOLEAN, Kind
from parakh.features.definition import Aggregate, AggregateKind, Entity, FeatureDefinition
from parakh.models.check import check_inputs, read_model
from parakh.models.definition import Model
from parakh.project import keys
from parakh.project.lists import ListMaker
from parakh.project.maker import Files, Maker
from parakh.project.reading import Reading, Values
from parakh.project.yaml_nodes import Document, Mapping, Node
from parakh.rules.definition import (
    LookupTable,
    Mode,
    Outcome,
    Rule,
    RuleTest,
    ValueList,
)

__all__ = ["Built", "Definition", "build"]

Definition = EventType | Entity | Signals | Rule | Model | Policy | ValueList | LookupTable | Enrichment


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
    root = _mapping_of_a_kind(document.root, reading)
    if root is None:
        return Built(
            "", None, (*document.problems, *problems), _named_in(document.text) if document.problems else frozenset()
        )
    kind = root.entries[0].key.text
    name = getattr(root.entries[0].value, "text", "")
    what = f"{kind} {name!r}" if name else kind
    values = reading.record(root, keys.KINDS[kind], what)
    assert isinstance(values, Values)
    builder = _Builder(reading, currency, files, what)
    definition = builder.build(kind, values)
    if definition is None and name:
        reading.suspects.add(name)
    return Built(kind, definition, (*document.problems, *problems), frozenset(reading.suspects))


_HEAD = re.compile(r"^([a-z]+)[ \t]*:[ \t]*['\"]?([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE)
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)['\"]?[ \t]*:(?=\s)")


def _named_in(text: str) -> frozenset[str]:
    """Names that a document would perhaps have defined which is not YAML: what reads them is not blamed."""
    head = _HEAD.search(text)
    if head is None or head.group(1) not in keys.KINDS:
        return frozenset()
    inner = _KEY.findall(text) if head.group(1) in ("event", "entity", "signals") else []
    return frozenset([head.group(2), *inner])


def _mapping_of_a_kind(root: Node | None, reading: Reading) -> Mapping | None:
    """The root of a document, where it is one that begins with a kind; None after reporting why it is not."""
    if root is None:
        return None
    if not isinstance(root, Mapping):
        kinds = ", ".join(keys.KINDS)
        reading.problem("a document is a mapping that begins with its kind and name", root, hint=f"kinds are {kinds}")
        return None
    if not root.entries:
        reading.problem("the document is empty", root)
        return None
    present = [entry.key.text for entry in root.entries]
    kind = present[0]
    if kind not in keys.KINDS:
        found = next((name for name in present if name in keys.KINDS), "")
        hint = f"put `{found}:` first" if found else closest(kind, keys.KINDS) or f"kinds are {', '.join(keys.KINDS)}"
        reading.problem(f"a document begins with its kind; {kind!r} is none", root.entries[0].key, hint=hint)
        return None
    return root


class _Builder(Maker):
    def build(self, kind: str, values: Values) -> Definition | None:
        if kind not in values:
            return None
        lists = ListMaker(self.reading, self.currency, self.files, self.what)
        makers: dict[str, Callable[[Values], Definition | None]] = {
            "event": self._event,
            "entity": self._entity,
            "signals": self._signals,
            "rule": self._rule,
            "model": self._model,
            "policy": self._policy,
            "list": lists.make_list,
            "table": lists.make_table,
            "enrichment": self._enrichment,
        }
        return makers[kind](values)

    # -- events and features ------------------------------------------------------------------------------------------

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
                    type=self.type_of(given),
                    entity=given.get("entity"),
                    personal=given.get("personal"),
                    source=given.get("from"),
                    description=given.get("description", ""),
                )
            )
        labels = tuple(
            Label(
                name=name,
                type=self.type_of(given, BOOLEAN),
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
            holdout=values.get("holdout", True),
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
            holdout=self._holdout(values.get("holdout")),
            description=values.get("description", ""),
        )

    def _holdout(self, given: Values | None) -> Holdout | None:
        if given is None or not given.get("share"):
            return None
        return Holdout(share=given.get("share"), below=given.get("below"), salt=given.get("salt", ""))

    def _enrichment(self, values: Values) -> Enrichment | None:
        if not all(key in values for key in ("for", "url", "columns")):
            return None
        name = values.get("enrichment")
        columns = []
        for column, given in values.get("columns"):
            if "type" not in given or (not given.whole and self._is_money(given)):
                self.reading.suspects.add(str(column))
            elif not _reads_as_column(f"{name}.{column}"):
                self.report(f"{str(column)!r} is a word of SQL and cannot name a column here", column, hint="rename it")
            else:
                columns.append(EnrichmentColumn(column, self.type_of(given), given.get("from")))
        default = Enrichment(name="", event_type="", url="", columns=())
        return Enrichment(
            name=name,
            event_type=values.get("for"),
            url=values.get("url"),
            columns=tuple(columns),
            headers=tuple(values.get("headers", ())),
            timeout_us=values.get("timeout", default.timeout_us),
            cache_us=values.get("cache", default.cache_us),
            needed=values.get("needed", default.needed),
            description=values.get("description", ""),
        )


def _reads_as_column(name: str) -> bool:
    try:
        return parse(name).names == (name,)
    except ExpressionError:
        return False


def _outcome(word: str) -> Outcome:
    return Outcome[word.upper()]
