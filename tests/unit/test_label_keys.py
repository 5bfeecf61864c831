"""Labels about keys of every kind - texts, numbers, joined - reach the events of the key, in features and in sets."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from parakh.decisions.replay import Source
from parakh.learning.dataset import Choice, make_dataset
from parakh.learning.past import Files
from parakh.project.project import Project
from parakh.service.personal.storing import Storing

FILES = {
    "parakh.toml": 'name = "keys"\ncurrency = "INR"\n',
    "events/payment.yaml": """event: payment
id: id
time: at
fields:
  id: string
  at: timestamp
  account: {type: integer, entity: account}
  card: {type: string, entity: card, personal: token}
  device: {type: string, entity: device}
labels:
  fraud: boolean
""",
    "features/keys.yaml": """entity: account
features:
  frauds: {from: payment, aggregate: count(*), where: fraud, over: 90d}
---
entity: device
features:
  frauds: {from: payment, aggregate: count(*), where: fraud, over: 90d}
---
entity: card
features:
  payments: {from: payment, aggregate: count(*), over: 1d}
---
entity: card_device
key: [card, device]
features:
  frauds: {from: payment, aggregate: count(*), where: fraud, over: 90d}
---
entity: three
key: [account, card, device]
features:
  frauds: {from: payment, aggregate: count(*), where: fraud, over: 90d}
""",
    "rules/all.yaml": "rule: never\nfor: payment\nwhen: account.frauds_90d > 1000\nthen: review\n",
    "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("keys")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return Project.load(folder)


def at(hours: int) -> str:
    return f"2025-{1 + hours // 672:02d}-{1 + hours % 672 // 24:02d}T{hours % 24:02d}:00:00Z"


def key_of(event: dict[str, Any], entity: str) -> str:
    parts = {"card_device": ("card", "device"), "three": ("account", "card", "device")}.get(entity, (entity,))
    texts = [str(event[part]) for part in parts]
    return texts[0] if len(texts) == 1 else json.dumps(texts)


def test_labels_of_keys_reach_their_events(project: Project, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for round in range(6):
        events = [
            {"id": f"p{n}", "at": at(n), "account": rng.randint(0, 4), "card": f"c{rng.randint(0, 3)}",
             "device": str(rng.randint(0, 3))}
            for n in range(60)
        ]  # fmt: skip
        said = []  # (the event before which it acts, entity, key, value)
        for _ in range(12):
            entity = rng.choice(["account", "device", "card", "card_device", "three"])
            key = key_of(rng.choice(events), entity)
            bad = rng.choice([key, key, key, "none", '["c1"]', "7", "[" * 50, '["c1", "1", "1"]'])
            said.append((rng.randint(1, 59), entity, bad, rng.choice([True, True, False, None])))
        said.append((59, "account", str(events[0]["account"]), True))  # a set of which nothing is known is refused
        said.sort(key=lambda item: item[0])
        (tmp_path / "payment.ndjson").write_text("".join(f"{json.dumps(event)}\n" for event in events))
        (tmp_path / "labels.ndjson").write_text("".join(
            json.dumps({"event_type": "payment", "entity": entity, "key": key, "label": "fraud", "value": value,
                        "known_at": at(before)}) + "\n"
            for before, entity, key, value in said
        ))  # fmt: skip
        held: dict[str, Any] = {}
        frauds = []
        for number, event in enumerate(events):
            for _, entity, key, value in (item for item in said if item[0] == number):
                for earlier in events[:number]:
                    if key_of(earlier, entity) == key:
                        held[earlier["id"]] = value
            frauds.append({
                entity: sum(
                    held.get(earlier["id"]) is True and key_of(earlier, entity) == key_of(event, entity)
                    for earlier in events[:number]
                )
                for entity in ("account", "device", "card_device", "three")
            })  # fmt: skip
        past = Files(
            sources=(Source("payment", str(tmp_path / "payment.ndjson")),), labels=str(tmp_path / "labels.ndjson")
        )
        dataset = make_dataset(project, past, Choice(event_type="payment", label_delay_us=0))
        rows = dataset.table.to_pylist()
        told = f"seed {seed}, round {round}"
        assert [row["label"] for row in rows] == [held.get(event["id"]) is True for event in events], told
        for entity in ("account", "device", "card_device", "three"):
            found = [row[f"{entity}.frauds_90d"] for row in rows]
            assert found == [counted[entity] for counted in frauds], f"{told}, {entity}"


def test_a_joined_key_is_stored_part_by_part(project: Project) -> None:
    storing = Storing(project.definitions, lambda text: f"tok_{text}")
    label = {"event_type": "payment", "label": "fraud", "value": True}
    for entity, key, stored in (
        ("card", "c1", "tok_c1"),
        ("card_device", '["c1", "d1"]', '["tok_c1","d1"]'),
        ("three", '["5", "c1", "d1"]', '["5","tok_c1","d1"]'),
        ("device", '["c1", "d1"]', '["c1", "d1"]'),
        ("card_device", "c1", "c1"),
    ):
        kept = json.loads(storing.label(json.dumps({**label, "entity": entity, "key": key}).encode()))
        assert kept["key"] == stored, entity
