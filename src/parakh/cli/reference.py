"""The reference in docs/reference, written from what the code itself reads: keys, functions, verbs, reasons, records.

`python -m parakh.cli.reference docs/reference` writes it; a test holds it up to date. Only sentences of meaning stand
here, and each table of them must name exactly what the code has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click

from parakh.cli.main import VERBS, cli
from parakh.decisions.record import Record
from parakh.decisions.tables import arrow_schema
from parakh.events.reasons import Reason
from parakh.expressions.functions import AGGREGATES, FUNCTIONS, INSTEAD
from parakh.expressions.types import Kind
from parakh.project import keys

__all__ = ["pages", "write_reference"]

_Value = TypeVar("_Value")

MADE = "<!-- Written by `make docs` from the code; do not edit. -->"


def pages() -> dict[str, str]:
    """Every page of the reference under its file's name."""
    return {
        "README.md": _index(),
        "project-files.md": _project_files(),
        "expressions.md": _expressions(),
        "command-line.md": _command_line(),
        "records.md": _records(),
    }


def write_reference(folder: Path) -> list[Path]:
    """Write every page into a folder; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _index() -> str:
    rows = [
        ("[project-files.md](project-files.md)", "parakh.toml and every key of every kind of YAML definition"),
        ("[expressions.md](expressions.md)", "operators, functions and aggregates"),
        ("[command-line.md](command-line.md)", "the verbs, their arguments and options"),
        ("[records.md](records.md)", "decisions as written to files and as stored, labels, quarantine"),
        ("[../schemas](../schemas)", "JSON Schemas of the files, for editors"),
    ]
    return _page("Reference", "What the code reads and writes, written from it.", _table(("page", "what"), rows))


# -- project files -----------------------------------------------------------------------------------------------------


def _project_files() -> str:
    folders = ", ".join(f"{folder}/" for folder in keys.FOLDERS)
    parts = [
        f"Definitions stand in the YAML files of {folders}. A folder's name is for people: any kind may stand in any "
        "of them, at any depth, and one file may hold several definitions, separated by `---`. The first key of a "
        "definition says its kind. A key that is not listed here is an error.",
        "A length of time is a whole number and a unit, as in `50ms`, `30s`, `10m`, `1h`, `7d` or `2w`. "
        "A type is one of " + _listed(f"`{kind.value}`" for kind in Kind) + ".",
    ]
    for kind, record in keys.KINDS.items():
        parts += _record(f"`{kind}`", record, level=2)
    parts.append("## parakh.toml")
    for table, table_keys in keys.SETTINGS.items():
        if table:
            parts.append(f"### `[{table}]`")
        parts.append(_keys(keys.Record(table_keys)))
    return _page("Project files", *parts)


def _record(title: str, record: keys.Record, *, level: int) -> list[str]:
    parts = [f"{'#' * level} {title}"]
    if record.shorthand:
        parts.append(f"A plain value stands for `{{{record.shorthand}: value}}`.")
    parts.append(_keys(record))
    for key in record.keys:
        inner = _inner_record(key.shape)
        if inner is not None:
            parts += _record(f"{title.split(', ')[0]}, under `{key.name}`", inner, level=3)
    return parts


def _inner_record(shape: keys.Shape) -> keys.Record | None:
    match shape:
        case keys.Record():
            return shape
        case keys.MapOf():
            return _inner_record(shape.value)
        case keys.ListOf() | keys.OneOrMany():
            return _inner_record(shape.item)
    return None


def _keys(record: keys.Record) -> str:
    rows = [
        (f"`{key.name}`", "yes" if key.required else "", _takes(key.shape), _cell(key.description))
        for key in record.keys
    ]
    return _table(("key", "required", "takes", "meaning"), rows)


def _takes(shape: keys.Shape) -> str:
    """What a key takes, in words."""
    match shape:
        case keys.Text():
            return shape.what
        case keys.Name():
            return f"the name of {shape.what}" if shape.what != "a name" else "a name"
        case keys.Word():
            return _listed((f"`{word}`" for word in shape.choices), "or")
        case keys.TypeWord():
            return "a type"
        case keys.Flag():
            return "`true` or `false`"
        case keys.Length():
            calendar = ", or `calendar_day`, `calendar_week`, `calendar_month`" if shape.calendar else ""
            return f"a length of time{calendar}"
        case keys.Size():
            return "a size such as `8GB`"
        case keys.Share():
            return "a share such as `1%` or `0.01`"
        case keys.Amount():
            return "an amount of money"
        case keys.Instant():
            return "a time, ISO 8601"
        case keys.Expression():
            return "an expression"
        case keys.AggregateText():
            return "an aggregate"
        case keys.Value():
            return "a value; `null` is unknown"
        case keys.OneOrMany():
            return f"{_takes(shape.item)}; or a list of such"
        case keys.ListOf():
            return f"a list; each: {_takes(shape.item)}"
        case keys.MapOf():
            return f"a map from {_takes(shape.key)} to {_takes(shape.value)}"
        case keys.Record():
            return "the keys below"
    raise AssertionError(f"no words for {shape}")


# -- expressions -------------------------------------------------------------------------------------------------------

_OPERATORS: tuple[tuple[str, str], ...] = (
    ("`a + b`, `a - b`", "sum and difference of numbers, or of money of one currency"),
    ("`a * b`", "product; money × number is a number in major units; money × money is refused"),
    ("`a / b`", "quotient, always a number; NULL where b is 0; money / money is a ratio"),
    ("`a // b`, `a % b`", "quotient without its fraction, and remainder"),
    ("`-a`", "negation"),
    (
        "`=`, `<>`, `!=`, `<`, `<=`, `>`, `>=`",
        "comparison; NULL where a side is NULL; texts and booleans have no order",
    ),
    ("`is null`, `is not null`", "whether a value is unknown; never NULL itself"),
    ("`is distinct from`, `is not distinct from`", "comparison to which NULL is a value like any other"),
    ("`is true`, `is false`, `is not true`, ...", "a condition made two-valued"),
    ("`and`, `or`, `not`", "three-valued logic; `and` binds tighter than `or`, `not` tighter than both"),
    ("`x between a and b`", "a <= x and x <= b"),
    ("`x in (a, b, ...)`", "equal to one of them"),
    ("`text like 'AB%'`, `ilike`", "a pattern: `%` any text, `_` one character; ilike ignores case"),
    ("`case when c then a else b end`", "the value of the first branch whose condition is true; NULL where none is"),
)
_FUNCTION_MEANING: Mapping[str, str] = {
    "coalesce": "the first that is not NULL",
    "nullif": "a, or NULL where it equals b: `x / nullif(y, 0)`",
    "abs": "without its sign",
    "round": "to the nearest, halves away from zero; money stays money",
    "floor": "the whole number below",
    "ceil": "the whole number above",
    "ln": "natural logarithm; NULL for zero and below",
    "sqrt": "square root; NULL for negative numbers",
    "power": "base to the power of the exponent; NULL where that is no finite number",
    "least": "the smallest; NULLs are skipped",
    "greatest": "the largest; NULLs are skipped",
    "lower": "in lower case",
    "upper": "in upper case",
    "length": "the number of characters",
    "starts_with": "whether the text begins so",
    "hour": "0 to 23 in the project's time zone",
    "day_of_week": "1 (Monday) to 7 (Sunday) in the project's time zone",
    "date_diff": "how many boundaries of the unit lie between: second, minute, hour, day, week, month, quarter, year",
    "distance_km": "kilometres along the surface of the earth between two positions in degrees",
    "in_list": "whether the value is on the list at the event's time",
    "lookup": "the column of the table's row with that key, as of the event's time; NULL where there is none",
}
_AGGREGATE_MEANING: Mapping[str, tuple[str, str, str]] = {
    "count": (
        "`count(*)`, `count(x)`, `count(distinct x)`",
        "integer",
        "events; with x known; different x. 0 over none",
    ),
    "sum": ("`sum(x)`", "that of x; integer of a boolean", "exact for integers and money"),
    "avg": ("`avg(x)`", "number", "the mean; of money in major units; of a boolean the share that is true"),
    "min": ("`min(x)`", "that of x", "the smallest"),
    "max": ("`max(x)`", "that of x", "the largest"),
    "stddev": ("`stddev(x)`", "number", "the sample's standard deviation; NULL under two values"),
    "first": ("`first(x)`", "that of x", "of the oldest event; the event that reads is left out"),
    "last": ("`last(x)`", "that of x", "of the newest event; the event that reads is left out"),
    "since_last": ("`since_last()`", "number", "seconds since the newest event; the event that reads is left out"),
}


def _expressions() -> str:
    meanings = _exactly(_FUNCTION_MEANING, dict.fromkeys(item.name for item in FUNCTIONS.values()))
    others = {item.name: [name for name in FUNCTIONS if FUNCTIONS[name] is item and name != item.name]
              for item in FUNCTIONS.values()}  # fmt: skip
    functions = [
        (f"`{FUNCTIONS[name].usage}`" + "".join(f"; also `{other}`" for other in others[name]), meaning)
        for name, meaning in meanings.items()
    ]
    aggregates = list(_exactly(_AGGREGATE_MEANING, AGGREGATES).values())
    hints: dict[str, list[str]] = {}
    for name, hint in INSTEAD.items():
        hints.setdefault(hint, []).append(name)
    instead = [(", ".join(f"`{name}`" for name in names), _cell(hint)) for hint, names in hints.items()]
    return _page(
        "Expressions",
        "The language is described in [../expressions.md](../expressions.md); this page lists it.",
        "## Operators",
        _table(("operator", "meaning"), [(_cell(operator), meaning) for operator, meaning in _OPERATORS]),
        "## Functions",
        "A function of NULL is NULL, except where it says otherwise.",
        _table(("call", "value"), [(_cell(call), meaning) for call, meaning in functions]),
        "## Aggregates",
        "They stand in features (`aggregate:`), never in other expressions. Values that are NULL are left out; over "
        "nothing an aggregate is NULL, but a count is 0.",
        _table(("aggregate", "type", "value"), aggregates),
        "## What to write instead",
        "These are refused, with the hint on the right.",
        _table(("not", "but"), instead),
    )


# -- the command line --------------------------------------------------------------------------------------------------


def _command_line() -> str:
    parts = [
        "Exit codes: 0 all is well, 1 problems were found, 2 the command was used wrongly. 70 is a mistake of Parakh's "
        "own, 130 an interruption (Ctrl-C). Progress and notes go to stderr, results to stdout."
    ]
    for name in VERBS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        parts += _verb(name, command)
        if isinstance(command, click.Group):
            for part, below in command.commands.items():
                parts += _verb(f"{name} {part}", below)
    return _page("Command line", *parts)


def _verb(name: str, command: click.Command) -> Iterable[str]:
    arguments = [item for item in command.params if isinstance(item, click.Argument)]
    options = [item for item in command.params if isinstance(item, click.Option)]
    words = [_argument(item) for item in arguments]
    yield f"## parakh {name}"
    yield "    " + " ".join(["parakh", name, *(["[OPTIONS]"] if options else []), *words])
    yield " ".join((command.help or "").replace("\b", "").split())
    if options:
        yield _table(("option", "default", "meaning"), [_option(item) for item in options])
    epilog = (command.epilog or "").replace("\b", "").strip("\n")
    if epilog:
        yield "```text\n" + epilog + "\n```"


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: click.Option) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if not option.is_flag:
        choices = getattr(option.type, "choices", None)
        value = option.metavar or ("|".join(choices) if choices else option.type.name.upper())
        names += f" {_cell(value)}"
    default = f"`{option.default}`" if option.show_default and option.default is not None else ""
    return names, default, _cell((option.help or "") + (" Required." if option.required else ""))


# -- records -----------------------------------------------------------------------------------------------------------

_COLUMN_MEANING: Mapping[str, str] = {
    "event_type": "the event's type",
    "event_id": "the event's id",
    "event_time": "when it happened, UTC",
    "outcome": "allow, challenge, review or block",
    "decided_by": "what won, and its name: `rule card_tried`, `band block`, `fallback review`, `otherwise allow`, "
    "`holdout block` (it would have been that)",
    "score": "of the policy's model; null where the policy has none, or it is unknown",
    "reasons": "reason codes of the live rules that hit (a rule's name where it has no code)",
    "rules": "the live rules that hit",
    "unknown": "the rules, live or shadow, whose condition is NULL",
    "shadow": "the shadow rules that would have hit",
    "flags": "late, degraded, held_out, overflow",
}
_RECORD_MEANING: Mapping[str, str] = {
    "decision_id": "16 bytes; a function of event type and id",
    "event_type": "the event's type",
    "event_id": "the event's id",
    "event_time_us": "when the event happened",
    "decided_at_us": "when it was decided on; in a replay the engine's clock after the event",
    "outcome": "0 allow, 1 challenge, 2 review, 3 block",
    "score": "of the policy's model, or null",
    "decided_by": "what won: (rule, name), (band, outcome), (fallback, outcome), (otherwise, outcome), or (holdout, "
    "outcome) where it would have been that outcome and was let through",
    "reasons": "(code, text, null) for each live rule that hit (its name where it has no code), and "
    '(input, "", contribution) for the model\'s inputs '
    "that moved the raw score most (at most 5), where the outcome is not allow",
    "hits": "live rules that hit",
    "unknown": "rules whose condition is NULL",
    "shadow_hits": "shadow rules that would have hit",
    "shadow_scores": "scores of shadow models",
    "features": "one 64-bit word a feature, in the project's order",
    "texts": "the texts of features that are strings",
    "project": "the project's hash",
    "models": "(name, digest) of each model",
    "flags": "1 overflow, 2 late, 4 degraded, 8 held_out",
}
_FLAGS = (
    ("late", "the event came later than the lateness allows: its windowed features are NULL and it entered no window"),
    ("degraded", "the score was unknown; the policy's fallback was asked for in its place"),
    ("held_out", "it was let through, one of the policy's holdout, so that its label becomes known"),
    ("overflow", "a sum or product left 64 bits; it is NULL"),
)
_LABEL_COLUMNS = (
    ("event_type", "yes", "the type of the event"),
    ("event_id", "", "the event; or"),
    ("entity, key", "", "an entity and its key: every event of the type with that key so far"),
    ("label", "yes", "the label's name"),
    ("value", "yes", "its value; null withdraws the label"),
    ("known_at", "yes", "when it became known; it acts from there on"),
    ("source", "", "who says so; ranked by `[labels] sources` in parakh.toml"),
)
_QUARANTINE = (
    ("reason", "its code, from the table below"),
    ("text", "the reason in words"),
    ("field", "the field, where one is to blame"),
    ("event_type", "the event type, where it is known"),
    ("source", "the file"),
    ("line", "the line or row, from 1"),
    ("raw", "what was read; `raw_base64` where it is not UTF-8; cut at 64 KB, and `cut_bytes` says by how much"),
)


def _records() -> str:
    columns = _exactly(_COLUMN_MEANING, arrow_schema(()).names)
    types = {field.name: str(field.type).replace("element: ", "").replace("item: ", "") for field in arrow_schema(())}
    record = _exactly(_RECORD_MEANING, Record.__struct_fields__)
    reasons = [(f"`{reason.code}`", reason.text) for reason in Reason if reason is not Reason.OK]
    return _page(
        "Decisions, labels and quarantine",
        "## Decisions in files and tables",
        "What `parakh replay --out` writes and `Decisions.to_arrow()` gives: one row a decision, in the order of the "
        "log. With `--features` there follows a column for each feature, under its full name.",
        _table(("column", "type", "meaning"), [(f"`{name}`", types[name], text) for name, text in columns.items()]),
        "### Flags",
        _table(("flag", "meaning"), _FLAGS),
        "## The record of a decision",
        "What `Decisions.records()` gives, as bytes, for each decision: MessagePack, an array of these fields. "
        "Times are microseconds since 1970, UTC.",
        _table(("field", "meaning"), [(f"`{name}`", text) for name, text in record.items()]),
        "## Labels",
        "A file of labels (`--labels`), in any order: NDJSON, CSV or Parquet.",
        _table(("column", "required", "meaning"), _LABEL_COLUMNS),
        "## Quarantine",
        "What cannot be taken is counted by reason and written to `OUT.quarantine.ndjson`, one object a line.",
        _table(("key", "meaning"), _QUARANTINE),
        "### Reasons",
        _table(("reason", "meaning"), reasons),
    )


# -- Markdown ----------------------------------------------------------------------------------------------------------


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", MADE, *parts]) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _listed(words: Iterable[str], joiner: str = "and") -> str:
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {joiner} {items[-1]}"


def _exactly(meanings: Mapping[str, _Value], names: Iterable[str]) -> dict[str, _Value]:
    """The meanings in the order of the names; there must be one for each, and no other."""
    wanted = list(names)
    assert set(wanted) == set(meanings), f"meanings of {sorted(set(wanted) ^ set(meanings))} are missing or left over"
    return {name: meanings[name] for name in wanted}


if __name__ == "__main__":
    import sys

    write_reference(Path(sys.argv[1]))
