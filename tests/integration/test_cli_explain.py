"""Explanations against the engine: what a timeline shows inside a window is what the feature counted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from parakh.cli.narrate import find_event, narrate
from parakh.cli.report.data import Story
from parakh.cli.words import length
from parakh.features.definition import AggregateKind, Feature
from parakh.project.project import Project
from parakh.simulation.scenario import simulate

EXAMPLE = Path(__file__).parents[2] / "examples" / "card-payments"
SEED = 11


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.load(EXAMPLE)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    simulate("fintech", events=12_000, seed=5, out=folder)
    return folder


@pytest.fixture(scope="module")
def sources(project: Project, events: Path) -> list[SimpleNamespace]:
    names = [event.name for event in project.definitions.events]
    return [SimpleNamespace(event_type=name, path=str(events / f"{name}.ndjson")) for name in names]


@pytest.fixture(scope="module")
def stories(project: Project, events: Path, sources: list[SimpleNamespace]) -> tuple[Story, ...]:
    """Every fraud that is named in the truth, and some good events; all features of each."""
    truth = [json.loads(line) for line in (events / "truth.ndjson").read_text().splitlines()]
    judged = [item for item in truth if item["event_type"] in ("payment", "transfer")]
    dice = random.Random(SEED)
    chosen = dice.sample([item for item in judged if item["fraud"]], 20) + dice.sample(judged, 40)
    wanted = {}
    for item in chosen:
        (hash,) = find_event(project, f"{item['event_type']}:{item['event_id']}")
        wanted[hash] = item["kind"]
    labels = str(events / "labels.ndjson")
    found = narrate(project, sources, wanted, labels=labels, every_feature=True)  # type: ignore[arg-type]
    assert len(found) == len(wanted)
    return found


def features(project: Project) -> dict[tuple[str, str], Feature]:
    return {
        (feature.entity, feature.name): feature
        for entity in project.definitions.entities
        for feature in entity.columns()
    }


def test_a_window_shows_as_many_events_as_were_counted(project: Project, stories: tuple[Story, ...]) -> None:
    known = features(project)
    checked = positive = 0
    for story in stories:
        for timeline in story.timelines:
            for strip in timeline.strips:
                for name, value in strip.values:
                    feature = known[timeline.entity.split(" ")[0], name]
                    if feature.definition.aggregate.kind is AggregateKind.COUNT:
                        where = f"{story.event_id}: {feature.full_name} (seed {SEED})"
                        assert len(strip.inside) == int(value.replace(",", "")), where
                        checked += 1
                        positive += value != "0"
    assert checked > 300
    assert positive > 100


def test_frauds_shown_are_the_frauds_that_were_known(project: Project, stories: tuple[Story, ...]) -> None:
    known = features(project)
    seen = 0
    for story in stories:
        for timeline in story.timelines:
            for strip in timeline.strips:
                for name, value in strip.values:
                    feature = known[timeline.entity.split(" ")[0], name]
                    aggregate = feature.definition.aggregate
                    if (aggregate.kind, aggregate.argument) == (AggregateKind.SUM, "fraud"):
                        frauds = sum(bool(mark.fraud) for mark in strip.inside)
                        assert frauds == (0 if value == "unknown" else int(value)), f"{story.event_id} {name}"
                        seen += frauds
    assert seen > 0, "no story has a known fraud in its past: nothing was tested"


def test_the_time_since_the_last_is_the_age_of_the_newest_mark(project: Project, stories: tuple[Story, ...]) -> None:
    known = features(project)
    checked = 0
    for story in stories:
        for timeline in story.timelines:
            for strip in timeline.strips:
                for name, value in strip.values:
                    feature = known[timeline.entity.split(" ")[0], name]
                    if feature.definition.aggregate.kind is AggregateKind.SINCE_LAST:
                        ages = [mark.age_us for mark in strip.marks if not mark.current]
                        assert value == (length(min(ages)) if ages else "unknown")
                        checked += 1
    assert checked > 50


def test_rules_are_told_as_they_were_judged(project: Project, stories: tuple[Story, ...]) -> None:
    hits = 0
    for story in stories:
        for name, truth, clauses in story.rules:
            tops = [clause.truth for clause in clauses if clause.depth == 0]
            rule = next(rule for rule in project.definitions.rules if rule.name == name.split(" ")[0])
            if " or " not in rule.when or len(tops) > 1:
                expected = False if False in tops else None if None in tops else True
                assert truth == expected, f"{story.event_id} {name}: {clauses}"
            hits += truth is True
        if story.decided_by.startswith("rule "):
            assert any(truth and name.startswith(story.decided_by[5:] + " ") for name, truth, _ in story.rules)
    assert hits > 0


def test_an_event_that_is_not_there_has_no_story(project: Project, sources: list[SimpleNamespace]) -> None:
    wanted = dict.fromkeys(find_event(project, "no-such-event"), "")
    assert len(wanted) == len(project.definitions.events)
    assert narrate(project, sources, wanted, labels=None) == ()  # type: ignore[arg-type]
