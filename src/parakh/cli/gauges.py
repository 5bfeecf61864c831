"""What a server's metrics say between two readings: rates, quantiles of its histograms, and how full it is.

Pure: texts in Prometheus' format in, figures out. Rates and quantiles are of the time between the first and the last
reading; with one reading alone quantiles are of all since the server's start, and there are no rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Figures", "Reading", "Times", "figures", "quantile", "read"]

Labels = tuple[tuple[str, str], ...]
STAGES = ("queue", "personal", "enrich", "decide", "commit")
OUTCOMES = ("allow", "challenge", "review", "block")


@dataclass(frozen=True, slots=True)
class Reading:
    """The metrics of one moment: `at_s` of a clock that never goes back, and a value a series."""

    at_s: float
    values: Mapping[str, Mapping[Labels, float]]

    def one(self, name: str) -> float | None:
        """The value of a metric without labels; None where the server has none."""
        return next(iter(self.values.get(name, {}).values()), None)

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """A metric's values by some of its labels, the others summed over."""
        sums: dict[tuple[str, ...], float] = {}
        for series, value in self.values.get(name, {}).items():
            named = dict(series)
            key = tuple(named.get(label, "") for label in labels)
            sums[key] = sums.get(key, 0.0) + value
        return sums


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took: how often it happened, its median and its 99th percentile in milliseconds.

    A time beyond the last bound of its histogram is told as that bound; None where nothing happened.
    """

    count: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What `parakh top` shows. Counts are since the server's start, rates a second over `seconds` (None: one reading).

    Sizes are in bytes; `snapshot_behind_bytes` is what of the log a start would read again.
    """

    seconds: float | None
    project: str
    version: str
    decisions: dict[str, dict[str, int]]
    decisions_per_s: dict[str, dict[str, float]] | None
    events: dict[str, int]
    events_per_s: dict[str, float] | None
    stages: dict[str, Times]
    routes: dict[str, Times]
    rules: dict[str, int]
    refused: dict[str, int]
    degraded: dict[str, int]
    degraded_per_s: float | None
    shed: int
    queue_depth: int | None
    log_bytes: int | None
    log_bytes_per_s: float | None
    state_bytes: int | None
    state_limit_bytes: int | None
    state_records: int | None
    state_keys: int | None
    snapshot_age_s: float | None
    snapshot_behind_bytes: int | None
    index_lag_bytes: int | None
    webhooks_pending: int | None
    webhooks_dead: int | None
    breakers: dict[str, str]

    @property
    def decided_per_s(self) -> float | None:
        """All decisions a second."""
        if self.decisions_per_s is None:
            return None
        return sum(sum(row.values()) for row in self.decisions_per_s.values())


def read(text: str, at_s: float) -> Reading:
    """The metrics of a text in Prometheus' format, of Parakh alone. Raises ValueError where it is none.

    >>> read('parakh_queue_depth 3.0\\n', 0.0).one("parakh_queue_depth")
    3.0
    """
    from prometheus_client.parser import text_string_to_metric_families

    values: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("parakh_"):
                values.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = float(sample.value)
    return Reading(at_s, values)


def figures(first: Reading | None, last: Reading) -> Figures:
    """What happened from one reading to another; of one alone what is known from it.

    A counter that went back belongs to a server that was started again: it counts from zero.
    """
    seconds = last.at_s - first.at_s if first is not None and last.at_s > first.at_s else None
    base = first if seconds is not None else None
    info = dict(next(iter(last.values.get("parakh_project_info", {})), ()))
    outcomes = last.by("parakh_decisions_total", "event_type", "outcome")
    events = last.by("parakh_events_total", "status")
    log, snapshot = last.one("parakh_log_durable_bytes"), last.one("parakh_snapshot_position")
    return Figures(
        seconds=seconds,
        project=info.get("name", ""),
        version=info.get("hash", ""),
        decisions=_table(outcomes),
        decisions_per_s=_rate_table(base, last, seconds),
        events={status: int(count) for (status,), count in events.items()},
        events_per_s=_event_rates(base, last, seconds),
        stages=_times(base, last, "parakh_stage_seconds_bucket", "stage", STAGES),
        routes=_times(base, last, "parakh_request_seconds_bucket", "route", ()),
        rules=_whole(_increase(base, last, "parakh_rule_hits_total", "rule")),
        refused=_whole(last.by("parakh_refused_total", "reason")),
        degraded=_whole(last.by("parakh_degraded_total", "reason")),
        degraded_per_s=None if seconds is None else sum(_rates(base, last, "parakh_degraded_total", seconds).values()),
        shed=int(last.one("parakh_shed_total") or 0),
        queue_depth=_int(last.one("parakh_queue_depth")),
        log_bytes=_int(log),
        log_bytes_per_s=_gauge_rate(base, last, "parakh_log_durable_bytes", seconds),
        state_bytes=_int(last.one("parakh_state_bytes")),
        state_limit_bytes=_int(last.one("parakh_state_limit_bytes")),
        state_records=_int(last.one("parakh_state_records")),
        state_keys=_int(last.one("parakh_state_keys")),
        snapshot_age_s=last.one("parakh_snapshot_age_seconds"),
        snapshot_behind_bytes=None if log is None or snapshot is None else max(0, int(log - snapshot)),
        index_lag_bytes=_int(last.one("parakh_index_lag_bytes")),
        webhooks_pending=_int(last.one("parakh_outbox_pending")),
        webhooks_dead=_int(last.one("parakh_outbox_dead")),
        breakers={
            name: ("closed", "half open", "open")[min(2, max(0, int(state)))]
            for (name,), state in last.by("parakh_breaker_state", "name").items()
        },
    )


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """The value below which a share of what a histogram counted lies: linear within a bucket, as Prometheus does it.

    `buckets` are cumulative counts by upper bound, the last of them infinite. None where nothing was counted.

    >>> quantile(0.5, {1.0: 0.0, 2.0: 10.0, float("inf"): 10.0})
    1.5
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    wanted = share * buckets[bounds[-1]]
    below, lower = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= wanted and count > below:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        below, lower = max(below, count), bound
    return lower


def _increase(first: Reading | None, last: Reading, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """By how much counters grew; all that they count where there is no first reading."""
    after = last.by(name, *labels)
    before = first.by(name, *labels) if first is not None else {}
    counted = ((key, value, before.get(key, 0.0)) for key, value in after.items())
    return {key: value - held if value >= held else value for key, value, held in counted}


def _rates(
    first: Reading | None, last: Reading, name: str, seconds: float, *labels: str
) -> dict[tuple[str, ...], float]:
    return {key: grown / seconds for key, grown in _increase(first, last, name, *labels).items()}


def _event_rates(first: Reading | None, last: Reading, seconds: float | None) -> dict[str, float] | None:
    if seconds is None:
        return None
    return {status: rate for (status,), rate in _rates(first, last, "parakh_events_total", seconds, "status").items()}


def _table(counts: Mapping[tuple[str, ...], float]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (event_type, outcome), count in counts.items():
        table.setdefault(event_type, dict.fromkeys(OUTCOMES, 0))[outcome] = int(count)
    return table


def _rate_table(first: Reading | None, last: Reading, seconds: float | None) -> dict[str, dict[str, float]] | None:
    if seconds is None:
        return None
    table: dict[str, dict[str, float]] = {}
    rates = _rates(first, last, "parakh_decisions_total", seconds, "event_type", "outcome")
    for (event_type, outcome), rate in rates.items():
        table.setdefault(event_type, dict.fromkeys(OUTCOMES, 0.0))[outcome] = rate
    return table


def _times(first: Reading | None, last: Reading, name: str, label: str, order: Iterable[str]) -> dict[str, Times]:
    """The times of a histogram by one label; named ones first, then the others as they come."""
    grown: dict[str, dict[float, float]] = {}
    for (value, bound), count in _increase(first, last, name, label, "le").items():
        grown.setdefault(value, {})[float(bound)] = count
    names = [name for name in order if name in grown] + [name for name in grown if name not in set(order)]
    return {name: _time(grown[name]) for name in names}


def _time(buckets: Mapping[float, float]) -> Times:
    median, most = quantile(0.5, buckets), quantile(0.99, buckets)
    count = int(max(buckets.values(), default=0.0))
    return Times(count, None if median is None else 1000 * median, None if most is None else 1000 * most)


def _gauge_rate(first: Reading | None, last: Reading, name: str, seconds: float | None) -> float | None:
    before = first.one(name) if first is not None else None
    after = last.one(name)
    if seconds is None or before is None or after is None or after < before:
        return None
    return (after - before) / seconds


def _whole(values: Mapping[tuple[str, ...], float]) -> dict[str, int]:
    """Counts by one label, largest first, without those that are zero."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return {key[0]: int(value) for key, value in ordered if value >= 1}


def _int(value: float | None) -> int | None:
    return None if value is None else int(value)
