"""Traces: off they cost nothing, on they name stages and outcomes, honour the caller and are bounded."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from parakh.service.traces import Trace, Traces

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + b"00"


def _traces(share: str = "1", **given: object) -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Traces({"OTEL_TRACES_SAMPLER_ARG": share}, exporter=exporter, **given), exporter  # type: ignore[arg-type]


def _by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def _begin(traces: Traces, traceparent: bytes | None = None) -> Trace:
    trace = traces.begin(traceparent, begun_ns=1_000)
    assert trace is not None
    return trace


def test_a_request_is_a_span_with_its_stages_within() -> None:
    traces, exporter = _traces()
    trace = _begin(traces)
    trace.span("decide", 2_000, 3_000, event_type="payment", outcome="block")
    trace.span("commit", 3_000, 9_000)
    trace.end(route="/v1/decisions/{event_type}", status=200, ended_ns=10_000)
    spans = _by_name(exporter)
    assert set(spans) == {"request", "decide", "commit"}
    assert [(spans[name].start_time, spans[name].end_time) for name in ("request", "decide", "commit")] == [
        (1_000, 10_000),
        (2_000, 3_000),
        (3_000, 9_000),
    ]
    for name in ("decide", "commit"):
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == spans["request"].get_span_context().span_id
    assert dict(spans["decide"].attributes or {}) == {"parakh.event_type": "payment", "parakh.outcome": "block"}
    assert dict(spans["request"].attributes or {}) == {
        "http.route": "/v1/decisions/{event_type}",
        "http.response.status_code": 200,
    }


def test_the_callers_trace_is_gone_on_with() -> None:
    traces, exporter = _traces("0")
    trace = _begin(traces, PARENT)
    assert trace.traceparent.startswith("00-0af7651916cd43dd8448eb211c80319c-")
    trace.end(route="/v1/labels", status=500)
    span = _by_name(exporter)["request"]
    assert span.get_span_context().trace_id == int("0af7651916cd43dd8448eb211c80319c", 16)
    assert span.parent is not None
    assert span.parent.span_id == int("b7ad6b7169203331", 16)
    assert not span.status.is_ok


@pytest.mark.parametrize(
    "traceparent",
    [b"", b"x", PARENT[:-1], PARENT.upper(), b"00-" + b"0" * 32 + PARENT[35:], b"ff" + PARENT[2:], b"\xff" * 55],
)
def test_a_broken_traceparent_is_none(traceparent: bytes) -> None:
    assert _traces("0")[0].begin(traceparent) is None
    assert _traces("1")[0].begin(traceparent) is not None


def test_the_share_and_the_caller_decide_who_is_sampled() -> None:
    drawn = iter([0.19, 0.2, 0.21])
    traces, _ = _traces("0.2", chance=lambda: next(drawn))
    assert [traces.begin() is not None for _ in range(3)] == [True, False, False]
    assert _traces("1")[0].begin(UNSAMPLED) is None


def test_callers_cannot_have_more_than_a_number_of_requests_traced() -> None:
    now = [5.0]
    traces, _ = _traces("0", clock=lambda: now[0])
    assert sum(traces.begin(PARENT) is not None for _ in range(1000)) == 200
    now[0] = 6.1
    assert traces.begin(PARENT) is not None


@pytest.mark.parametrize("text", ["often", "-1", "2", "nan"])
def test_a_share_that_is_none_is_replaced(text: str) -> None:
    drawn = iter([0.0099, 0.0101])
    traces, _ = _traces(text, chance=lambda: next(drawn))
    assert [traces.begin() is not None for _ in range(2)] == [True, False]


def test_off_unless_an_endpoint_is_named() -> None:
    assert not Traces({}).active
    assert not Traces({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}).active
    assert not Traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}).active
    Traces({}).close()


def test_without_the_library_it_says_so_and_stays_off() -> None:
    code = (
        "import sys, io, json; sys.modules['opentelemetry'] = None\n"
        "from parakh.service.logs import configure\nfrom parakh.service.traces import Traces\n"
        "stream = io.StringIO(); configure(True, stream=stream)\n"
        "traces = Traces({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:1'})\n"
        "print(traces.active, json.loads(stream.getvalue())['event'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "traces_need_the_extra_telemetry"]


def test_off_it_loads_nothing() -> None:
    code = (
        "import sys; from parakh.service.traces import Traces; Traces({})\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_spans_reach_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        traces = Traces()
        trace = _begin(traces)
        trace.span("decide", 2_000, 3_000, event_type="payment", outcome="allow")
        trace.end(route="/v1/decisions/{event_type}", status=200)
        traces.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    body = b"".join(arrived)
    for text in (b"decide", b"request", b"payment", b"parakh"):
        assert text in body
