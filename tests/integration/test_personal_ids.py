"""An event's id that is personal stands in no set, no back-test and no suggestion: its token does, or its hash."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parakh.decisions.record import read_record
from parakh.decisions.replay import Replay, Source
from parakh.errors import InputError
from parakh.learning.backtests.examples import largest
from parakh.learning.card import write_dataset
from parakh.learning.dataset import Choice, Dataset, make_dataset
from parakh.learning.history import make_history
from parakh.learning.log_past import ServiceLog
from parakh.learning.past import Files, Past
from parakh.learning.suggesting.suggestions import facts_of
from parakh.project.project import Project
from parakh.service.answers import Answer
from parakh.service.personal.tokens import is_token
from parakh.service.settings import ServiceSettings
from parakh.service.startup import open_service

DAY_US = 86_400_000_000
IDS = [f"+91 98450 1234{number}" for number in range(8)]
PROJECT = {
    "parakh.toml": 'name = "calls"\ncurrency = "INR"\n',
    "events/payment.yaml": """\
event: payment
id: phone
time: paid_at
fields:
  phone: {type: string, personal: token}
  paid_at: timestamp
  amount: {type: money, currency: INR}
derive:
  abroad: not starts_with(phone, '+91')
labels:
  fraud: boolean
""",
    "rules/payment.yaml": "rule: large\nfor: payment\nwhen: amount > 50\nthen: block\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "calls", PROJECT)


def written(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def moment(day: int) -> datetime:
    return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day)


def events() -> list[dict[str, Any]]:
    return [
        {"phone": phone, "paid_at": moment(day).isoformat(), "amount": 10 * day} for day, phone in enumerate(IDS)
    ]  # fmt: skip


def labels() -> list[dict[str, Any]]:
    return [{"event_type": "payment", "event_id": IDS[2], "label": "fraud", "value": True,
             "known_at": moment(3).isoformat()}]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "payment.ndjson").write_text("".join(json.dumps(item) + "\n" for item in events()))
    (tmp_path / "labels.ndjson").write_text("".join(json.dumps(item) + "\n" for item in labels()))
    return Files(sources=(Source("payment", str(tmp_path / "payment.ndjson")),), labels=str(tmp_path / "labels.ndjson"))


def served(folder: Path, data: Path) -> ServiceLog:
    """The log of a service to which the events and then the labels were sent."""

    async def send() -> None:
        now = [0]
        async with open_service(folder, ServiceSettings(data), now_us=lambda: now[0]) as opened:
            for day, event in enumerate(events()):
                now[0] = int(moment(day).timestamp() * 1e6)
                told = await opened.service.decide("payment", json.dumps(event).encode())
                assert isinstance(told, Answer)
                assert told.status == 200
            told = await opened.service.labels(json.dumps(labels()[0]).encode())
            assert isinstance(told, Answer)
            assert told.status == 200

    asyncio.run(send())
    return ServiceLog(data)


def set_of(project: Project, past: Past) -> Dataset:
    return make_dataset(project, past, Choice(event_type="payment", label_delay_us=DAY_US))


def test_a_set_and_a_history_of_files_hold_the_hash_that_decisions_have(
    folder: Path, files: Files, tmp_path: Path
) -> None:
    project = Project.load(folder)
    decided: list[str] = []

    def see(batch: Any, _: Any) -> None:
        decided.extend(read_record(record).decision_id.hex() for record in batch.records())

    Replay(project, files.sources).run(see)
    made = set_of(project, files)
    assert made.table.column("event_id").to_pylist() == decided
    assert [row["event_id"] for row in made.table.to_pylist() if row["label"]] == [decided[2]]
    card = write_dataset(made, project, tmp_path / "set")
    assert card["left_out"] == ["phone (event_id holds its token or hash)"]
    assert "phone (event_id holds its token or hash)" in (tmp_path / "set" / "card.md").read_text()
    history = make_history(project, files, inputs=None, label_delay_us=DAY_US)
    assert history.ids.to_pylist() == decided
    assert largest(history, np.ones(len(history), np.bool_))[0].event_id == decided[-1]
    assert facts_of(history, project).ids.to_pylist() == decided
    with pytest.raises(InputError, match="phone is personal"):
        make_history(project, files, inputs=["phone"])


def test_tokens_of_a_log_stay(folder: Path, files: Files, tmp_path: Path) -> None:
    project = Project.load(folder)
    log = served(folder, tmp_path / "data")
    made = set_of(project, log)
    ids = made.table.column("event_id").to_pylist()
    assert len(set(ids)) == len(IDS)
    assert all(map(is_token, ids))
    assert [row["event_id"] for row in made.table.to_pylist() if row["label"]] == [ids[2]]
    assert made.left_out == set_of(project, files).left_out
    assert make_history(project, log, label_delay_us=DAY_US).ids.to_pylist() == ids


def test_what_a_log_took_in_before_the_id_was_personal_is_hashed(folder: Path, files: Files, tmp_path: Path) -> None:
    """The log has those ids as they came; what is learned from it under the new version need not."""
    project = Project.load(folder)
    plain = PROJECT["events/payment.yaml"].replace("{type: string, personal: token}", "string")
    before = written(tmp_path / "before", PROJECT | {"events/payment.yaml": plain})
    log = served(before, tmp_path / "data")
    assert set_of(Project.load(before), log).table.column("event_id").to_pylist() == IDS
    hashed = set_of(project, files).table.column("event_id")
    # `abroad` is read from what was stored, where it was not sealed yet.
    assert set_of(project, log).table.column("event_id").to_pylist() == hashed.to_pylist()
