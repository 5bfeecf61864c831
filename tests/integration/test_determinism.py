"""The same log gives the same decisions, bit for bit: whatever the batches, files, formats, blocks and process."""

from __future__ import annotations

import functools
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from parakh import Engine, Project
from parakh.cli.output import json_lines
from parakh.decisions import replay as replay_module
from parakh.decisions.decisions import Decisions
from parakh.decisions.replay import Replay, Source, Summary
from parakh.events import readers, sources
from parakh.events.merge import Merger
from parakh.simulation import simulate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
EVENTS = 6_000
THREE_DAYS_US = 3 * 86_400_000_000
ROUND = 1024


@dataclass(frozen=True)
class Answer:
    """What a replay gave: lines and records of decisions as bytes, the table, and the counts."""

    lines: bytes
    records: bytes
    table: pa.Table
    counts: tuple[Any, ...]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with labels in a file, the same with labels in a column, and 6,000 events as a source may send them:
    not in order, some twice, some of another body, some no events at all."""
    folder = tmp_path_factory.mktemp("determinism")
    simulate("fintech", events=EVENTS, seed=7, out=folder / "events")
    rng = random.Random(7)
    shutil.copytree(EXAMPLE, folder / "shop")
    shutil.copytree(EXAMPLE, folder / "columns")
    for name in ("payment", "transfer"):
        event = folder / "columns" / "events" / f"{name}.yaml"
        before = event.read_text()
        event.write_text(before.replace("  fraud: boolean\n", "  fraud: {type: boolean, from: is_fraud}\n"))
        assert event.read_text() != before
    frauds = {
        json.loads(line)["event_id"] for line in (folder / "events/truth.ndjson").open() if '"fraud":true' in line
    }
    for name in TYPES:
        path = folder / "events" / f"{name}.ndjson"
        lines = [json.loads(line, parse_float=str) for line in path.read_text().splitlines()]
        if name in ("payment", "transfer"):
            lines = [line | {"is_fraud": line[f"{name}_id"] in frauds} for line in lines]
        lines = disorder(lines, rng)
        (folder / f"{name}.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
        dirty = [json.dumps(line).encode() for line in lines]
        for _ in range(len(dirty) // 50):
            at = rng.randrange(len(dirty))
            spoilt = rng.choice([dirty[at][:-3], b"{}", b"", b'{"x": NaN}', dirty[at].replace(b'"c', b'"d'), b"\xff"])
            dirty.insert(rng.randint(at, len(dirty)), spoilt)
        (folder / f"dirty_{name}.ndjson").write_bytes(b"\n".join(dirty))
        (folder / "few").mkdir(exist_ok=True)
        (folder / "few" / f"{name}.ndjson").write_bytes(b"\n".join(dirty[: len(dirty) // 8]))
    shutil.copy(folder / "events" / "labels.ndjson", folder)
    shutil.copy(folder / "events" / "labels.ndjson", folder / "few")
    return folder


def disorder(lines: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """Lines a little out of order, one in a hundred very late, and one in fifty twice."""
    places = [
        number + rng.choice([0, 0, 0, rng.random() * 5, 400 * (rng.random() < 0.05)]) for number in range(len(lines))
    ]
    lines = [line for _, line in sorted(zip(places, lines), key=lambda item: item[0])]
    for _ in range(len(lines) // 50):
        at = rng.randrange(len(lines))
        lines.insert(rng.randint(at, len(lines)), lines[at])
    return lines


def files(folder: Path, prefix: str = "", ending: str = "ndjson") -> list[Source]:
    return [Source(name, str(folder / f"{prefix}{name}.{ending}")) for name in TYPES]


def answer(project: Project, events: Sequence[Source], *, in_columns: bool = False, batch_size: int = 4096) -> Answer:
    """What a replay gives, written out round by round, as a file of decisions is."""
    folder = Path(events[0].path).parent
    replay = Replay(
        project,
        events,
        labels=None if in_columns else str(folder / "labels.ndjson"),
        label_delay_us=THREE_DAYS_US if in_columns else None,
        batch_size=batch_size,
        started_us=2**60,
    )
    tables: list[pa.Table] = []
    held: list[Decisions] = []
    records: list[bytes] = []

    def take(decisions: Decisions, _: object) -> None:
        held.append(decisions)
        records.extend(bytes(record) for record in decisions.records())
        if len(held) >= ROUND:
            write()

    def write() -> None:
        tables.append(Decisions.concat(held).to_arrow(features=True))
        held.clear()

    summary = replay.run(take)
    write()
    assert summary.received == summary.accepted + summary.duplicates + sum(summary.quarantined.values())
    table = pa.concat_tables(tables).combine_chunks()
    return Answer(b"".join(map(json_lines, tables)), b"\n".join(records), table, counted(summary))


def counted(summary: Summary) -> tuple[Any, ...]:
    return (
        summary.received, summary.accepted, summary.duplicates, summary.quarantined, summary.late, summary.decided,
        summary.outcomes, summary.judged, summary.labels,
    )  # fmt: skip


def assert_same(mine: Answer, expected: Answer) -> None:
    if mine.lines != expected.lines:
        pairs = zip(mine.lines.splitlines(), expected.lines.splitlines())
        number = next((n for n, (a, b) in enumerate(pairs) if a != b), "beyond the shorter")
        raise AssertionError(f"decision {number} differs")
    assert mine.table.equals(expected.table, check_metadata=True)
    assert mine.records == expected.records
    assert mine.counts == expected.counts


@pytest.fixture(scope="module")
def shop(folder: Path) -> Project:
    return Project.load(folder / "shop")


@pytest.fixture(scope="module")
def columns(folder: Path) -> Project:
    return Project.load(folder / "columns")


@pytest.fixture(scope="module")
def clean(shop: Project, folder: Path) -> Answer:
    return answer(shop, files(folder))


@pytest.fixture(scope="module")
def dirty(shop: Project, folder: Path) -> Answer:
    return answer(shop, files(folder, "dirty_"))


@pytest.fixture(scope="module")
def columned(columns: Project, folder: Path) -> Answer:
    return answer(columns, files(folder, "dirty_"), in_columns=True)


def test_the_events_are_of_every_kind(dirty: Answer, columned: Answer) -> None:
    for received, accepted, duplicates, quarantined, late, decided, outcomes, judged, labels in (
        dirty.counts,
        columned.counts,
    ):
        assert received > EVENTS >= accepted > decided > EVENTS // 2
        assert duplicates > 100
        assert {"bad_json", "bad_utf8", "missing_id", "conflict"} <= set(quarantined)
        assert late > 20
        assert all(outcomes["payment"][word] for word in ("allow", "block", "review"))
        assert judged["payment"].frauds > 50
        assert labels["applied"] > 80


@pytest.mark.parametrize("size", [64, 1000, EVENTS])
def test_any_size_of_batches(shop: Project, folder: Path, dirty: Answer, size: int) -> None:
    assert_same(answer(shop, files(folder, "dirty_"), batch_size=size), dirty)


@pytest.mark.parametrize("size", [64, EVENTS])
def test_any_size_of_batches_with_labels_in_a_column(
    columns: Project, folder: Path, columned: Answer, size: int
) -> None:
    assert_same(answer(columns, files(folder, "dirty_"), in_columns=True, batch_size=size), columned)


@pytest.mark.parametrize("in_columns", [False, True])
def test_batches_of_one_and_of_seven(shop: Project, columns: Project, folder: Path, in_columns: bool) -> None:
    project = columns if in_columns else shop
    expected = answer(project, files(folder / "few"), in_columns=in_columns)
    assert expected.counts[0] > EVENTS // 9
    for size in (1, 7):
        assert_same(answer(project, files(folder / "few"), in_columns=in_columns, batch_size=size), expected)


@pytest.mark.parametrize(("stage", "block"), [(1, 100_000), (50, 4_096), (1_000, 70_001), (50_000, 1 << 22)])
def test_any_size_of_blocks_and_stages(
    shop: Project, columns: Project, folder: Path, dirty: Answer, columned: Answer, monkeypatch: pytest.MonkeyPatch,
    stage: int, block: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(readers, "_BLOCK", block)
    monkeypatch.setattr(replay_module, "Merger", functools.partial(Merger, stage_rows=stage))
    assert_same(answer(shop, files(folder, "dirty_"), batch_size=333), dirty)
    assert_same(answer(columns, files(folder, "dirty_"), in_columns=True, batch_size=333), columned)


def test_any_split_into_files(shop: Project, columns: Project, folder: Path, dirty: Answer, columned: Answer) -> None:
    split: list[Source] = []
    rng = random.Random(3)
    for source in files(folder, "dirty_"):
        lines = Path(source.path).read_bytes().split(b"\n")
        cuts = sorted(rng.randrange(1, len(lines)) for _ in range(2))
        for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(lines)])):
            part = folder / f"part_{source.event_type}_{number}.ndjson"
            part.write_bytes(b"\n".join(lines[start:stop]) + b"\n")
            if part.read_bytes().strip():
                split.append(Source(source.event_type, str(part)))
    assert len(split) > 2 * len(TYPES)
    assert_same(answer(shop, split, batch_size=500), dirty)
    assert_same(answer(columns, split, in_columns=True, batch_size=500), columned)


def test_any_format(
    shop: Project, columns: Project, folder: Path, clean: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answer(columns, files(folder), in_columns=True)
    for source in files(folder):
        data = Path(source.path).read_bytes()
        (folder / f"{source.event_type}.ndjson.gz").write_bytes(gzip.compress(data))
        table = pa.Table.from_pylist([json.loads(line) for line in data.splitlines()])
        # Amounts and positions are texts above, so that a CSV shows them just as the NDJSON does.
        pc.write_csv(table, folder / f"{source.event_type}.csv", pc.WriteOptions(quoting_style="needed"))
        (folder / f"{source.event_type}.csv.gz").write_bytes(
            gzip.compress((folder / f"{source.event_type}.csv").read_bytes())
        )
        for name, kind in (("amount", pa.decimal128(12, 2)), ("latitude", pa.float64()), ("longitude", pa.float64())):
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
        pq.write_table(table, folder / f"{source.event_type}.parquet", row_group_size=777)
    monkeypatch.setattr(sources, "_BATCH_ROWS", 901)
    for ending in ("ndjson.gz", "csv", "csv.gz", "parquet"):
        assert_same(answer(shop, files(folder, ending=ending), batch_size=600), clean)
        assert_same(answer(columns, files(folder, ending=ending), in_columns=True, batch_size=600), expected)
    mixed = [
        Source(source.event_type, source.path + ending)
        for source, ending in zip(
            files(folder, ending=""), ("csv", "parquet", "ndjson", "csv.gz", "parquet", "csv", "ndjson")
        )
    ]
    assert_same(answer(shop, mixed), clean)


@pytest.mark.parametrize(
    ("zone", "hash_seed", "ending"), [("Pacific/Chatham", "1", "ndjson"), ("America/New_York", "99", "parquet")]
)
def test_another_process_writes_the_same_bytes(
    folder: Path, dirty: Answer, zone: str, hash_seed: str, ending: str
) -> None:
    environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": hash_seed, "LC_ALL": "C"}
    events = [part for source in files(folder, "dirty_") for part in ("-e", f"{source.event_type}={source.path}")]
    out = folder / f"{hash_seed}.{ending}"
    done = subprocess.run(
        [sys.executable, "-m", "parakh", "replay", str(folder / "shop"), *events,
         "--labels", str(folder / "labels.ndjson"), "--out", str(out), "--features"],
        env=environment, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if ending == "ndjson":
        assert out.read_bytes() == dirty.lines
    else:
        assert pq.read_table(out).equals(dirty.table)


def test_lines_of_a_live_service_are_decided_as_a_replay_does(tmp_path: Path) -> None:
    """One type of events, taken in pieces as they come, by an engine that never saw a file."""
    for name, text in {
        "parakh.toml": 'name = "shop"\ncurrency = "INR"\ntime_zone = "Asia/Kolkata"\n',
        "events/payment.yaml": "event: payment\nid: payment_id\ntime: paid_at\nfields:\n  payment_id: string\n"
        "  paid_at: timestamp\n  customer: {type: string, entity: customer}\n  card: {type: string, entity: card}\n"
        "  terminal: string\n  country: string\n  amount: {type: money, currency: INR}\n",
        "features/card.yaml": "entity: card\nfeatures:\n  paid:\n    from: payment\n    aggregate: sum(amount)\n"
        "    over: [1h, calendar_day, 7d]\n  most: {from: payment, aggregate: max(amount), current: exclude}\n"
        "  places: {from: payment, aggregate: count(distinct terminal), over: 7d}\n"
        "  spread: {from: payment, aggregate: stddev(amount), over: 30d}\n",
        "features/customer.yaml": "entity: customer\nfeatures:\n  idle: {from: payment, aggregate: since_last()}\n"
        "  country: {from: payment, aggregate: last(country)}\n",
        "signals/payment.yaml": "signals: payment\ndefine:\n  abroad: country <> customer.country\n",
        "rules/much.yaml": "rule: much\nfor: payment\nwhen: card.paid_1h > 9000 or card.spread_30d > 2000\n"
        "then: block\nreason: R1\n",
        "rules/away.yaml": "rule: away\nfor: payment\nwhen: abroad and customer.idle < 86400\nthen: review\n"
        "reason: R2\n",
        "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
    }.items():  # fmt: skip
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_text(text)
    simulate("fintech", events=2_000, seed=5, out=tmp_path)
    rng = random.Random(5)
    lines = disorder([json.loads(line) for line in (tmp_path / "payment.ndjson").open()], rng)
    data = [json.dumps(line).encode() for line in lines]
    data[100] = b"{}"
    (tmp_path / "payment.ndjson").write_bytes(b"\n".join(data))
    project = Project.load(tmp_path / "shop")
    held: list[Decisions] = []
    replay = Replay(project, [Source("payment", str(tmp_path / "payment.ndjson"))], batch_size=1000)
    replay.run(lambda decisions, _: held.append(decisions))
    expected = Decisions.concat(held).to_arrow(features=True)
    assert set(expected["outcome"].to_pylist()) == {"allow", "review", "block"}
    for most in (1, 5, 64, 5000):
        engine = Engine(project, batch_size=most)
        made = []
        place = 0
        while place < len(data):
            count = rng.randint(1, most)
            made.append(engine.decide_lines("payment", b"\n".join(data[place : place + count])))
            place += count
        assert Decisions.concat(made).to_arrow(features=True).equals(expected)
        assert engine.counts == replay.engine.counts
    assert Engine(project).decide(b"\n".join(data)).to_arrow(features=True).equals(expected)
    assert Engine(project).decide(str(tmp_path / "payment.ndjson")).to_arrow(features=True).equals(expected)
    objects = [json.loads(line) for line in data]
    assert Engine(project, batch_size=77).decide(objects).to_arrow(features=True).equals(expected)
