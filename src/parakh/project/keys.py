"""The one table of what may stand in a project's files: every key, what it takes, and what it means.

Reading (`reading`), JSON Schemas (`schemas`), canonical order (`format`) and hints all follow this table; it holds no
code.
"""

from __future__ import annotations

from dataclasses import dataclass

from parakh.decisions.definition import MOST_HELD_OUT
from parakh.expressions.types import Kind
from parakh.rules.definition import Mode, Outcome

__all__ = [
    "FOLDERS",
    "KINDS",
    "SETTINGS",
    "AggregateText",
    "Amount",
    "Expression",
    "Flag",
    "Instant",
    "Key",
    "Length",
    "ListOf",
    "MapOf",
    "Name",
    "OneOrMany",
    "Record",
    "Shape",
    "Share",
    "Size",
    "Text",
    "TypeWord",
    "Value",
    "Word",
]

NAME_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,62}$"
DOTTED_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,62}(\\.[A-Za-z_][A-Za-z0-9_]{0,126})?$"


@dataclass(frozen=True, slots=True)
class Text:
    """Free text, one line or several; `pattern` bounds it."""

    pattern: str = ""
    what: str = "a text"


@dataclass(frozen=True, slots=True)
class Name:
    """A name: letters, digits and _. `column`: it is read in expressions, so SQL must take it for a plain column."""

    what: str = "a name"
    column: bool = False
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One of a few words."""

    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TypeWord:
    """The name of a type."""

    choices: tuple[str, ...] = tuple(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Length:
    """A length of time; `calendar` allows calendar_day, calendar_week and calendar_month; `none` allows 0s."""

    calendar: bool = False
    none: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """A size of memory: 8GB."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share, as 1% or 0.01, of at most `most`; `why` says why there is a most."""

    most: float
    why: str


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of money above nothing, in major units."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time, ISO 8601; UTC where it has no offset."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A SQL expression."""


@dataclass(frozen=True, slots=True)
class AggregateText:
    """An aggregate: count(*), sum(amount), since_last()."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value whose type stands elsewhere; null is unknown."""


@dataclass(frozen=True, slots=True)
class OneOrMany:
    item: Shape


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Shape


@dataclass(frozen=True, slots=True)
class MapOf:
    """Names that the writer chooses, each with a value."""

    key: Name | Word | Text
    value: Shape


@dataclass(frozen=True, slots=True)
class Record:
    """Fixed keys. A scalar may stand for the whole where `shorthand` names the key that it gives."""

    keys: tuple[Key, ...]
    shorthand: str = ""

    def key(self, name: str) -> Key | None:
        return next((key for key in self.keys if key.name == name), None)


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    shape: Shape
    description: str
    required: bool = False


Shape = (
    Text | Name | Word | TypeWord | Flag | Length | Size | Share | Amount | Instant | Expression | AggregateText | Value
    | OneOrMany | ListOf | MapOf | Record
)  # fmt: skip

CURRENCY = Text("^[A-Z]{3}$", "an ISO 4217 currency such as INR")
OUTCOME = Word(tuple(outcome.word for outcome in sorted(Outcome, reverse=True)))
MODE = Word(tuple(mode.value for mode in Mode))
DESCRIPTION = Key("description", Text(), "What it is for, in a person's words.")

FIELD = Record(
    (
        Key("type", TypeWord(), "The type of its values.", required=True),
        Key("currency", CURRENCY, "The currency of money; the project's where it is left out."),
        Key("entity", Name("an entity"), "The entity that the value identifies."),
        Key("personal", Word(("token", "mask", "drop")), "How a personal value is hidden before it is stored."),
        Key("from", Text(), "The column or JSON path of the source, where it is not the field's name."),
        DESCRIPTION,
    ),
    shorthand="type",
)
LABEL = Record(
    (
        Key("type", TypeWord(), "The type of its values; boolean where it is left out."),
        Key("currency", CURRENCY, "The currency of money; the project's where it is left out."),
        Key("from", Text(), "The column of the source that carries it, where the events' file does."),
        DESCRIPTION,
    ),
    shorthand="type",
)
COLUMN = Record(
    (
        Key("type", TypeWord(), "The type of its values.", required=True),
        Key("currency", CURRENCY, "The currency of money; the project's where it is left out."),
    ),
    shorthand="type",
)
EVENT = Record(
    (
        Key("event", Name("an event type", column=True), "The event type's name.", required=True),
        DESCRIPTION,
        Key(
            "id",
            Name("a field"),
            "The field that is the idempotency key; `row` where the source has none.",
            required=True,
        ),
        Key("time", Name("a field"), "The field that holds event time.", required=True),
        Key("fields", MapOf(Name("a field", column=True), FIELD), "The fields, each with its type.", required=True),
        Key("derive", MapOf(Name("a derived value", column=True), Expression()), "Values computed from the fields."),
        Key("labels", MapOf(Name("a label", column=True), LABEL), "Verdicts that become known later."),
    )
)
FEATURE = Record(
    (
        DESCRIPTION,
        Key("from", OneOrMany(Name("an event type")), "The event types whose events are aggregated.", required=True),
        Key("aggregate", AggregateText(), "count(*), count(distinct x), sum(x), ..., since_last().", required=True),
        Key("where", Expression(), "Which events count."),
        Key("by", OneOrMany(Name("a field")), "The source's field that is the key, where several carry the entity."),
        Key(
            "over", OneOrMany(Length(calendar=True)), "Lengths of the window, one feature each; the horizon by default."
        ),
        Key("delay", Length(), "How long an event stays out of the window after its time."),
        Key("current", Word(("include", "exclude")), "Whether the event that reads is part of its own window."),
        Key("resolution", Length(), "The step of a coarser window edge, which bounds memory."),
    )
)
ENTITY = Record(
    (
        Key("entity", Name("an entity", column=True), "The entity's name.", required=True),
        DESCRIPTION,
        Key("key", OneOrMany(Name("a field")), "The fields that join into the key; the entity's own name by default."),
        Key("features", MapOf(Name("a feature"), FEATURE), "The features of the entity.", required=True),
    )
)
SIGNALS = Record(
    (
        Key("signals", Name("an event type"), "The event type on which they are computed.", required=True),
        Key("define", MapOf(Name("a signal", column=True), Expression()), "Names and expressions.", required=True),
    )
)
RULE_TEST = Record(
    (
        Key(
            "given",
            MapOf(Name("a value", dotted=True), Value()),
            "Values by name; what is not given is unknown.",
            required=True,
        ),
        Key("expect", Word(("hit", "no_hit", "unknown")), "What the rule must say.", required=True),
    )
)
RULE = Record(
    (
        Key("rule", Name("a rule"), "The rule's name.", required=True),
        DESCRIPTION,
        Key("for", OneOrMany(Name("an event type")), "The event types that it judges.", required=True),
        Key("when", Expression(), "The condition.", required=True),
        Key("then", OUTCOME, "The outcome that it asks for.", required=True),
        Key("override", Flag(), "The rule decides alone, whatever other rules and models say."),
        Key(
            "holdout",
            Flag(),
            "Whether a policy's holdout may let through what the rule hits; true by default. false for what must "
            "never pass, such as sanctions.",
        ),
        Key("reason", Text("^.{0,64}$", "a code of at most 64 characters"), "The reason's code in the record."),
        Key("text", Text(), "The reason in words; the condition where it is left out."),
        Key("mode", MODE, "live decides; shadow is computed and recorded alone; disabled rests."),
        Key("owner", Text(), "Who answers for it."),
        Key("tags", OneOrMany(Text("^\\S{1,64}$", "a tag without spaces")), "Words to find it by."),
        Key("tests", ListOf(RULE_TEST), "Examples that must hold."),
    )
)
MODEL = Record(
    (
        Key("model", Name("a model", column=True), "The model's name; rules read its score under it.", required=True),
        DESCRIPTION,
        Key("for", Name("an event type"), "The event type that it scores.", required=True),
        Key("file", Text(), "The file: LightGBM text, parakh-logistic JSON or ONNX, beside this file.", required=True),
        Key(
            "inputs", ListOf(Name("a value", dotted=True)), "What it reads, in the order of its columns.", required=True
        ),
        Key("mode", MODE, "live decides; shadow is computed and recorded alone; disabled rests."),
        Key("card", MapOf(Name("a fact"), Text()), "Facts about it: trained on, by whom, figures."),
    )
)
HOLDOUT = Record(
    (
        Key(
            "share",
            Share(MOST_HELD_OUT, "what is held out passes though it should be stopped, and a few percent teach enough"),
            "The share, as 1% or 0.01; at most 20%.",
            required=True,
        ),
        Key("below", Amount(), "Only events of a smaller amount, in major units; of any amount where it is left out."),
        Key(
            "salt",
            Text("^\\S{16,64}$", "16 to 64 characters without spaces, made at random"),
            "A secret, so that nobody who chooses ids can choose which events are let through.",
        ),
    ),
    shorthand="share",
)
POLICY = Record(
    (
        Key("policy", Name("a policy"), "The policy's name.", required=True),
        DESCRIPTION,
        Key("for", Name("an event type"), "The event type that it decides on.", required=True),
        Key("score", Name("a model"), "The model whose score the bands read."),
        Key("bands", MapOf(OUTCOME, Expression()), "Outcomes asked for by the score."),
        Key("otherwise", OUTCOME, "The outcome where nothing else asks; allow by default."),
        Key("deadline", Length(), "How long a decision may take; 50ms by default."),
        Key(
            "fallback", OUTCOME, "The outcome where the score is missing or the deadline has passed; review by default."
        ),
        Key(
            "holdout",
            HOLDOUT,
            "The share of what it would stop that is let through, so that its labels become known; none by default.",
        ),
    )
)
LIST_ENTRY = Record(
    (
        Key("value", Value(), "The value.", required=True),
        Key("since", Instant(), "From when it is on the list; always by default."),
        Key("until", Instant(), "Until when, exclusive; for ever by default."),
        Key("note", Text(), "Why it is on the list."),
    ),
    shorthand="value",
)
LIST = Record(
    (
        Key("list", Name("a list"), "The list's name, as in in_list(field, 'name').", required=True),
        DESCRIPTION,
        Key("type", TypeWord(), "The type of its values; string where it is left out."),
        Key("currency", CURRENCY, "The currency of money; the project's where it is left out."),
        Key("items", ListOf(LIST_ENTRY), "The values."),
        Key("file", Text(), "A CSV file with the columns value, and since, until, note where needed."),
    )
)
TABLE = Record(
    (
        Key("table", Name("a lookup table"), "The table's name, as in lookup('name', key, 'column').", required=True),
        DESCRIPTION,
        Key("key", COLUMN, "The type of the key.", required=True),
        Key("columns", MapOf(Name("a column"), COLUMN), "The columns, each with its type.", required=True),
        Key(
            "rows",
            ListOf(MapOf(Name("a column"), Value())),
            "The rows: key, the columns, and since and until where needed.",
        ),
        Key("file", Text(), "A CSV file with the columns key, the table's columns, and since and until where needed."),
    )
)
ANSWER_COLUMN = Record(
    (
        Key("type", TypeWord(), "The type of its values.", required=True),
        Key("currency", CURRENCY, "The currency of money; the project's where it is left out."),
        Key("from", Text(), "The key or JSON path of the answer, where it is not the column's name."),
    ),
    shorthand="type",
)
ENRICHMENT = Record(
    (
        Key(
            "enrichment",
            Name("an enrichment"),
            "The enrichment's name; its columns are read as name.column.",
            required=True,
        ),
        DESCRIPTION,
        Key("for", Name("an event type"), "The event type before whose decision it is asked.", required=True),
        Key(
            "url",
            Text("^https?://[!-~]{1,2000}$", "a URL such as https://risk.example.com/ip/{ip}"),
            "What is asked by GET; {field} is a field of the event, which is not personal. The host stands in "
            "parakh.toml under [enrichments].",
            required=True,
        ),
        Key(
            "headers",
            MapOf(
                Text("^[A-Za-z0-9-]{1,64}$", "the name of a header"),
                Text("^[!-~]([ -~]{0,1022}[!-~])?$", "a text of ASCII"),
            ),
            "Headers of the request; env:NAME is read from the environment when the service starts.",
        ),
        Key("timeout", Length(), "How long an answer may take; 20ms by default."),
        Key("cache", Length(none=True), "How long an answer serves for the same URL; 0s, the default, is not at all."),
        Key(
            "columns",
            MapOf(Name("a column"), ANSWER_COLUMN),
            "What is read of the answer, which is a JSON object; each column with its type.",
            required=True,
        ),
        Key(
            "needed",
            Flag(),
            "Whether a decision without an answer is degraded, so that the policy's fallback is asked for; true by "
            "default.",
        ),
    )
)

KINDS: dict[str, Record] = {
    "event": EVENT,
    "entity": ENTITY,
    "signals": SIGNALS,
    "rule": RULE,
    "model": MODEL,
    "policy": POLICY,
    "list": LIST,
    "table": TABLE,
    "enrichment": ENRICHMENT,
}
"""Every kind of definition under its first key."""

FOLDERS = ("events", "features", "signals", "rules", "models", "policies", "lists", "enrichments")
"""The folders that are read. A folder's name is for people: any kind may stand in any of them, at any depth."""

SETTINGS: dict[str, tuple[Key, ...]] = {
    "": (
        Key(
            "name",
            Text("^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$", "letters, digits, - and _"),
            "The project's name.",
            required=True,
        ),
        Key("currency", CURRENCY, "The currency of money where a field names none; USD by default."),
        Key(
            "time_zone",
            Text(what="an IANA time zone such as Asia/Kolkata"),
            "Hours and calendar windows; UTC by default.",
        ),
        Key("lateness", Length(), "How late an event may be and still be exact; 1h by default."),
        Key("horizon", Length(), "How far a feature without `over` reaches back; 400d by default."),
        Key("earliest", Instant(), "Events before it are quarantined; 2000-01-01 by default."),
    ),
    "limits": (Key("state", Size(), "Memory for windows, keys, strings and ids together; 8GB by default."),),
    "labels": (
        Key(
            "sources",
            ListOf(Text("^\\S{1,64}$", "a source without spaces")),
            "Sources of labels, the most trusted first.",
        ),
    ),
    "enrichments": (
        Key(
            "hosts",
            ListOf(Text("^[0-9A-Za-z.:\\[\\]-]{1,262}$", "a host such as risk.example.com or 127.0.0.1:9000")),
            "The only hosts that enrichments may ask: by https, at public addresses. An address or localhost with its "
            "port may be private, and plain http.",
        ),
    ),
}
"""parakh.toml: its keys, and those of its tables."""
