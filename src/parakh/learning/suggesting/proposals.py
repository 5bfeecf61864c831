"""Suggested rules in a project: a file of rules in shadow, and what people said to them.

`suggestions.json` in the project's folder remembers every suggestion with its evidence: proposed, accepted or rejected,
by whom and when. What was rejected is not proposed again. Rules and memory change together, by one process at a time
(`parakh.project.writing`): each step reads both again before it writes them.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from parakh.errors import InputError, ProjectError
from parakh.expressions.hints import closest
from parakh.expressions.values import iso_time, timestamp_us
from parakh.learning.suggesting.evidence import Suggested, Suggestion
from parakh.learning.suggesting.terms import Condition
from parakh.project.edit import defined_in, proposed, set_key, without
from parakh.project.format import format_text
from parakh.project.project import Project
from parakh.project.writing import editing, mend, write_together
from parakh.rules.definition import Mode

__all__ = [
    "FILE", "OUT", "Entry", "Memory", "accept", "expired", "names_of", "place_of_rules", "propose", "read_memory",
    "reject",
]  # fmt: skip

FILE = "suggestions.json"
OUT = "rules/suggested.yaml"
_PROPOSED, _ACCEPTED, _REJECTED = "proposed", "accepted", "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A suggestion as it is remembered; times in ISO 8601, `terms` as `Condition.of_data` reads them."""

    name: str
    event_type: str
    when: str
    terms: list[list[Any]]
    state: str
    proposed: str
    expires: str
    by: str = ""
    at: str = ""
    evidence: dict[str, Any]

    @property
    def condition(self) -> Condition:
        return Condition.of_data(self.terms)


@dataclass(frozen=True, slots=True)
class Memory:
    """The suggestions of a project so far, oldest first."""

    entries: tuple[Entry, ...] = ()

    def rejected(self, event_type: str) -> list[Condition]:
        """What people did not want."""
        return [item.condition for item in self.entries if (item.event_type, item.state) == (event_type, _REJECTED)]

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.entries]

    def content(self) -> bytes:
        """The bytes of the file."""
        return (json.dumps([asdict(item) for item in self.entries], indent=2, ensure_ascii=False) + "\n").encode()


def read_memory(root: Path) -> Memory:
    """What is remembered in a project's folder, after a step that a crash left half done is ended.

    Raises InputError where the file is not as it was written.
    """
    mend(root)
    return _remembered(root)


def _remembered(root: Path) -> Memory:
    path = root / FILE
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(held, list):
            raise ValueError("it holds no list")
        return Memory(tuple(Entry(**item) for item in held))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): bring back the version that was written last") from None


def place_of_rules(out: str) -> Path:
    """Where rules go, in the project's folder. Raises InputError where `out` is no place for rules."""
    path = Path(out)
    if path.parts[:1] != ("rules",) or ".." in path.parts or path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out!r} is no file of rules in the project (hint: a name such as {OUT})")
    return path


def propose(project: Project, suggested: Suggested, *, event_type: str, currency: str, out: str = OUT) -> list[str]:
    """Write suggestions into a file of rules, all in shadow, and remember them; gives the names of those written.

    What stands in the file stays, and what was rejected, or got another of its name, since the search began is left
    out. The project is checked with the new rules before anything is written. Raises InputError where `out` is no place
    for rules or the disk refuses.
    """
    root = _root(project)
    if not suggested.suggestions:
        return []
    path = place_of_rules(out)
    with editing(root):
        project, memory = _read(root)
        used, rejected = names_of(project, memory), memory.rejected(event_type)
        wanted = [item for item in suggested.suggestions if item.name not in used and item.condition not in rejected]
        if not wanted:
            return []
        try:
            before = (root / path).read_text(encoding="utf-8") if (root / path).exists() else ""
        except (OSError, ValueError) as error:
            raise InputError(f"{out} cannot be read: {error}") from None
        held = [before.rstrip("\n") + "\n"] if before.strip() else []
        rules = [rule_text(item, suggested, event_type=event_type, currency=currency) for item in wanted]
        entries = tuple(_entry(item, event_type, suggested.last_us) for item in wanted)
        content = "---\n".join([*held, *rules]).encode()
        _write(project, {path.as_posix(): content}, Memory(memory.entries + entries))
    return [item.name for item in wanted]


def _entry(item: Suggestion, event_type: str, at_us: int) -> Entry:
    return Entry(
        name=item.name,
        event_type=event_type,
        when=str(item.condition),
        terms=item.condition.as_data(),
        state=_PROPOSED,
        proposed=iso_time(at_us),
        expires=iso_time(item.expires_us),
        evidence={key: value for key, value in item.as_data().items() if key not in ("name", "when", "expires")},
    )


def accept(project: Project, name: str, *, by: str, at_us: int) -> Entry:
    """Let a suggestion decide: its rule goes from shadow to live, with comments kept.

    Raises InputError where no such suggestion waits, or its rule is not in shadow any more.
    """
    root = _root(project)
    with editing(root):
        project, memory = _read(root)
        entry = _waiting(memory, name)
        file, rule = defined_in(project, "rule", name), _rule(project, name)
        if file is None or rule is None or rule.mode is not Mode.SHADOW:
            what = "is not in the project any more" if rule is None else f"is {rule.mode.value}, not in shadow"
            raise InputError(f"rule {name} {what} (hint: `parakh suggest` looks for rules anew)")
        content = set_key((root / file).read_bytes(), file, "rule", name, "mode", Mode.LIVE.value)
        return _told(project, {file: content}, memory, entry, _ACCEPTED, by, at_us)


def reject(project: Project, name: str, *, by: str, at_us: int) -> Entry:
    """Take a suggestion out of the project, and remember it so that it is not proposed again.

    Raises InputError where no such suggestion waits, or its rule decides already.
    """
    root = _root(project)
    with editing(root):
        project, memory = _read(root)
        entry = _waiting(memory, name)
        file, rule = defined_in(project, "rule", name), _rule(project, name)
        if rule is not None and rule.mode is Mode.LIVE:
            raise InputError(f"rule {name} decides already (hint: set its mode to disabled, or take it out by hand)")
        changes = {} if file is None else {file: without((root / file).read_bytes(), file, "rule", name)}
        return _told(project, changes, memory, entry, _REJECTED, by, at_us)


def expired(project: Project, memory: Memory, at_us: int) -> Iterator[Entry]:
    """Suggestions whose rules are in the project, and whose time was over at `at_us`."""
    for entry in memory.entries:
        until = timestamp_us(entry.expires)
        rule = _rule(project, entry.name)
        if until is not None and until < at_us and rule is not None and rule.mode is not Mode.DISABLED:
            yield entry


def rule_text(item: Suggestion, suggested: Suggested, *, event_type: str, currency: str) -> str:
    """A suggestion as a rule in shadow, with its evidence in words and a test of each kind."""
    lines = [
        f"rule: {item.name}",
        "description: |",
        *(
            f"  {line}"
            for sentence in evidence_words(item, suggested, currency)
            for line in textwrap.wrap(sentence, 98)
        ),
        f"for: {event_type}",
        f"when: {_quoted(str(item.condition))}",
        f"then: {item.then.word}",
        "mode: shadow",
        f"tags: [suggested, expires_{iso_time(item.expires_us)[:10]}]",
    ]
    if item.tests:
        lines.append("tests:")
    for given, expected in item.tests:
        values = ", ".join(f"{name}: {_given(value)}" for name, value in given.items())
        lines += [f"  - given: {{{values}}}", f"    expect: {expected}"]
    return format_text("\n".join(lines) + "\n")


def evidence_words(item: Suggestion, suggested: Suggested, currency: str) -> list[str]:
    """What speaks for a suggestion, in sentences."""
    mined, judged = (" to ".join(iso_time(at)[:10] for at in span) for span in (suggested.mined, suggested.judged))
    precision, amount = item.precision, item.amount
    return [
        f"Suggested by events of {mined}; judged on {judged}, which the search did not see.",
        f"There {item.frauds:,} of {item.hits:,} hits on events that pass were fraud: {_percent(precision.value)} "
        f"({_percent(precision.low)} to {_percent(precision.high)}), {_percent(item.recall)} of the frauds that pass.",
        f"Amount of the frauds: {currency} {amount.value:,.2f} ({amount.low:,.2f} to {amount.high:,.2f}); "
        f"saves {currency} {item.saved.value:,.2f}; {item.hits_a_day:,.1f} hits a day.",
        f"Of the frauds {item.alone_frauds:,} are caught by no other suggestion.",
        f"Expires {iso_time(item.expires_us)[:10]}: by then look whether it still holds.",
    ]


def _root(project: Project) -> Path:
    if project.root is None:
        raise InputError("the project was built in Python: it has no folder to write rules to")
    return project.root


def _rule(project: Project, name: str) -> Any:
    return next((rule for rule in project.definitions.rules if rule.name == name), None)


def _read(root: Path) -> tuple[Project, Memory]:
    """The project and its memory as they stand now; within `editing`."""
    return Project.load(root), _remembered(root)


def _waiting(memory: Memory, name: str) -> Entry:
    entry = next((item for item in memory.entries if item.name == name), None)
    waiting = [item.name for item in memory.entries if item.state == _PROPOSED]
    if entry is None:
        near = closest(name, waiting) or f"waiting are {', '.join(waiting) or 'none'}"
        raise InputError(f"there is no suggestion {name!r}; {near}")
    if entry.state != _PROPOSED:
        raise InputError(f"suggestion {name} was {entry.state} by {entry.by} at {entry.at}")
    return entry


def _told(
    project: Project, changes: dict[str, bytes | None], memory: Memory, entry: Entry, state: str, by: str, at_us: int
) -> Entry:
    if not by.strip():
        raise InputError("who says so? (hint: --by with a name)")
    told = replace(entry, state=state, by=by.strip(), at=iso_time(at_us))
    _write(project, changes, Memory(tuple(told if item is entry else item for item in memory.entries)))
    return told


def _write(project: Project, changes: dict[str, bytes | None], memory: Memory) -> None:
    try:
        proposed(project, changes)
    except ProjectError as error:
        raise InputError(f"the project would not hold with this change: {error}") from None
    try:
        write_together(_root(project), {**changes, FILE: memory.content()})
    except OSError as error:
        raise InputError(f"the project cannot be written: {error.strerror or error}") from None


def _quoted(text: str) -> str:
    plain = not any(mark in text for mark in (": ", " #", '"')) and text.isprintable()
    return text if plain else json.dumps(text, ensure_ascii=False)


def _given(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def names_of(project: Project, memory: Memory) -> Sequence[str]:
    """Names that a new suggestion cannot have."""
    return [*(rule.name for rule in project.definitions.rules), *memory.names]
