"""Traces of single requests for those who collect them: OpenTelemetry spans, made after the fact and only for a sample.

The extra `parakh[telemetry]` brings the library; without it, or without OTEL_EXPORTER_OTLP_ENDPOINT, `active` is False
and that is all it costs. A caller's `traceparent` is honoured: where the caller samples, so does the service. Other
requests are sampled by OTEL_TRACES_SAMPLER_ARG (0.01 unless set). Spans name routes, event types and outcomes, never
ids or other values of an event.

    trace = traces.begin(traceparent) if traces.active else None       # once a request
    ...
    if traces.active:                                                  # once a micro-batch
        for trace in sampled:
            trace.span("decide", begun_ns, ended_ns, event_type="payment", outcome="allow")
    ...
    trace.end(route="/v1/decisions/{event_type}", status=200)
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from parakh.service.logs import get_log

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Trace", "Traces"]

_SHARE: Final = 0.01
_MOST_A_SECOND: Final = 200
"""Requests that are traced in a second, however many callers ask for it: what they send is not to slow the service."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")

_log = get_log("traces")


class Trace:
    """One request that is traced: a span from its beginning to `end`, and spans of its stages within."""

    __slots__ = ("_context", "_root", "_tracer")

    def __init__(self, tracer: Any, parent: Any, begun_ns: int) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        self._tracer = tracer
        self._root = tracer.start_span("request", context=parent, kind=SpanKind.SERVER, start_time=begun_ns)
        self._context = set_span_in_context(self._root)

    def span(self, stage: str, begun_ns: int, ended_ns: int, *, event_type: str = "", outcome: str = "") -> None:
        """A stage of the request, by nanoseconds since 1970."""
        named = {"parakh.event_type": event_type, "parakh.outcome": outcome}
        attributes = {name: value for name, value in named.items() if value}
        span = self._tracer.start_span(stage, context=self._context, start_time=begun_ns, attributes=attributes)
        span.end(end_time=ended_ns)

    def end(self, *, route: str, status: int, ended_ns: int | None = None) -> None:
        """The request is answered; `route` is a template."""
        from opentelemetry.trace import Status, StatusCode

        self._root.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= 500:
            self._root.set_status(Status(StatusCode.ERROR))
        self._root.end(end_time=ended_ns)

    @property
    def traceparent(self) -> str:
        """The header that makes a call to another service part of this trace."""
        at = self._root.get_span_context()
        return f"00-{at.trace_id:032x}-{at.span_id:016x}-{int(at.trace_flags):02x}"


class Traces:
    """Which requests are traced, and where their spans go; see the module for how it is used.

    >>> Traces({}).active
    False
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        exporter: SpanExporter | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        environment = os.environ if environment is None else environment
        self.active = False
        self._provider: TracerProvider | None = None
        self._tracer: Any = None
        self._chance = chance
        self._clock = clock
        self._second, self._begun = -1, 0
        wanted = exporter is not None or any(environment.get(name) for name in _ENDPOINTS)
        if not wanted or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return
        if not _is_installed():
            _log.warning("traces_need_the_extra_telemetry")
            return
        self._share = _share(environment)
        self._provider = _provider(exporter, environment)
        self._tracer = self._provider.get_tracer("parakh")
        self.active = True

    def begin(self, traceparent: bytes | None = None, *, begun_ns: int | None = None) -> Trace | None:
        """Begin to trace a request, or not: None where it is not among the sampled. Only while `active`."""
        known = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if known:
            if not int(known.group(1), 16) & 1:
                return None
        elif self._chance() >= self._share:
            return None
        second = int(self._clock())
        if second != self._second:
            self._second, self._begun = second, 0
        if self._begun == _MOST_A_SECOND:
            return None
        self._begun += 1
        parent = _parent(known.group(0)) if known else None
        return Trace(self._tracer, parent, time.time_ns() if begun_ns is None else begun_ns)

    def close(self) -> None:
        """Send what waits to be sent; at most a few seconds."""
        if self._provider is not None:
            self.active = False
            self._provider.force_flush(timeout_millis=3_000)
            self._provider.shutdown()


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:  # not even the package above it
        return False


def _share(environment: Mapping[str, str]) -> float:
    text = environment.get("OTEL_TRACES_SAMPLER_ARG", "")
    if text:
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if 0.0 <= share <= 1.0:
            return share
        _log.warning("traces_sampler_arg_is_no_share", setting="OTEL_TRACES_SAMPLER_ARG")
    return _SHARE


def _provider(exporter: SpanExporter | None, environment: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    name = environment.get("OTEL_SERVICE_NAME", "parakh")
    # Which requests are sampled was decided before a span is made: a span that is not recorded would cost 10 us too.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({"service.name": name}))
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _parent(traceparent: bytes) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent.decode("ascii")})
