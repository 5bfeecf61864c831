"""JSON Schemas of a project's files, made from the table of keys, so that editors complete what the loader accepts.

In an editor with the YAML language server a first line `# yaml-language-server: $schema=.../definition.json` is enough.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parakh.features.definition import Calendar
from parakh.project import keys
from parakh.project.lengths import LENGTH_PATTERN, SIZE_PATTERN
from parakh.project.values import AMOUNT_PATTERN, SHARE_PATTERN

__all__ = ["schemas", "write_schemas"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
INSTANT_PATTERN = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
)
SCALAR = ["string", "number", "boolean"]
"""A plain `5` or `true` is read as text where a text is wanted."""


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema under its file's name: one a kind, `definition.json` for any kind, `parakh.json` for parakh.toml.

    >>> schemas()["rule.json"]["properties"]["mode"]["enum"]
    ['live', 'shadow', 'disabled']
    """
    made = {
        f"{kind}.json": {"$schema": DRAFT, "title": f"Parakh {kind}", **_record(keys.KINDS[kind])}
        for kind in keys.KINDS
    }
    made["definition.json"] = {
        "$schema": DRAFT,
        "title": "Parakh definition",
        "type": "object",
        "anyOf": [{"required": [kind]} for kind in keys.KINDS],
        "allOf": [{"if": {"required": [kind]}, "then": {"$ref": f"#/$defs/{kind}"}} for kind in keys.KINDS],
        "$defs": {kind: _record(shape) for kind, shape in keys.KINDS.items()},
    }
    made["parakh.json"] = {"$schema": DRAFT, "title": "parakh.toml", **_settings()}
    return made


def write_schemas(folder: Path) -> list[Path]:
    """Writes every schema into a folder; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in schemas().items():
        path = folder / name
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _settings() -> dict[str, Any]:
    whole = _record(keys.Record(keys.SETTINGS[""]))
    for table, table_keys in keys.SETTINGS.items():
        if table:
            whole["properties"][table] = _record(keys.Record(table_keys))
    return whole


def _record(shape: keys.Record) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {key.name: {"description": key.description, **_schema(key.shape)} for key in shape.keys},
        "additionalProperties": False,
    }
    required = [key.name for key in shape.keys if key.required]
    return {**schema, "required": required} if required else schema


def _schema(shape: keys.Shape) -> dict[str, Any]:
    match shape:
        case keys.Record():
            short = shape.key(shape.shorthand) if shape.shorthand else None
            return {"anyOf": [_schema(short.shape), _record(shape)]} if short else _record(shape)
        case keys.MapOf(key=keys.Word(choices=choices)):
            properties = {choice: _schema(shape.value) for choice in choices}
            return {"type": "object", "properties": properties, "additionalProperties": False}
        case keys.MapOf():
            return {
                "type": "object",
                "propertyNames": _schema(shape.key),
                "additionalProperties": _schema(shape.value),
            }
        case keys.OneOrMany():
            return {"anyOf": [_schema(shape.item), {"type": "array", "items": _schema(shape.item), "minItems": 1}]}
        case keys.ListOf():
            return {"type": "array", "items": _schema(shape.item)}
        case keys.Text():
            return {"type": SCALAR, "pattern": shape.pattern} if shape.pattern else {"type": SCALAR}
        case keys.Name():
            return {"type": "string", "pattern": keys.DOTTED_PATTERN if shape.dotted else keys.NAME_PATTERN}
        case keys.Word() | keys.TypeWord():
            return {"enum": list(shape.choices)}
        case keys.Flag():
            return {"type": "boolean"}
        case keys.Length():
            length = {"type": "string", "pattern": LENGTH_PATTERN}
            words = [unit.value for unit in Calendar] if shape.calendar else ["0s"] if shape.none else []
            return {"anyOf": [length, {"enum": words}]} if words else length
        case keys.Size():
            return {"type": "string", "pattern": SIZE_PATTERN}
        case keys.Share():
            return {
                "anyOf": [
                    {"type": "string", "pattern": SHARE_PATTERN},
                    {"type": "number", "minimum": 0, "maximum": shape.most},
                ]
            }
        case keys.Amount():
            return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": AMOUNT_PATTERN}]}
        case keys.Instant():
            return {"type": "string", "pattern": INSTANT_PATTERN}
        case keys.Expression():
            return {"type": SCALAR, "minLength": 1}
        case keys.AggregateText():
            return {"type": "string", "pattern": "\\(.*\\)"}
        case keys.Value():
            return {"type": [*SCALAR, "null"]}
    raise AssertionError(f"no schema of {shape}")


if __name__ == "__main__":
    import sys

    write_schemas(Path(sys.argv[1]))
