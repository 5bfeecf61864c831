"""History from a service's log: its sets and decisions are those of the files that were sent, and those made live."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parakh.decisions.replay import Replay, Source
from parakh.errors import InputError
from parakh.events.merge import LABEL
from parakh.expressions.values import iso_time
from parakh.learning.card import write_dataset
from parakh.learning.dataset import Choice, Dataset, make_dataset
from parakh.learning.history import make_history
from parakh.learning.log_past import Reading, ServiceLog
from parakh.learning.past import Files
from parakh.project.project import Project
from parakh.service.answers import Answer
from parakh.service.backup import back_up
from parakh.service.settings import ServiceSettings
from parakh.service.startup import open_service
from parakh.simulation import simulate
from parakh.streams.entries import (
    EVENTS,
    LABELS,
    PROJECT,
    Events,
    Labels,
    ProjectVersion,
    UnknownEntry,
    read_events,
)
from parakh.streams.log import EmbeddedLog
from parakh.streams.reader import LogReader

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
DAY_US = 86_400_000_000


class Sent:
    """What was sent to a service, in order, and what it answered: live features by payment, and where its data are."""

    def __init__(self, world: Path, data: Path) -> None:
        self.world = world
        self.data = data
        self.entries: list[tuple[str, bytes, int]] = []  # event type or "", line, when it came
        self.features: dict[str, dict[str, Any]] = {}
        self.outcomes: dict[str, str] = {}

    @property
    def files(self) -> Files:
        sources = tuple(Source(name, str(self.world / f"{name}.ndjson")) for name in TYPES)
        return Files(sources=sources, labels=str(self.world / "labels.ndjson"))

    @property
    def log(self) -> ServiceLog:
        return ServiceLog(self.data)


def in_order(project: Project, sent: Sent) -> None:
    """The lines of the files in the order in which a replay takes them, each at the clock of its moment."""
    labels = (sent.world / "labels.ndjson").read_bytes().splitlines()
    replay = Replay(project, sent.files.sources, labels=sent.files.labels)
    clock = 0

    def see(batch: Any, _: Any) -> None:
        nonlocal clock
        plans = replay.engine.plan.types
        for kind, row in zip(batch.kinds.tolist(), batch.rows.tolist()):
            if kind == LABEL:
                known = int(batch.labels.known_at[row])
                sent.entries.append(("", labels[int(batch.labels.place[row])], max(clock, known)))
                continue
            part = next(part for part in batch.parts if part.start <= row < part.stop)
            chunk, number = part.origin(row - part.start)
            clock = max(clock, int(part.decoded.times[row - part.start]))
            sent.entries.append((plans[kind].event.name, bytes(chunk.raw(number)), clock))

    replay.run(on_entries=see)


async def send(sent: Sent) -> None:
    now = [0]
    async with open_service(EXAMPLE, ServiceSettings(sent.data), now_us=lambda: now[0]) as opened:
        for kind, line, at in sent.entries:
            now[0] = max(now[0], at)
            if not kind:
                told = await opened.service.labels(line)
            else:
                told = await opened.service.decide(kind, line, features=True)
            assert isinstance(told, Answer), told
            assert told.status == 200, told
            if kind == "payment":
                said = json.loads(told.body)
                sent.features[said["event_id"]] = said["features"]
                sent.outcomes[said["event_id"]] = said["outcome"]


@pytest.fixture(scope="module")
def example() -> Project:
    return Project.load(EXAMPLE)


def verdicts(world: Path) -> list[dict[str, Any]]:
    """Several sources that differ and take back what they said, about payments, cards and terminals."""
    payments = [json.loads(line) for line in (world / "payment.ndjson").read_text().splitlines()]
    draw = random.Random(5)
    said = []
    for event in draw.choices(payments[: len(payments) * 2 // 3], k=150):
        known = datetime.fromisoformat(event["paid_at"]) + timedelta(hours=draw.uniform(0, 60))
        verdict = {"event_type": "payment", "label": "fraud", "known_at": known.isoformat()}
        verdict["value"] = draw.choice([True, True, False, None])
        verdict["source"] = draw.choice(["analyst", "chargeback", "customer"])
        about = {"event_id": event["payment_id"]}
        if draw.random() < 0.1:
            entity = draw.choice(["card", "terminal"])
            about = {"entity": entity, "key": event[entity]}
        said.append({**verdict, **about})
    return said


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, example: Project) -> Sent:
    world = tmp_path_factory.mktemp("world")
    simulate("fintech", events=3_000, seed=11, out=world)
    with (world / "labels.ndjson").open("a") as file:
        file.writelines(json.dumps(verdict) + "\n" for verdict in verdicts(world))
    sent = Sent(world, tmp_path_factory.mktemp("service") / "data")
    in_order(example, sent)
    asyncio.run(send(sent))
    return sent


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def made(project: Project, past: Any, **choice: Any) -> Dataset:
    return make_dataset(project, past, Choice(event_type="payment", label_delay_us=2 * DAY_US, **choice))


def cut_of(sent: Sent, share: float) -> int:
    return sent.entries[int(len(sent.entries) * share)][2]


@pytest.mark.parametrize("share", [None, 0.7])
def test_a_set_from_the_log_is_that_from_the_files(
    sent: Sent, example: Project, tmp_path: Path, share: float | None
) -> None:
    choice = {} if share is None else {"known_by_us": cut_of(sent, share)}
    choice |= {"sample": 0.6, "seed": 4}
    before = files_of(sent.data)
    of_files, of_log = made(example, sent.files, **choice), made(example, sent.log, **choice)
    assert files_of(sent.data) == before, "a look at the log writes nothing"
    assert of_log.counted == of_files.counted
    assert of_log.counted.positive > 5
    assert of_log.left_out == of_files.left_out == ("card",)
    write_dataset(of_files, example, tmp_path / "files")
    write_dataset(of_log, example, tmp_path / "log")
    assert (tmp_path / "log" / "data.parquet").read_bytes() == (tmp_path / "files" / "data.parquet").read_bytes()


def test_what_comes_after_the_cut_off_changes_no_byte(sent: Sent, example: Project, tmp_path: Path) -> None:
    cut = cut_of(sent, 0.5)
    shorter = Sent(sent.world, tmp_path / "data")
    shorter.entries = [entry for entry in sent.entries if entry[2] <= cut]
    asyncio.run(send(shorter))
    late = Sent(sent.world, tmp_path / "late")
    good = next(row["event_id"] for row in rows(made(example, shorter.log)) if row["label"] is False)
    # A verdict that comes after the cut-off is not known by it, whatever it says of when it became known.
    verdict = {"event_type": "payment", "event_id": good, "label": "fraud", "value": True, "source": "analyst",
               "known_at": iso_time(cut - DAY_US)}  # fmt: skip
    late.entries = [*shorter.entries, ("", json.dumps(verdict).encode(), cut + 1)]
    asyncio.run(send(late))
    data = []
    for number, past in enumerate((shorter.log, sent.log, late.log)):
        write_dataset(made(example, past, known_by_us=cut), example, tmp_path / f"set{number}")
        data.append((tmp_path / f"set{number}" / "data.parquet").read_bytes())
    assert data[0] == data[1] == data[2]
    now = {row["event_id"]: row for row in rows(made(example, late.log, known_by_us=cut + 1))}
    assert now[good]["label"] is True
    assert iso_time(int(now[good]["label_known_at"].timestamp() * 1e6)) == iso_time(cut - DAY_US), "known_at is kept"


def rows(dataset: Dataset) -> list[dict[str, Any]]:
    return dataset.table.select(["event_id", "label", "label_known_at"]).to_pylist()


def test_features_and_outcomes_are_those_of_the_live_records(sent: Sent, example: Project) -> None:
    table = made(example, sent.log).table
    ids = table.column("event_id").to_pylist()
    assert ids == list(sent.features)
    names = [name for name in next(iter(sent.features.values())) if name in table.column_names]
    assert len(names) > 30
    for name in names:
        values = table.column(name).to_pylist()
        live = [sent.features[event_id][name] for event_id in ids]
        if pa.types.is_timestamp(table.column(name).type):
            values = table.column(name).combine_chunks().view(pa.int64()).to_pylist()
        assert values == [float(item) if isinstance(item, str) and isinstance(value, float) else item
                          for item, value in zip(live, values)], name  # fmt: skip
    history = make_history(example, sent.log, event_type="payment")
    words = ("allow", "challenge", "review", "block")
    assert {event_id: words[outcome] for event_id, outcome in zip(history.ids.to_pylist(), history.outcome.tolist())} \
        == sent.outcomes  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 7, 512])
def test_a_history_does_not_depend_on_the_size_of_batches(sent: Sent, example: Project, batch_size: int) -> None:
    wide = make_history(example, sent.log, event_type="payment", inputs=None, label_delay_us=DAY_US)
    narrow = make_history(
        example, sent.log, event_type="payment", inputs=None, label_delay_us=DAY_US, batch_size=batch_size
    )
    for name in ("time_us", "outcome", "score", "hits", "fraud", "matured", "known_at_us"):
        assert np.array_equal(getattr(wide, name), getattr(narrow, name), equal_nan=name == "score"), name
    assert wide.ids.equals(narrow.ids)
    assert wide.inputs.keys() == narrow.inputs.keys()
    assert replace(wide.summary, seconds=0.0) == replace(narrow.summary, seconds=0.0)


def test_decisions_are_dated_when_their_events_arrived(sent: Sent, example: Project) -> None:
    arrived = {json.loads(line)["payment_id"]: at for kind, line, at in sent.entries if kind == "payment"}
    found: dict[str, int] = {}

    def see(_: Any, decisions: Any) -> None:
        for part in decisions.parts:
            if part.schema.event_type == "payment":
                found.update(zip(part.id_texts(), part.decided_at_us.tolist()))

    sent.log.replay(example, batch_size=100).run(on_entries=see)
    assert found == arrived


def test_a_backup_gives_the_same(sent: Sent, example: Project, tmp_path: Path) -> None:
    back_up(sent.data, tmp_path / "backup", master_key=False)
    backup = ServiceLog(tmp_path / "backup")
    assert made(example, backup).table.equals(made(example, sent.log).table)
    assert backup.event_types == sent.log.event_types
    assert set(backup.event_types) == {kind for kind, _, _ in sent.entries if kind}


@pytest.fixture
def narrowed(tmp_path: Path) -> Project:
    """The example without logins, and with a stricter payment."""
    folder = tmp_path / "narrowed"
    shutil.copytree(EXAMPLE, folder)
    for name in ("features", "rules", "signals", "models", "policies"):
        shutil.rmtree(folder / name)
    (folder / "events" / "login.yaml").unlink()
    payment = folder / "events" / "payment.yaml"
    payment.write_text(payment.read_text().replace("channel: {type: string", "channel: {type: number"))
    text = payment.read_text()
    payment.write_text(text[: text.index("derive:")] + text[text.index("labels:") :])
    return Project.load(folder)


def test_what_another_version_took_in_is_counted(sent: Sent, narrowed: Project) -> None:
    summary = sent.log.replay(narrowed).run()
    kinds = [kind for kind, _, _ in sent.entries]
    assert summary.quarantined == {"wrong_type": kinds.count("payment"), "unknown_type": kinds.count("login")}
    assert summary.received == len(kinds) - kinds.count("")
    with pytest.raises(InputError, match=r"no event of payment .* quarantined"):
        make_dataset(narrowed, sent.log, Choice(event_type="payment"))


def test_a_folder_without_a_log_is_told(tmp_path: Path, example: Project) -> None:
    with pytest.raises(InputError, match="holds no log"):
        ServiceLog(tmp_path).replay(example)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / f"{0:020d}.log").write_bytes(b"")
    with pytest.raises(InputError, match="start the service once"):
        _ = ServiceLog(tmp_path).event_types


def test_a_label_about_a_key_holds_of_no_later_event_however_batches_fall(
    sent: Sent, example: Project, tmp_path: Path
) -> None:
    begin = datetime(2025, 3, 1, tzinfo=UTC)
    burst = Sent(sent.world, tmp_path / "data")
    payments = (sent.world / "payment.ndjson").read_text().splitlines()[:10]
    logins = (sent.world / "login.ndjson").read_bytes().splitlines()[:12]
    about = {"event_type": "payment", "entity": "terminal", "key": "one", "label": "fraud", "value": True,
             "known_at": (begin + timedelta(days=4)).isoformat(), "source": "analyst"}  # fmt: skip
    names = []
    for day, line in enumerate(payments):
        at = begin + timedelta(days=day)
        event = {**json.loads(line), "terminal": "one", "paid_at": at.isoformat()}
        names.append(event["payment_id"])
        burst.entries.append(("payment", json.dumps(event).encode(), int(at.timestamp() * 1e6)))
        if day == 4:
            came = int(at.timestamp() * 1e6) + 1
            burst.entries += [("login", login, came) for login in logins]
            burst.entries.append(("", json.dumps(about).encode(), came))
    asyncio.run(send(burst))
    choice = Choice(event_type="payment", label_delay_us=DAY_US)
    for batch_size in (1, 3, 4, 8, 16, 4096):
        table = make_dataset(example, burst.log, choice, batch_size=batch_size).table
        assert [row["event_id"] for row in table.to_pylist() if row["label"]] == names[:5], batch_size


# -- reading a log no more often than is needed ------------------------------------------------------------------------


def batch(project: str, types: tuple[str, ...], kind: int) -> bytes:
    """One event of a type, as the log has it."""
    none, one = np.zeros(1, np.uint32), np.ones(1, np.uint64)
    return Events(
        project=project, types=types, unanswered=(), kinds=np.array([kind], np.uint8), id_hi=one, id_lo=one,
        times_us=np.zeros(1, np.int64), outcomes=np.zeros(1, np.int8), body_lengths=none, record_lengths=none,
        bodies=b"", records=b"",
    ).encode()  # fmt: skip


def logged(data: Path, entries: list[tuple[int, bytes]], segment_bytes: int = 1 << 16) -> Path:
    with EmbeddedLog(data / "log", segment_bytes=segment_bytes) as log:
        for kind, payload in entries:
            log.wait(log.append(kind, payload, arrived_us=0))
    return data


def version(hash: str) -> tuple[int, bytes]:
    return PROJECT, ProjectVersion.of(hash, "shop", {}, rebuilt=True, who="test").encode()


def test_the_types_of_a_log_are_looked_up_once_and_those_of_later_versions_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [version("a"), (EVENTS, batch("a", ("payment",), 0)), (EVENTS, batch("a", ("payment",), 0)),
               version("b"), (EVENTS, batch("b", ("login", "payment", "never"), 0))]  # fmt: skip
    decoded: list[int] = []
    monkeypatch.setattr(
        "parakh.learning.log_past.read_events", lambda payload: decoded.append(1) or read_events(payload)
    )
    log = ServiceLog(logged(tmp_path, entries))
    assert log.event_types == ("payment", "login")
    assert len(decoded) == 2, "the second batch says no more than the first"
    assert log.event_types == ("payment", "login")
    assert len(decoded) == 2
    logged(tmp_path, [(EVENTS, batch("b", ("login", "payment", "never"), 2))])
    assert ServiceLog(tmp_path).event_types == ("payment", "login", "never")


def test_the_version_that_decides_is_found_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label = (LABELS, Labels("a", b"{}\n" * 20_000, 0).encode())
    logged(tmp_path, [version("a"), label, label, label, (EVENTS, batch("a", ("payment",), 0)), label, label])
    read: list[int] = []
    whole = LogReader.follow

    def follow(self: LogReader, position: int) -> Any:
        for entry in whole(self, position):
            read.append(entry.position)
            yield entry

    monkeypatch.setattr(LogReader, "follow", follow)
    with Reading.of(tmp_path) as reading:
        assert len(reading.log.starts) > 3
        assert reading.deciding() == "a"
    assert 0 not in read, "the oldest segment need not be read"
    logged(tmp_path, [version("b")])
    with Reading.of(tmp_path) as reading:
        assert reading.deciding() == "b"
    logged(tmp_path / "bare", [label])
    with Reading.of(tmp_path / "bare") as reading:
        assert reading.deciding() is None


def test_an_entry_of_a_newer_kind_is_told(sent: Sent, example: Project, tmp_path: Path) -> None:
    shutil.copytree(sent.data / "log", tmp_path / "log")
    with EmbeddedLog(tmp_path / "log") as log:
        log.wait(log.append(9, b"", arrived_us=0))
    undecided = replace(example, definitions=replace(example.definitions, policies=(), rules=(), models=(), lists=()))
    with pytest.raises(UnknownEntry, match="of kind 9"):
        ServiceLog(tmp_path).replay(undecided).run()
