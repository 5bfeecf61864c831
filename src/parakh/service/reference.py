"""/docs: the API's document as a page that needs no script and no network; made from the OpenAPI document alone."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

__all__ = ["CONTENT_SECURITY", "page"]

Json = Mapping[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --paper: #fff; --box: #f6f8fa;
  --get: #0969da; --post: #1a7f37; --delete: #cf222e; --other: #8250df; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --paper: #0d1117;
  --box: #161b22; --get: #58a6ff; --post: #3fb950; --delete: #ff7b72; --other: #d2a8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 6rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2.75rem 0 .25rem; }
h3 { font-size: .8rem; margin: 1.25rem 0 .35rem; color: var(--soft); text-transform: uppercase; letter-spacing: .05em; }
p { margin: .4rem 0; } .soft { color: var(--soft); } a { color: var(--get); }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow-x: auto;
  margin: .35rem 0; }
details { border: 1px solid var(--line); border-radius: 8px; margin: .5rem 0; }
summary { cursor: pointer; padding: .6rem .9rem; display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; }
summary:focus-visible { outline: 2px solid var(--get); outline-offset: 2px; border-radius: 8px; }
details > div { padding: 0 .9rem .9rem; border-top: 1px solid var(--line); }
.method { font-weight: 700; min-width: 3.6rem; color: var(--other); } .get { color: var(--get); }
.post { color: var(--post); } .delete { color: var(--delete); } summary .soft { margin-left: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; } td, th { text-align: left; vertical-align: top;
  padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); } th { color: var(--soft); font-weight: 500; }
"""
CONTENT_SECURITY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
"""The page's Content-Security-Policy: its own style, and nothing else at all."""


def page(document: Json) -> str:
    """The whole page."""
    body = "".join(_body(document))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(document['info']['title'])} API</title>"
        f"<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n"
    )


def _body(document: Json) -> Iterator[str]:
    info = document["info"]
    yield f'<h1>{escape(info["title"])} API <span class="soft">{escape(info["version"])}</span></h1>'
    yield "".join(f"<p>{_prose(part)}</p>" for part in info["description"].split("\n\n"))
    yield '<p><a href="/openapi.json">openapi.json</a> is the same for programs.</p>'
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    known = [tag["name"] for tag in document["tags"]]
    others = sorted({_tag(operation) for _, _, operation in operations} - set(known))
    for tag in [*document["tags"], *({"name": name, "description": ""} for name in others)]:
        mine = [each for each in operations if _tag(each[2]) == tag["name"]]
        if not mine:
            continue
        yield f'<h2>{escape(tag["name"].capitalize())}</h2><p class="soft">{escape(tag["description"])}</p>'
        for method, path, operation in mine:
            yield _operation(method, path, operation, document)
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield (
            f'<details id="{escape(name)}"><summary><code>{escape(name)}</code>'
            f'<span class="soft">{_prose(schema.get("description", ""))}</span></summary>'
            f"<div>{_properties(schema)}</div></details>"
        )


def _tag(operation: Json) -> str:
    return str((operation.get("tags") or ["other"])[0])


def _operation(method: str, path: str, operation: Json, document: Json) -> str:
    parts = [f"<p>{_prose(operation.get('description', ''))}</p>"]
    parameters = operation.get("parameters", ())
    if parameters:
        rows = "".join(
            f'<tr><td><code>{escape(each["name"])}</code></td><td class="soft">{escape(each["in"])}</td>'
            f"<td>{_prose(each.get('description', ''))}</td></tr>"
            for each in parameters
        )
        parts.append(f"<h3>Parameters</h3><table>{rows}</table>")
    parts.append(f"<h3>Try it</h3><pre>{escape(_curl(method, path, operation, document))}</pre>")
    for status, response in operation.get("responses", {}).items():
        if status.startswith("2"):
            parts.append(f"<h3>Answer {escape(status)}</h3><p>{_prose(response.get('description', ''))}</p>")
            for kind, content in response.get("content", {}).items():
                parts.append(
                    f'<p class="soft"><code>{escape(kind)}</code> {_schema_link(content.get("schema", {}))}</p>'
                )
                if "example" in content:
                    parts.append(f"<pre>{escape(_shown(content['example']))}</pre>")
    refused = "".join(_refusals(operation))
    if refused:
        parts.append(f"<h3>Refusals</h3><table>{refused}</table>")
    return (
        f'<details><summary><span class="method {escape(method)}">{escape(method.upper())}</span>'
        f'<code>{escape(path)}</code><span class="soft">{escape(operation.get("summary", ""))}</span></summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _refusals(operation: Json) -> Iterator[str]:
    for status, response in operation.get("responses", {}).items():
        examples = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
        for code, example in examples.items():
            title = example["value"]["title"]
            yield f"<tr><td>{escape(status)}</td><td><code>{escape(code)}</code></td><td>{escape(title)}</td></tr>"


def _curl(method: str, path: str, operation: Json, document: Json) -> str:
    """A line that a shell takes as it is."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter.get("example", parameter["name"])))
    lines = [f"curl{'' if method == 'get' else f' -X {method.upper()}'} http://127.0.0.1:8321{path}"]
    if operation.get("security", document.get("security")):
        lines.append('-H "Authorization: Bearer $PARAKH_API_KEY"')
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        if "example" not in content:
            continue
        example = content["example"]
        text = example if isinstance(example, str) else json.dumps(example)
        lines += [f"-H 'Content-Type: {kind}'", "--data-binary " + _quoted(text)]
        break
    return " \\\n  ".join(lines)


def _quoted(text: str) -> str:
    """A text that a shell takes as one word."""
    return "'" + text.replace("'", "'\\''") + "'"


def _shown(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)


def _schema_link(schema: Json) -> str:
    names = [each.get("$ref", "") for each in [schema, *schema.get("oneOf", ())]]
    found = [name.rpartition("/")[2] for name in names if name]
    return ", ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in found)


def _properties(schema: Json) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f'<tr><td><code>{escape(name)}</code></td><td class="soft">{escape(_type(each))}'
        f"{'' if name in required else ', may be absent'}</td><td>{_prose(each.get('description', ''))}</td></tr>"
        for name, each in schema.get("properties", {}).items()
    )
    return f"<table>{rows}</table>" if rows else f"<p>{_prose(schema.get('description', ''))}</p>"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema and len(schema["enum"]) <= 6:
        return " | ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _prose(text: str) -> str:
    """Words with `code` in them."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
