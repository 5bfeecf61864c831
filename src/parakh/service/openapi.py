"""The API's document: what each route takes and gives, with schemas, examples and the problems it may answer with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from parakh.rules.definition import Outcome
from parakh.service import examples
from parakh.service.alarms import LONGEST_SUBJECT, LONGEST_TEXT, MOST_ALARMS
from parakh.service.ledger.filters import FLAGS
from parakh.service.problems import CODES, problem
from parakh.service.settings import LimitSettings

__all__ = ["OPERATIONS", "SCHEMAS", "document"]

Json = dict[str, Any]

# -- schemas -----------------------------------------------------------------------------------------------------------


def _object(description: str, properties: Json, *, required: Sequence[str] | None = None, open: bool = False) -> Json:
    wanted = list(properties) if required is None else list(required)
    made: Json = {"type": "object", "description": description, "properties": properties}
    if wanted:
        made["required"] = wanted
    return made if open else made | {"additionalProperties": False}


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


def _list(items: Json, description: str) -> Json:
    return {"type": "array", "items": items, "description": description}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_NAMES: Final = _list({"type": "string"}, "Names of rules.")
_HASH: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_NUMBER_OR_NULL: Final = {"type": ["number", "null"]}

SCHEMAS: Final[dict[str, Json]] = {
    "Event": _object(
        "One event: the fields that the project declares for its type. Keys that begin with ~ are reserved.",
        {},
        open=True,
    ),
    "Decision": _object(
        "What was decided, and why. It never changes: the same event again gives the same bytes.",
        {
            "decision_id": _text("Names the decision, and the event.", pattern="^[0-9a-f]{32}$"),
            "event_type": _text("The event's type."),
            "event_id": _text("The event's id, as its sender gave it."),
            "event_time": _text("When it happened, UTC.", format="date-time"),
            "decided_at": _text("When it arrived, UTC.", format="date-time"),
            "outcome": _text("What to do.", enum=[outcome.word for outcome in Outcome]),
            "score": _NUMBER_OR_NULL | {"description": "The policy's score; null where there is none."},
            "decided_by": _object(
                "What the outcome comes from.",
                {
                    "kind": _text("rule, band, fallback, otherwise or holdout."),
                    "name": _text("Its name; of holdout the outcome that it stands in for."),
                },
            ),
            "reasons": _list(
                _object(
                    "A reason: a rule that hit, or what raised the score.",
                    {
                        "code": _text("The rule's code, or the name of what the model read."),
                        "text": _text("The reason in words."),
                        "contribution": _NUMBER_OR_NULL | {"description": "What it added to the score (log odds)."},
                    },
                ),
                "The most important first.",
            ),
            "rules": _object("Rules that said something.", {"hit": _NAMES, "unknown": _NAMES, "shadow": _NAMES}),
            "shadow_scores": {
                "type": "object",
                "additionalProperties": _NUMBER_OR_NULL,
                "description": "Scores of models that do not decide yet.",
            },
            "flags": _list({"type": "string", "enum": list(FLAGS)}, "What to know about it."),
            "versions": _object(
                "What decided.",
                {
                    "project": _HASH | {"description": "The project's hash."},
                    "models": {"type": "object", "additionalProperties": _HASH, "description": "Hashes of models."},
                },
            ),
            "features": {
                "type": "object",
                "additionalProperties": True,
                "description": "What it saw, by full name; with ?features=true.",
            },
        },
        required=[
            "decision_id", "event_type", "event_id", "event_time", "decided_at", "outcome", "score", "decided_by",
            "reasons", "rules", "shadow_scores", "flags", "versions",
        ],
    ),
    "Accepted": _object(
        "An event that was taken in without a decision.",
        {"event_type": _text("Its type."), "event_id": _text("Its id."), "status": _text("Always accepted.")},
        open=True,
    ),
    "Label": _object(
        "What became known of an event, or of an entity's key.",
        {
            "event_type": _text("The type of the event."),
            "event_id": _text("The event's id."),
            "label": _text("The label's name, such as fraud."),
            "value": {"description": "The verdict; null withdraws it."},
            "known_at": _text("When it became known.", format="date-time"),
            "source": _text("Who says so; sources are ranked by the project."),
        },
        required=["label", "value"],
        open=True,
    ),
    "Labelled": _object(
        "How many labels were taken, and which were not.",
        {
            "accepted": {"type": "integer", "minimum": 0, "description": "How many were taken."},
            "refused": _list(
                _object(
                    "A label that was not taken.",
                    {
                        "line": {"type": "integer", "description": "Its line, from 1."},
                        "code": _text("Why, as in a problem."),
                        "field": _text("The field that is to blame."),
                    },
                    required=["line", "code"],
                    open=True,
                ),
                "In the order of lines.",
            ),
        },
        open=True,
    ),
    "Alarms": _object(
        "What a look at the past found changed.",
        {
            "alarms": _list(
                _object(
                    "One thing that has changed: kind, subject, event_type and since name it.",
                    {
                        "kind": _text("What: stability, missing, hit_rate, label_rate, received, or another word."),
                        "subject": _text("Of which input, score, rule or label.", maxLength=LONGEST_SUBJECT),
                        "event_type": {
                            "type": ["string", "null"],
                            "description": "Of the events of which type; left out where it is about none.",
                        },
                        "since": _text("Since when.", format="date-time"),
                        "value": {"type": "number", "description": "The index or rate as it is."},
                        "bound": _NUMBER_OR_NULL | {"description": "The bound that it is beyond."},
                        "text": _text("A sentence for people.", maxLength=LONGEST_TEXT),
                    },
                    required=["kind", "subject", "since", "value"],
                ),
                "At most 1,000.",
            )
            | {"maxItems": MOST_ALARMS},
        },
    ),
    "AlarmsTaken": _object(
        "How many alarms are in the log now.",
        {"accepted": {"type": "integer", "minimum": 0, "description": "How many were taken: all of them."}},
        open=True,
    ),
    "Page": _object(
        "Decisions, the newest first.",
        {
            "items": _list({"type": "object"}, "What was decided, one an event."),
            "next_cursor": _TEXT_OR_NULL | {"description": "Where the next page begins; null after the last."},
        },
        open=True,
    ),
    "Entity": _object(
        "What is known of one key.",
        {
            "entity": _text("The entity's name."),
            "as_of": _text("The moment of which this is true.", format="date-time"),
            "features": {"type": "object", "description": "Its features now, by name."},
            "events": _list({"type": "object"}, "Its last events, the newest first."),
        },
        open=True,
    ),
    "Project": _object(
        "A version of the project.",
        {
            "hash": _HASH | {"description": "The version."},
            "state": _text("Whether it decides, or its history is being built.", enum=["live", "building"]),
            "progress": {"type": "number", "minimum": 0, "maximum": 1, "description": "How much of it is built."},
            "previous": _TEXT_OR_NULL | {"description": "The version before, for the way back."},
            "replaced": _HASH | {"description": "The version whose build was given up for it, where there was one."},
        },
        required=("hash", "state", "progress", "previous"),
        open=True,
    ),
    "Checked": _object(
        "A project that holds.",
        {
            "valid": {"type": "boolean"},
            "hash": _HASH | {"description": "Its version."},
            "history": _text("Whether the state serves it as it is.", enum=["kept", "rebuilt"]),
            "live": _HASH | {"description": "The version that decides now."},
            "changes": _list({"type": "object"}, "What differs from it: kind, name, status (added, removed, changed)."),
        },
        open=True,
    ),
    "Versions": _object(
        "The versions that stand in the log.",
        {"versions": _list({"type": "object"}, "The newest first: hash, name, state, applied_at, by, history.")},
        open=True,
    ),
    "Status": _object("How the service is.", {"status": _text("alive, ready or degraded.")}, open=True),
    "Files": _object(
        "A project: the content of each file by its path. Without it, the folder that the service was started with.",
        {
            "files": {
                "type": "object",
                "additionalProperties": {
                    "oneOf": [
                        {"type": "string"},
                        _object("A file that is no text.", {"base64": _text("Its bytes.", format="byte")}),
                    ]
                },
            },
        },
        required=[],
    ),
    "Apply": _object(
        "What is to decide from now on: files, or a version that decided before. Neither: the service's folder.",
        {
            "files": {"$ref": "#/components/schemas/Files/properties/files"},
            "version": _text("A version that decided before: its hash, or how that begins."),
        },
        required=[],
    ),
    "Problem": _object(
        "A refusal, RFC 9457. Branch on `code`; the rest is for people.",
        {
            "type": _text("The code as an address.", format="uri"),
            "title": _text("What the code means."),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": _text("What went wrong.", enum=sorted(CODES)),
            "detail": _text("What went wrong this time."),
            "hint": _text("What to do about it."),
            "field": _text("The field that is to blame."),
            "line": {"type": "integer", "description": "The line of a batch, from 1."},
        },
        required=["type", "title", "status", "code"],
        open=True,
    ),
}  # fmt: skip

# -- operations --------------------------------------------------------------------------------------------------------

_JSON: Final = "application/json"
_NDJSON: Final = "application/x-ndjson"
_KEY: Final[list[Json]] = [{"bearer": []}, {"header": []}]
_ALWAYS: Final = ("bad_filter", "unauthorized", "forbidden", "rate_limited", "overloaded", "internal", "not_ready")
_BODY: Final = (
    "bad_request", "request_timeout", "body_too_large", "unsupported_encoding", "invalid_request", "bad_json",
    "too_deep", "duplicate_key",
)  # fmt: skip


def _path(name: str, description: str, example: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description,
            "example": example}  # fmt: skip


def _query(name: str, description: str, schema: Json, example: Any = None) -> Json:
    made: Json = {"name": name, "in": "query", "schema": schema, "description": description}
    return made if example is None else made | {"example": example}


def _content(schema: Json, example: Any, kind: str = _JSON) -> Json:
    return {kind: {"schema": schema} | ({} if example is None else {"example": example})}


def _refusals(codes: Sequence[str]) -> Json:
    """The problems of an operation by status; each code is an example of its own."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    made = {}
    for status, names in sorted(by_status.items()):
        shown = {}
        for name in names:
            detail, hint = examples.PROBLEMS.get(name, ("", ""))
            shown[name] = {"value": msgspec.json.decode(problem(name, detail, hint=hint).body)}
        content = {"application/problem+json": {"schema": _ref("Problem"), "examples": shown}}
        made[str(status)] = {"description": "; ".join(CODES[name].title for name in names), "content": content}
    return made


def _operation(
    tag: str,
    summary: str,
    description: str,
    *,
    answer: Json,
    said: str,
    parameters: Sequence[Json] = (),
    body: Json | None = None,
    body_required: bool = True,
    refusals: Sequence[str] = (),
    public: bool = False,
    also: dict[str, str] | None = None,
) -> Json:
    codes = [*(() if public else _ALWAYS), *(_BODY if body is not None else ()), *refusals]
    made: Json = {
        "tags": [tag],
        "summary": summary,
        "description": description,
        "responses": {
            status: {"description": words, "content": answer}
            for status, words in ({"200": said} | (also or {})).items()
        }
        | _refusals(codes),
        "security": [] if public else _KEY,
    }
    if parameters:
        made["parameters"] = list(parameters)
    if body is not None:
        made["requestBody"] = {"required": body_required, "content": body}
    return made


_EVENT_TYPE: Final = _path("event_type", "The event type's name, as the project has it.", "payment")
_FEATURES: Final = _query(
    "features", "Whether the answer shows what the decision saw.", {"type": "boolean", "default": False}
)
_REFUSED_EVENT: Final = (
    "unknown_event_type", "wrong_type", "missing_id", "missing_time", "time_in_future", "too_many_decimals", "conflict",
    "reserved_key", "log_full",
)  # fmt: skip
_LINES: Final = {"type": "string", "description": "One JSON object a line."}

OPERATIONS: Final[Mapping[tuple[str, str], Json]] = {
    ("POST", "/v1/decisions/{name}"): _operation(
        "decisions",
        "Decide on one event",
        "Answers when the event and its decision are on disk. The same event again, byte for byte or not, gives the "
        "first answer with the header `Parakh-Replayed: true`; the same id with another content is a conflict.",
        parameters=[_path("name", "The event type's name, as the project has it.", "payment"), _FEATURES],
        body=_content(_ref("Event"), examples.PAYMENT),
        answer=_content(_ref("Decision"), examples.DECISION),
        said="The decision.",
        refusals=_REFUSED_EVENT,
    ),
    ("POST", "/v1/decisions/{event_type}:batch"): _operation(
        "decisions",
        "Decide on many events",
        "One event a line in, one answer a line out, in the same order, while the rest is still being sent. A line "
        "that is refused is answered with a problem that has its number. May be packed with `Content-Encoding: gzip`.",
        parameters=[_EVENT_TYPE, _FEATURES],
        body=_content(_LINES, examples.BATCH, _NDJSON),
        answer=_content({"oneOf": [_ref("Decision"), _ref("Problem")]}, examples.DECISION, _NDJSON),
        said="Decisions and problems, one a line.",
        refusals=("unknown_event_type", "line_too_long"),
    ),
    ("GET", "/v1/decisions"): _operation(
        "decisions",
        "Find decisions",
        "A page of the ledger, newest first. All filters that are given must hold.",
        parameters=[
            _query("event_type", "The event type's name.", {"type": "string"}),
            _query("outcome", "Outcomes, with commas.", {"type": "string"}, "block,review"),
            _query("decided", "Whether it was decided on, or only taken in.", {"type": "boolean"}),
            _query("entity", 'NAME:KEY; of a joined key NAME:["PART","PART"].', {"type": "string"}),
            _query("from", "From when on.", {"type": "string", "format": "date-time"}),
            _query("to", "Before when.", {"type": "string", "format": "date-time"}),
            _query("by", "Which time those are.", {"type": "string", "enum": ["decided", "event"]}),
            _query("rule", "A rule that hit.", {"type": "string"}),
            _query("flag", "A flag that is set.", {"type": "string", "enum": list(FLAGS)}),
            _query("min_score", "The least score.", {"type": "number"}),
            _query("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
            _query("cursor", "The `next_cursor` of the page before.", {"type": "string"}),
        ],
        answer=_content(_ref("Page"), None),
        said="A page.",
        refusals=("bad_cursor",),
    ),
    ("GET", "/v1/decisions/{name}"): _operation(
        "decisions",
        "One decision by its id",
        "The decision as it was given.",
        parameters=[_path("name", "The decision's id, 32 hexadecimal digits.", examples.DECISION["decision_id"])],
        answer=_content(_ref("Decision"), examples.DECISION),
        said="The decision.",
        refusals=("not_found",),
    ),
    ("GET", "/v1/decisions/{event_type}/{event_id}"): _operation(
        "decisions",
        "One decision by its event",
        "The decision as it was given. What is not plain in the id is percent-encoded; a slash may stand as it is.",
        parameters=[_EVENT_TYPE, _path("event_id", "The event's id.", examples.DECISION["event_id"])],
        answer=_content(_ref("Decision"), examples.DECISION),
        said="The decision.",
        refusals=("not_found", "unknown_event_type"),
    ),
    ("POST", "/v1/events/{event_type}"): _operation(
        "events",
        "Take events in without deciding",
        "One event, or one a line: logins, device pings, what feeds the windows of others.",
        parameters=[_EVENT_TYPE],
        body=_content(_ref("Event"), examples.LOGIN) | _content(_LINES, None, _NDJSON),
        answer=_content(
            _ref("Accepted"), {"event_type": "login", "event_id": examples.LOGIN["login_id"], "status": "accepted"}
        )
        | _content({"oneOf": [_ref("Accepted"), _ref("Problem")]}, None, _NDJSON),
        said="The event is on disk.",
        refusals=_REFUSED_EVENT,
    ),
    ("POST", "/v1/labels"): _operation(
        "events",
        "Say what became of events",
        "One label, or one a line. A label acts on what is decided after it, never on what was decided before.",
        body=_content(_ref("Label"), examples.LABEL) | _content(_LINES, None, _NDJSON),
        answer=_content(_ref("Labelled"), {"accepted": 1, "refused": []}),
        said="All were taken.",
        also={"207": "Some were taken, or none of several."},
        refusals=("unknown_label", "unknown_type", "missing_event", "log_full"),
    ),
    ("POST", "/v1/alarms"): _operation(
        "events",
        "Tell of drift",
        "Alarms, all of them or none; webhooks whose filter has the kind `alarm` are sent each, once: an alarm of the "
        "same kind, subject, event_type and since that is posted again is taken and not sent again. `parakh drift "
        "--post` does it. An alarm speaks of inputs, rules and rates, and may name no person and no card.",
        body=_content(_ref("Alarms"), examples.ALARMS),
        answer=_content(_ref("AlarmsTaken"), {"accepted": 1}),
        said="They are on disk.",
        refusals=("log_full",),
    ),
    ("GET", "/v1/entities/{entity}/{key}"): _operation(
        "entities",
        "An entity as it is now",
        "Its features at this moment, and its last events.",
        parameters=[_path("entity", "The entity's name.", "card"), _path("key", "Its key.", examples.PAYMENT["card"])],
        answer=_content(_ref("Entity"), None),
        said="The entity.",
        refusals=("not_found",),
    ),
    ("GET", "/v1/project"): _operation(
        "project",
        "What decides now",
        "The project's name, its version and what it is made of.",
        answer=_content(_ref("Project"), None),
        said="The version.",
    ),
    ("GET", "/v1/project/versions"): _operation(
        "project",
        "The versions that decided",
        "All that stand in the log, with when and by whom they were applied.",
        answer=_content(_ref("Versions"), None),
        said="The versions.",
    ),
    ("POST", "/v1/project:check"): _operation(
        "project",
        "Check a project",
        "Reads and checks it, changes nothing.",
        body=_content(_ref("Files"), {"files": {"parakh.toml": 'name = "shop"\n'}}),
        body_required=False,
        answer=_content(_ref("Checked"), None),
        said="It holds.",
        refusals=("project_invalid",),
    ),
    ("POST", "/v1/project:apply"): _operation(
        "project",
        "Apply a project, or go back",
        "From its place in the log on, the new version decides; no request is dropped. Features that are new have "
        "their history at once. With `version`, one that decided before decides again. A version that is still being "
        "built is given up for the new one; `replaced` says which.",
        body=_content(_ref("Apply"), examples.APPLY),
        body_required=False,
        answer=_content(_ref("Project"), None),
        said="It decides.",
        also={"202": "Its history is being built from the log; then it decides."},
        refusals=("project_invalid", "not_found"),
    ),
    ("GET", "/healthz"): _operation(
        "service", "Whether the process lives", "For a supervisor: restart it where this fails.",
        answer=_content(_ref("Status"), None), said="It lives.", public=True,
    ),
    ("GET", "/readyz"): _operation(
        "service", "Whether it takes requests", "For a load balancer: state is restored and the log can be written.",
        answer=_content(_ref("Status"), None), said="It does.", refusals=("not_ready",), public=True,
    ),
    ("GET", "/metrics"): _operation(
        "service", "Figures for Prometheus", "The exposition format, version 0.0.4.",
        answer={"text/plain": {"schema": {"type": "string"}}}, said="The figures.",
    ),
}  # fmt: skip
"""What the document says of each route, by method and address."""

_TAGS: Final = (
    {"name": "decisions", "description": "Events in, decisions out."},
    {"name": "events", "description": "What is taken in without a decision, and what became known later."},
    {"name": "entities", "description": "What is known of a card, an account, a device."},
    {"name": "project", "description": "The rules, features and models that decide."},
    {"name": "webhooks", "description": "Who is told of decisions."},
    {"name": "service", "description": "How the service is."},
)


def document(generated: Json, limits: LimitSettings, said: Mapping[tuple[str, str], Json]) -> Json:
    """The document that FastAPI made of the routes, with our schemas, security and words. `generated` is changed.

    `said` is what each route says of itself. FastAPI leaves nulls out of it, those of examples too: it is put in again.
    """
    generated["info"]["description"] = (
        "Every event put to the test as it arrives, and decided on - allow, challenge, review or block - with "
        "reasons.\n\nAn answer is given when it is on disk. A request may be sent again: an event is known by its "
        "type and id, and is decided once. Refusals are problem details (RFC 9457); branch on their `code`.\n\n"
        f"One event has at most {limits.event_bytes:,} bytes, a batch {limits.batch_bytes:,}, labels and events taken "
        f"in {limits.bulk_bytes:,}; JSON is at most {limits.depth} deep."
    )
    generated["tags"] = list(_TAGS)
    components = generated.setdefault("components", {})
    components.setdefault("schemas", {}).update(SCHEMAS)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer pk_...`."},
        "header": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Api-Key",
            "description": "The same, where that is easier.",
        },
    }
    for path, methods in generated["paths"].items():
        for method, operation in methods.items():
            operation |= said.get((method.upper(), path), {})
            operation["operationId"] = _operation_id(method, path)
            if "security" not in operation:  # a route of another part
                operation["security"] = _KEY
                codes = (*_ALWAYS, *(_BODY if "requestBody" in operation else ()), *_others(path, operation))
                operation["responses"] = _refusals(codes) | operation["responses"]
    return generated


def _others(path: str, operation: Json) -> Iterator[str]:
    if "{" in path:
        yield "not_found"
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
        yield "bad_cursor"


def _operation_id(method: str, path: str) -> str:
    words = [word for word in path.replace("{", "by_").replace("}", "").replace(":", "/").split("/") if word != "v1"]
    return "_".join([method, *(word for word in words if word)])
