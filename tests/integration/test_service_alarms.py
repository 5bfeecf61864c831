"""Alarms of a running service: on disk before they are answered, sent to who listens, once, also across kill -9."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.service_process import ServiceProcess, payment, shop
from parakh.cli.main import OK, run
from parakh.client import Client, Invalid
from parakh.streams.entries import ALARMS
from parakh.streams.mark import read_mark
from parakh.streams.reader import LogReader

_ALARMS = [
    {"kind": "missing", "subject": name, "since": "2026-01-05T00:00:00Z", "value": 0.25, "bound": 0.125, "text": name}
    for name in ("amount", "card.payments_1h", "terminal.frauds_30d")
]


class Desk:
    """A receiver in a thread; it refuses with 500 while it is closed."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.closed = False
        desk = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if not desk.closed:
                    desk.got.append((self.headers["webhook-id"], json.loads(body)))
                self.send_response(500 if desk.closed else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def subjects(self) -> list[str]:
        return [body["data"]["subject"] for _, body in list(self.got) if body["type"] == "alarm"]

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.got) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.got) >= count, self.got


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.server.shutdown()
    made.server.server_close()


def shop_with(desk: Desk, folder: Path) -> Path:
    project = shop(folder)
    (project / "parakh.toml").write_text(f'name = "shop"\ncurrency = "INR"\n[enrichments]\nhosts = ["{desk.host}"]\n')
    return project


def subscribed(service: ServiceProcess, desk: Desk, *kinds: str) -> str:
    answer = service.post("/v1/webhooks", {"url": f"http://{desk.host}/", "filter": {"kinds": list(kinds)}})
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["id"]
    return name


def test_alarms_are_taken_and_sent_once_across_a_crash(tmp_path: Path, desk: Desk) -> None:
    data = tmp_path / "data"
    with ServiceProcess(shop_with(desk, tmp_path / "shop"), data) as service, Client(service.url) as client:
        webhook = subscribed(service, desk, "alarm")
        first = client.decide("payment", payment(1))
        assert client.post_alarms(_ALARMS[:1]) == 1
        desk.wait_for(1)
        desk.closed = True
        assert client.post_alarms(_ALARMS) == 3  # durable now: whatever happens, they are sent
        service.kill()
        desk.closed = False
        service.start()
        assert client.post_alarms(_ALARMS) == 3  # posted again: the same alarms
        desk.wait_for(3)
        assert client.decide("payment", payment(1)).decision_id == first.decision_id
        deadline = time.monotonic() + 30
        while service.get(f"/v1/webhooks/{webhook}").json()["messages"]["pending"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert set(desk.subjects()) == {item["subject"] for item in _ALARMS}
        assert len({name for name, _ in desk.got}) == 3  # a crash may send twice, under the same id
        assert {name for name, _ in desk.got} == {
            row["id"] for row in service.get(f"/v1/webhooks/{webhook}/deliveries").json()["deliveries"]
        }
        assert {row["kind"] for row in service.get(f"/v1/webhooks/{webhook}/deliveries").json()["deliveries"]} == {
            "alarm"
        }
        with pytest.raises(Invalid, match="small letters"):
            client.post_alarms([*_ALARMS, {**_ALARMS[0], "kind": "No Kind"}])
        refused = service.post("/v1/alarms", {"alarms": [{**_ALARMS[0], "text": "card 4111 1111 1111 1111"}]})
        assert refused.status_code == 422
        assert refused.json()["field"] == "alarms[0].text"
        assert "4111" not in refused.text + service.said()
        service.stop()
    assert run(["log", "verify", str(data), "--decisions"]) == OK
    log = LogReader.of(data / "log", durable=read_mark(data / "log" / "durable"))
    kept = [entry for entry in log.follow(0) if entry.kind == ALARMS]
    assert len(kept) == 3


def test_a_key_for_labels_may_post_and_one_for_decisions_may_not(
    tmp_path: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    project = shop_with(desk, tmp_path / "shop")
    keys = {}
    for scope in ("decide", "label", "read"):
        assert run(["key", "create", str(data), "--name", scope, "--scope", scope, "--json"]) == OK
        keys[scope] = json.loads(capsys.readouterr().out)["key"]
    with ServiceProcess(project, data) as service:
        told = {
            scope: httpx.post(
                f"{service.url}/v1/alarms", json={"alarms": _ALARMS}, headers={"authorization": f"Bearer {key}"}
            ).status_code
            for scope, key in keys.items()
        }
    assert told == {"decide": 403, "label": 200, "read": 403}
