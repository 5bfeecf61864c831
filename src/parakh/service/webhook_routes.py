"""The addresses of webhooks: subscribe, look, stop, test, rotate the secret, and send dead messages again."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from parakh.decisions.hosts import HostError
from parakh.service.deliveries import DEAD, DELIVERED, PENDING, Shown
from parakh.service.ledger.filters import FLAGS
from parakh.service.outbox import Outbox
from parakh.service.problems import Problem, problem
from parakh.service.webhooks import KINDS, LONGEST_NAME, MOST_NAMES, WebhookError, iso

__all__ = ["SCOPES", "router"]

MOST_BODY_BYTES: Final = 65_536
MOST_ROWS: Final = 500
DEFAULT_ROWS: Final = 100
_STATES: Final = {"pending": PENDING, "delivered": DELIVERED, "dead": DEAD}
_Item = TypeVar("_Item")
_BASE: Final = "/v1/webhooks"
_ONE: Final = f"{_BASE}/{{id}}"

SCOPES: Final[dict[tuple[str, str], str]] = {
    ("GET", _BASE): "admin",
    ("POST", _BASE): "admin",
    ("GET", _ONE): "admin",
    ("DELETE", _ONE): "admin",
    ("GET", f"{_ONE}/deliveries"): "admin",
    **{("POST", f"{_ONE}:{verb}"): "admin" for verb in ("resend", "test", "rotate", "pause", "resume")},
}
"""The scope that each route needs: a webhook carries decisions out of the house."""


class _Resend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str | None = None


class _Refused(Exception):
    """A problem on its way out of a handler."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.code)


def router(outbox: Outbox) -> APIRouter:
    """The routes of an outbox; `SCOPES` says who may."""
    routes = APIRouter(tags=["webhooks"])

    def add(method: str, path: str, handler: Any, summary: str, **more: Any) -> None:
        async def endpoint(request: HttpRequest) -> Response:
            try:
                answer: Response = await handler(outbox, request)
                return answer
            except _Refused as refused:
                return _as_response(refused.problem)

        routes.add_api_route(
            path, endpoint, methods=[method], response_class=Response, name=f"{method} {path}",
            openapi_extra=_documented(path, summary, **more), status_code=more.get("status", 200),
        )  # fmt: skip

    add("GET", _BASE, _list, "All webhooks", answer=_LIST)
    add(
        "POST",
        _BASE,
        _subscribe,
        "Subscribe a URL to decisions and alarms",
        body=_SUBSCRIBE,
        answer=_SECRET,
        status=201,
    )
    # Before the bare id: an id does not have a colon, but an address's pattern would take one.
    for verb, handler, summary, more in (
        ("resend", _resend, "Send dead messages again", {"body": _RESEND, "answer": _COUNT}),
        ("test", _test, "Send a test message now", {"answer": _TESTED}),
        ("rotate", _rotate, "Make a new secret", {"answer": _SECRET}),
        ("pause", _pause, "Send nothing more for a while", {"answer": _WEBHOOK}),
        ("resume", _resume, "Send again, from where it was paused", {"answer": _WEBHOOK}),
    ):
        add("POST", f"{_ONE}:{verb}", handler, summary, **more)
    add("GET", f"{_ONE}/deliveries", _deliveries, "Messages, the newest first", answer=_PAGE, query=_PAGE_QUERY)
    add("GET", _ONE, _show, "One webhook", answer=_WEBHOOK)
    add("DELETE", _ONE, _remove, "Remove a webhook and its messages", status=204)
    return routes


# -- handlers ----------------------------------------------------------------------------------------------------------


async def _list(outbox: Outbox, request: HttpRequest) -> Response:
    return _json({"webhooks": [item.as_data() for item in outbox.subscriptions]})


async def _subscribe(outbox: Outbox, request: HttpRequest) -> Response:
    body = await _body(request)
    try:
        item, secret = await outbox.subscribe(body)
    except HostError as error:
        raise _Refused(problem("invalid_request", error.message, hint=error.hint, field="url")) from None
    except WebhookError as error:
        raise _Refused(problem("invalid_request", error.message, hint=error.hint, field=error.field)) from None
    return _json(item.as_data() | {"secret": secret}, 201)


async def _show(outbox: Outbox, request: HttpRequest) -> Response:
    item = outbox.subscription(_id(request))
    return _json(_found(item).as_data() | {"messages": outbox.messages(_id(request))._asdict()})


async def _remove(outbox: Outbox, request: HttpRequest) -> Response:
    if not await outbox.remove(_id(request)):
        raise _unknown()
    return Response(status_code=204)


async def _rotate(outbox: Outbox, request: HttpRequest) -> Response:
    item, secret = _found(await outbox.rotate(_id(request)))
    return _json(item.as_data() | {"secret": secret})


async def _pause(outbox: Outbox, request: HttpRequest) -> Response:
    return _json(_found(await outbox.pause(_id(request))).as_data())


async def _resume(outbox: Outbox, request: HttpRequest) -> Response:
    return _json(_found(await outbox.resume(_id(request))).as_data())


async def _test(outbox: Outbox, request: HttpRequest) -> Response:
    _found(outbox.subscription(_id(request)))
    result = await outbox.test(_id(request))
    if result is None:
        raise _Refused(problem("not_ready", "webhooks are not being sent at the moment", retry_after_s=1))
    return _json({"delivered": result.is_delivered, "status": result.status, "error": result.error or None})


async def _resend(outbox: Outbox, request: HttpRequest) -> Response:
    name = _id(request)
    _found(outbox.subscription(name))
    body = await _body(request)
    try:
        asked = msgspec.json.decode(body, type=_Resend) if body.strip() else _Resend()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Refused(problem("invalid_request", str(error))) from None
    count = await outbox.resend(name, asked.id)
    if asked.id is not None and not count:
        raise _Refused(problem("not_found", "there is no dead message of that id", field="id"))
    return _json({"resent": count})


async def _deliveries(outbox: Outbox, request: HttpRequest) -> Response:
    name = _id(request)
    _found(outbox.subscription(name))
    given = request.query_params
    unknown = set(given) - {"state", "cursor", "limit"}
    if unknown:
        raise _Refused(problem("bad_filter", hint="parameters are state, cursor, limit"))
    state = given.get("state")
    if state is not None and state not in _STATES:
        raise _Refused(problem("bad_filter", f"a state is one of {', '.join(_STATES)}", field="state"))
    limit = _whole(given.get("limit", str(DEFAULT_ROWS)))
    if limit is None or not 1 <= limit <= MOST_ROWS:
        raise _Refused(problem("bad_filter", f"a limit is a whole number from 1 to {MOST_ROWS}", field="limit"))
    before = _whole(given["cursor"]) if "cursor" in given else None
    if "cursor" in given and before is None:
        raise _Refused(problem("bad_cursor"))
    number = None if state is None else _STATES[state]
    rows = await outbox.page(name, state=number, before=before, limit=limit + 1)
    more = str(rows[limit - 1].seq) if len(rows) > limit else None
    return _json({"deliveries": [_row(row) for row in rows[:limit]], "next": more})


def _row(row: Shown) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "state": row.state,
        "tries": row.tries,
        "created": iso(row.created_us),
        "due": iso(row.due_us) if row.finished_us is None else None,
        "finished": None if row.finished_us is None else iso(row.finished_us),
        "status": row.status,
        "error": row.error or None,
        "position": row.position,
    }


def _id(request: HttpRequest) -> str:
    name: str = request.path_params["id"]
    return name


def _found(item: _Item | None) -> _Item:
    if item is None:
        raise _unknown()
    return item


def _unknown() -> _Refused:
    return _Refused(problem("not_found", "there is no webhook of that id"))


def _whole(text: str) -> int | None:
    """A whole number that SQLite can hold; None where the text is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


async def _body(request: HttpRequest) -> bytes:
    """The body, read only as far as it may go."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BODY_BYTES:
            raise _Refused(problem("body_too_large", f"at most {MOST_BODY_BYTES} bytes are taken here"))
        parts.append(part)
    return b"".join(parts)


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _as_response(refused: Problem) -> Response:
    response = Response(refused.body, refused.status)
    response.raw_headers = [*refused.headers, (b"content-length", str(len(refused.body)).encode())]
    return response


# -- the API's document ------------------------------------------------------------------------------------------------

_ID: Final = "wh_5f1c9a0b7d3e2468"
_NAMES: Final = {
    "type": "array", "maxItems": MOST_NAMES, "items": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
}  # fmt: skip
_FILTER: Final = {
    "type": "object",
    "description": "What is sent: messages of these kinds (decisions, unless said), and of decisions those that agree "
    "with every part that is given.",
    "additionalProperties": False,
    "properties": {
        "kinds": {"type": "array", "items": {"enum": list(KINDS)}},
        "event_types": _NAMES,
        "outcomes": {"type": "array", "items": {"enum": ["allow", "challenge", "review", "block"]}},
        "rules": _NAMES,
        "min_score": {"type": ["number", "null"]},
        "flags": {"type": "array", "items": {"enum": list(FLAGS)}},
    },
}
_MADE: Final = {
    "id": _ID, "url": "https://hooks.example.com/parakh", "description": "the case desk",
    "filter": {"outcomes": ["review", "block"]}, "state": "active", "created": "2026-01-01T10:00:00.000000Z",
    "cursor": 81920, "failures": 0, "failing_since": None, "last_error": None, "missed_bytes": 0, "dropped": 0,
}  # fmt: skip
_WEBHOOK: Final = ({"type": "object"}, _MADE)
_LIST: Final = ({"type": "object"}, {"webhooks": [_MADE]})
_SECRET: Final = ({"type": "object"}, _MADE | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwc3VwZXJzZWNyZXQ="})
_SUBSCRIBE: Final = (
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["url"],
        "properties": {
            "url": {"type": "string", "format": "uri", "maxLength": 2048},
            "description": {"type": "string", "maxLength": LONGEST_NAME},
            "filter": _FILTER,
            "from": {
                "description": "now, start, a time with its zone, or a position of the log",
                "type": ["string", "integer"],
                "default": "now",
            },
        },
    },
    {"url": "https://hooks.example.com/parakh", "filter": {"outcomes": ["review", "block"]}},
)
_RESEND: Final = (
    {"type": "object", "additionalProperties": False, "properties": {"id": {"type": ["string", "null"]}}},
    {"id": f"msg_9b8294e0545ee143cfd88b6abeb7a29f_{_ID}"},
)
_COUNT: Final = ({"type": "object"}, {"resent": 1})
_TESTED: Final = ({"type": "object"}, {"delivered": True, "status": 204, "error": None})
_PAGE: Final = (
    {"type": "object"},
    {
        "deliveries": [
            {
                "id": f"msg_9b8294e0545ee143cfd88b6abeb7a29f_{_ID}", "kind": "decision", "state": "dead", "tries": 12,
                "created": "2026-01-01T10:00:00.000000Z", "due": None, "finished": "2026-01-04T08:12:00.000000Z",
                "status": 500, "error": "the receiver answered 500", "position": 81920,
            }
        ],
        "next": None,
    },
)  # fmt: skip
_PAGE_QUERY: Final = [
    {"name": "state", "in": "query", "schema": {"enum": list(_STATES)}},
    {"name": "cursor", "in": "query", "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}},
    {
        "name": "limit", "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": DEFAULT_ROWS},
    },
]  # fmt: skip


def _documented(
    path: str,
    summary: str,
    *,
    body: tuple[Any, Any] | None = None,
    answer: tuple[Any, Any] | None = None,
    query: list[dict[str, Any]] | None = None,
    status: int = 200,
) -> dict[str, Any]:
    """What the API's document says of a route."""
    parameters: list[dict[str, Any]] = list(query or [])
    if "{id}" in path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "example": _ID})
    told: dict[str, Any] = {
        "summary": summary,
        "parameters": parameters,
        "responses": {str(status): {"description": "Done"} | ({"content": _content(answer)} if answer else {})},
    }
    if body is not None:
        told["requestBody"] = {"required": body is _SUBSCRIBE, "content": _content(body)}
    return told


def _content(given: tuple[Any, Any]) -> dict[str, Any]:
    schema, example = given
    return {"application/json": {"schema": schema, "example": example}}
