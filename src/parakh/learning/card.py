"""The card of a training set: what is in it, how it was made and how to know it again; and the files it goes with."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parakh import __version__
from parakh.decisions.definition import DAY_US, ProjectLike
from parakh.errors import InputError
from parakh.expressions.values import iso_time
from parakh.learning.columns import set_name
from parakh.learning.dataset import Dataset
from parakh.project.writing import write_whole

__all__ = ["FILES", "expect_room", "write_dataset"]

FILES = ("data.parquet", "card.json", "card.md")
_ROW_GROUP = 65_536
_STEPS_SHOWN = 3
_PRESUMED = (
    "Labels are as they were known by the cut-off. A matured event about which nothing was known counts as good "
    "(label false, label_known_at NULL); an immature one has no label."
)


def expect_room(out: Path) -> None:
    """Raise InputError where a set cannot go to this folder: it is a file, or other files stand in it."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; a set is a folder")
    others = sorted({path.name for path in out.iterdir()} - set(FILES)) if out.exists() else []
    if others:
        raise InputError(f"{out} holds other files ({others[0]}): name a new or empty folder, or one of a set before")


def write_dataset(dataset: Dataset, project: ProjectLike, out: Path) -> dict[str, Any]:
    """Write the table and its card into a folder; gives the card. The same set gives the same bytes.

    Raises InputError as `expect_room` does, and OSError where the disk refuses.
    """
    expect_room(out)
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f"{FILES[0]}.partial"
    try:
        texts = [item.name for item in dataset.table.schema if pa.types.is_dictionary(item.type)]
        pq.write_table(dataset.table, partial, compression="zstd", row_group_size=_ROW_GROUP, use_dictionary=texts)
        card = _card(dataset, project, partial)
        os.replace(partial, out / FILES[0])
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    texts_of = (json.dumps(card, indent=2, ensure_ascii=False) + "\n", _page(card))
    for name, text in zip(FILES[1:], texts_of, strict=True):
        write_whole(out / name, text.encode())
    return card


def _card(dataset: Dataset, project: ProjectLike, data: Path) -> dict[str, Any]:
    choice, counted, table, replayed = dataset.choice, dataset.counted, dataset.table, dataset.replayed
    reads = {set_name(item.name, choice.event_type): (item.role, str(item.column.type)) for item in dataset.inputs}
    return {
        "project": {"name": project.definitions.settings.name, "hash": project.hash},
        "event_type": choice.event_type,
        "label": choice.label,
        "from": list(dataset.past),
        "span": {
            "from": _time(choice.from_us),
            "to": _time(choice.to_us),
            "known_by": iso_time(dataset.known_by_us),
            "label_delay_days": choice.label_delay_us / DAY_US,
            "test_from": _time(choice.test_from_us),
            "gap_days": choice.gap_us / DAY_US if choice.test_from_us is not None else None,
        },
        "sample": {"negatives": choice.sample, "seed": choice.seed},
        "holdout": None
        if dataset.held_out_share is None
        else {"share": dataset.held_out_share, "held_out": counted.held_out, "stopped": counted.stopped},
        "counts": {
            "rows": table.num_rows,
            "events": counted.events,
            "positive": counted.positive,
            "negative": counted.negative,
            "unlabelled": counted.unlabelled,
            "immature": counted.immature,
            "after_cut_off": counted.after_cut_off,
            "rows_by_split": {name: asdict(part) for name, part in dataset.parts.items()},
            "received": replayed.received,
            "accepted": replayed.accepted,
            "duplicates": replayed.duplicates,
            "quarantined": replayed.quarantined,
        },
        "labels": _PRESUMED,
        "warnings": _warnings(dataset),
        "left_out": list(dataset.left_out),
        "columns": [_column(name, table.column(name), *reads.get(name, ("set", ""))) for name in table.column_names],
        "data": {"file": FILES[0], "bytes": data.stat().st_size, "sha256": _digest(data)},
        "versions": {
            "parakh": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
    }


def _warnings(dataset: Dataset) -> list[str]:
    """What is no error, and still should be read before training."""
    choice, counted = dataset.choice, dataset.counted
    found = []
    for name in ("train", "test") if choice.test_from_us is not None else ("train",):
        part = dataset.parts.get(name)
        if part is None or not (part.positive or part.negative):
            found.append(f"{name} has no labelled event")
        elif not (part.positive and part.negative):
            found.append(f"{name} has one class only: {'positive' if part.positive else 'negative'}")
    if choice.test_from_us is not None and choice.gap_us < choice.label_delay_us:
        found.append(
            "the gap is shorter than the label delay: training may use labels that came when the test had begun"
        )
    if counted.learned_late:
        found.append(
            f"{counted.learned_late:,} positives of train became known only after the test began; "
            "label_known_at says which, an earlier --known-by or a longer --gap leaves them out"
        )
    steps = dataset.replayed.steps_back
    for step in steps[:_STEPS_SHOWN]:
        found.append(
            f"{_short(step.file)} begins {step.by_us / DAY_US:,.1f} days before the end of what was read before it "
            f"({_short(step.before)}): those of its events are late and have no features"
        )
    if len(steps) > _STEPS_SHOWN:
        found.append(f"so do others ({len(steps) - _STEPS_SHOWN:,}); is the order of the files that of their times?")
    return found


def _short(file: str) -> str:
    """A file by its name and its folder's, as lakes have them; not where on the machine it lies."""
    return "/".join(Path(file).parts[-2:])


def _column(name: str, column: pa.ChunkedArray, role: str, type: str) -> dict[str, Any]:
    """What a column holds; of texts only how many differ, since they may say who somebody is."""
    facts: dict[str, Any] = {"name": name, "role": role, "type": type or _type_of(column)}
    facts["null_share"] = column.null_count / len(column) if len(column) else 0.0
    array = column.combine_chunks().drop_null()
    if not len(array):
        return facts
    if pa.types.is_dictionary(array.type):
        return facts | {"distinct": len(array.dictionary)}
    if pa.types.is_string(array.type):
        return facts | {"distinct": len(array)}
    if pa.types.is_timestamp(array.type):
        times = pc.min_max(array.view(pa.int64())).as_py()
        return facts | {key: iso_time(time) for key, time in times.items()}
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    ends = pc.min_max(array).as_py()
    return facts | {"min": ends["min"], "mean": pc.mean(array).as_py(), "max": ends["max"]}


def _type_of(column: pa.ChunkedArray) -> str:
    names = {"bool": "boolean", "double": "number", "string": "string"}
    text = str(column.type)
    return names.get(text, "timestamp" if text.startswith("timestamp") else "string")


def _page(card: dict[str, Any]) -> str:
    """The card for people."""
    span, counts = card["span"], card["counts"]
    told = [
        ("project", f"{card['project']['name']}, version {card['project']['hash'][:12]}"),
        ("from", ", ".join("=".join(map(str, item.values())) for item in card["from"])),
        ("events from", span["from"] or "the first"),
        ("events before", span["to"] or "the end"),
        ("labels known by", span["known_by"]),
        ("matured after", f"{span['label_delay_days']:g} days"),
        ("test from", f"{span['test_from']}, after a gap of {span['gap_days']:g} days" if span["test_from"] else "-"),
        ("sample of negatives", f"{card['sample']['negatives']:g}, seed {card['sample']['seed']}"),
        ("stopped", _stopped(card["holdout"])),
        ("rows", f"{counts['rows']:,} of {counts['events']:,} events"),
        ("positive", f"{counts['positive']:,}"),
        ("negative", f"{counts['negative']:,}, of them {counts['unlabelled']:,} about which nothing is known"),
        ("immature", f"{counts['immature']:,}"),
        ("came after the cut-off", f"{counts['after_cut_off']:,}"),
        ("quarantined", f"{sum(counts['quarantined'].values()):,}"),
        ("left out, as personal", ", ".join(card["left_out"]) or "-"),
        ("SHA-256", f"`{card['data']['sha256']}`"),
        ("made with", ", ".join(f"{name} {version}" for name, version in card["versions"].items())),
    ]
    parts = [
        f"# {card['event_type']}: {card['label']}",
        _PRESUMED,
        _table(("what", ""), told),
        *(f"**Warning**: {text}." for text in card["warnings"]),
        "## Parts",
        _table(
            ("part", "rows", "positive", "negative", "immature"),
            [
                (name, *(f"{part[kind]:,}" for kind in ("rows", "positive", "negative", "immature")))
                for name, part in counts["rows_by_split"].items()
            ],
        ),
        "## Columns",
        _table(
            ("column", "role", "type", "NULL", "min", "mean", "max", "distinct"),
            [
                (
                    f"`{item['name']}`",
                    item["role"],
                    item["type"],
                    f"{100 * item['null_share']:.1f} %",
                    *(_shown(item.get(key)) for key in ("min", "mean", "max", "distinct")),
                )
                for item in card["columns"]
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _stopped(holdout: dict[str, Any] | None) -> str:
    if holdout is None:
        return "counted as they are"
    return (
        f"{holdout['stopped']:,} left out; {holdout['held_out']:,} that were held out stand for them, each for "
        f"{1 / holdout['share']:g} events"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else iso_time(at_us)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
