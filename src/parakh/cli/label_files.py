"""Files of labels: as lines to send, every row of NDJSON, CSV or Parquet a JSON object; and checked by a project."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from parakh.errors import InputError
from parakh.events.chunks import Chunk, JsonLines, Rows
from parakh.events.csv_rows import unquoted
from parakh.events.labels import LabelRows, LabelSchema, read_labels
from parakh.events.quarantine import Quarantine
from parakh.events.readers import NO_EVENTS
from parakh.events.sources import Columns, Source, open_source
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD
from parakh.project.project import Project

__all__ = ["LabelLine", "counted", "expect_labels", "label_lines", "open_labels", "read_checked"]

_COLUMNS = Columns(("event_type", "label", "value"), ("known_at", "event_id", "entity", "key", "source"))


@dataclass(frozen=True, slots=True)
class LabelLine:
    """A label of a file: the line it begins at (a table's row), and itself as JSON."""

    line: int
    body: bytes


def open_labels(path: str) -> Source:
    """A file of labels. Raises InputError where it cannot be read or lacks a column."""
    with _speaking_of_labels():
        return open_source(path, _COLUMNS)


def label_lines(source: Source) -> Iterator[LabelLine]:
    """The labels of a file one by one. Raises InputError where it breaks off."""
    with _speaking_of_labels():
        for chunk in source:
            for row, body in enumerate(_bodies(chunk)):
                yield LabelLine(chunk.line(row), body)


def expect_labels(path: str) -> None:
    """Look at the first label of a file; a stream is left alone, for what is looked at of it is gone.

    Raises InputError where it cannot be read, or is empty.
    """
    if Path(path).is_file():
        next(label_lines(open_labels(path)), None)


@contextlib.contextmanager
def _speaking_of_labels() -> Iterator[None]:
    """What reads files takes them for events; an empty one is to be told as one of labels."""
    try:
        yield
    except InputError as error:
        said = str(error).replace(NO_EVENTS, "holds no labels").replace("one event a line", "one label a line")
        raise InputError(said) from None


def _bodies(chunk: Chunk) -> Iterator[bytes]:
    if isinstance(chunk, JsonLines):
        for row in range(chunk.count):
            yield chunk.raw(row).replace(b"\r", b"")
        return
    rows = _cells(chunk) if isinstance(chunk, Rows) else chunk.table.to_pylist()  # type: ignore[attr-defined]
    for values in rows:
        # No value at all withdraws a label; what else is empty was not given.
        given = {name: value for name, value in values.items() if value is not None or name == "value"}
        yield json.dumps(given, default=_plain, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _cells(rows: Rows) -> Iterator[dict[str, Any]]:
    for row in range(rows.count):
        found = {name: unquoted(rows.cells, row, place) for place, name in enumerate(rows.cells.columns)}
        yield {name: None if cell is None else cell.decode("utf-8", "replace") for name, cell in found.items()}


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def read_checked(project: Project, labels: Sequence[str] | Source) -> tuple[LabelRows, list[dict[str, Any]]]:
    """The labels that a project takes, and those that it refuses: reason, field, source, line."""
    for path in () if isinstance(labels, Source) else labels:
        expect_labels(path)
    definitions = project.definitions
    refused: list[dict[str, Any]] = []

    def refuse(line: bytes) -> None:
        said = json.loads(line)
        refused.append({name: said[name] for name in ("reason", "field", "source", "line") if name in said})

    schema = LabelSchema(
        definitions.events, tuple(entity.name for entity in definitions.entities), definitions.settings.label_sources
    )
    earliest_us = definitions.settings.earliest_us
    rows = read_labels(labels, schema, Strings(), Quarantine(refuse), earliest_us=earliest_us)
    return rows, refused


def counted(project: Project, rows: LabelRows) -> dict[str, Any]:
    """What labels say: of how many events, by whom, and where more than one thing was said."""
    sources = project.definitions.settings.label_sources
    names = ["no source" if sources else "any source", *reversed(sources)]
    withdrawn = rows.value == NULL_WORD
    by = {
        name: {"labels": int((rows.rank == rank).sum()), "withdrawn": int((withdrawn & (rows.rank == rank)).sum())}
        for rank, name in reversed(list(enumerate(names)))
    }
    of_events = rows.take(rows.entity < 0)
    about = np.stack([of_events.id_hi.view(np.int64), of_events.id_lo.view(np.int64), of_events.label.astype(np.int64)])
    events, number = np.unique(about, axis=1, return_inverse=True)
    pairs = np.unique(np.stack([number.reshape(-1), of_events.value]), axis=1)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    return {
        "events": int(np.unique(events[:2], axis=1).shape[1]),
        "by": {name: counted for name, counted in by.items() if counted["labels"]},
        "differing": int((np.bincount(pairs[0]) > 1).sum()) if pairs.size else 0,
        "future": int((rows.known_at > now_us).sum()),
    }
