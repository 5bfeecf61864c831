"""The express: a few new events of one type from their bytes to their records, with as little Python between as can be.

`Engine.take` goes from stage to stage in Python, with arrays of its own for each: for a batch of thousands that is
nothing, for one event it is three quarters of the time. Here the same kernels run one after another inside two, over
arrays that are made once; Python comes in for what is rare - a table that is to grow, a text that a function meets for
the first time - and for models. What is not plain - a line that the kernels leave to Python, an event that is no new
one - is refused before anything is changed, and goes by `Engine.take`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.decisions import record
from parakh.decisions import straight as on
from parakh.decisions.parts import Judged
from parakh.decisions.plan import TypePlan
from parakh.decisions.policy import Judgement
from parakh.errors import StateLimitError
from parakh.events import fields as column
from parakh.expressions.execution import Program
from parakh.expressions.memory import address_of
from parakh.features import tables as t
from parakh.features.state import Entries
from parakh.models.trees import TreeScorer

if TYPE_CHECKING:
    from parakh.decisions.engine import Engine, Scoring

__all__ = ["Express", "Lengths", "Straight"]

Lengths = Sequence[int] | NDArray[np.int64]
"""How many bytes each of some events has."""
_FIRST_ROOM = 1 << 14
_NEWLINE = 10


class Straight(msgspec.Struct):
    """What went straight through: `count` new events of one type, all of them decided.

    `records` are their encoded records, one after another, record i of them [ends[i], ends[i + 1]). What else there is
    of them stands in the express until it takes the next ones.
    """

    express: Express
    count: int
    records: bytes
    ends: list[int]
    judged: Judged

    def record(self, row: int) -> bytes:
        """One of the records."""
        return self.records[self.ends[row] : self.ends[row + 1]]


class Express:
    """The express of one event type of an engine under one plan. Made for a frame, whose size bounds what it takes."""

    def __init__(self, engine: Engine, plan: TypePlan) -> None:
        self.plan = plan
        self._engine = engine
        capacity = engine.batch_size
        decoder, schema, judge = plan.decoder, plan.decoder.schema, plan.judge
        d = self.descriptor = np.zeros(on.SIZE, np.int64)
        self._arrays: dict[int, NDArray[Any]] = {}
        for place, address in on.stages().items():
            d[place] = address
        d[on.CAPACITY] = capacity
        self._put(on.FRAME, engine.words)
        d[on.WIDTH] = engine.words.shape[0]
        self._put(on.FLAGS, engine.flags)
        for place, size, kind in (
            (on.BEFORE, capacity, np.uint8), (on.STATUS, capacity, np.uint8),
            (on.ENTRIES, capacity * Entries.WIDTH, np.int64), (on.CLOCKS, capacity, np.int64),
            (on.DECIDED_AT, capacity, np.int64), (on.STARTS, capacity, np.int64),
            (on.LENGTHS, capacity, np.int64), (on.DECODED, capacity * column.ROWS, np.int64),
            (on.LABELS, capacity * max(1, schema.labels), np.int64), (on.NOTHING, t.LABEL_CODES, np.int64),
            (on.OUTCOME, capacity, np.int8), (on.WON, capacity, np.int32),
            (on.HITS, capacity * judge.set_words, np.uint64), (on.UNKNOWN, capacity * judge.set_words, np.uint64),
            (on.KEPT, capacity * max(1, plan.kept.size), np.int64),
            (on.OFFSETS, capacity + 1, np.int64),
        ):  # fmt: skip
            self._put(place, np.zeros(size, kind))
        self._put(on.KINDS, np.full(capacity, plan.index, np.uint8))
        self._put(on.NUMBERS, np.arange(capacity))
        self._put(on.BUFFER, np.zeros(_FIRST_ROOM, np.uint8))
        self._put(on.OUT, np.zeros(_FIRST_ROOM, np.uint8), on.OUT_SIZE)
        d[on.LABEL_COUNT] = schema.labels
        self._put(on.META, decoder.meta)
        d[on.SALT] = decoder.salt.view(np.int64)
        self._put(on.FIELDS, schema.fields, on.FIELD_COUNT, on.FIELD_WIDTH)
        self._put(on.NODES, schema.nodes, on.NODE_COUNT, on.NODE_WIDTH)
        self._put(on.CHILDREN, schema.children, on.CHILD_COUNT, on.CHILD_WIDTH)
        self._put(on.NAMES, schema.keys, on.NAMES_SIZE)
        self._put(on.SEEN, decoder.seen, on.SEEN_SIZE)
        self._put(on.STACK, decoder.stack, on.STACK_SIZE)
        d[on.LATENESS] = engine.plan.definitions.settings.lateness_us
        d[on.UNANSWERED] = -1 if plan.unanswered is None else plan.unanswered
        control, program = engine.state.kernel_arrays
        self._put(on.CONTROL, control, on.CONTROL_SIZE)
        self._put(on.WINDOWS, program, on.WINDOWS_SIZE)
        slots, outcomes, modes, band_slots, band_outcomes, *rest = judge.arguments
        self._put(on.RULE_SLOTS, slots, on.RULE_COUNT)
        self._put(on.RULE_OUTCOMES, outcomes)
        self._put(on.RULE_MODES, modes)
        self._put(on.BAND_SLOTS, band_slots, on.BAND_COUNT)
        self._put(on.BAND_OUTCOMES, band_outcomes)
        d[on.SCORE_SLOT], d[on.OTHERWISE], d[on.FALLBACK] = rest
        d[on.SET_WORDS] = judge.set_words
        self._put(on.KEPT_SLOTS, plan.kept, on.KEPT_COUNT)
        self._score = engine.unscored if plan.score is None else engine.words.view(np.float64)[plan.score.output.slot]
        self._put(on.SCORE, self._score)
        writer = plan.writer.constants
        d[on.FIXED] = writer.room
        d[on.FIRST_RULE], d[on.FIRST_REASON], d[on.FIRST_INPUT], d[on.VERSIONS] = writer.firsts
        self._put(on.PIECES, writer.pieces, on.PIECES_SIZE)
        self._put(on.PIECE_ENDS, writer.ends, on.PIECE_COUNT)
        self._put(on.RULE_LIVE, writer.rule_live)
        self._put(on.FEATURE_SLOTS, writer.feature_slots, on.FEATURE_COUNT)
        self._put(on.FEATURE_IS_TEXT, writer.feature_is_text)
        self._put(on.SHADOW_SLOTS, writer.shadow_slots, on.SHADOW_COUNT)
        places, values = record.explained(np.zeros((0, 1)))
        self._put(on.PLACES, places)
        self._put(on.VALUES, values)
        self._is_forest = self._put_forest(plan)
        d[on.IS_PLAIN] = plan.holdout is None and (plan.score is None or self._is_forest)
        # Words are read and written as Python's whole numbers: NumPy's cost several times as much.
        self._words: memoryview[int] = d.data
        self._bytes = self._arrays[on.BUFFER].data
        self._decoded, self._outcomes, self._flags, self._hits = (
            self._arrays[place].data.cast("B") for place in (on.DECODED, on.OUTCOME, on.FLAGS, on.HITS)
        )
        d[on.TEXTS_AN_EVENT] = decoder.interned
        self._pool = engine.plan.intake.references.pool
        self._moves, self._bound = -1, (self._pool.data, self._pool.offsets)

    @staticmethod
    def serves(plan: TypePlan) -> bool:
        """Whether events of this type can go by an express."""
        return plan.decided and plan.decoder.schema.has_id

    def take(self, data: bytes, lengths: Lengths, *, arrived_us: int, scoring: Scoring | None) -> Straight | None:
        """Take events, JSON objects one after another in `data`; None, and nothing has changed, where one is not plain.

        Raises what `Engine.take` raises.
        """
        engine, d, w = self._engine, self.descriptor, self._words
        count = len(lengths)
        self._lay_out(data, lengths, arrived_us)
        stage = on.take_in(d, on.MAKING_ROOM)
        if stage == on.MAKING_ROOM:
            engine.strings.reserve(count * self.plan.decoder.interned, len(data))
            self._bind()
            stage = on.take_in(d, on.DECODING)
        if stage == on.DECODING:
            return None
        if stage == on.ADMITTING or (
            stage == on.LABELLING and engine.labelling.may_act(self._hashes(column.ID_LOW, count))
        ):
            engine.ids.take_back(w[on.ACCEPTED])
            return None
        engine.admission.all_taken(count, w[on.LATE], int(self._arrays[on.CLOCKS][count - 1]))
        if stage == on.LABELLING:
            engine.give_up_labels()
            stage = on.take_in(d, on.INGESTING)
        while stage != on.TAKEN:
            self._help(stage, count)
            stage = on.take_in(d, stage + 1)
        inputs = None if self._is_forest else self._scored(count, scoring)
        stage = on.decide(d, on.SCORING)
        if stage == on.RULING:
            self._learn(self.plan.rules, count)
            stage = on.decide(d, on.JUDGING)
        if stage == on.JUDGING:
            self._stopped(count, inputs)
            stage = on.decide(d, on.EXPLAINING)
        if stage == on.WRITING:
            self._put(on.OUT, np.zeros(w[on.NEED] * 5 // 4, np.uint8), on.OUT_SIZE)
            on.decide(d, on.WRITING)
        ends: list[int] = self._arrays[on.OFFSETS][: count + 1].tolist()
        return Straight(self, count, self._arrays[on.OUT][: ends[-1]].tobytes(), ends, self._judged(count))

    def column(self, number: int, count: int) -> memoryview:
        """A row of what was decoded (`parakh.events.fields`) of the events that were taken last, as bytes."""
        return self._decoded[8 * number * count : 8 * (number + 1) * count]

    def scores(self, count: int) -> list[float]:
        """The scores of the events that were taken last; NaN where there is none."""
        scores: list[float] = self._score[:count].tolist()
        return scores

    def shadow_scores(self, count: int) -> list[float]:
        """The shadow models' scores of the events that were taken last, event by event."""
        first = len(self.plan.schema.features)
        kept = self._arrays[on.KEPT][first * count : self.plan.kept.size * count].view(np.float64)
        scores: list[float] = kept.reshape(-1, count).T.ravel().tolist()
        return scores

    def moved(self) -> list[float]:
        """By how much each reason moved the score, for the events that were taken last (see `record.explained`)."""
        held = self._words[on.EXPLAINED] * self._words[on.EXPLAINED_WIDTH]
        moved: list[float] = self._arrays[on.VALUES].ravel()[:held].tolist()
        return moved

    @property
    def explains(self) -> bool:
        """Whether some of the events that were taken last have reasons of a model."""
        return self._words[on.EXPLAINED] > 0

    @property
    def buffer_size(self) -> int:
        """Bytes of the events that were taken last."""
        return self._words[on.BUFFER_SIZE]

    def id_text(self, row: int, count: int) -> str:
        """The id of one of the events that were taken last."""
        decoded = self._arrays[on.DECODED]
        start, length = decoded[column.ID_START * count + row], decoded[column.ID_LENGTH * count + row]
        return str(self._bytes[start : start + length], "utf-8")

    def _lay_out(self, data: bytes, lengths: Lengths, arrived_us: int) -> None:
        """Write down what is given, and where arrays stand that may have been replaced."""
        engine, d, arrays = self._engine, self._words, self._arrays
        count, size = len(lengths), len(data)
        if size >= len(self._bytes):
            self._put(on.BUFFER, np.zeros(size * 5 // 4 + 1, np.uint8))
            self._bytes = arrays[on.BUFFER].data
        self._bytes[:size] = data
        self._bytes[size] = _NEWLINE
        d[on.COUNT], d[on.BUFFER_SIZE] = count, size + 1
        if count == 1:
            arrays[on.LENGTHS][0] = size
        else:
            spans = arrays[on.LENGTHS][:count]
            spans[:] = lengths
            np.cumsum(spans[:-1], out=arrays[on.STARTS][1:count])
        d[on.ARRIVED] = arrived_us
        self.plan.decoder.started_at(arrived_us)
        rows, table, known = engine.ids.room(count)
        if rows is not arrays.get(on.IDS) or table is not arrays[on.ID_TABLE]:  # they have grown
            self._put(on.IDS, rows, on.IDS_SIZE, on.ID_WIDTH)
            self._put(on.ID_TABLE, table, on.ID_TABLE_SIZE)
        d[on.KNOWN], d[on.CLOCK] = known, engine.admission.clock_or_before_all
        d[on.WAITING] = len(engine.labelling)
        pool, (held, offsets) = self._pool, self._bound
        if engine.strings.moves != self._moves or pool.data is not held or pool.offsets is not offsets:
            self._bind()

    def _bind(self) -> None:
        """Write down where texts and programs stand: a new text may have moved them."""
        engine, plan = self._engine, self.plan
        texts = engine.strings.kernel_arrays
        for place, array in zip((on.TEXTS, on.TEXT_ENDS, on.TEXT_HASHES, on.TEXT_TABLE), texts):
            self._put(place, array, place + 1)
        self._put(on.TEXT_COUNT, texts[4])
        for place, program in ((on.INGEST, plan.ingest), (on.SIGNALS, plan.signals), (on.RULES, plan.rules)):
            self.descriptor[place] = program.bound(engine.words, engine.flags)
        self._moves, self._bound = engine.strings.moves, (self._pool.data, self._pool.offsets)

    def _help(self, stage: int, count: int) -> None:
        """What Python does for a stage that stopped; the next one follows."""
        engine, plan = self._engine, self.plan
        if stage == on.LOOKING_BACK:
            entries = Entries(self._arrays[on.ENTRIES][: count * Entries.WIDTH].reshape(count, Entries.WIDTH))
            try:
                engine.state.go_on(self._words[on.NEED], engine.words, engine.flags, entries)
            except StateLimitError as error:
                engine.run_full(error)
                engine.without_windows(plan, slice(0, count), self._arrays[on.BEFORE][:count])
        else:
            program = plan.ingest if stage == on.INGESTING else plan.signals
            self._learn(program, count)

    def _learn(self, program: Program, count: int) -> None:
        program.resume(self._engine.words, count, self._engine.flags)
        self._bind()

    def _stopped(self, count: int, inputs: NDArray[np.float64] | None) -> None:
        """What Python does where some are not allowed: the holdout, and the reasons of what is not one forest alone."""
        plan = self.plan
        judgement = self._judgement(count)
        if plan.holdout is not None:
            high, low = (self._hashes(number, count) for number in (column.ID_HIGH, column.ID_LOW))
            slot = plan.holdout.amount_slot
            amounts = None if slot is None else self._engine.words[slot, :count]
            plan.holdout.let_through(judgement, self._engine.flags[:count], (high, low), amounts)
        if plan.score is not None and inputs is not None:
            found = plan.score.scorer.contributions(inputs[:count][judgement.outcome != 0])
            if found is not None:
                places, values = record.explained(found)
                self._put(on.PLACES, places, on.EXPLAINED, on.EXPLAINED_WIDTH)
                self._put(on.VALUES, values)

    def _hashes(self, number: int, count: int) -> NDArray[np.uint64]:
        return self._arrays[on.DECODED][number * count : (number + 1) * count].view(np.uint64)

    def _judgement(self, count: int) -> Judgement:
        arrays, width = self._arrays, self._words[on.SET_WORDS]
        hits, unknown = (arrays[place][: count * width].reshape(count, width) for place in (on.HITS, on.UNKNOWN))
        return Judgement(
            arrays[on.OUTCOME][:count], arrays[on.WON][:count], hits, unknown, int(self.descriptor[on.STOPPED])
        )

    def _judged(self, count: int) -> Judged:
        schema = self.plan.schema
        held_out = {}
        if self.plan.holdout is not None:
            held_out = schema.judge.held_out(self._judgement(count), self._engine.flags[:count])
        hits = self._hits[: 8 * schema.judge.set_words * count].tobytes()
        return Judged(
            schema.event_type, self._outcomes[:count].tobytes(), hits, self._flags[:count].tobytes(), held_out
        )

    def _scored(self, count: int, scoring: Scoring | None) -> NDArray[np.float64] | None:
        """Score by all models, where there is not one forest alone; the inputs of the one that the policy reads."""
        words, inputs = self._engine.words, None
        for model in self.plan.models:
            x = model.score(words, 0, count) if scoring is None else scoring.score(model, words, 0, count)
            if model is self.plan.score:
                inputs = x
        return inputs

    def _put_forest(self, plan: TypePlan) -> bool:
        """Whether one forest alone scores; then it is written down for kernels, which need no time to speak of."""
        model = plan.score
        if model is None or len(plan.models) > 1 or not isinstance(model.scorer, TreeScorer):
            return False
        d = self.descriptor
        numbers = d.view(np.float64)
        sums, moves, forest, trees, divisor, link, steepness = model.scorer.express
        d[on.AT_SUMS], d[on.AT_MOVES], d[on.TREES], d[on.LINK] = sums, moves, trees, link
        numbers[on.DIVISOR], numbers[on.STEEPNESS] = divisor, steepness
        self._put(on.FOREST, forest, on.FOREST_SIZE)
        self._put(on.INPUT_SLOTS, model.slots, on.INPUT_COUNT)
        self._put(on.INPUT_UNITS, model.units)
        capacity, inputs = self._engine.batch_size, model.slots.size
        self._put(on.INPUTS, np.zeros((capacity, inputs)))
        self._put(on.MOVED, np.zeros((capacity, inputs + 1)))
        d[on.REASONS] = reasons = min(record.MODEL_REASONS, inputs)
        self._put(on.PLACES, np.zeros((capacity, reasons), np.int64))
        self._put(on.VALUES, np.zeros((capacity, reasons)))
        return True

    def _put(self, place: int, array: NDArray[Any], *sizes: int) -> None:
        """Write down where an array stands, and what its dimensions are; it is held for as long."""
        self._arrays[place] = array
        self.descriptor[place] = address_of(array)
        for size, length in zip(sizes, array.shape):
            self.descriptor[size] = length
