"""What the service tells Prometheus about itself: counted in lists on the hot path, made into metrics at a scrape.

A metric object of prometheus_client costs 1 to 2 us for each observation, which is more than a request may spend here.
So the hot path calls once a micro-batch, or once a request with nothing but two numbers; `exposition` reads what was
counted. One series has one writer, the event loop, and what several threads may count (webhooks, refusals) is behind a
lock.

Labels are bounded: event types, rules, models and enrichments are those of the project, routes, statuses and reasons
those named here. Anything else is counted as `other`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from parakh.decisions.definition import Definitions
from parakh.rules.definition import Mode, Outcome
from parakh.service.logs import get_log
from parakh.service.problems import CODES

__all__ = ["GAUGES", "METRICS", "OTHER", "SECONDS", "STAGES", "Telemetry"]

_log = get_log("telemetry")

OTHER = "other"
STAGES = ("queue", "personal", "enrich", "decide", "commit")
STATUSES = ("accepted", "duplicate", "conflict", "refused")
OUTCOMES = tuple(outcome.word for outcome in Outcome)
MODES = ("live", "shadow")
DELIVERIES = ("delivered", "retried", "dead")
DEGRADED = ("enrichment", "model", "deadline", "score", "state")
REFUSALS = frozenset(CODES)

SECONDS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.0125, 0.015,
    0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of a time; close where a deadline of milliseconds is kept or missed."""
_GROUPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_SNAPSHOT_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_MOST_ROUTES = 64
_FEW = 32
"""So many rows are counted one by one: for more, numpy's calls pay for themselves."""

GAUGES = {
    "parakh_log_durable_bytes": "Position up to which the log is on disk.",
    "parakh_state_bytes": "Memory that windows, keys, texts and ids take.",
    "parakh_state_limit_bytes": "Memory that they may take: [limits] state of the project.",
    "parakh_state_records": "Records that the windows hold.",
    "parakh_state_keys": "Keys that have history.",
    "parakh_ids": "Event ids that are known.",
    "parakh_queue_depth": "Events that wait to be decided.",
    "parakh_snapshot_position": "Position in the log of the newest snapshot.",
    "parakh_snapshot_age_seconds": "Age of the newest snapshot, or of the process where it has written none yet.",
    "parakh_breaker_state": "Circuit breakers: 0 closed, 1 half open, 2 open.",
    "parakh_outbox_pending": "Deliveries that wait.",
    "parakh_outbox_dead": "Deliveries that were given up and wait to be sent again by hand.",
    "parakh_index_lag_bytes": "Bytes of the durable log that the ledger's index has not read yet.",
}
"""What is asked at each scrape: `Telemetry.watch` takes these names."""

METRICS = {
    "parakh_decisions_total": "Decisions by event type and outcome.",
    "parakh_events_total": "Events that came in, by what became of them.",
    "parakh_refused_total": "Events and requests that were refused, by reason.",
    "parakh_stage_seconds": "Time of an event in each stage on its way to the answer.",
    "parakh_request_seconds": "Time from a request's last byte to its answer's first, by route.",
    "parakh_log_commits_total": "Groups of entries that were made durable.",
    "parakh_log_group_size": "Events in a group that was made durable at once.",
    "parakh_shed_total": "Requests sent away because too many wait.",
    "parakh_degraded_total": "Decisions that had to do without something, by what was missing.",
    "parakh_held_out_total": "Events that a holdout let through, by event type and the outcome they would have had.",
    "parakh_rule_hits_total": "Rules that hit, by mode.",
    "parakh_snapshot_seconds": "Time that a snapshot took to be written.",
    "parakh_project_info": "The project that decides.",
    "parakh_webhook_deliveries_total": "Attempts to deliver a webhook, by result.",
    **GAUGES,
}
"""Every metric and what it says; dashboards and alerts are tested against it."""


class Telemetry:
    """The service's counts; made once, handed to whatever counts.

    >>> telemetry = Telemetry()
    >>> route = telemetry.route("/healthz")
    >>> telemetry.request_done(route, 0.0004)
    >>> b'parakh_request_seconds_count{route="/healthz"} 1.0' in telemetry.exposition()
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._info = {"name": "", "hash": ""}
        self._event_types: frozenset[str] = frozenset()
        self._causes: frozenset[str] = frozenset(DEGRADED)
        self._rules: dict[str, tuple[tuple[str, str], ...]] = {}
        self._decisions: dict[str, list[int]] = {}
        self._events: dict[str, list[int]] = {}
        self._held_out: dict[str, list[int]] = {}
        self._hits: dict[tuple[str, str], int] = {}
        # What has a closed list begins at zero: of a series that begins at 1 Prometheus sees no increase, and the first
        # mistake would raise no alert.
        self._refused = dict.fromkeys(sorted(REFUSALS), 0)
        self._degraded = dict.fromkeys(DEGRADED, 0)
        self._deliveries = dict.fromkeys(DELIVERIES, 0)
        self._stages = {stage: _Histogram(SECONDS) for stage in STAGES}
        self._routes: list[str] = [OTHER]
        self._requests = [_Histogram(SECONDS)]
        self._commits = 0
        self._groups = _Histogram(_GROUPS)
        self._snapshots = _Histogram(_SNAPSHOT_SECONDS)
        self._shed = 0
        self._failing: set[str] = set()
        self._watched: dict[str, Callable[[], float | Mapping[str, float]]] = {}
        self._uncounted: list[Callable[[], object]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    # What is told at assembly and when a project is applied.

    def use_project(self, definitions: Definitions, project_hash: str) -> None:
        """Take the names of a project: labels are bounded by them, and series of names that are gone end."""
        event_types = frozenset(event.name for event in definitions.events)
        rules = {
            event: tuple(
                (rule.name, rule.mode.value)
                for rule in definitions.rules
                if event in rule.event_types and rule.mode is not Mode.DISABLED
            )
            for event in event_types
        }
        series = {series for of_type in rules.values() for series in of_type}
        with self._lock:
            self._info = {"name": definitions.settings.name, "hash": project_hash}
            self._event_types = event_types
            enrichments = {enrichment.name for enrichment in definitions.enrichments}
            self._causes = frozenset(DEGRADED) | enrichments | {model.name for model in definitions.models}
            self._rules = rules
            self._hits = {key: self._hits.get(key, 0) for key in sorted(series)}
            self._decisions = self._kept(self._decisions, len(OUTCOMES))
            self._held_out = self._kept(self._held_out, len(OUTCOMES))
            self._events = self._kept(self._events, len(STATUSES))
            kept = {*self._causes, *({OTHER} & self._degraded.keys())}
            self._degraded = {key: self._degraded.get(key, 0) for key in sorted(kept)}

    def route(self, name: str) -> int:
        """The index that `request_done` takes for a route, by its template (`/v1/decisions/{event_type}`)."""
        with self._lock:
            if name in self._routes:
                return self._routes.index(name)
            if len(self._routes) == _MOST_ROUTES:
                return 0
            self._requests.append(_Histogram(SECONDS))
            self._routes.append(name)
            return len(self._routes) - 1

    def watch(self, name: str, ask: Callable[[], float | Mapping[str, float]]) -> None:
        """Let a gauge of GAUGES be asked for at each scrape; parakh_breaker_state answers {breaker: state}.

        A gauge whose question fails is left out of that scrape, and the log says so once. The question is asked in the
        scraping thread.
        """
        if name not in GAUGES:
            raise ValueError(f"{name} is no gauge; there are {', '.join(GAUGES)}")
        self._watched[name] = ask

    def before_exposition(self, count: Callable[[], object]) -> None:
        """Have something called before metrics are told: it counts what it has put off."""
        self._uncounted.append(count)

    # The hot path: once a micro-batch, once a request, once a commit.

    def batch_decided(
        self,
        event_type: str,
        outcomes: NDArray[np.int8],
        *,
        seconds_by_stage: Mapping[str, float] | None = None,
        queued_seconds: NDArray[np.float64] | None = None,
    ) -> None:
        """Count a micro-batch.

        `outcomes` has one a row, -1 where it was only taken in. All rows spent `seconds_by_stage` in stages together;
        `queued_seconds` has what each of them waited.
        """
        of_type = self._decisions.get(event_type) or self._decisions_of_other()
        rows = len(outcomes)
        if rows <= _FEW:
            for outcome in outcomes.tolist():
                if outcome >= 0:
                    of_type[outcome] += 1
        else:
            for outcome, count in enumerate(np.bincount(outcomes + 1, minlength=5)[1:5].tolist()):
                of_type[outcome] += count
        if seconds_by_stage:
            for stage, seconds in seconds_by_stage.items():
                self._stages[stage].add(seconds, rows)
        if queued_seconds is not None:
            self._stages["queue"].add_many(queued_seconds)

    def stage_done(self, stage: str, seconds: float, count: int = 1) -> None:
        """Count `count` events that each were `seconds` in a stage of STAGES."""
        self._stages[stage].add(seconds, count)

    def rules_hit(self, event_type: str, hits: NDArray[np.uint64]) -> None:
        """Count the rules that hit: bit sets as in `Judgement.hits`, a row an event, 64 rules a word."""
        rules = self._rules.get(event_type)
        if not rules:
            return
        for index, count in _bits(hits):
            if index < len(rules):
                self._hits[rules[index]] += count

    def held_out(self, event_type: str, outcome: str, count: int) -> None:
        """Count events that a holdout let through which would have had this outcome."""
        of_type = self._held_out.get(event_type)
        if of_type is None:
            of_type = self._held_out.setdefault(OTHER, [0] * len(OUTCOMES))
        of_type[OUTCOMES.index(outcome)] += count

    def request_done(self, route: int, seconds: float) -> None:
        """Count an answered request by the index of its route."""
        histogram = self._requests[route]
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds

    def committed(self, events: int, seconds: float) -> None:
        """Count a group of so many events that was made durable together, in so many seconds."""
        self._commits += 1
        self._groups.add(events, 1)
        self._stages["commit"].add(seconds, events)

    def events(self, event_type: str, status: str, count: int = 1) -> None:
        """Count events that came in, by a status of STATUSES."""
        of_type = self._events.get(event_type)
        if of_type is None:
            of_type = self._events.setdefault(OTHER, [0] * len(STATUSES))
        of_type[STATUSES.index(status)] += count

    # What is rare, from any thread.

    def refused(self, reason: str, count: int = 1) -> None:
        """Count what was refused, by a code of the quarantine or of a problem."""
        self._count(self._refused, reason if reason in REFUSALS else OTHER, count)

    def degraded(self, cause: str, count: int = 1) -> None:
        """Count degraded decisions, by a cause of DEGRADED or the name of the enrichment or model that was missing."""
        self._count(self._degraded, cause if cause in self._causes else OTHER, count)

    def shed(self, count: int = 1) -> None:
        """Count requests that were sent away because too many wait."""
        with self._lock:
            self._shed += count

    def snapshot_written(self, seconds: float) -> None:
        """Count a snapshot and the time it took."""
        self._snapshots.add(seconds, 1)

    def webhook(self, result: str, count: int = 1) -> None:
        """Count attempts to deliver, by a result of DELIVERIES."""
        self._count(self._deliveries, result if result in DELIVERIES else OTHER, count)

    # The scrape.

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        for count in self._uncounted:
            count()
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metric families, as prometheus_client asks a collector for them."""
        with self._lock:
            families = [*self._counters(), *self._histograms()]
            info = dict(self._info)
        yield from families
        yield InfoMetricFamily("parakh_project", METRICS["parakh_project_info"], value=info)
        yield from self._gauges()

    def _counters(self) -> Iterator[Metric]:
        yield _counter("parakh_decisions_total", ("event_type", "outcome"), _cells(self._decisions, OUTCOMES))
        yield _counter("parakh_events_total", ("event_type", "status"), _cells(self._events, STATUSES))
        yield _counter("parakh_held_out_total", ("event_type", "outcome"), _stopping(self._held_out))
        yield _counter("parakh_rule_hits_total", ("rule", "mode"), self._hits.items())
        yield _counter("parakh_refused_total", ("reason",), _singles(self._refused))
        yield _counter("parakh_degraded_total", ("reason",), _singles(self._degraded))
        yield _counter("parakh_webhook_deliveries_total", ("result",), _singles(self._deliveries))
        yield _counter("parakh_log_commits_total", (), [((), self._commits)])
        yield _counter("parakh_shed_total", (), [((), self._shed)])

    def _histograms(self) -> Iterator[Metric]:
        routes = [((name,), self._requests[index]) for index, name in enumerate(self._routes)]
        yield _family("parakh_request_seconds", ("route",), routes)
        yield _family("parakh_stage_seconds", ("stage",), [((stage,), kept) for stage, kept in self._stages.items()])
        yield _family("parakh_log_group_size", (), [((), self._groups)])
        yield _family("parakh_snapshot_seconds", (), [((), self._snapshots)])

    def _gauges(self) -> Iterator[Metric]:
        for name, ask in self._watched.items():
            try:
                answer = ask()
                named = answer if isinstance(answer, Mapping) else {"": answer}
                values = [(label, float(value)) for label, value in sorted(named.items())]
            except Exception as error:
                # It must not take the other metrics with it, nor be missing without a word.
                if name not in self._failing:
                    self._failing.add(name)
                    _log.failed("a gauge cannot be asked and is left out", error, name=name)
                continue
            self._failing.discard(name)
            family = GaugeMetricFamily(name, GAUGES[name], labels=("name",) if isinstance(answer, Mapping) else ())
            for label, value in values:
                family.add_metric([label] if label else [], value)
            yield family

    def _kept(self, counts: dict[str, list[int]], width: int) -> dict[str, list[int]]:
        kept = {name: counts.get(name, [0] * width) for name in sorted(self._event_types)}
        if OTHER in counts:
            kept[OTHER] = counts[OTHER]
        return kept

    def _decisions_of_other(self) -> list[int]:
        return self._decisions.setdefault(OTHER, [0] * len(OUTCOMES))

    def _count(self, counts: dict[str, int], key: str, count: int) -> None:
        with self._lock:
            counts[key] = counts.get(key, 0) + count


class _Histogram:
    """Counts between fixed bounds, the last of them beyond all bounds, and the sum of what was counted."""

    __slots__ = ("_bounds", "bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._bounds = np.array(bounds, np.float64)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, count: int) -> None:
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    def add_many(self, values: NDArray[np.float64]) -> None:
        if len(values) <= _FEW:
            bounds, counts, few = self.bounds, self.counts, values.tolist()
            for value in few:
                counts[bisect_left(bounds, value)] += 1
            self.total += sum(few)
            return
        bins = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self.counts))
        for index in np.flatnonzero(bins).tolist():
            self.counts[index] += int(bins[index])
        self.total += float(values.sum())

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        below = 0
        rows = []
        for bound, count in zip((*map(float, self.bounds), float("inf")), list(self.counts), strict=True):
            below += count
            rows.append(("+Inf" if bound == float("inf") else repr(bound), float(below)))
        return rows


def _bits(sets: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """How many rows have each bit, for the bits that any has."""
    if sets.size <= _FEW:
        for row in sets.tolist():
            for word, bits in enumerate(row):
                while bits:
                    lowest = bits & -bits
                    yield 64 * word + lowest.bit_length() - 1, 1
                    bits ^= lowest
        return
    little = np.ascontiguousarray(sets).astype("<u8", copy=False).view(np.uint8)
    counts = np.unpackbits(little, axis=1, bitorder="little").sum(axis=0)
    for index in np.flatnonzero(counts).tolist():
        yield index, int(counts[index])


_Series = Iterable[tuple[tuple[str, ...], int]]


def _counter(name: str, labels: tuple[str, ...], series: _Series) -> Metric:
    family = CounterMetricFamily(name.removesuffix("_total"), METRICS[name], labels=labels)
    for values, count in series:
        family.add_metric(values, float(count))
    return family


def _family(name: str, labels: tuple[str, ...], series: Sequence[tuple[tuple[str, ...], _Histogram]]) -> Metric:
    family = HistogramMetricFamily(name, METRICS[name], labels=labels)
    for values, histogram in series:
        buckets: Any = histogram.buckets()
        family.add_metric(values, buckets, histogram.total)
    return family


def _cells(counts: Mapping[str, list[int]], columns: tuple[str, ...]) -> _Series:
    for name, row in list(counts.items()):
        for column, count in zip(columns, row, strict=True):
            yield (name, column), count


def _stopping(counts: Mapping[str, list[int]]) -> _Series:
    """The cells of the outcomes that stop: no other is held out."""
    return [cell for cell in _cells(counts, OUTCOMES) if cell[0][1] != Outcome.ALLOW.word]


def _singles(counts: Mapping[str, int]) -> _Series:
    return [((name,), count) for name, count in sorted(counts.items())]
