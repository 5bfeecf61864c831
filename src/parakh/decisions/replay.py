"""Replay: recorded events and labels from files through the engine, and what came of it in one summary.

Nothing is called and no clock asked: the same files give the same decisions, bit for bit, whatever the batch size.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import ProjectLike
from parakh.decisions.engine import Engine
from parakh.decisions.scorecard import Judged, Scorecard, fraud_label
from parakh.errors import InputError
from parakh.events.definition import amount_field
from parakh.events.labels import LabelRows, quarantine_unknown
from parakh.events.merge import LogBatch, Merger, StepBack, Stream
from parakh.events.quarantine import Quarantine
from parakh.events.reasons import Reason
from parakh.events.sources import Columns, open_source
from parakh.expressions.parse import parse

__all__ = ["Judged", "Progress", "Replay", "Source", "Summary", "Tally"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file of events of one type; `-` is standard input."""

    event_type: str
    path: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is; `total_bytes` is None where it is not known."""

    events: int
    done_bytes: int
    total_bytes: int | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came in and became of it: received = accepted + duplicates + quarantined.

    `outcomes` counts by event type and outcome, and `held_out` what a policy's holdout let through of them, by the
    outcome that it would have had; `judged` compares with the labels, where there are any. `labels` counts labels:
    applied, waiting for an event that did not come, quarantined. `steps_back` are files that begin more than the
    lateness before the end of what was read before them: such events are late.
    """

    received: int
    accepted: int
    duplicates: int
    quarantined: dict[str, int]
    late: int
    decided: int
    outcomes: dict[str, dict[str, int]]
    seconds: float
    judged: dict[str, Judged]
    labels: dict[str, int]
    held_out: dict[str, dict[str, int]] = field(default_factory=dict)
    steps_back: tuple[StepBack, ...] = ()


class Tally:
    """Counts what a replay decides, batch by batch, wherever its events come from; `summary` says it at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._began = time.perf_counter()
        self._decided = 0
        self._outcomes: dict[str, dict[str, int]] = {}
        self._held_out: dict[str, Counter[str]] = {}
        self.scorecard = Scorecard(engine.plan.definitions.events)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._began

    def take(self, decisions: Decisions) -> None:
        """Count a batch."""
        self._decided += len(decisions)
        for event_type, tally in decisions.counts().items():
            row = self._outcomes.setdefault(event_type, dict.fromkeys(tally, 0))
            for outcome, count in tally.items():
                row[outcome] += count
        for part in decisions.parts:
            if let_through := part.held_out():
                self._held_out.setdefault(part.schema.event_type, Counter()).update(let_through)

    def summary(self, *, refused_labels: int, unknown_types: int = 0, steps_back: tuple[StepBack, ...] = ()) -> Summary:
        """What came in and became of it; `unknown_types` events never came to the engine, which does not have them."""
        engine, counts = self._engine, self._engine.counts
        counts.check()
        quarantined = counts.quarantined + Counter({Reason.UNKNOWN_TYPE.code: unknown_types})
        return Summary(
            received=counts.received + unknown_types,
            accepted=counts.accepted,
            duplicates=counts.duplicates,
            quarantined=dict(quarantined.most_common()),
            late=counts.late,
            decided=self._decided,
            outcomes=self._outcomes,
            seconds=self.seconds,
            judged=self.scorecard.judged(),
            labels={
                "applied": engine.labelling.applied,
                "waiting": len(engine.labelling),
                "quarantined": refused_labels + engine.labelling.given_up,
            },
            held_out={event_type: dict(counted) for event_type, counted in self._held_out.items()},
            steps_back=steps_back,
        )


class Replay:
    """A replay of files through an engine of its own.

    `labels` is a file of labels; label columns in the events become known `label_delay_us` after their event.
    `quarantine` is the file that takes what cannot be read, with reasons. Raises InputError where a file cannot be read
    at all, or where features read labels that stand in the events and no delay is given.

    >>> replay = Replay(project, [Source("payment", "payment.ndjson")])  # doctest: +SKIP
    >>> replay.run().outcomes  # doctest: +SKIP
    """

    def __init__(
        self,
        project: ProjectLike,
        sources: Sequence[Source],
        *,
        labels: str | None = None,
        label_delay_us: int | None = None,
        quarantine: Path | None = None,
        batch_size: int = 4096,
        started_us: int | None = None,
    ) -> None:
        if not sources:
            raise InputError("no events to replay: name at least one file")
        for path in [source.path for source in sources] + ([labels] if labels else []):
            if quarantine is not None and quarantine.exists() and Path(path).exists() and quarantine.samefile(path):
                raise InputError(f"{quarantine} is an input: the new quarantine would overwrite it; rename it")
        self._quarantine = Quarantine() if quarantine is None else Quarantine.to_file(quarantine)
        # The time of the start bounds event times only, so it is a property of the input, not of the decisions.
        now_us = time.time_ns() // 1000 if started_us is None else started_us
        self.engine = Engine(project, batch_size=batch_size, started_us=now_us, quarantine=self._quarantine)
        self.engine.keep_forsaken = labels is not None
        self._delay_us = label_delay_us
        self._label_file = labels
        self._check_delay(sources)
        by_type: dict[str, list[str]] = {}
        for source in sources:
            by_type.setdefault(source.event_type, []).append(source.path)
        self._streams = [self._open(name, paths) for name, paths in by_type.items()]
        self._amounts = {
            plan.index: (plan.layout[name].slot if (name := amount_field(plan.event)) else None)
            for plan in self.engine.plan.types
        }
        self._frauds = {plan.index: fraud_label(plan.event) for plan in self.engine.plan.types}

    def schema(self, *, features: bool = False) -> Any:
        """The Arrow schema of the decisions, as `Decisions.to_arrow` gives them."""
        return Decisions([], self.engine.strings, self.engine.schema).to_arrow(features=features).schema

    def run(
        self,
        on_batch: Callable[[Decisions, Progress], object] | None = None,
        *,
        on_entries: Callable[[LogBatch, Decisions], object] | None = None,
    ) -> Summary:
        """Replay everything; `on_batch` is given the decisions batch by batch.

        `on_entries` is given what the log says, labels too, while the events' columns stand in `engine.words`.
        Raises StateLimitError where the state outgrows the project's bound, InputError where a file breaks off.
        """
        with self._quarantine:
            return self._run(on_batch, on_entries)

    def _run(
        self,
        on_batch: Callable[[Decisions, Progress], object] | None,
        on_entries: Callable[[LogBatch, Decisions], object] | None,
    ) -> Summary:
        engine = self.engine
        tally = Tally(engine)
        refused_before = self._quarantine.total
        labels = engine.read_labels(self._label_file)
        refused_labels = self._quarantine.total - refused_before
        self._score_labels(tally.scorecard, labels)
        merger = Merger(self._streams, labels=labels, label_delay_us=self._delay_us)
        while (batch := merger.next(engine.words, engine.batch_size)) is not None:
            decisions = engine.take(batch)
            tally.take(decisions)
            self._score(tally.scorecard, batch, decisions)
            if on_entries is not None:
                on_entries(batch, decisions)
            if on_batch is not None:
                received, done, total = engine.counts.received, merger.read_bytes, merger.total_bytes
                on_batch(decisions, Progress(received, done, total, tally.seconds))
        if self._label_file is not None:
            quarantine_unknown(self._label_file, engine.labelling.forsaken, self._quarantine)
        lateness_us = engine.plan.definitions.settings.lateness_us
        steps_back = tuple(step for step in merger.steps_back if step.by_us > lateness_us)
        return tally.summary(refused_labels=refused_labels, steps_back=steps_back)

    def _open(self, event_type: str, paths: list[str]) -> Stream:
        plan = self.engine.plan.by_name[event_type]
        return Stream(plan.index, plan.decoder, open_source(paths, Columns.of(plan.event)))

    def _check_delay(self, sources: Sequence[Source]) -> None:
        """Labels in the events that features read must not be known at once by accident."""
        if self._delay_us is not None or self._label_file is not None:
            return
        given = {source.event_type for source in sources}
        for entity in self.engine.plan.definitions.entities:
            for feature in entity.features:
                for name in given & set(feature.sources):
                    event = self.engine.plan.definitions.event_type(name)
                    names = {
                        name
                        for text in (feature.aggregate.argument, feature.where)
                        if text
                        for name in parse(text).names
                    }
                    read = [label.name for label in event.labels if label.source is not None and label.name in names]
                    if read:
                        raise InputError(
                            f"feature {entity.name}.{feature.name} reads the label {read[0]!r} of {name}: say when "
                            "labels become known, with --label-delay 7d (or 0s) or a file of labels"
                        )

    def _score_labels(self, scorecard: Scorecard, labels: LabelRows | None) -> None:
        if labels is None:
            return
        for plan in self.engine.plan.types:
            name = self._frauds[plan.index]
            for number, label in enumerate(plan.event.labels):
                if label.name == name:
                    mine = (labels.event_type == plan.index) & (labels.label == number) & (labels.entity < 0)
                    scorecard.labelled(plan.event.name, labels.id_lo[mine], labels.value[mine], labels.rank[mine])

    def _score(self, scorecard: Scorecard, batch: LogBatch, decisions: Decisions) -> None:
        """Note what was decided and, where labels stand in the events themselves, what they were."""
        for part in batch.parts:
            plan = self.engine.plan.types[part.type_index]
            label = self._frauds[part.type_index]
            if label in part.decoded.labels and self._label_file is None:
                words = part.decoded.labels[label]
                known = (words >= 0) & (part.decoded.problem == 0)
                ranks = np.zeros(int(known.sum()), np.int16)
                scorecard.labelled(plan.event.name, part.decoded.id_lo[known], words[known], ranks)
        for made in decisions.parts:
            plan = self.engine.plan.by_name[made.schema.event_type]
            slot = self._amounts[plan.index]
            amount = None if slot is None else self.engine.words[slot, made.rows]
            scorecard.decided(made.schema.event_type, made.id_lo, made.judgement.outcome, amount)
