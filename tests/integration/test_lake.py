"""Folders of files as events: a lake by event type and day gives the set that its rows in one file give."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parakh.cli.main import OK, WRONG_USE, run
from parakh.errors import InputError
from parakh.events.sources import files_in
from parakh.simulation import simulate

EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples" / "card-payments")
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    simulate("fintech", events=4_000, seed=11, out=folder)
    return folder


def lay(world: Path, lake: Path, *, parquet: bool) -> Path:
    """The files of a world as folders by type, `date=DAY/part-N` in each, in the order of their lines."""
    for name in TYPES:
        lines = [json.loads(line) for line in (world / f"{name}.ndjson").read_text().splitlines()]
        clock = ""
        days = []
        for event in lines:
            clock = max(clock, next(str(value) for key, value in event.items() if key.endswith("_at")))
            days.append(clock[:10])
        for day, numbers in itertools.groupby(range(len(lines)), days.__getitem__):
            of_day = [lines[number] for number in numbers]
            for part, first in enumerate(range(0, len(of_day), 20)):
                path = lake / name / f"date={day}" / f"part-{part}.{'parquet' if parquet else 'ndjson'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                some = of_day[first : first + 20]
                if parquet:
                    pq.write_table(pa.Table.from_pylist(some), path)
                else:
                    path.write_text("".join(f"{json.dumps(event)}\n" for event in some))
        (lake / name / "_SUCCESS.json").touch()
    return lake


def dataset(*events: str, world: Path, out: Path) -> bytes:
    words = ["dataset", EXAMPLE, "--for", "payment", "--labels", str(world / "labels.ndjson"), "--label-delay", "2d"]
    assert run([*words, *(word for name in events for word in ("--events", name)), "--out", str(out)]) == OK
    return (out / "data.parquet").read_bytes()


@pytest.mark.parametrize("parquet", [True, False])
def test_a_lake_gives_what_its_rows_in_one_file_give(world: Path, tmp_path: Path, parquet: bool) -> None:
    lake = lay(world, tmp_path / "lake", parquet=parquet)
    assert len(files_in(lake / "payment")) > 100
    one_file = dataset(*(str(world / f"{name}.ndjson") for name in TYPES), world=world, out=tmp_path / "files")
    assert dataset(str(lake), world=world, out=tmp_path / "whole") == one_file
    named = [f"{name}={lake / name}" for name in TYPES[:3]] + [str(lake / name) for name in TYPES[3:]]
    assert dataset(*named, world=world, out=tmp_path / "named") == one_file
    said = json.loads((tmp_path / "named" / "card.json").read_text())
    assert said["warnings"] == []
    ending = "parquet" if parquet else "ndjson"
    told = next(item["file"] for item in said["from"] if item["event_type"] == "payment")
    assert told.startswith(f"{len(files_in(lake / 'payment')):,} files, part-0.{ending} to part-")


def test_files_are_taken_in_the_order_of_their_paths(tmp_path: Path) -> None:
    names = ["date=2026-01-02/part-2.csv", "date=2026-01-02/part-10.csv.gz", "date=2026-01-10/part-0.csv", "z.ndjson"]
    others = [".hidden/a.csv", "_delta_log/0.json", "notes.txt", "date=2026-01-02/_SUCCESS.csv"]
    shuffled = names + others
    random.Random(3).shuffle(shuffled)
    for name in shuffled:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_in(tmp_path) == [str(tmp_path / name) for name in names]
    with pytest.raises(InputError, match="holds no file of events"):
        files_in(tmp_path / ".hidden" / "none")


def test_a_file_that_begins_too_early_is_told(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = lay(world, tmp_path / "lake", parquet=False)
    days = sorted((lake / "payment").glob("date=*"))
    days[3].rename(days[3].with_name("date=2031-01-01"))  # in order of their names it comes last
    dataset(str(lake), world=world, out=tmp_path / "set")
    warnings = json.loads((tmp_path / "set" / "card.json").read_text())["warnings"]
    assert 1 <= len(warnings) <= 4
    assert warnings[0].startswith("date=2031-01-01/part-0.ndjson begins ")
    assert "are late and have no features" in warnings[0]
    assert "warning" in capsys.readouterr().out


def test_a_folder_that_says_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some").mkdir()
    words = ["dataset", EXAMPLE, "--out", str(tmp_path / "set")]
    assert run([*words, "--events", str(tmp_path / "some")]) == WRONG_USE
    assert "of which type are the events in" in " ".join(capsys.readouterr().err.split())
    assert run([*words, "--events", f"payment={tmp_path / 'some'}"]) != OK
    assert "holds no file of events" in " ".join(capsys.readouterr().err.split())
