"""The API over the wire: every route, who may, what is refused and how, and that nothing a caller sends breaks it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from fake_service import HASH, FakeService
from fastapi import APIRouter, FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from parakh.service import examples
from parakh.service.access import Access
from parakh.service.api_keys import SCOPES, KeyStore
from parakh.service.app import create_app
from parakh.service.limits import Limits
from parakh.service.logs import configure
from parakh.service.openapi import OPERATIONS, SCHEMAS
from parakh.service.problems import CODES
from parakh.service.reference import CONTENT_SECURITY
from parakh.service.routes import PUBLIC, ROUTES
from parakh.service.settings import LimitSettings, ServiceSettings
from parakh.service.webhook_routes import SCOPES as WEBHOOK_SCOPES
from parakh.service.webhook_routes import router as webhook_router

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
ROUNDS = int(os.environ.get("PARAKH_ROUNDS", "5"))
LIMITS = LimitSettings(event_bytes=20_000, batch_bytes=500_000, line_bytes=20_000, bulk_bytes=50_000, in_flight=50)
EVENT = json.dumps(examples.PAYMENT).encode()
DECISION = examples.DECISION["decision_id"]

FILLED = {
    "{event_type}:batch": "payment:batch", "{event_type}/{event_id:path}": "payment/p1",
    "{entity}/{key:path}": "card/k1", "{event_type}": "payment", "{id}": "wh_1",
}  # fmt: skip


def address(method: str, path: str) -> str:
    """A path with its parts filled in."""
    path = path.replace("{name}", "payment" if method == "POST" else DECISION)
    for part, value in FILLED.items():
        path = path.replace(part, value)
    return path


class Api:
    """The application with a fake service behind it, called as over the wire."""

    def __init__(self, folder: Path, limits: LimitSettings = LIMITS, **more: Any) -> None:
        self.folder = folder
        self.service = FakeService()
        self.access = Access(folder, may_be_open=True)
        self.limits = Limits(limits)
        self.settings = ServiceSettings(folder, limits=limits)
        self.app = create_app(self.service, self.access, self.limits, self.settings, **more)

    def key(self, *scopes: str, **more: Any) -> dict[str, str]:
        """The headers of a new key, which the server has seen."""
        text = KeyStore(self.folder).create("a shop", scopes, now_us=1, **more)[1]
        self.access._look()
        return {"authorization": f"Bearer {text}"}

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._call(method, path, **more))

    async def _call(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8321") as client:
            return await client.request(method, path, **more)


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)


def refused(response: httpx.Response, code: str) -> dict[str, Any]:
    """The problem that a response is; it has to be the one that is expected, and well formed."""
    body = response.json()
    assert body["code"] == code, body
    assert response.status_code == body["status"] == CODES[code].status
    assert response.headers["content-type"] == "application/problem+json"
    jsonschema.validate(body, resolved("Problem"))
    return body


def resolved(name: str) -> dict[str, Any]:
    """A schema of the document, with what it refers to."""
    return {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}


# -- every route -------------------------------------------------------------------------------------------------------

EXPECTED = {
    "POST /v1/decisions/{name}": "Decision", "GET /v1/decisions/{name}": "Decision", "GET /v1/decisions": "Page",
    "POST /v1/events/{event_type}": "Accepted", "POST /v1/labels": "Labelled",
    "POST /v1/alarms": "AlarmsTaken",
    "GET /v1/entities/{entity}/{key:path}": "Entity", "GET /v1/project": "Project",
    "GET /v1/project/versions": "Versions", "POST /v1/project:check": "Checked", "POST /v1/project:apply": "Project",
    "GET /healthz": "Status", "GET /readyz": "Status",
}  # fmt: skip
BODIES = {
    "/v1/decisions/{name}": EVENT, "/v1/decisions/{event_type}:batch": EVENT, "/v1/events/{event_type}": EVENT,
    "/v1/labels": json.dumps(examples.LABEL).encode(), "/v1/alarms": json.dumps(examples.ALARMS).encode(),
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_answers_as_the_document_says(route, api: Api) -> None:
    if "event_id" in route.path:
        api("POST", "/v1/decisions/payment", content=json.dumps({"payment_id": "p1"}))
    response = api(route.method, address(route.method, route.path), content=BODIES.get(route.path))
    assert response.status_code == 200, response.text
    name = EXPECTED.get(f"{route.method} {route.path}")
    if name is not None:
        jsonschema.validate(response.json(), resolved(name))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"
    assert (
        response.headers["content-type"].split(";")[0]
        in OPERATIONS[route.method, route.path.replace(":path}", "}")]["responses"]["200"]["content"]
    )


def test_no_route_is_without_a_scope_and_no_scope_without_a_route(api: Api) -> None:
    declared = {(route.method, route.path) for route in ROUTES} | {("GET", "/docs"), ("GET", "/openapi.json")}
    assert len(declared) == len(ROUTES) + 2
    assert {(method, route.path) for route in api.app.routes for method in route.methods} == declared
    assert {route.scope for route in ROUTES} <= {*SCOPES, PUBLIC}
    assert {route.path for route in ROUTES if route.scope == PUBLIC} == {"/healthz", "/readyz"}


def test_a_router_with_a_route_that_has_no_scope_is_not_taken(tmp_path: Path) -> None:
    extra = APIRouter()
    extra.add_api_route("/v1/secret", lambda: {"a": 1}, methods=["GET", "POST"])
    with pytest.raises(ValueError, match="/v1/secret has no scope"):
        Api(tmp_path, routers=[(extra, {("GET", "/v1/secret"): "read"})])


def test_a_route_added_behind_our_back_is_refused_to_everybody(api: Api) -> None:
    @api.app.get("/v1/secret")
    async def secret() -> dict[str, int]:
        return {"secret": 42}

    refused(api("GET", "/v1/secret"), "forbidden")
    refused(api("GET", "/v1/secret", headers=api.key("admin")), "forbidden")


WITH_WEBHOOKS = [*((route.method, route.path, route.scope) for route in ROUTES),
                 *((*place, scope) for place, scope in WEBHOOK_SCOPES.items())]  # fmt: skip


def test_each_route_is_open_to_the_keys_with_its_scope_and_to_no_others(tmp_path: Path) -> None:
    """S2, over all routes and all scopes."""
    api = Api(tmp_path, routers=[(webhook_router(None), WEBHOOK_SCOPES)])  # type: ignore[arg-type]
    keys = {scope: api.key(scope) for scope in SCOPES}
    gone = api.key("admin", expires_us=2)
    api.service.breaks = True  # nobody who is refused gets as far as the service
    for method, path, scope in WITH_WEBHOOKS:
        where = address(method, path)
        if scope == PUBLIC:
            assert api(method, where).status_code == 200
            continue
        refused(api(method, where), "unauthorized")
        refused(api(method, where, headers=gone), "unauthorized")
        refused(api(method, where, headers={"authorization": "Bearer pk_x"}), "unauthorized")
        for held, headers in keys.items():
            response = api(method, where, content=EVENT, headers=headers)
            allowed = held in (scope, "admin")
            assert (response.status_code not in (401, 403)) == allowed, f"{held} at {method} {path}: {response.text}"
    assert api.limits.in_flight == 0


def test_open_means_this_machine_alone(api: Api) -> None:
    assert api("GET", "/v1/project").status_code == 200
    refused(api("GET", "/v1/project", headers={"host": "rebound.example"}), "forbidden")
    refused(api("POST", "/v1/project:apply", headers={"origin": "https://evil.example"}), "forbidden")


def test_a_revoked_key_ends_within_a_second(api: Api) -> None:
    headers = api.key("read")
    assert api("GET", "/v1/project", headers=headers).status_code == 200
    store = KeyStore(api.folder)
    store.revoke(store.all()[0].id, now_us=5)
    asyncio.run(asyncio.sleep(0.3))
    refused(api("GET", "/v1/project", headers=headers), "unauthorized")


# -- decisions ---------------------------------------------------------------------------------------------------------


def test_a_retry_gets_the_same_bytes_and_says_so(api: Api) -> None:
    first = api("POST", "/v1/decisions/payment", content=EVENT)
    again = api("POST", "/v1/decisions/payment", content=b" " + EVENT + b"\n")
    assert first.content == again.content
    assert "parakh-replayed" not in first.headers
    assert again.headers["parakh-replayed"] == "true"
    refused(api("POST", "/v1/decisions/payment", content=EVENT.replace(b"6191", b"6192")), "conflict")


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "bad_json"), (b"{", "bad_json"), (b"\xff", "bad_json"), (b"[]", "not_an_object"), (b"{}", "missing_id"),
     (b'{"payment_id":"p","~ip_risk":1}', "reserved_key"), (b'{"payment_id":"p","payment_id":"q"}', "duplicate_key"),
     (b'{"a":' * 100_0 + b"1" + b"}" * 100_0, "too_deep"), (b"x" * 20_001, "body_too_large")],
)  # fmt: skip
def test_a_bad_event_is_told_what_is_wrong(body: bytes, code: str, api: Api) -> None:
    refused(api("POST", "/v1/decisions/payment", content=body), code)


def test_features_are_asked_for(api: Api) -> None:
    assert "features" in api("POST", "/v1/decisions/payment?features=true", content=EVENT).json()
    refused(api("POST", "/v1/decisions/payment?features=yes", content=EVENT), "bad_filter")
    refused(api("POST", "/v1/decisions/payment?feature=true", content=EVENT), "bad_filter")
    refused(api("POST", "/v1/decisions/payment?features=true&features=true", content=EVENT), "bad_filter")


def test_what_is_said_of_an_event_is_found_by_its_id_however_it_is_written(api: Api) -> None:
    for event_id in ("p1", "a/b", "..", "p 1", "é", "a%2Fb", "?x=1", "p1:batch"):
        body = json.dumps({"payment_id": event_id})
        assert api("POST", "/v1/decisions/payment", content=body).status_code == 200
        quoted = httpx.URL("http://x").copy_with(path=f"/{event_id}").raw_path.decode() if event_id == "a/b" else None
        path = quoted or "/" + "".join(f"%{byte:02X}" for byte in event_id.encode())
        found = api("GET", f"/v1/decisions/payment{path}")
        assert found.status_code == 200, event_id
        assert found.json()["event_id"] == event_id


# -- batches -----------------------------------------------------------------------------------------------------------

LINES = b"".join(json.dumps({"payment_id": f"p{number}"}).encode() + b"\n" for number in range(500))


def test_a_batch_answers_line_by_line_in_order(api: Api) -> None:
    response = api("POST", "/v1/decisions/payment:batch", content=LINES + b"{\n" + LINES[:-1])
    assert response.headers["content-type"] == "application/x-ndjson"
    told = [json.loads(line) for line in response.text.splitlines()]
    assert [item.get("event_id", item.get("line")) for item in told] == [
        *(f"p{number}" for number in range(500)), 501, *(f"p{number}" for number in range(500))
    ]  # fmt: skip
    for item in told[499:502]:
        jsonschema.validate(item, resolved("Problem" if "line" in item else "Decision"))


def test_a_batch_may_be_packed_and_no_other_body(api: Api) -> None:
    headers = {"content-encoding": "gzip"}
    packed = gzip.compress(LINES)
    assert api("POST", "/v1/decisions/payment:batch", content=packed, headers=headers).text.count("\n") == 500
    refused(api("POST", "/v1/decisions/payment", content=gzip.compress(EVENT), headers=headers), "unsupported_encoding")
    refused(api("POST", "/v1/labels", content=packed, headers=headers), "unsupported_encoding")
    refused(api("POST", "/v1/events/login", content=packed, headers=headers), "unsupported_encoding")
    bomb = gzip.compress(b"\n" * 50_000_000)
    refused(api("POST", "/v1/decisions/payment:batch", content=bomb, headers=headers), "body_too_large")
    refused(api("POST", "/v1/decisions/payment:batch", content=LINES, headers=headers), "bad_request")
    refused(api("POST", "/v1/decisions/payment:batch", content=b"x" * 20_001), "line_too_long")
    refused(api("POST", "/v1/decisions/payment:batch", content=b"\n" * 500_001), "body_too_large")
    refused(api("POST", "/v1/decisions/nothing:batch", content=LINES), "unknown_event_type")
    assert api("POST", "/v1/decisions/payment:batch", content=b"").content == b""
    assert api.limits.in_flight == 0


async def _slowly(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(0)


def test_what_breaks_in_the_middle_of_a_batch_is_its_last_line(api: Api) -> None:
    parts = [LINES[:5_000], LINES[5_000:], b"x" * 20_001]
    told = api("POST", "/v1/decisions/payment:batch", content=_slowly(parts)).text.splitlines()
    assert len(told) == 501
    assert json.loads(told[-1])["code"] == "line_too_long"

    async def breaking(event_type: str, chunks: AsyncIterator[bytes], features: bool) -> AsyncIterator[bytes]:
        yield b"{}\n"
        raise RuntimeError("card 4111111111111111")

    api.service.decide_lines = breaking  # type: ignore[method-assign]
    told = api("POST", "/v1/decisions/payment:batch", content=LINES).text.splitlines()
    assert json.loads(told[-1])["code"] == "internal"
    assert "4111" not in told[-1]


def test_a_batch_is_streamed_both_ways(api: Api) -> None:
    api(
        "POST",
        "/v1/decisions/payment:batch",
        content=_slowly([LINES[at : at + 1_000] for at in range(0, 9_000, 1_000)]),
    )
    assert api.service.chunks == [1_000] * 9


def test_the_events_of_a_batch_count_against_the_rate(api: Api) -> None:
    headers = api.key("decide", rate_per_s=100.0)
    assert api("POST", "/v1/decisions/payment:batch", content=LINES, headers=headers).status_code == 200
    response = api("POST", "/v1/decisions/payment", content=EVENT, headers=headers)
    refused(response, "rate_limited")
    assert 3 <= int(response.headers["retry-after"]) <= 5


# -- events, labels, project -------------------------------------------------------------------------------------------


def test_events_and_labels_may_be_one_or_one_a_line(api: Api) -> None:
    told = api("POST", "/v1/events/payment", content=LINES[:1_000].rpartition(b"\n")[0])
    assert told.headers["content-type"] == "application/x-ndjson"
    label = json.dumps(examples.LABEL).encode()
    assert api("POST", "/v1/labels", content=label + b"\n" + label).json() == {"accepted": 2, "refused": []}
    some = api("POST", "/v1/labels", content=label + b"\n{\n")
    assert some.status_code == 207
    assert some.json() == {"accepted": 1, "refused": [{"line": 2, "code": "bad_json"}]}
    jsonschema.validate(some.json(), resolved("Labelled"))
    refused(api("POST", "/v1/labels", content=b"x" * 50_001), "body_too_large")
    refused(api("POST", "/v1/labels", content=b'{"label":"a","label":"b"}'), "duplicate_key")
    refused(api("POST", "/v1/events/login", content=b"[" * 40_000), "too_deep")


def test_a_project_is_checked_and_applied_by_whoever_has_the_key(api: Api) -> None:
    headers = api.key("admin")
    files = {"parakh.toml": 'name = "shop"\n', "models/a.onnx": {"base64": "AAEC"}}
    assert api("POST", "/v1/project:check", json={"files": files}, headers=headers).json()["valid"] is True
    assert api("POST", "/v1/project:apply", json={"files": files}, headers=headers).json()["state"] == "live"
    assert api("POST", "/v1/project:apply", json={"version": HASH[:8]}, headers=headers).status_code == 200
    assert api("POST", "/v1/project:apply", headers=headers).status_code == 200
    raw = {"parakh.toml": b'name = "shop"\n', "models/a.onnx": b"\x00\x01\x02"}
    assert api.service.applied == [(raw, None, "a shop"), (None, HASH[:8], "a shop"), (None, None, "a shop")]
    refused(api("POST", "/v1/project:apply", json={"version": "f" * 64}, headers=headers), "not_found")
    refused(api("POST", "/v1/project:check", json={"files": {"a.yaml": ""}}, headers=headers), "project_invalid")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{", b"1", b'"files"', b'{"files":[]}', b'{"files":{"a":1}}', b'{"file":{}}', b'{"files":{"a":{}}}',
     b'{"files":{"a":{"base64":"!"}}}', b'{"files":{"a":{"base64":"AA","x":1}}}', b'{"version":1}',
     b'{"files":{},"version":"a"}', b"\xff\xfe", b'{"files":{"a":"\\ud800"}}'],
)  # fmt: skip
def test_what_is_no_project_is_refused(body: bytes, api: Api) -> None:
    said = refused(api("POST", "/v1/project:apply", content=body), "invalid_request")
    assert said["detail"]
    assert api.service.applied == []


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a/.", "C:/a", "a\\b", "", "a\x00b", "a\nb", "x" * 501, "a/",
     "\u202ea", "file:///a"],
)  # fmt: skip
def test_no_file_leads_out_of_the_project(path: str, api: Api) -> None:
    refused(api("POST", "/v1/project:apply", json={"files": {path: "x"}}), "invalid_request")


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_unknown_addresses_and_methods_are_problems(api: Api) -> None:
    for path in ("/", "/v1", "/v1/", "/v2/decisions", "/v1/decisions/", "/v1/labels/", "/docs/", "/admin", "/.env"):
        response = api("GET", path)
        refused(response, "not_found")
    response = api("DELETE", f"/v1/decisions/{DECISION}")
    refused(response, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"
    assert api("PUT", "/v1/labels").headers["allow"] == "POST"
    refused(api("OPTIONS", "/v1/labels"), "method_not_allowed")
    refused(api("TRACE", "/healthz"), "method_not_allowed")


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope != PUBLIC], ids=lambda route: route.path)
def test_a_mistake_of_ours_shows_nothing_but_an_id_that_the_log_has(route, api: Api) -> None:
    lines = io.StringIO()
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    configure(as_json=True, stream=lines)
    try:
        api.service.breaks = True
        response = api(route.method, address(route.method, route.path), content=BODIES.get(route.path))
    finally:
        root.handlers[:] = before
    said = refused(response, "internal")
    assert "detail" not in said
    for text in (response.text, lines.getvalue()):
        assert "4111" not in text
        assert "to blame" not in text
    assert "Traceback" not in response.text
    assert "fake_service" not in response.text
    logged = json.loads(lines.getvalue().splitlines()[-1])
    assert logged["hash"] == said["id"]
    assert logged["error"] == "RuntimeError"
    assert any("fake_service.py" in place for place in logged["at"])
    assert api.limits.in_flight == 0


def test_too_many_at_once_are_turned_away_and_the_rest_goes_on(tmp_path: Path) -> None:
    api = Api(tmp_path, LimitSettings(in_flight=2))
    gate = asyncio.Event()

    async def project() -> Any:
        await gate.wait()
        return await FakeService().project()

    api.service.project = project  # type: ignore[method-assign]

    async def go() -> list[httpx.Response]:
        waiting = [asyncio.create_task(api._call("GET", "/v1/project")) for _ in range(2)]
        await asyncio.sleep(0.05)
        turned_away = await api._call("GET", "/v1/project")
        alive = await api._call("GET", "/healthz")
        gate.set()
        return [turned_away, alive, *await asyncio.gather(*waiting)]

    turned_away, alive, *rest = asyncio.run(go())
    refused(turned_away, "overloaded")
    assert turned_away.headers["retry-after"] == "1"
    assert [alive.status_code, *(response.status_code for response in rest)] == [200, 200, 200]
    assert api.limits.in_flight == 0


def test_requests_and_refusals_are_counted(tmp_path: Path) -> None:
    class Counts:
        def __init__(self) -> None:
            self.routes: list[str] = []
            self.done: list[str] = []
            self.codes: list[str] = []

        def route(self, name: str) -> int:
            self.routes.append(name)
            return len(self.routes) - 1

        def request_done(self, route: int, seconds: float) -> None:
            assert 0 <= seconds < 60
            self.done.append(self.routes[route])

        def refused(self, reason: str) -> None:
            self.codes.append(reason)

    counts = Counts()
    api = Api(tmp_path, telemetry=counts)
    api("GET", f"/v1/decisions/{DECISION}")
    api("GET", "/v1/decisions/unknown")
    api("GET", "/nowhere")
    api.service.breaks = True
    api("GET", "/v1/project")
    assert counts.done == ["/v1/decisions/{name}", "/v1/decisions/{name}", "/v1/project"]
    assert counts.codes == ["not_found", "not_found", "internal"]


def test_not_ready_is_said_with_when_to_come_back(api: Api) -> None:
    api.service.is_ready = False
    response = api("GET", "/readyz")
    refused(response, "not_ready")
    assert response.headers["retry-after"] == "1"
    assert api("GET", "/healthz").status_code == 200


# -- hostile input -----------------------------------------------------------------------------------------------------

HOSTILE = [
    "'", '"', "' OR 1=1 --", "'; DROP TABLE api_keys; --", "../../etc/passwd", "..%2f..%2f", "%00", "\x00", "\x1b[2J",
    "{{7*7}}", "${jndi:ldap://x}", "<script>alert(1)</script>", "\u202e", "\ufeff", "é" * 100, "💥", "a" * 5_000, "%",
    "_", "*", "[", "](", "NULL", "NaN", "-1", "1e999", "0x10", "99999999999999999999999", "true", "~", ":batch", ";",
    "|", "\\", "\\\\server\\share", "\r\nX-Injected: 1", "%0d%0aX: 1", "a\nb", " ", "+", "&", "=", "#", "?",
]  # fmt: skip
FILTERS = ("event_type", "outcome", "decided", "entity", "from", "to", "by", "rule", "flag", "min_score", "limit",
           "cursor", "features", "x")  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_in_a_path_or_a_filter_breaks_or_injects(text: str, api: Api) -> None:
    """S14 over the wire."""
    quoted = "".join(f"%{byte:02X}" for byte in text.encode())
    for path in ("/v1/decisions/{}", "/v1/decisions/payment/{}", "/v1/decisions/{}/p1", "/v1/entities/{}/k",
                 "/v1/entities/card/{}", "/v1/webhooks/{}", "/{}"):  # fmt: skip
        response = api("GET", path.format(quoted))
        assert response.status_code in (200, 404), f"{path}: {response.text}"
        assert "x-injected" not in response.headers
    for path in ("/v1/decisions/{}", "/v1/decisions/{}:batch", "/v1/events/{}"):
        assert api("POST", path.format(quoted), content=EVENT).status_code in (404, 405)
    for name in FILTERS:
        response = api("GET", "/v1/decisions", params={name: text})
        assert response.status_code in (200, 400), f"{name}: {response.text}"
        if response.status_code == 400 and len(text) > 8:
            assert text not in response.text, "what was given may be personal: it is not repeated"
    for header in ("authorization", "x-api-key", "content-type", "accept", "origin"):
        value = text.encode().replace(b"\r", b"").replace(b"\n", b"")
        assert api("GET", "/v1/project", headers=[(header.encode(), value)]).status_code < 500


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.binary(max_size=200), st.binary(max_size=60))
def test_no_bytes_whatever_give_a_5xx(api: Api, name: str, body: bytes, query: bytes) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    for path in (f"/v1/decisions/{quoted}", "/v1/decisions/payment", "/v1/decisions/payment:batch", "/v1/labels",
                 "/v1/events/login", "/v1/project:check", "/v1/project:apply"):  # fmt: skip
        assert api("POST", path, content=body).status_code < 500
    raw = query.decode("latin-1").replace("#", "%23")
    assert raw_call(api.app, "/v1/decisions", raw.encode("latin-1")) < 500


def raw_call(app: Callable[..., Coroutine[Any, Any, None]], path: str, query: bytes) -> int:
    """The status of a GET whose query string is these very bytes, which no client would send."""
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status", 0))

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
             "query_string": query, "headers": [(b"host", b"localhost")], "scheme": "http", "client": ("127.0.0.1", 1),
             "server": ("127.0.0.1", 8321), "root_path": "", "asgi": {"version": "3.0"}}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return statuses[0]


def test_many_parameters_are_not_read(api: Api) -> None:
    refused(api("GET", "/v1/decisions?" + "&".join(f"a{number}=1" for number in range(51))), "bad_filter")


# -- the document and its page -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder = tmp_path_factory.mktemp("documented")
    return Api(folder, routers=[(webhook_router(None), WEBHOOK_SCOPES)]).app  # type: ignore[arg-type]


def test_the_document_has_every_route_with_examples_and_refusals(documented: FastAPI) -> None:
    document = documented.openapi()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == {(method, path.replace(":path}", "}")) for method, path, _ in WITH_WEBHOOKS}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            named = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), path
            assert all("example" in item for item in operation.get("parameters", ()) if item["in"] == "path")
            public = path in ("/healthz", "/readyz")
            assert (operation["security"] == []) == public
            assert ("401" in operation["responses"]) != public, f"{method} {path}"
            assert "422" not in operation["responses"] or "HTTPValidationError" not in str(operation)
            for content in operation.get("requestBody", {}).get("content", {}).items():
                assert content[0] == "application/x-ndjson" or "example" in content[1], path
    identifiers = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(identifiers)) == len(identifiers)
    shapes = [re.sub(r"{\w+}", "{}", path) for path in document["paths"]]
    assert len(set(shapes)) == len(shapes), "two addresses that differ in the names of their parts alone are one"


def test_examples_hold_to_the_schemas(documented: FastAPI) -> None:
    document = documented.openapi()
    checked = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            answers = operation["responses"].values()
            for part in [operation.get("requestBody", {}), *answers]:
                for kind, content in part.get("content", {}).items():
                    shown = [content["example"]] if "example" in content else []
                    shown += [example["value"] for example in content.get("examples", {}).values()]
                    for example in shown:
                        if not (kind == "application/x-ndjson" and isinstance(example, str)):
                            schema = content["schema"] | {"components": document["components"]}
                            jsonschema.validate(example, schema)
                            checked += 1
    assert checked > 60
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_page_needs_no_network_and_no_script_and_shows_every_route(documented: FastAPI) -> None:
    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=documented)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path)

    page = asyncio.run(get("/docs"))
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"] == CONTENT_SECURITY
    assert page.headers["x-frame-options"] == "DENY"
    text = page.text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!#|/openapi\.json")', text)
    assert "prefers-color-scheme: dark" in text
    document = documented.openapi()
    for path, methods in document["paths"].items():
        assert path in text
        assert all(f">{method.upper()}</span>" in text for method in methods)
    assert text.count("curl ") == sum(len(methods) for methods in document["paths"].values())
    assert json.loads(asyncio.run(get("/openapi.json")).content) == json.loads(json.dumps(document))


def test_docs_are_open_and_everything_else_is_not(api: Api) -> None:
    api.key("read")
    assert api("GET", "/docs").status_code == 200
    assert api("GET", "/openapi.json").status_code == 200
    refused(api("GET", "/metrics"), "unauthorized")


def test_schemathesis_finds_no_5xx_and_no_answer_that_the_document_does_not_have(tmp_path: Path) -> None:
    """S20: PARAKH_ROUNDS cases for each operation and each way of making them; a short slice unless said."""
    api = Api(tmp_path)
    assert attacked(api.app.openapi(), app=api.app, base_url="http://127.0.0.1") >= 15 * min(ROUNDS, 5)


def attacked(document: dict[str, Any], **where: Any) -> int:
    """Try every operation of a document with what it allows and what it does not; how many cases were tried."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import CHECKS
    from schemathesis.generation import GenerationMode

    @schemathesis.serializer("application/x-ndjson")
    def lines(context: Any, value: Any) -> bytes:
        return value.encode() if isinstance(value, str) else json.dumps(value).encode()

    wanted = {
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    }
    schema = schemathesis.openapi.from_dict(document)
    checks = [check for check in CHECKS.get_all() if check.__name__ in wanted]
    assert len(checks) == len(wanted)
    phases = [phase for phase in settings().phases if phase.name != "explain"]
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=ROUNDS,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=phases,
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def try_it(case: Any) -> None:
                nonlocal tried
                case.validate_response(case.call(**where), checks=checks)
                tried += 1

            # Nothing can be wrong about a request that takes nothing.
            with contextlib.suppress(Unsatisfiable):
                try_it()
    return tried


# -- the real service --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`parakh serve` on the example, in a process of its own; its address."""
    data = tmp_path_factory.mktemp("live") / "data"
    command = [sys.executable, "-m", "parakh", "serve", str(EXAMPLE), "--data", str(data), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        else:
            pytest.fail("".join(said))
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield found.group()
        process.terminate()
        process.wait(30)


def test_the_real_service_answers_as_the_document_says(live: str) -> None:
    with httpx.Client(base_url=live) as client:
        first = client.post("/v1/decisions/payment", json=examples.PAYMENT)
        jsonschema.validate(first.json(), resolved("Decision"))
        assert client.post("/v1/decisions/payment", json=examples.PAYMENT).headers["parakh-replayed"] == "true"
        by_id = client.get(f"/v1/decisions/{first.json()['decision_id']}").json()
        assert {name: by_id[name] for name in first.json()} == first.json()
        for path, name in (
            ("/v1/decisions?outcome=allow,challenge,review,block&limit=1", "Page"), ("/v1/project", "Project"),
            ("/v1/project/versions", "Versions"), ("/v1/entities/card/" + examples.PAYMENT["card"], "Entity"),
            ("/healthz", "Status"), ("/readyz", "Status"),
            ("/v1/decisions/payment/" + examples.PAYMENT["payment_id"], "Decision"),
        ):  # fmt: skip
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            jsonschema.validate(answer.json(), resolved(name))
        jsonschema.validate(client.post("/v1/events/login", json=examples.LOGIN).json(), resolved("Accepted"))
        jsonschema.validate(client.post("/v1/project:check").json(), resolved("Checked"))
        lines = json.dumps(examples.PAYMENT) + "\n{\n"
        told = client.post("/v1/decisions/payment:batch", content=lines).text.splitlines()
        assert [json.loads(told[0])["decision_id"], json.loads(told[1])["line"]] == [first.json()["decision_id"], 2]
        told = client.post("/v1/labels", content=json.dumps(examples.LABEL) + "\n{\n")
        jsonschema.validate(told.json(), resolved("Labelled"))


def test_the_real_service_withstands_hostile_text_and_bodies(live: str) -> None:
    """S14 and S18."""
    with httpx.Client(base_url=live, timeout=30) as client:
        for text in HOSTILE:
            quoted = "".join(f"%{byte:02X}" for byte in text.encode())
            for path in ("decisions/", "decisions/payment/", "decisions/x", "entities/card/", "entities/", "webhooks/"):
                assert client.get(f"/v1/{path}{quoted}").status_code < 500, f"{path}{text!r}"
            assert client.get(f"/v1/entities/{quoted}/k").status_code < 500
            assert client.post(f"/v1/decisions/{quoted}", content=EVENT).status_code < 500
            for name in FILTERS:
                assert client.get("/v1/decisions", params={name: text}).status_code in (200, 400), f"{name}={text!r}"
        million = b"9" * 1_000_000
        for body in (b"", b"[" * 100_000, b'{"a":' * 100_000, b'{"payment_id": NaN}', b'{"payment_id":1e999}',
                     b'{"payment_id":"\\ud800"}', b'{"payment_id":"a","payment_id":"b"}',
                     b'{"payment_id":' + million + b"}", b"\xff" * 1_000, b"\x00", b"x" * 100_000_000,
                     b'"' * 1_000_000, b"[" + b"[]," * 300_000 + b"1]",
                     b'{"~degraded":true}', b'{"payment_id":"\x00"}'):  # fmt: skip
            for path in ("/v1/decisions/payment", "/v1/decisions/payment:batch", "/v1/events/login", "/v1/labels",
                         "/v1/project:check"):  # fmt: skip
                if len(body) > 10**7 and path != "/v1/decisions/payment":
                    continue
                with contextlib.suppress(httpx.WriteError):  # it may hang up on what is too large
                    assert client.post(path, content=body).status_code < 500, f"{path} {body[:40]!r}"
        assert client.get("/readyz").status_code == 200


def test_schemathesis_finds_no_5xx_of_the_real_service(live: str) -> None:
    """S20."""
    with httpx.Client(base_url=live) as client:
        document = client.get("/openapi.json").json()
    del document["paths"]["/v1/project:apply"]  # it would do what it is asked
    assert attacked(document, base_url=live) >= 15 * min(ROUNDS, 5)
