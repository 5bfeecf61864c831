"""The published JSON Schemas: made from the loader's own table, up to date, right about the examples."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from parakh.project.keys import KINDS
from parakh.project.schemas import schemas, write_schemas

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.yaml"))
SETTINGS = sorted((ROOT / "examples").rglob("parakh.toml"))
MADE = schemas()


def documents(text: str) -> list[Any]:
    return [as_editors_read(document) for document in YAML(typ="safe", pure=True).load_all(text)]


def as_editors_read(value: Any) -> Any:
    """Times as texts: YAML 1.2's core schema, which editors use, has no timestamps."""
    if isinstance(value, dict):
        return {name: as_editors_read(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_editors_read(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def test_the_published_schemas_are_up_to_date(tmp_path: Path) -> None:
    published = ROOT / "docs" / "schemas"
    write_schemas(tmp_path)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    held = {path.name: path.read_text(encoding="utf-8") for path in published.glob("*.json")}
    assert held == made, "run: python -m parakh.project.schemas docs/schemas"


@pytest.mark.parametrize("name", sorted(MADE))
def test_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(MADE[name])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "/".join(path.parts[-3:]))
def test_the_examples_hold(path: Path) -> None:
    found = documents(path.read_text(encoding="utf-8"))
    assert found
    for document in found:
        jsonschema.Draft202012Validator(MADE["definition.json"]).validate(document)
        kind = next(iter(document))
        jsonschema.Draft202012Validator(MADE[f"{kind}.json"]).validate(document)


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.parent.name)
def test_the_settings_of_the_examples_hold(path: Path) -> None:
    jsonschema.validate(tomllib.loads(path.read_text(encoding="utf-8")), MADE["parakh.json"])


GOOD = {
    "event": "event: a\nid: row\ntime: t\nfields: {t: timestamp, c: {type: string, entity: card}}\n",
    "entity": "entity: a\nkey: [a, b]\nfeatures: {n: {from: p, aggregate: count(*), over: [1h, calendar_day]}}\n",
    "signals": "signals: a\ndefine: {x: 1 > 2, y: true}\n",
    "rule": "rule: a\nfor: p\nwhen: x > 1\nthen: block\ntests: [{given: {a.b: 1, c: null}, expect: hit}]\n",
    "model": "model: a\nfor: p\nfile: a.lgb\ninputs: [a, b.c]\n",
    "policy": "policy: a\nfor: p\nbands: {block: score > 1}\ndeadline: 50ms\n",
    "list": "list: a\nitems: [1, x, {value: 2, since: '2025-01-01'}]\n",
    "table": "table: a\nkey: string\ncolumns: {x: number}\nrows: [{key: a, x: 1}]\n",
    "enrichment": "enrichment: a\nfor: p\nurl: https://b.com/{ip}?a={b}\nheaders: {X-A: 'env:B'}\ntimeout: 20ms\n"
    "cache: 0s\ncolumns: {x: number, y: {type: money, currency: INR, from: a.b}}\nneeded: false\n",
}

BROKEN = {
    "event": ["event: a\ntime: t\nfields: {}\n", GOOD["event"].replace("string", "strng")],
    "entity": [GOOD["entity"].replace("1h", "1hour"), GOOD["entity"].replace("from", "form")],
    "signals": ["signals: a\n", GOOD["signals"].replace("x:", "'x y':")],
    "rule": [GOOD["rule"].replace("block", "blok"), GOOD["rule"].replace("hit", "maybe"), GOOD["rule"] + "when_: 1\n"],
    "model": [GOOD["model"].replace("file: a.lgb\n", ""), GOOD["model"].replace("b.c", "b.c.d")],
    "policy": [GOOD["policy"].replace("block:", "blok:"), GOOD["policy"].replace("50ms", "50")],
    "list": [GOOD["list"].replace("since", "snce"), GOOD["list"].replace("2025-01-01", "soon")],
    "table": [GOOD["table"].replace("number", "numbr"), GOOD["table"].replace("key: string\n", "")],
    "enrichment": [
        GOOD["enrichment"].replace("https:", "ftp:"),
        GOOD["enrichment"].replace("20ms", "0s"),
        GOOD["enrichment"].replace("X-A", "'X A'"),
        GOOD["enrichment"].replace("needed: false", "needed: 1"),
    ],
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_accepts_what_is_right_and_refuses_what_is_wrong(kind: str) -> None:
    for name in (f"{kind}.json", "definition.json"):
        validator = jsonschema.Draft202012Validator(MADE[name])
        (good,) = documents(GOOD[kind])
        assert validator.is_valid(good), list(validator.iter_errors(good))
        for text in BROKEN[kind]:
            (broken,) = documents(text)
            assert not validator.is_valid(broken), text


def test_every_key_says_what_it_means() -> None:
    def keys(schema: Any) -> list[dict[str, Any]]:
        if isinstance(schema, dict):
            found = [item for item in schema.get("properties", {}).values() if "description" in item]
            return found + [key for value in schema.values() for key in keys(value)]
        return [key for item in schema for key in keys(item)] if isinstance(schema, list) else []

    described = keys(json.loads(json.dumps(MADE["rule.json"])))
    assert len(described) >= len(KINDS["rule"].keys)
    assert all(item["description"].endswith(".") for item in described)
