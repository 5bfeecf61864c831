"""The engine: the one path from a batch of the log to decisions, the same live, in a replay, a notebook and the tests.

`Engine.take` reads aloud: admit the ids, place the labels, derive, read the windows, score, judge, hold out. What
differs between uses is only how large a batch is, and that changes nothing but speed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.admission import Admission, Admitted, Counts
from parakh.decisions.decisions import Decision, Decisions
from parakh.decisions.definition import ProjectLike
from parakh.decisions.express import Express, Lengths, Straight
from parakh.decisions.history import History
from parakh.decisions.labelling import Labelling, Placed
from parakh.decisions.parts import Part
from parakh.decisions.plan import Plan, TypePlan, compile_intake, compile_plan
from parakh.decisions.policy import DEGRADED
from parakh.decisions.scoring import ModelPlan
from parakh.decisions.tables import arrow_schema
from parakh.errors import InputError, Problem, ProjectError, StateLimitError
from parakh.events.ids import IdIndex
from parakh.events.labels import LabelRows, LabelSchema, read_labels
from parakh.events.merge import LABEL, EventPart, LogBatch, Merger, Stream
from parakh.events.quarantine import Quarantine
from parakh.events.readers import lines_of
from parakh.events.reasons import Reason
from parakh.events.sources import Columns, Source, memory_source, open_source
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD
from parakh.features.state import FeatureState

__all__ = ["Counts", "Decision", "Decisions", "Engine", "Scoring"]

_NO_CONTRIBUTIONS = np.zeros((0, 1))
_TEXT_BYTES = 64
"""Room for a new text, on average."""
_SWEEP_AFTER = 512
_SWEPT_SHARE = 8
"""After so many events the sweep looks at one key for so many of them: idle keys go, and nobody waits."""


class Scoring(Protocol):
    """What may stand between the engine and its models."""

    def score(self, model: ModelPlan, words: NDArray[np.int64], start: int, stop: int) -> NDArray[np.float64] | None:
        """Score rows into the model's output column and give its inputs; None, and NaN there, where it did not."""
        ...


class Engine:
    """Decides on events, in the order of the log, and keeps the history that deciding needs.

    `batch_size` bounds how many events are worked on at once; it changes speed, never an answer. `started_us` is when
    the run began (microseconds UTC): events more than five minutes ahead of it are quarantined; None takes any.
    Where the state would outgrow `[limits] state`, a replay stops with StateLimitError; with `live` the engine goes on
    without windows: features are NULL, the policy's fallback stands in, decisions are degraded, and `full` says why.

    >>> from parakh.decisions.engine import Engine
    >>> from parakh.project.project import Project
    >>> engine = Engine(Project.load("examples/card-payments"))  # doctest: +SKIP
    >>> engine.decide({"payment": "payment.ndjson"})  # doctest: +SKIP
    """

    def __init__(
        self,
        project: ProjectLike,
        *,
        batch_size: int = 4096,
        started_us: int | None = None,
        quarantine: Quarantine | None = None,
        live: bool = False,
        strings: Strings | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError("a batch has at least one event")
        _expect_project(project)
        self.project = project
        self.batch_size = batch_size
        self.strings = strings or Strings()
        self.plan: Plan = compile_plan(
            project.definitions,
            project.hash,
            compile_intake(project.definitions, self.strings, started_us=started_us),
        )
        self.state = FeatureState(self.plan.intake.features)
        self.history = History(self.state, self.plan.intake)
        self.quarantine = quarantine or Quarantine()
        self.admission = Admission(project.definitions.settings.lateness_us, self.quarantine)
        self.labelling = Labelling(project.definitions.settings.lateness_us)
        self.full: StateLimitError | None = None
        self._live = live
        self.blindfolded = False  # made again as it was decided: without windows, though there is room for them now
        self.blind = False  # whether the batch that was taken last was decided without windows
        self.keep_forsaken = False  # a replay can read labels that are given up again, and quarantine their bytes
        self._unswept = 0
        self._frame()

    # -- what people call ---------------------------------------------------------------------------------------------

    def decide(
        self,
        events: Any,
        *,
        event_type: str | None = None,
        labels: Any = None,
        label_delay_us: int | None = None,
    ) -> Decisions:
        """Decide on events and remember them.

        `events` are a list of dicts, a table (Arrow, pandas, Polars), NDJSON as bytes, or a file's path - of one event
        type, named by `event_type` where the project has several - or a mapping of event types to such. `labels` are
        given likewise, with event_type, event_id, label, value, known_at and source. Label columns of the events become
        known after `label_delay_us`; never, where it is None. What cannot be read is counted in the result's
        `quarantined` and `quarantined_labels`. Raises InputError where a source cannot be read at all.
        """
        before, all_before = Counter(self.counts.quarantined), Counter(self.quarantine.counts)
        streams = [self._stream(name, source) for name, source in self._by_type(events, event_type).items()]
        carried = any(label.source for item in streams for label in item.decoder.event_type.labels)
        if label_delay_us is not None and not carried:
            raise InputError(
                "label_delay_us is given, but no label of these events has a `from:` column to be read from"
            )
        merger = Merger(streams, labels=self.read_labels(labels), label_delay_us=label_delay_us)
        batches = []
        while (batch := merger.next(self.words, self.batch_size)) is not None:
            batches.append(self.take(batch))
        decisions = Decisions.concat(batches or [Decisions([], self.strings, self.schema)])
        refused = Counter(self.counts.quarantined) - before
        decisions.quarantined = dict(refused)
        decisions.quarantined_labels = dict(Counter(self.quarantine.counts) - all_before - refused)
        return decisions

    def forget_oldest(self, events: int) -> None:
        """Forget the ids of so many of the events that were accepted first: they may come again as new ones."""
        gone = np.zeros(len(self.ids), np.bool_)
        gone[:events] = True
        self.state.held.move(self.ids.forget(gone))

    def decide_lines(self, event_type: str, data: bytes) -> Decisions:
        """Decide on lines of JSON of one event type: the short way of a live service; at most `batch_size` lines."""
        plan = self._type(event_type)
        chunk = lines_of(event_type, data)
        if chunk.count > self.batch_size:
            raise InputError(f"{chunk.count:,} events at once; this engine takes {self.batch_size:,}")
        return self.take(LogBatch.of_chunk(plan.index, plan.decoder, chunk, self.words))

    def apply(self, project: ProjectLike) -> None:
        """Decide by another version of the project from the next event on; the history that was kept stays.

        Rules, signals, models, policies, lists and tables may differ. Raises ProjectError where events, features or
        settings do: their history has to be built from the log, by a replay.
        """
        _expect_project(project)
        intake = self.plan.intake
        if not intake.serves(project.definitions):
            what = "events, features or settings differ: their history must be built from the log"
            raise ProjectError((Problem(what, hint="replay the events with the new project"),))
        intake.refer(project.definitions)
        self.plan = compile_plan(project.definitions, project.hash, intake)
        self.project = project
        self._frame()

    @property
    def counts(self) -> Counts:
        """What came in and became of it."""
        return self.admission.counts

    @property
    def ids(self) -> IdIndex:
        """The ids of all accepted events."""
        return self.admission.ids

    @property
    def schema(self) -> Any:
        """The Arrow schema of decisions with all features."""
        return arrow_schema([item.schema for item in self.plan.types if item.decided])

    @property
    def nbytes(self) -> int:
        """Bytes of state: windows, keys, strings and ids."""
        return self.state.nbytes + self.strings.nbytes + self.ids.nbytes

    def make_room(self) -> None:
        """Room for what comes first: texts and ids that were restored are full, and those who ask first are not to wait
        while they grow.
        """
        texts = self.batch_size * max((plan.decoder.interned for plan in self.plan.types), default=0)
        self.strings.reserve(texts, texts * _TEXT_BYTES)
        self.ids.room(self.batch_size)

    def __repr__(self) -> str:
        name, counts = self.project.definitions.settings.name, self.counts
        return f"Engine {name}: {counts.accepted:,} events accepted, {self.state.records:,} records held"

    # -- the one path -------------------------------------------------------------------------------------------------

    def take(
        self,
        batch: LogBatch,
        *,
        arrived_us: int | None = None,
        scoring: Scoring | None = None,
        decide: bool = True,
    ) -> Decisions:
        """Take a batch whose events stand in `self.words`, and decide on it.

        The records say `arrived_us` for when they were decided, the clock where it is None. `scoring` may leave models
        out (a service's, where they do not answer in time). Without `decide` the events are remembered only, as when
        state is built from the log. Raises StateLimitError where the state would outgrow the project's bound.
        """
        flags = self.flags
        if batch.parts:
            flags[: batch.parts[-1].stop] = 0
        admitted = self.admission.admit(batch, self.words, flags)
        placed = self._place_labels(batch, admitted)
        for part in batch.parts:
            self.plan.types[part.type_index].ingest.run(self.words, part.start, part.stop, flags)
        for part in batch.parts:
            slot = self.plan.types[part.type_index].unanswered
            if slot is not None:
                flags[part.start : part.stop][self.words[slot, part.start : part.stop] == 1] |= DEGRADED
        self._look_back(batch, admitted, placed)
        parts = batch.parts if decide else ()
        decided = [self._decide(part, batch, admitted, arrived_us, scoring) for part in parts]
        self._sweep(batch.count)
        decisions = Decisions([part for part in decided if part is not None], self.strings, self._schema)
        decisions.accepted, decisions.statuses = admitted.rows.size, admitted.statuses
        return decisions

    def take_straight(
        self, type_index: int, data: bytes, lengths: Lengths, *, arrived_us: int, scoring: Scoring | None = None
    ) -> Straight | None:
        """Decide on a few events of one type, JSON objects one after another in `data`, the short way.

        The same decisions as by `take`; `scoring` is not asked for a forest that scores alone. None, and nothing has
        changed, where they have to go that way: some are no new events or have something unusual about them, a label
        waits for one of them, or there is no room for windows.
        """
        if self.full is not None or self.blindfolded or len(lengths) > self.batch_size:
            return None
        express = self._expresses.get(type_index)
        if express is None:
            if self.state.plan.calendars or not Express.serves(self.plan.types[type_index]):
                return None
            express = self._expresses[type_index] = Express(self, self.plan.types[type_index])
        self.blind = False
        taken = express.take(data, lengths, arrived_us=arrived_us, scoring=scoring)
        if taken is not None:
            self._sweep(taken.count)
        return taken

    def _sweep(self, events: int) -> None:
        self._unswept += events
        if self._unswept >= _SWEEP_AFTER:
            self.state.sweep(self._unswept // _SWEPT_SHARE)
            self._unswept = 0
            self._bound()

    def _place_labels(self, batch: LogBatch, admitted: Admitted) -> Placed | None:
        if not batch.labels.count and not len(self.labelling):
            return None
        entries = np.flatnonzero(batch.kinds == LABEL)
        placed = self.labelling.place(
            batch.labels.take(batch.rows[entries]),
            entries,
            self.ids,
            new_entries=admitted.entries,
            new_ids=batch.columns(("id_hi", "id_lo"), admitted.rows),
            clocks=admitted.clocks,
            first_clock=admitted.clock_before_us,
        )
        self.give_up_labels()
        return placed

    def give_up_labels(self) -> None:
        """Put labels aside that have waited for their events for too long."""
        if self.admission.clock_us is not None:
            self.labelling.give_up(self.admission.clock_us)
        if not self.keep_forsaken:
            for place in self.labelling.forsaken:
                self.quarantine.add(Reason.UNKNOWN_EVENT, source="labels", line=place + 1, raw=b"")
            self.labelling.forsaken.clear()

    def _look_back(self, batch: LogBatch, admitted: Admitted, placed: Placed | None) -> None:
        """The windows, as long as there is room for them."""
        stop = batch.parts[-1].stop if batch.parts else 0
        before = self.flags[:stop].copy()
        try:
            if self.full is None:
                self.history.read(self.words, self.flags, admitted, placed)
        except StateLimitError as error:
            self.run_full(error)
        self.blind = self.blindfolded or self.full is not None
        if self.blind:
            for plan in self.plan.types:
                mine = admitted.rows[admitted.kinds == plan.index]
                self.without_windows(plan, mine, before[mine])

    def run_full(self, error: StateLimitError) -> None:
        """There is no more room for windows: go on without them where the engine is live, raise where it is not."""
        if not self._live:
            raise error
        self.full = error
        self.blind = True

    def without_windows(self, plan: TypePlan, rows: slice | NDArray[np.int64], flags: NDArray[np.uint8]) -> None:
        """Decide on rows of the frame without windows; `flags` are theirs from before these were looked at."""
        self.flags[rows] = flags | DEGRADED
        for column in plan.features:
            self.words[column.slot, rows] = column.type.null_word

    def _decide(
        self, part: EventPart, batch: LogBatch, admitted: Admitted, arrived_us: int | None, scoring: Scoring | None
    ) -> Part | None:
        plan = self.plan.types[part.type_index]
        if not plan.decided:
            return None
        words, flags, start, stop = self.words, self.flags, part.start, part.stop
        plan.signals.run(words, start, stop, flags)
        inputs = None
        for model in plan.models:
            x = model.score(words, start, stop) if scoring is None else scoring.score(model, words, start, stop)
            if model is plan.score:
                inputs = x
        plan.rules.run(words, start, stop, flags)
        judgement = plan.judge.judge(words, start, stop, flags)

        # The new events of this part, in log order, and their places among all that are decided.
        rows, clocks, position = admitted.rows, admitted.clocks, self._numbers[: admitted.rows.size]
        if len(batch.parts) > 1:
            mine = np.flatnonzero(admitted.kinds == part.type_index)
            rows, clocks, position = rows[mine], clocks[mine], self._positions(admitted)[mine]
        # Of one type the rows are in log order; where all are new, they are all rows of the part.
        decoded = part.decoded
        columns: Any = slice(start, stop)
        if rows.size != part.count:
            columns = rows
            decoded = decoded.take(rows - start)
            judgement = judgement.take(rows - start)
            inputs = None if inputs is None else inputs[rows - start]
        kept_flags = flags[columns].copy()
        contributions = _NO_CONTRIBUTIONS
        if judgement.stopped:
            if plan.holdout is not None:
                slot = plan.holdout.amount_slot
                amounts = None if slot is None else words[slot, columns]
                plan.holdout.let_through(judgement, kept_flags, (decoded.id_hi, decoded.id_lo), amounts)
            if plan.score is not None and inputs is not None:
                found = plan.score.scorer.contributions(inputs[judgement.outcome != 0])
                contributions = _NO_CONTRIBUTIONS if found is None else found
        decided_at = clocks
        if arrived_us is not None:
            decided_at = np.empty(clocks.size, np.int64)
            decided_at.fill(arrived_us)
        return Part(
            schema=plan.schema,
            writer=plan.writer,
            position=position,
            rows=rows,
            id_hi=decoded.id_hi,
            id_lo=decoded.id_lo,
            ids=(decoded.id_buffer, decoded.id_starts, decoded.id_lengths),
            event_time_us=decoded.times,
            decided_at_us=decided_at,
            judgement=judgement,
            score=self.unscored[: rows.size]
            if plan.score is None
            else self._scores[plan.score.output.slot, columns].copy(),
            flags=kept_flags,
            words=words[plan.kept, columns] if isinstance(columns, slice) else words[plan.kept[:, None], columns],
            contributions=contributions,
        )

    def _positions(self, admitted: Admitted) -> NDArray[np.int64]:
        decided = self._decided_kinds[admitted.kinds]
        return np.cumsum(decided) - decided

    # -- parts --------------------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        """The frame of a batch, and what follows from the plan."""
        self.words = np.full((self.plan.width, self.batch_size), NULL_WORD, np.int64)
        self._scores = self.words.view(np.float64)
        self.flags = np.zeros(self.batch_size, np.uint8)
        self._numbers = np.arange(self.batch_size)
        self.unscored = np.full(self.batch_size, np.nan)
        self._decided_kinds = np.zeros(256, np.int64)
        self._decided_kinds[[item.index for item in self.plan.types if item.decided]] = 1
        self._schema = self.schema
        self.state.expect(self.batch_size)
        self._expresses: dict[int, Express] = {}

    def _bound(self) -> None:
        bound = self.plan.definitions.settings.state_bytes
        if self.nbytes > bound and self.full is None:
            error = StateLimitError(
                f"the state holds {self.nbytes / 2**20:,.1f} MB, more than the project allows "
                f"({bound / 2**20:,.1f} MB): "
                f"{len(self.ids):,} ids, {self.state.records:,} records of {self.state.keys:,} keys, "
                f"{len(self.strings):,} texts; raise [limits] state in parakh.toml, or shorten windows or the horizon"
            )
            if not self._live:
                raise error
            self.full = error

    def _type(self, name: str | None) -> TypePlan:
        types = self.plan.by_name
        if name is None and len(types) == 1:
            return next(iter(types.values()))
        if not types:
            raise InputError("the project has no event types: there is nothing to decide on")
        if name not in types:
            listed = ", ".join(types)
            raise InputError(
                f"which type are these events? Say event_type=...: {listed}"
                if name is None
                else f"the project has no event type {name!r}; there are: {listed}"
            )
        return types[name]

    def _by_type(self, events: Any, event_type: str | None) -> Mapping[str, Any]:
        if isinstance(events, Mapping) and events and all(name in self.plan.by_name for name in events):
            return events
        if isinstance(events, Mapping) and event_type is None:
            strange = ", ".join(str(name) for name in events if name not in self.plan.by_name)
            raise InputError(
                f"a mapping gives events by event type: {', '.join(self.plan.by_name)}; "
                f"{f'not by {strange[:80]}' if strange else 'this one is empty'} (one event alone is given as [event])"
            )
        return {self._type(event_type).event.name: events}

    def _stream(self, event_type: str, events: Any) -> Stream:
        plan = self._type(event_type)
        if isinstance(events, str | Path) or (isinstance(events, Sequence) and events and isinstance(events[0], Path)):
            source = open_source(events, Columns.of(plan.event))
        elif isinstance(events, bytes | bytearray | memoryview):
            source = Source(iter([lines_of(event_type, bytes(events))]), event_type, None)
        else:
            source = memory_source(events, event_type, Columns.of(plan.event))
        return Stream(plan.index, plan.decoder, source)

    def read_labels(self, labels: Any, quarantine: Quarantine | None = None) -> LabelRows | None:
        """Labels from a file or from memory, ordered by when they became known; bad ones go to quarantine."""
        if labels is None:
            return None
        intake = self.plan.intake
        entities = tuple(entity.name for entity in intake.entities)
        schema = LabelSchema(intake.events, entities, intake.settings.label_sources)
        source = labels if isinstance(labels, str | Path | Source) else memory_source(labels, "labels")
        return read_labels(
            source, schema, self.strings, quarantine or self.quarantine, earliest_us=intake.settings.earliest_us
        )


def _expect_project(project: object) -> None:
    if isinstance(project, str | Path):
        raise TypeError(f"an engine takes a project, not a folder: Project.load({str(project)!r})")
