"""The benchmarks, on tiny slices: Parakh agrees with its peers, and what is reported is what was measured."""

from __future__ import annotations

import importlib
import time

import numpy as np
import pytest
from benchmarks import end_to_end, scale, starts, windows
from benchmarks.judging import more_rules
from benchmarks.results import Results, Row, keep_section
from benchmarks.stages import STAGES, timed
from benchmarks.workload import FEATURES, ndjson, workload

from parakh import Project
from parakh.decisions.engine import Engine
from parakh.expressions.parse import parse

SLICE = 3_000


@pytest.fixture(scope="module")
def punctual():
    return workload(SLICE, late=0.0)


@pytest.fixture(scope="module")
def parakh_features(punctual):
    return windows.run(punctual).features


@pytest.fixture(scope="module")
def project():
    return Project.load(windows.PROJECT)


PEERS = (
    ("plain_python", "numpy"),
    ("bytewax_maps", "bytewax"),
    ("duckdb_windows", "duckdb"),
    ("polars_rolling", "polars"),
)


@pytest.mark.parametrize(("module", "library"), PEERS)
def test_parakh_agrees_with_its_peers_where_nothing_is_late(punctual, parakh_features, module, library) -> None:
    pytest.importorskip(library)
    peer = importlib.import_module(f"benchmarks.peers.{module}").run(punctual)
    for feature in FEATURES:
        np.testing.assert_allclose(
            parakh_features[feature], peer.features[feature], rtol=1e-9, atol=1e-9, equal_nan=True, err_msg=feature
        )


def test_what_is_timed_computes_what_the_engine_decides_on(project) -> None:
    stream = workload(SLICE)  # a fifth is out of order
    timed_features = windows.run(stream).features
    table = Engine(project).decide(b"".join(ndjson(stream))).to_pandas(features=True)
    for feature in FEATURES:
        np.testing.assert_allclose(timed_features[feature], table[feature].astype(float), rtol=1e-12, err_msg=feature)


def test_every_stage_of_the_path_has_its_time(project) -> None:
    path = end_to_end.Path(project, ndjson(workload(2_048)))
    calls = end_to_end.Calls()
    batches = path.batches_of(1_024, 2_048)
    plain = Engine.decide_lines
    with timed() as stages:
        path.decide(batches, calls)
    stages.total_s = calls.cpu_s
    assert calls.events == 2_048
    assert Engine.decide_lines is plain
    assert set(stages.seconds) == set(STAGES)
    assert min(stages.seconds.values()) > 0, stages.seconds
    assert sum(stages.shares().values()) == pytest.approx(1, abs=0.02)


def test_clocks_are_taken_away_again(project) -> None:
    path = end_to_end.Path(project, ndjson(workload(128)))
    batches = path.batches_of(64, 128)
    with timed() as stages:
        path.decide(batches[:1], end_to_end.Calls())
    before = stages.calls
    path.decide(batches[1:], end_to_end.Calls())
    assert stages.calls == before > 0


def test_the_whole_path_is_reported(project) -> None:
    results = Results("Speed", "")
    engine = end_to_end.measure(results, events=100_000)
    assert engine.counts.received == engine.counts.accepted == 100_000
    text = results.markdown()
    for size in end_to_end.SIZES:
        assert f"batches of {size:,}" in text
    assert {table.title for table in results.tables} >= {"Where the time goes, microseconds an event"}


def test_a_month_of_labelled_payments_is_held() -> None:
    run = scale.measure(30_000, 3_000, pieces=3)
    assert [piece.events for piece in run.pieces][-1] == run.engine.state.records == 30_000
    assert 2_500 < run.engine.state.keys <= 3_000
    assert run.engine.labelling.applied > 500, "labels of the first three weeks are known"
    assert min(piece.event_us for piece in run.pieces) > 0
    text = scale.report(run, []).markdown()
    assert "| records held " in text
    assert "30,000" in text


def test_without_the_model_rules_judge_alone(project) -> None:
    rules_alone = end_to_end.without_model(project)
    lines = b"".join(ndjson(workload(200)))
    assert all(decision.score is None for decision in Engine(rules_alone).decide(lines))
    assert all(decision.score is not None for decision in Engine(project).decide(lines))


def test_more_rules_share_no_comparison(project) -> None:
    rules = more_rules(project, 6).definitions.rules
    assert len(rules) == len({rule.name for rule in rules}) == 300
    assert len({rule.when for rule in rules}) == 300
    for rule in rules:
        parse(rule.when)
    assert tuple(rule.when for rule in rules[:50]) == tuple(rule.when for rule in project.definitions.rules)


def test_an_edited_rule_decides(tmp_path) -> None:
    project = starts.with_rules(tmp_path / "project", 2)
    assert len(project.definitions.rules) == 100
    engine = Engine(project, batch_size=64)
    lines = list(ndjson(workload(64)))
    engine.decide_lines("payment", b"".join(lines[:32]))
    starts._edited(engine, -2)  # amount >= 0.5
    after = engine.decide_lines("payment", b"".join(lines[32:]))
    assert all("threshold_01" in decision.rules for decision in after if decision.features["card.payments_10m"])
    assert "E-2" in after[0].reasons


def test_a_process_is_measured_to_its_end() -> None:
    import sys

    done = starts.ran([sys.executable, "-c", "import time; time.sleep(0.2); sum(range(10**6)); print(7)"])
    assert done.output == "7\n"
    assert done.wall_s >= 0.2
    assert done.cpu_s > 0
    with pytest.raises(starts.subprocess.CalledProcessError):
        starts.ran([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.parametrize(
    ("row", "met", "ratio"),
    [
        (Row.at_least("speed", 150, 100, "k"), True, 1.5),
        (Row.at_least("speed", 99.9, 100, "k"), False, 0.999),
        (Row.at_most("time", 25, 50, "ms"), True, 2.0),
        (Row.at_most("time", 51, 50, "ms"), False, 50 / 51),
        (Row("memory", "5 GB"), None, None),
    ],
)
def test_a_target_is_met_or_missed(row, met, ratio) -> None:
    assert row.met is met
    assert row.ratio == (pytest.approx(ratio) if ratio else None)
    assert (row.cells()[-1] == "**no**") is (met is False)


def test_a_section_is_written_and_the_others_stay(tmp_path) -> None:
    file = tmp_path / "results.md"
    keep_section(file, "## Speed\n\nfirst\n\n### Part\n\nmore\n", heading="# Results\n")
    keep_section(file, "## Scale\n\nlarge\n", heading="# Results\n")
    keep_section(file, "## Speed\n\nsecond\n", heading="# Results\n")
    assert file.read_text() == "# Results\n\n## Speed\n\nsecond\n\n## Scale\n\nlarge\n"


def test_the_results_in_the_repository_have_their_sections() -> None:
    results = windows.PROJECT.parent / "results.md"
    text = results.read_text()
    assert text.startswith("# Results of the benchmarks\n")
    assert "## Speed\n" in text
    assert "## Scale\n" in text
    assert time.strptime(text.partition("## Speed\n\n")[2][:10], "%Y-%m-%d")
