"""The decisions of a batch of events, held in columns; one at a time, as an Arrow table or as records on request."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.parts import Part
from parakh.decisions.policy import FLAG_NAMES
from parakh.decisions.record import Record, read_record, value_of
from parakh.decisions.tables import BASE_COLUMNS, part_table
from parakh.expressions.strings import Strings
from parakh.rules.definition import Mode, Outcome

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Decision", "Decisions"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOMES = tuple(outcome.word for outcome in Outcome)
_NO_STATUSES = np.zeros(0, np.uint8)


class Decisions(Sequence["Decision"]):
    """Decisions in log order.

    Iterate over it, index it, or turn it into a table with `to_arrow()` or `to_pandas()`.
    """

    def __init__(self, parts: Sequence[Part], strings: Strings, schema: pa.Schema) -> None:
        self.parts = tuple(part for part in parts if len(part))
        self._strings = strings
        self._schema = schema
        self._length = sum(len(part) for part in self.parts)
        self._where: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        self.accepted = 0
        """How many of the events that were given are new."""
        self.statuses: NDArray[np.uint8] = _NO_STATUSES
        """Of each event that was given, in log order: NEW, DUPLICATE, CONFLICT or REFUSED (`parakh.events.ids`)."""
        self.quarantined: dict[str, int] = {}
        """How many events of the same call could not be taken, by reason."""
        self.quarantined_labels: dict[str, int] = {}
        """The same of labels."""

    @classmethod
    def concat(cls, batches: Sequence[Decisions]) -> Decisions:
        """Batches one after another as one."""
        if not batches:
            raise ValueError("no batches to join: there is no schema to take")
        parts = []
        offset = 0
        for batch in batches:
            for part in batch.parts:
                parts.append(replace(part, position=part.position + offset))
            offset += len(batch)
        joined = cls(parts, batches[0]._strings, batches[0]._schema)
        joined.accepted = sum(batch.accepted for batch in batches)
        joined.statuses = np.concatenate([batch.statuses for batch in batches])
        return joined

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"decision {index} of {len(self)}")
        if self._where is None:
            part_of = np.empty(len(self), np.int64)
            row_of = np.empty(len(self), np.int64)
            for number, part in enumerate(self.parts):
                part_of[part.position] = number
                row_of[part.position] = np.arange(len(part))
            self._where = (part_of, row_of)
        return Decision(self.parts[self._where[0][at]], int(self._where[1][at]), self._strings)

    def __iter__(self) -> Iterator[Decision]:
        return (self[i] for i in range(len(self)))

    def counts(self) -> dict[str, dict[str, int]]:
        """How many of each outcome, by event type."""
        result: dict[str, dict[str, int]] = {}
        for part in self.parts:
            tally = np.bincount(part.judgement.outcome, minlength=len(_OUTCOMES)).tolist()
            row = result.setdefault(part.schema.event_type, dict.fromkeys(_OUTCOMES, 0))
            for word, count in zip(_OUTCOMES, tally):
                row[word] += count
        return result

    def to_arrow(self, *, features: bool = False) -> pa.Table:
        """A table with one row a decision, in log order; with `features` one column a feature under its full name."""
        schema = self._schema if features else pa.schema(list(self._schema)[: len(BASE_COLUMNS)])
        tables = [part_table(part, schema, self._strings) for part in self.parts]
        if not tables:
            return pa.Table.from_batches([], schema)  # schema.empty_table() imports pandas
        table = pa.concat_tables(tables)
        position = np.concatenate([part.position for part in self.parts])
        if (np.diff(position) < 0).any():
            table = table.take(pa.array(np.argsort(position, kind="stable")))
        return table

    def to_pandas(self, *, features: bool = False) -> pd.DataFrame:
        """The same as `to_arrow` as a DataFrame (needs pandas: `pip install parakh[analysis]`)."""
        if importlib.util.find_spec("pandas") is None:
            raise ModuleNotFoundError(
                "to_pandas() needs pandas: pip install 'parakh[analysis]'; to_arrow() needs nothing"
            )
        return self.to_arrow(features=features).to_pandas()

    def records(self) -> Iterator[bytes]:
        """The encoded record of each decision, in log order."""
        pieces: list[bytes] = [b""] * len(self)
        for part in self.parts:
            for at, record in zip(part.position.tolist(), part.records(self._strings)):
                pieces[at] = record
        return iter(pieces)

    def __repr__(self) -> str:
        lines = [f"{len(self):,} decision{'' if len(self) == 1 else 's'}"]
        for event_type, tally in self.counts().items():
            lines.append(f"  {event_type}: " + ", ".join(f"{word} {count:,}" for word, count in tally.items() if count))
        if self.quarantined:
            lines.append(f"  quarantined: {_listed(self.quarantined)}")
        if self.quarantined_labels:
            lines.append(f"  labels quarantined: {_listed(self.quarantined_labels)}")
        shown = 8
        lines += [f"  {self[i].line()}" for i in range(min(shown, len(self)))]
        if len(self) > shown:
            lines.append(f"  ... {len(self) - shown:,} more")
        return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items())


class Decision:
    """One decision, read from the columns of its batch.

    `features` are Python values by full name: money in major units, None for NULL.
    """

    def __init__(self, part: Part, row: int, strings: Strings) -> None:
        self._part = part
        self._row = row
        self._strings = strings

    @property
    def event_type(self) -> str:
        return self._part.schema.event_type

    @property
    def event_id(self) -> str:
        buffer, starts, lengths = self._part.ids
        start = int(starts[self._row])
        return buffer[start : start + int(lengths[self._row])].tobytes().decode()

    @property
    def event_time(self) -> datetime:
        return _EPOCH + timedelta(microseconds=int(self._part.event_time_us[self._row]))

    @property
    def outcome(self) -> str:
        return _OUTCOMES[self._part.judgement.outcome[self._row]]

    @property
    def score(self) -> float | None:
        score = float(self._part.score[self._row])
        return None if score != score else score

    @property
    def decided_by(self) -> tuple[str, str]:
        """What won: ("rule", name), ("band", outcome), ("fallback", outcome) or ("otherwise", outcome).

        ("holdout", outcome) where it would have been that outcome and was let through, so that its label becomes known.
        """
        return self._part.schema.judge.deciders[self._part.judgement.won[self._row]]

    @property
    def rules(self) -> tuple[str, ...]:
        """The live rules that hit."""
        return self._rule_names(self._part.judgement.hits, live=True)

    @property
    def shadow_rules(self) -> tuple[str, ...]:
        """The shadow rules that would have hit."""
        return self._rule_names(self._part.judgement.hits, live=False)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The rules whose condition is NULL."""
        return self._rule_names(self._part.judgement.unknown, live=None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reason codes of the live rules that hit."""
        codes = {rule.name: rule.reason or rule.name for rule in self._part.schema.judge.rules}
        return tuple(codes[name] for name in self.rules)

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(name for bit, name in FLAG_NAMES if self._part.flags[self._row] & bit)

    @property
    def features(self) -> dict[str, Any]:
        return {
            column.name: value_of(int(self._part.words[number, self._row]), column.type, self._strings)
            for number, column in enumerate(self._part.schema.features)
        }

    def record(self) -> Record:
        """The decision as it is stored."""
        return read_record(self._part.records(self._strings)[self._row])

    def line(self) -> str:
        score = "" if self.score is None else f" score {self.score:.3f}"
        why = ", ".join(self.rules) or " ".join(self.decided_by)
        if self.decided_by[0] == "holdout":
            why = "; ".join((" ".join(self.decided_by), *self.rules))
        return f"{self.event_time:%Y-%m-%d %H:%M:%S} {self.event_type} {self.event_id}: {self.outcome}{score} ({why})"

    def __repr__(self) -> str:
        return f"<Decision {self.line()}>"

    def _rule_names(self, bits: NDArray[np.uint64], *, live: bool | None) -> tuple[str, ...]:
        row = bits[self._row]
        return tuple(
            rule.name
            for number, rule in enumerate(self._part.schema.judge.rules)
            if int(row[number >> 6]) >> (number & 63) & 1 and live in (None, rule.mode is Mode.LIVE)
        )
