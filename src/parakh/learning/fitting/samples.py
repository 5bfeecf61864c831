"""A training set as a learner takes it: numbers in one block, what is known of each row, and what was left out and why.

Reads the folder that `parakh dataset` writes, and trusts none of it: the data must be those that the card describes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parakh.decisions.definition import DAY_US
from parakh.errors import InputError
from parakh.expressions.hints import closest
from parakh.expressions.values import timestamp_us
from parakh.learning.columns import OWN, taken

__all__ = [
    "ASKED", "CONSTANT", "EMPTY", "FEWEST_POSITIVE", "MOMENT", "NEVER", "TEST", "TEXT", "TRAIN", "Samples",
    "read_samples",
]  # fmt: skip

FEWEST_POSITIVE = 20
"""Frauds of the training part below which nothing is learned that is more than chance."""
NEVER = 2**62
"""`known_at_us` where nothing was known."""
TRAIN, GAP, TEST = 0, 1, 2
ASKED, TEXT, MOMENT = "as asked", "as texts", "as moments, which never come again"
EMPTY, CONSTANT = "as always NULL in training", "as constant in training"
_WHYS = (ASKED, TEXT, MOMENT, EMPTY, CONSTANT)
_SPLITS = {"train": TRAIN, "gap": GAP, "test": TEST}
_MOST_SEGMENTS = 4
_MOST_VALUES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The matured rows of a set, in the order of the log.

    `x` is float64[rows, names], C-contiguous: NaN for NULL, booleans 0 and 1, money in major units, as a model is given
    them live. `label` says what the set says, `known_at_us` since when (`NEVER` where nothing was known); `weight` is 1
    or more for sampled rows; `split` is TRAIN, GAP or TEST; `amount` is float64[rows] or None; `segments` are texts by
    which figures are broken down. `left_out` says why a column is no input, `notes` the same and more in plain words.
    `card` is the set's.
    """

    event_type: str
    label_name: str
    names: tuple[str, ...]
    x: NDArray[np.float64]
    label: NDArray[np.bool_]
    weight: NDArray[np.float64]
    time_us: NDArray[np.int64]
    known_at_us: NDArray[np.int64]
    split: NDArray[np.int8]
    ids: pa.Array
    amount: NDArray[np.float64] | None
    segments: dict[str, pa.DictionaryArray]
    left_out: dict[str, str]
    notes: tuple[str, ...]
    card: dict[str, Any]

    @property
    def delay_us(self) -> int:
        """How long after an event its label may come: the set's label delay."""
        return round(float(self.card["span"]["label_delay_days"]) * DAY_US)

    @property
    def test_from_us(self) -> int | None:
        """Where the test part begins; None where the set has none."""
        return _moment(self.card["span"].get("test_from"))

    @property
    def known_by_us(self) -> int:
        """The set's cut-off."""
        return _moment(self.card["span"]["known_by"]) or NEVER

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Samples:
        """Those rows alone, by number or by mask."""
        return replace(
            self,
            x=np.ascontiguousarray(self.x[rows]),
            label=self.label[rows],
            weight=self.weight[rows],
            time_us=self.time_us[rows],
            known_at_us=self.known_at_us[rows],
            split=self.split[rows],
            ids=taken(self.ids, rows),
            amount=None if self.amount is None else self.amount[rows],
            segments={name: taken(texts, rows) for name, texts in self.segments.items()},
        )

    @property
    def train(self) -> Samples:
        """The training part."""
        return self.take(self.split == TRAIN)

    @property
    def test(self) -> Samples:
        """The test part: empty where the set has none, or nothing of it has matured."""
        return self.take(self.split == TEST)


def read_samples(folder: Path, *, exclude: Collection[str] = ()) -> Samples:
    """Read a set, without the inputs named in `exclude`.

    Texts and times are left out (trees and sums read numbers), and inputs that are constant or always NULL in the
    training part: the notes say so. Raises InputError where the folder is no set or its data are not those of its card,
    where an excluded input is not there, where no input is left, and where the training part has no matured row, one
    class only or fewer than FEWEST_POSITIVE positives.
    """
    card, table = _read(folder)
    names, left_out = _usable(card, table, exclude)
    matured = table.column("matured").combine_chunks()
    table = table.filter(matured)
    event_type = str(card["event_type"])
    label = _truth(table.column("label"))
    split = _split(table.column("split"))
    known = table.column("label_known_at").combine_chunks()
    _expect_both_classes(label[split == TRAIN], card)
    x = np.empty((table.num_rows, len(names)), np.float64)
    for place, name in enumerate(names):
        x[:, place] = _numbers(table.column(name))
    kept, dull = _lively(x[split == TRAIN], names)
    left_out |= {_live_name(names[place], event_type): why for place, why in dull.items()}
    notes = _notes(left_out)
    if not kept:
        raise InputError(f"no input is left to learn from: {'; '.join(notes)}")
    amount = _amount(card)
    return Samples(
        event_type=event_type,
        label_name=str(card["label"]),
        names=tuple(_live_name(names[place], event_type) for place in kept),
        x=np.ascontiguousarray(x[:, kept]),
        label=label,
        weight=_numbers(table.column("weight")),
        time_us=_micros(table.column("event_time")),
        known_at_us=_micros(known, null=NEVER),
        split=split,
        ids=table.column("event_id").combine_chunks(),
        amount=None if amount is None else _numbers(table.column(amount)),
        segments=_segments(card, table),
        left_out=left_out,
        notes=(*notes, *(str(text) for text in card.get("warnings", ()))),
        card=card,
    )


def _read(folder: Path) -> tuple[dict[str, Any], pa.Table]:
    path, described = folder / "data.parquet", folder / "card.json"
    if not path.is_file() or not described.is_file():
        raise InputError(
            f"{folder} is no training set: it has no data.parquet and card.json (make one: parakh dataset)"
        )
    try:
        card = json.loads(described.read_text(encoding="utf-8"))
        digest, columns = card["data"]["sha256"], [item["name"] for item in card["columns"]]
        float(card["span"]["label_delay_days"]), card["span"]["known_by"], card["label"], card["event_type"]
        card["project"]["name"], card["project"]["hash"]
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{described} is not the card of a training set (make the set again: parakh dataset)"
        ) from None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise InputError(f"{path} is not the data that card.json describes: its SHA-256 differs (make the set again)")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    missing = [name for name in (*OWN, *columns) if name not in table.column_names]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r} (make the set again: parakh dataset)")
    return card, table


def _usable(card: dict[str, Any], table: pa.Table, exclude: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """The columns that are numbers, and of the others why they are left out."""
    inputs = [item["name"] for item in card["columns"] if item.get("role") != "set"]
    event_type = str(card["event_type"])
    live = {_live_name(name, event_type): name for name in inputs}
    for name in exclude:
        if name not in live:
            near = closest(name, list(live))
            raise InputError(f"--exclude: the set has no input {name!r}{f'; {near}' if near else ''}")
    left_out = dict.fromkeys(exclude, ASKED)
    for name, column in live.items():
        type = table.schema.field(column).type
        if pa.types.is_dictionary(type) or pa.types.is_string(type):
            left_out.setdefault(name, TEXT)
        elif pa.types.is_timestamp(type):
            left_out.setdefault(name, MOMENT)
    return [column for name, column in live.items() if name not in left_out], left_out


def _lively(x: NDArray[np.float64], names: Sequence[str]) -> tuple[list[int], dict[int, str]]:
    """The places of the columns that say anything in training, and of the others why they do not."""
    dull = {}
    for place in range(len(names)):
        known = x[:, place][~np.isnan(x[:, place])]
        if not known.size:
            dull[place] = EMPTY
        elif known.size == len(x) and known.min() == known.max():
            dull[place] = CONSTANT
    return [place for place in range(len(names)) if place not in dull], dull


def _notes(left_out: Mapping[str, str]) -> list[str]:
    """What is left out, in a sentence a reason."""
    named = {why: [name for name, reason in left_out.items() if reason == why] for why in _WHYS}
    return [f"left out, {why}: {', '.join(names)}" for why, names in named.items() if names]


def _expect_both_classes(label: NDArray[np.bool_], card: dict[str, Any]) -> None:
    positive, name = int(label.sum()), card["label"]
    what = f"the training part of the set has {label.size:,} matured {card['event_type']} events"
    if not label.size:
        raise InputError(f"{what}: nothing is known of any yet (hint: a later --known-by, a later --test-from)")
    if positive == label.size:
        raise InputError(
            f"{what}, and all are {name}: there is nothing to tell them from (hint: keep the good ones too)"
        )
    if positive < FEWEST_POSITIVE:
        raise InputError(
            f"{what}, {positive} of them {name}: with fewer than {FEWEST_POSITIVE} a model learns chance "
            "(hint: a longer span, a later --test-from, or labels that came since)"
        )


def _segments(card: dict[str, Any], table: pa.Table) -> dict[str, pa.DictionaryArray]:
    """Texts of few values, by which figures are broken down."""
    found = {}
    for item in card["columns"]:
        if item.get("role") in ("field", "derived", "enrichment") and 2 <= item.get("distinct", 0) <= _MOST_VALUES:
            column = table.column(item["name"]).combine_chunks()
            found[str(item["name"])] = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return dict(list(found.items())[:_MOST_SEGMENTS])


def _amount(card: dict[str, Any]) -> str | None:
    """The first field that is money, which says what an event is worth."""
    fields = (item for item in card["columns"] if item.get("role") == "field")
    return next((item["name"] for item in fields if str(item.get("type", "")).startswith("money")), None)


def _live_name(name: str, event_type: str) -> str:
    """The name that models use: a field that has the name of a set's own column stands under its event type there."""
    bare = name.removeprefix(f"{event_type}.")
    return bare if bare in OWN else name


def _truth(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    filled = pc.fill_null(column.combine_chunks(), False)
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.bool_)


def _split(column: pa.ChunkedArray) -> NDArray[np.int8]:
    array = column.combine_chunks()
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    numbers = np.array([*(_SPLITS.get(text, GAP) for text in encoded.dictionary.to_pylist()), GAP], np.int8)
    return numbers[np.asarray(pc.fill_null(encoded.indices, len(numbers) - 1).to_numpy(zero_copy_only=False), np.int64)]


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    array = column.combine_chunks()
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _micros(column: pa.ChunkedArray | pa.Array, *, null: int = NEVER) -> NDArray[np.int64]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    whole = pc.fill_null(array.view(pa.int64()), null)
    return np.asarray(whole.to_numpy(zero_copy_only=False), np.int64)


def _moment(text: object) -> int | None:
    return None if text is None else timestamp_us(str(text))
