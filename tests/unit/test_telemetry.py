"""What the service tells Prometheus: counts equal a plain recount, labels stay bounded, a scrape never fails."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from parakh.decisions.definition import Definitions, Settings
from parakh.events.definition import EventType
from parakh.rules.definition import Mode, Outcome, Rule
from parakh.service.telemetry import GAUGES, METRICS, OTHER, SECONDS, STAGES, Telemetry

RULES = tuple(
    Rule(
        name=f"rule_{index}",
        event_types=("payment",),
        when="true",
        then=Outcome.BLOCK,
        mode=(Mode.LIVE, Mode.SHADOW, Mode.DISABLED)[index % 3],
    )
    for index in range(210)
)
ENABLED = [rule for rule in RULES if rule.mode is not Mode.DISABLED]
DEFINITIONS = Definitions(
    settings=Settings(name="shop"),
    events=tuple(EventType(name=name, id="id", time="at", fields=()) for name in ("payment", "login")),
    rules=RULES,
)


def _telemetry() -> Telemetry:
    telemetry = Telemetry()
    telemetry.use_project(DEFINITIONS, "abc123")
    return telemetry


def _samples(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(telemetry.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def _value(telemetry: Telemetry, name: str, **labels: str) -> float:
    return _samples(telemetry)[name, tuple(sorted(labels.items()))]


@settings(deadline=None)  # other work may run beside
@given(st.lists(st.integers(-1, 3), max_size=100), st.sampled_from(["payment", "login", "4111111111111111"]))
def test_outcomes_are_counted_one_by_one_or_all_at_once(outcomes: list[int], event_type: str) -> None:
    telemetry = _telemetry()
    telemetry.batch_decided(event_type, np.array(outcomes, np.int8))
    telemetry.batch_decided(event_type, np.array(outcomes[:3], np.int8))
    expected = Counter(outcomes + outcomes[:3])
    shown = event_type if event_type != "4111111111111111" else OTHER
    samples = _samples(telemetry)
    for outcome in Outcome:
        labels = (("event_type", shown), ("outcome", outcome.word))
        assert samples["parakh_decisions_total", labels] == expected[int(outcome)]
    assert b"411111" not in telemetry.exposition()


@settings(deadline=None)  # other work may run beside
@given(st.lists(st.floats(0, 20, allow_nan=False), max_size=80))
def test_times_are_in_the_buckets_that_a_recount_finds(times: list[float]) -> None:
    telemetry = _telemetry()
    telemetry.batch_decided("payment", np.zeros(len(times), np.int8), queued_seconds=np.array(times, np.float64))
    samples = _samples(telemetry)
    for bound in SECONDS:
        name = "parakh_stage_seconds_bucket"
        assert samples[name, (("le", str(bound)), ("stage", "queue"))] == sum(time <= bound for time in times)
    assert samples["parakh_stage_seconds_bucket", (("le", "+Inf"), ("stage", "queue"))] == len(times)
    assert samples["parakh_stage_seconds_count", (("stage", "queue"),)] == len(times)
    assert samples["parakh_stage_seconds_sum", (("stage", "queue"),)] == pytest.approx(sum(times))


@pytest.mark.parametrize("rows", [0, 1, 5, 16, 33, 200])
def test_rules_that_hit_are_counted_as_in_a_plain_recount(rows: int) -> None:
    rng = np.random.default_rng(rows)
    hit = rng.random((rows, len(ENABLED))) < 0.1
    words = -(-len(ENABLED) // 64)
    sets = np.zeros((rows, words), np.uint64)
    for row, rule in zip(*np.nonzero(hit), strict=True):
        sets[row, rule // 64] |= np.uint64(1) << np.uint64(rule % 64)
    telemetry = _telemetry()
    telemetry.rules_hit("payment", sets)
    telemetry.rules_hit("login", sets)  # has no rules
    telemetry.rules_hit("4111111111111111", sets)
    samples = _samples(telemetry)
    for index, rule in enumerate(ENABLED):
        value = samples["parakh_rule_hits_total", (("mode", rule.mode.value), ("rule", rule.name))]
        assert value == hit[:, index].sum(), f"{rule.name}, seed {rows}"


def test_stages_of_a_batch_are_counted_for_each_of_its_events() -> None:
    telemetry = _telemetry()
    telemetry.batch_decided("payment", np.zeros(7, np.int8), seconds_by_stage={"decide": 0.002, "personal": 0.00001})
    telemetry.committed(7, 0.004)
    telemetry.stage_done("enrich", 0.02)
    for stage, seconds, count in (
        ("decide", 0.014, 7),
        ("personal", 0.00007, 7),
        ("commit", 0.028, 7),
        ("enrich", 0.02, 1),
    ):
        assert _value(telemetry, "parakh_stage_seconds_count", stage=stage) == count
        assert _value(telemetry, "parakh_stage_seconds_sum", stage=stage) == pytest.approx(seconds)
    assert _value(telemetry, "parakh_log_commits_total") == 1
    assert _value(telemetry, "parakh_log_group_size_bucket", le="4.0") == 0
    assert _value(telemetry, "parakh_log_group_size_bucket", le="8.0") == 1


def test_every_metric_is_exposed_under_its_name_with_its_help() -> None:
    telemetry = _telemetry()
    for name in GAUGES:
        telemetry.watch(name, (lambda: {"ip_risk": 2}) if name == "parakh_breaker_state" else (lambda: 5))
    text = telemetry.exposition().decode()
    for name, says in METRICS.items():
        assert f"# HELP {name} {says}\n" in text
    assert 'parakh_breaker_state{name="ip_risk"} 2.0' in text
    assert 'parakh_project_info{hash="abc123",name="shop"} 1.0' in text
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE parakh")} == set(METRICS)


def test_labels_are_bounded_whatever_is_counted() -> None:
    telemetry = _telemetry()
    for index in range(1000):
        hostile = f"41111111111111{index:02}"
        telemetry.batch_decided(hostile, np.zeros(1, np.int8))
        telemetry.events(hostile, "refused")
        telemetry.refused(hostile)
        telemetry.degraded(hostile)
        telemetry.webhook(hostile)
        telemetry.route(f"/v1/route{index}")
    text = telemetry.exposition().decode()
    assert "411111" not in text
    for name in ("parakh_refused_total", "parakh_degraded_total", "parakh_webhook_deliveries_total"):
        label = "result" if "webhook" in name else "reason"
        assert _value(telemetry, name, **{label: OTHER}) == 1000
    assert sum(line.startswith("parakh_request_seconds_count") for line in text.splitlines()) == 64


def test_known_reasons_and_statuses_are_counted_by_name() -> None:
    telemetry = _telemetry()
    telemetry.refused("bad_json", 3)
    telemetry.refused("overloaded")
    telemetry.degraded("deadline", 2)
    telemetry.events("payment", "duplicate", 4)
    telemetry.shed(2)
    telemetry.webhook("delivered")
    telemetry.snapshot_written(0.7)
    assert _value(telemetry, "parakh_refused_total", reason="bad_json") == 3
    assert _value(telemetry, "parakh_refused_total", reason="overloaded") == 1
    assert _value(telemetry, "parakh_degraded_total", reason="deadline") == 2
    assert _value(telemetry, "parakh_events_total", event_type="payment", status="duplicate") == 4
    assert _value(telemetry, "parakh_shed_total") == 2
    assert _value(telemetry, "parakh_webhook_deliveries_total", result="delivered") == 1
    assert _value(telemetry, "parakh_snapshot_seconds_count") == 1
    with pytest.raises(ValueError, match="not in tuple"):
        telemetry.events("payment", "odd")


def test_a_new_project_keeps_what_it_shares_and_ends_the_rest() -> None:
    telemetry = _telemetry()
    telemetry.batch_decided("payment", np.zeros(2, np.int8))
    telemetry.batch_decided("login", np.zeros(3, np.int8))
    telemetry.rules_hit("payment", np.array([[0b11]], np.uint64))
    kept, gone = ENABLED[0], ENABLED[1]
    later = replace(DEFINITIONS, events=DEFINITIONS.events[:1], rules=tuple(rule for rule in RULES if rule is not gone))
    telemetry.use_project(later, "def456")
    assert _value(telemetry, "parakh_decisions_total", event_type="payment", outcome="allow") == 2
    assert _value(telemetry, "parakh_rule_hits_total", rule=kept.name, mode="live") == 1
    text = telemetry.exposition().decode()
    assert 'event_type="login"' not in text
    assert f'rule="{gone.name}"' not in text
    assert 'hash="def456"' in text


def test_a_gauge_that_fails_is_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = _telemetry()

    def closing() -> float:
        raise OSError("4111111111111111")

    telemetry.watch("parakh_queue_depth", closing)
    telemetry.watch("parakh_ids", lambda: 12)
    telemetry.watch("parakh_snapshot_age_seconds", lambda: None)  # type: ignore[arg-type, return-value]
    text = telemetry.exposition().decode()
    assert "parakh_queue_depth" not in text
    assert "parakh_snapshot_age" not in text
    assert "parakh_ids 12.0" in text
    telemetry.exposition()
    said = [record.__dict__["parakh_fields"]["name"] for record in caplog.records]
    assert sorted(said) == ["parakh_queue_depth", "parakh_snapshot_age_seconds"]
    telemetry.watch("parakh_queue_depth", lambda: 7)
    assert "parakh_queue_depth 7.0" in telemetry.exposition().decode()
    with pytest.raises(ValueError, match="is no gauge"):
        telemetry.watch("parakh_odd", lambda: 1)


def test_a_request_is_counted_by_its_route() -> None:
    telemetry = _telemetry()
    route = telemetry.route("/v1/decisions/{event_type}")
    assert telemetry.route("/v1/decisions/{event_type}") == route
    for seconds in (0.0, 0.001, 0.0010001, 30.0):
        telemetry.request_done(route, seconds)
    labels = {"route": "/v1/decisions/{event_type}"}
    assert _value(telemetry, "parakh_request_seconds_bucket", le="0.001", **labels) == 2
    assert _value(telemetry, "parakh_request_seconds_bucket", le="10.0", **labels) == 3
    assert _value(telemetry, "parakh_request_seconds_count", **labels) == 4


def test_every_stage_is_there_before_anything_was_counted() -> None:
    samples = _samples(_telemetry())
    for stage in STAGES:
        assert samples["parakh_stage_seconds_count", (("stage", stage),)] == 0


def test_what_alerts_look_for_is_there_at_zero_before_it_happens() -> None:
    """Prometheus sees no increase in a series that begins at 1."""
    telemetry = _telemetry()
    assert _value(telemetry, "parakh_refused_total", reason="internal") == 0
    assert _value(telemetry, "parakh_degraded_total", reason="deadline") == 0
    assert _value(telemetry, "parakh_webhook_deliveries_total", result="dead") == 0
    assert _value(telemetry, "parakh_decisions_total", event_type="payment", outcome="block") == 0
    assert _value(telemetry, "parakh_events_total", event_type="payment", status="conflict") == 0
