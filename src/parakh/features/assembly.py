"""Drafts made into the kernel's program: every measure, window and feature gets its place in records and headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parakh.expressions.types import Type
from parakh.features import tables as t
from parakh.features.definition import AggregateKind
from parakh.features.drafts import Draft, FeatureDraft, GroupDraft, MeasureDraft, ReadDraft, TypeDraft, WindowSpec
from parakh.features.labels import null_word

__all__ = ["Assembled", "assemble"]

_SUMS = {AggregateKind.SUM, AggregateKind.AVG, AggregateKind.STDDEV}
_COUNTS = {AggregateKind.COUNT, AggregateKind.FIRST, AggregateKind.LAST, AggregateKind.SINCE_LAST}


@dataclass(frozen=True, slots=True)
class Assembled:
    """The program, and the sizes that the state needs."""

    program: npt.NDArray[np.int64]
    header_words: int
    most_keys: int


class _Words:
    """A program being written: records of words, each at a place that others point to."""

    def __init__(self) -> None:
        self.words: list[int] = []

    def place(self, size: int) -> int:
        """Room for so many words, all 0."""
        self.words.extend([0] * size)
        return len(self.words) - size

    def put(self, words: Sequence[int]) -> int:
        """The place of a record."""
        self.words.extend(int(word) for word in words)
        return len(self.words) - len(words)

    def table(self, records: Sequence[Sequence[int]]) -> int:
        """The place of records of one width, one after the other."""
        return self.put([word for record in records for word in record])


def assemble(
    types: Sequence[TypeDraft], histories: Sequence[Draft], *, pairs: int, most_labels: int, holds: bool
) -> Assembled:
    """The program of all histories, and where their parts stand in the control array."""
    words = _Words()
    fixed = words.place(t.PROGRAM_FIXED)
    assert fixed == 0
    most_keys = max((len(item.keys) for item in types), default=0) or 1
    history_place = words.place(len(histories) * t.HISTORY_WIDTH)
    type_place = words.place(len(types) * t.TYPE_WIDTH)
    groups = {(item.index, history.index): 0 for item in types for history in histories}
    header_words = t.SLOT_FIXED
    merging = [history.index for history in histories if history.step]
    for history in histories:
        number = len(histories) + merging.index(history.index) if history.step else 0
        assembly = _History(words, history, most_keys, number)
        place = history_place + history.index * t.HISTORY_WIDTH
        words.words[place : place + t.HISTORY_WIDTH] = assembly.record()
        header_words = max(header_words, assembly.header)
        for of_type, group in history.groups.items():
            groups[of_type, history.index] = assembly.group(of_type, group)
    for item in types:
        keys = []
        for key in item.keys.values():
            record = [0] * t.KEY_WIDTH
            record[t.KEY_PARTS], record[t.KEY_PAIRS] = len(key.fields), key.pairs
            record[t.KEY_WRITES], record[t.KEY_SLOTS] = int(key.writes), words.put(key.slots)
            keys.append(record)
        record = [0] * t.TYPE_WIDTH
        record[t.TYPE_KEY_COUNT], record[t.TYPE_KEYS] = len(keys), words.table(keys)
        record[t.TYPE_GROUPS] = words.put([groups[item.index, history.index] for history in histories])
        place = type_place + item.index * t.TYPE_WIDTH
        words.words[place : place + t.TYPE_WIDTH] = record
    control = t.CONTROL_FIXED
    for item_place, size in (
        (t.PROGRAM_FREE, (len(histories) + len(merging)) * t.FREE_CLASSES),
        (t.PROGRAM_HISTORY_CONTROL, len(histories) * t.HISTORY_CONTROL),
        (t.PROGRAM_PAIR_CONTROL, pairs * t.PAIR_CONTROL),
        (t.PROGRAM_HELD_CONTROL, t.HELD_CONTROL),
    ):
        words.words[item_place] = control
        control += size
    words.words[t.PROGRAM_TYPE_COUNT], words.words[t.PROGRAM_TYPES] = len(types), type_place
    words.words[t.PROGRAM_HISTORY_COUNT], words.words[t.PROGRAM_HISTORIES] = len(histories), history_place
    words.words[t.PROGRAM_KEYS], words.words[t.PROGRAM_LABELS] = most_keys, most_labels
    words.words[t.PROGRAM_HELD], words.words[t.PROGRAM_CONTROL] = int(holds), control
    return Assembled(np.array(words.words, np.int64), header_words, most_keys)


class _History:
    """One history: places in the record (`stride` words) and in the header of a slot (`header` words).

    `bucket_number` is the number that merged records' memory goes by, where the history has such.
    """

    def __init__(self, words: _Words, draft: Draft, most_keys: int, bucket_number: int) -> None:
        self.words = words
        self.draft = draft
        self.most_keys = most_keys
        self.bucket_number = bucket_number
        self.stride = 1  # the time
        self.header = t.SLOT_FIXED
        self.indexed = 0
        self.meta = 0
        if any(measure.labelled for measure in draft.measures.values()):
            self.meta = self._in_record(1)
        self.links: list[int] = []
        self.block_sums: list[list[int]] = []  # (measure, words in the index)
        self.extremes: dict[tuple[int, int], int] = {}  # (measure, sign) -> number
        self.extreme_records: list[list[int]] = []
        self.drafts = list(draft.measures.values())
        self.records = [self._measure(number, measure) for number, measure in enumerate(self.drafts)]
        self.measure_place = words.table(self.records)
        for item in self.block_sums:
            item[t.BLOCK_SUM_MEASURE] = self._measure_at(item[t.BLOCK_SUM_MEASURE])
        self.extreme_place = 0
        self._windows()

    def record(self) -> list[int]:
        """The history's own record in the program."""
        record = [0] * t.HISTORY_WIDTH
        record[t.STRIDE], record[t.META], record[t.LONGEST] = self.stride, self.meta, self.draft.longest
        if self.draft.step:
            record[t.BUCKETS] = self._in_header(t.SLOT_BUCKET_FIXED)
        # Whole cache lines, so that neighbours do not share one.
        self.header = -(-self.header // 8) * 8
        record[t.HEADER], record[t.INDEXED] = self.header, self.indexed
        record[t.WINDOW_COUNT], record[t.WINDOWS] = len(self.windows), self.words.table(self.windows)
        record[t.DELAY_COUNT], record[t.DELAYS] = len(self.delays), self.words.table(self.delays)
        record[t.MEASURE_COUNT], record[t.MEASURES] = len(self.records), self.measure_place
        record[t.EXTREME_COUNT], record[t.EXTREMES] = len(self.extreme_records), self.extreme_place
        record[t.BLOCK_SUM_COUNT], record[t.BLOCK_SUMS] = len(self.block_sums), self.words.table(self.block_sums)
        record[t.LINK_COUNT], record[t.LINKS] = len(self.links), self.words.put(self.links)
        labels = self._label_effects()
        record[t.LABEL_COUNT], record[t.LABELS] = len(labels), self.words.table(labels)
        record[t.CACHED] = int(bool(self.caches))
        if self.draft.step:
            record[t.STEP] = self.draft.step
            record[t.LONGEST_DELAY] = max(spec.delay for spec in self.draft.windows)
            record[t.BUCKET_HISTORY], record[t.BUCKET_NUMBER] = self._buckets(record), self.bucket_number
        return record

    def _buckets(self, record: list[int]) -> int:
        """The place of the history that merged records are laid out by: a record's words, then a block's."""
        merged = [0] * t.HISTORY_WIDTH
        merged[t.STRIDE], merged[t.SUMMARY], merged[t.INDEXED] = self.stride + self.indexed, self.stride, self.indexed
        for count, place in (
            (t.MEASURE_COUNT, t.MEASURES), (t.EXTREME_COUNT, t.EXTREMES), (t.BLOCK_SUM_COUNT, t.BLOCK_SUMS),
        ):  # fmt: skip
            merged[count], merged[place] = record[count], record[place]
        return self.words.put(merged)

    # -- records ------------------------------------------------------------------------------------------------------

    def _in_record(self, words: int) -> int:
        self.stride += words
        return self.stride - words

    def _in_header(self, words: int) -> int:
        self.header += words
        return self.header - words

    def _measure(self, number: int, draft: MeasureDraft) -> list[int]:
        record = [0] * t.MEASURE_WIDTH
        record[t.MEASURE_COUNTER] = record[t.MEASURE_SQUARES] = record[t.MEASURE_LINK] = record[t.MEASURE_RAW] = -1
        squares = AggregateKind.STDDEV in draft.needs
        if draft.needs & _SUMS and draft.type is not None and draft.type.is_float:
            at = self._in_record(6 if squares else 4)
            record[t.MEASURE_KIND], record[t.MEASURE_AT], record[t.MEASURE_COUNTER] = t.MEASURE_NUMBER, at, at + 3
            record[t.MEASURE_SQUARES] = at + 4 if squares else -1
            record[t.MEASURE_LARGEST] = self._in_header(1)
            self.block_sums.append([number, self._in_index(3 if squares else 2)])
        elif draft.needs & _SUMS:
            at = self._in_record(4 if squares else 2)
            record[t.MEASURE_KIND], record[t.MEASURE_AT], record[t.MEASURE_COUNTER] = t.MEASURE_INTEGER, at, at + 1
            if squares:
                record[t.MEASURE_SQUARES], record[t.MEASURE_LARGEST] = at + 2, self._in_header(1)
                self.block_sums.append([number, self._in_index(3)])
        elif draft.needs - {AggregateKind.COUNT, AggregateKind.SINCE_LAST}:
            record[t.MEASURE_KIND], record[t.MEASURE_AT] = t.MEASURE_VALUE, self._in_record(1)
            if draft.distinct:
                record[t.MEASURE_LINK], record[t.MEASURE_IDENTITY] = self._in_record(1), len(self.links)
                self.links.append(record[t.MEASURE_LINK])
        else:
            record[t.MEASURE_KIND] = t.MEASURE_COUNT_ONLY
        if record[t.MEASURE_COUNTER] < 0 and draft.needs & _COUNTS:
            record[t.MEASURE_COUNTER] = self._in_record(1)
        if draft.labelled:
            for condition in draft.conditions:
                record[t.MEASURE_BITS] |= 1 << condition.bit
            if draft.type is not None:
                record[t.MEASURE_RAW] = self._in_record(1)
        return record

    def _in_index(self, words: int) -> int:
        self.indexed += words
        return self.indexed - words

    # -- windows ------------------------------------------------------------------------------------------------------

    def _windows(self) -> None:
        """Windows and what slots remember of each: places, and the caches that some feature reads."""
        specs = list(self.draft.windows)
        delays = sorted({0, *(spec.delay for spec in specs)})
        self.delays = [[delay, self._in_header(1) if delay else 0] for delay in delays]
        lows = [self._in_header(1) for _ in specs]
        self.caches: dict[tuple[WindowSpec, int, int], int] = {}  # (window, measure, sign or 0) -> header word
        for group in self.draft.groups.values():
            for read in group.reads.values():
                for feature, _ in read.features:
                    self._cache(feature)
        self.extreme_place = self.words.table(self.extreme_records)
        self.windows = []
        for number, spec in enumerate(specs):
            distincts, extremes = [], []
            for (window, measure, sign), header in self.caches.items():
                if window == spec and sign == 0:
                    distincts += [header, self.records[measure][t.MEASURE_AT]]
                elif window == spec:
                    extremes += [header, self._extreme_at(measure, sign)]
            record = [0] * t.WINDOW_WIDTH
            record[t.WINDOW_LOW], record[t.WINDOW_DELAY] = lows[number], delays.index(spec.delay)
            record[t.WINDOW_REACH] = spec.delay + spec.length
            if spec.calendar >= 0:
                record[t.WINDOW_KIND], record[t.WINDOW_STEP] = t.WINDOW_CALENDAR, spec.calendar
            elif spec.resolution:
                record[t.WINDOW_KIND], record[t.WINDOW_STEP] = t.WINDOW_RESOLUTION, spec.resolution
            record[t.WINDOW_DISTINCT_COUNT] = len(distincts) // 2
            record[t.WINDOW_DISTINCTS] = self.words.put(distincts)
            record[t.WINDOW_EXTREME_COUNT] = len(extremes) // 2
            record[t.WINDOW_EXTREMES] = self.words.put(extremes)
            if self.draft.step:
                record[t.WINDOW_BUCKET] = self._in_header(1)
            self.windows.append(record)

    def _cache(self, feature: FeatureDraft) -> None:
        if feature.measure is None:
            return
        measure = self._number(feature.measure)
        if feature.kind is AggregateKind.DISTINCT:
            place = (feature.window, measure, 0)
            if place not in self.caches:
                self.caches[place] = self._in_header(1)
        elif feature.kind in (AggregateKind.MIN, AggregateKind.MAX):
            sign = 1 if feature.kind is AggregateKind.MAX else -1
            if (measure, sign) not in self.extremes:
                self.extremes[measure, sign] = len(self.extreme_records)
                record = [0] * t.EXTREME_WIDTH
                record[t.EXTREME_KIND] = self.records[measure][t.MEASURE_KIND]
                record[t.EXTREME_AT] = self.records[measure][t.MEASURE_AT]
                record[t.EXTREME_FLOAT] = int(feature.measure.type is not None and feature.measure.type.is_float)
                record[t.EXTREME_SIGN], record[t.EXTREME_BLOCK] = sign, self._in_index(1)
                record[t.EXTREME_MEASURE] = self._measure_at(measure)
                self.extreme_records.append(record)
            place = (feature.window, measure, sign)
            if place not in self.caches and not self.draft.step:
                self.caches[place] = self._in_header(2)

    def _number(self, measure: MeasureDraft) -> int:
        return next(number for number, item in enumerate(self.drafts) if item is measure)

    def _measure_at(self, measure: int) -> int:
        return self.measure_place + measure * t.MEASURE_WIDTH

    def _extreme_at(self, measure: int, sign: int) -> int:
        return self.extreme_place + self.extremes[measure, sign] * t.EXTREME_WIDTH

    # -- who takes part -----------------------------------------------------------------------------------------------

    def group(self, of_type: int, draft: GroupDraft) -> int:
        """The place of an event type's part."""
        record = [0] * t.GROUP_WIDTH
        record[t.GROUP_WRITE] = draft.write
        if draft.write >= 0:
            record[t.GROUP_INPUTS] = self.words.table([self._input(measure, of_type) for measure in self.drafts])
            bits: list[int] = []
            for conditions in self.draft.conditions.values():
                for condition in conditions:
                    if of_type in condition.slots:
                        bits += [condition.slots[of_type], condition.bit]
                    elif condition.initial.get(of_type, False):
                        record[t.GROUP_INITIAL_BITS] |= 1 << condition.bit
            record[t.GROUP_BITS_COUNT], record[t.GROUP_BITS] = len(bits) // 2, self.words.put(bits)
        reads = [self._read(read) for read in draft.reads.values()]
        record[t.GROUP_READ_COUNT], record[t.GROUP_READS] = len(reads), self.words.table(reads)
        return self.words.put(record)

    def _input(self, measure: MeasureDraft, of_type: int) -> list[int]:
        given = measure.inputs[of_type]
        record = [0] * t.INPUT_WIDTH
        record[t.INPUT_ARGUMENT], record[t.INPUT_FILTER] = given.argument, given.filter
        record[t.INPUT_FLOAT], record[t.INPUT_INITIAL] = int(given.floats), given.initial
        return record

    def _read(self, draft: ReadDraft) -> list[int]:
        features = sorted(draft.features, key=lambda item: not item[0].before)
        record = [0] * t.READ_WIDTH
        record[t.READ_KEY], record[t.READ_COUNT] = draft.key, len(features)
        record[t.READ_BEFORE] = sum(feature.before for feature, _ in features)
        record[t.READ_FEATURES] = self.words.table([self._feature(feature, slot) for feature, slot in features])
        return record

    def _feature(self, draft: FeatureDraft, slot: int) -> list[int]:
        record = [0] * t.FEATURE_WIDTH
        record[t.FEATURE_WINDOW] = list(self.draft.windows).index(draft.window)
        record[t.FEATURE_OUT], record[t.FEATURE_NULL] = slot, null_word(draft.type)
        floats = draft.argument is not None and draft.argument.is_float
        record[t.FEATURE_KIND] = _operation(draft.kind, floats, draft.measure is not None)
        record[t.FEATURE_FLOAT] = int(floats)
        record[t.FEATURE_SCALE] = _bits(10.0 ** _digits(draft.argument))
        if draft.measure is not None:
            measure = self._number(draft.measure)
            record[t.FEATURE_PLACE] = self._measure_at(measure)
            if draft.kind is AggregateKind.DISTINCT:
                record[t.FEATURE_CACHE] = self.caches[draft.window, measure, 0]
            elif draft.kind in (AggregateKind.MIN, AggregateKind.MAX):
                sign = 1 if draft.kind is AggregateKind.MAX else -1
                record[t.FEATURE_PLACE] = self._extreme_at(measure, sign)
                record[t.FEATURE_CACHE] = self.caches.get((draft.window, measure, sign), 0)
        return record

    def _label_effects(self) -> list[list[int]]:
        """For each label of each type that writes here: the bits and arguments that it sets."""
        settings: dict[tuple[int, int], list[list[int]]] = {}
        first = t.LABEL_CODES + self.most_keys
        for conditions in self.draft.conditions.values():
            for condition in conditions:
                for of_type, (label, output) in condition.labels.items():
                    settings.setdefault((of_type, label), []).append([first + output, condition.bit, 0, 0])
        for measure, record in zip(self.drafts, self.records):
            for given in measure.inputs.values():
                if given.label is not None:
                    raw = [first + given.output, -1, record[t.MEASURE_RAW], int(given.floats)]
                    settings.setdefault(given.label, []).append(raw)
        effects = []
        for (of_type, label), items in settings.items():
            effect = [0] * t.LABEL_EFFECT_WIDTH
            effect[t.LABEL_EFFECT_TYPE], effect[t.LABEL_EFFECT_LABEL] = of_type, label
            effect[t.LABEL_EFFECT_KEY] = self.draft.groups[of_type].write
            effect[t.LABEL_EFFECT_COUNT], effect[t.LABEL_EFFECTS] = len(items), self.words.table(items)
            effects.append(effect)
        return effects


def _operation(kind: AggregateKind, floats: bool, measured: bool) -> int:
    if kind is AggregateKind.COUNT:
        return t.COUNT_VALUES if measured else t.COUNT_ROWS
    if kind is AggregateKind.SINCE_LAST:
        return t.SINCE_VALUE if measured else t.SINCE_ROW
    return {
        AggregateKind.DISTINCT: t.COUNT_DISTINCT,
        AggregateKind.SUM: t.SUM_NUMBER if floats else t.SUM_INTEGER,
        AggregateKind.AVG: t.AVG_NUMBER if floats else t.AVG_INTEGER,
        AggregateKind.STDDEV: t.STDDEV_NUMBER if floats else t.STDDEV_INTEGER,
        AggregateKind.MIN: t.EXTREME,
        AggregateKind.MAX: t.EXTREME,
        AggregateKind.FIRST: t.FIRST,
        AggregateKind.LAST: t.LAST,
    }[kind]


def _digits(type: Type | None) -> int:
    return type.digits if type is not None else 0


def _bits(value: float) -> int:
    return int(np.array(value, np.float64).view(np.int64))
