"""The stretches of the express that need no Python: the kernels of the engine's stages called one after another.

They work on a descriptor: one array of words with the addresses of kernels and arrays, and the arrays' lengths.
`parakh.decisions.express` writes it, and says what the arrays are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as nb

from parakh.decisions import admission, policy, record
from parakh.decisions.policy import DEGRADED
from parakh.decisions.scoring import gather_inputs
from parakh.events import fields as column
from parakh.events import json_lines
from parakh.expressions import interpreter
from parakh.expressions.calling import array_at, array_type, caller, kernel_address
from parakh.expressions.kernels import kernel
from parakh.features import passes
from parakh.features import tables as t
from parakh.models.trees import MOVES, SUMS

_INT, _UNSIGNED = nb.int64, nb.uint64
_BYTES, _WORDS, _HASHES, _FLOATS = (array_type(kind) for kind in (nb.uint8, nb.int64, nb.uint64, nb.float64))
_SMALL, _NUMBERS, _TRUTHS = array_type(nb.int8), array_type(nb.int32), array_type(nb.boolean)
_FRAME, _HASH_FRAME, _FLOAT_FRAME = (array_type(kind, 2) for kind in (nb.int64, nb.uint64, nb.float64))

_DECODE = (
    _BYTES, _WORDS, _WORDS, _INT, _FRAME, _FRAME, _FRAME, _WORDS, _UNSIGNED,
    _FRAME, _FRAME, _FRAME, _BYTES, _WORDS, _WORDS, _BYTES, _WORDS, _HASHES, _NUMBERS, _WORDS,
)  # fmt: skip
_ADMIT = (
    _WORDS, _HASHES, _HASHES, _HASHES, _WORDS, _BYTES, _WORDS, _FRAME, _NUMBERS, _INT, _INT, _INT,
    _BYTES, _FRAME, _WORDS, _BYTES,
)  # fmt: skip
_PROGRAM = (_WORDS, _INT, _INT, _INT, _INT)
_WINDOWS = (_WORDS, _WORDS, _FRAME, _FRAME, _BYTES, _FRAME, _FRAME)
_JUDGE = (
    _FRAME, _INT, _INT, _BYTES, _WORDS, _SMALL, _BYTES, _WORDS, _SMALL, _INT, _INT, _INT,
    _SMALL, _NUMBERS, _HASH_FRAME, _HASH_FRAME,
)  # fmt: skip
_WRITE = (
    _BYTES, _WORDS, _FRAME, _BYTES, _WORDS, _INT, _INT, _INT, _INT, _TRUTHS, _WORDS, _TRUTHS, _WORDS, _BYTES, _WORDS,
    _SMALL, _NUMBERS, _HASH_FRAME, _HASH_FRAME, _FRAME, _FLOAT_FRAME,
    _HASHES, _HASHES, _BYTES, _WORDS, _WORDS, _WORDS, _WORDS, _FLOATS, _BYTES,
)  # fmt: skip
_EXPLAIN = (_FLOAT_FRAME, _FRAME, _FLOAT_FRAME)
_tuple: Any = nb.Tuple
_TWO = _tuple((_INT, _INT))

_decode, _admit, _run = caller(_DECODE, _INT), caller(_ADMIT, _TWO), caller(_PROGRAM, _INT)
_look_back, _judge, _write = caller(_WINDOWS, _INT), caller(_JUDGE, _INT), caller(_WRITE, nb.none)
_sums, _moves, _explain_all = caller(SUMS, nb.none), caller(MOVES, nb.none), caller(_EXPLAIN, nb.none)
_bytes_at, _words_at, _hashes_at, _floats_at = (array_at(kind) for kind in (nb.uint8, nb.int64, nb.uint64, nb.float64))
_small_at, _numbers_at, _truths_at = array_at(nb.int8), array_at(nb.int32), array_at(nb.boolean)
_frame_at, _hash_frame_at, _float_frame_at = (array_at(kind, 2) for kind in (nb.int64, nb.uint64, nb.float64))

# The descriptor: addresses of kernels and arrays, lengths, and what the kernels say.
(
    AT_DECODE, AT_ADMIT, AT_RUN, AT_LOOK_BACK, AT_JUDGE, AT_EXPLAIN, AT_WRITE,
    COUNT, CAPACITY, FRAME, WIDTH, FLAGS, BEFORE, KINDS, NUMBERS, STATUS, ENTRIES, CLOCKS, DECIDED_AT,
    BUFFER, BUFFER_SIZE, STARTS, LENGTHS, DECODED, LABELS, LABEL_COUNT, META, SALT,
    FIELDS, FIELD_COUNT, FIELD_WIDTH, NODES, NODE_COUNT, NODE_WIDTH, CHILDREN, CHILD_COUNT, CHILD_WIDTH,
    NAMES, NAMES_SIZE, SEEN, SEEN_SIZE, STACK, STACK_SIZE,
    TEXTS, TEXTS_SIZE, TEXT_ENDS, TEXT_ENDS_SIZE, TEXT_HASHES, TEXT_HASHES_SIZE, TEXT_TABLE, TEXT_TABLE_SIZE,
    TEXT_COUNT, TEXTS_AN_EVENT,
    IDS, IDS_SIZE, ID_WIDTH, ID_TABLE, ID_TABLE_SIZE, KNOWN, CLOCK, LATENESS, ACCEPTED, LATE, WAITING,
    ARRIVED, AT_SUMS, AT_MOVES, FOREST, FOREST_SIZE, TREES, DIVISOR, LINK, STEEPNESS,
    INPUT_SLOTS, INPUT_UNITS, INPUT_COUNT, INPUTS,
    INGEST, SIGNALS, RULES, UNANSWERED, CONTROL, CONTROL_SIZE, WINDOWS, WINDOWS_SIZE, NOTHING, NEED,
    RULE_SLOTS, RULE_OUTCOMES, RULE_MODES, RULE_COUNT, BAND_SLOTS, BAND_OUTCOMES, BAND_COUNT,
    SCORE_SLOT, OTHERWISE, FALLBACK, OUTCOME, WON, HITS, UNKNOWN, SET_WORDS, STOPPED, IS_PLAIN,
    KEPT_SLOTS, KEPT_COUNT, KEPT, SCORE, OUT, OUT_SIZE, OFFSETS, FIXED,
    PIECES, PIECES_SIZE, PIECE_ENDS, PIECE_COUNT, FIRST_RULE, FIRST_REASON, FIRST_INPUT, VERSIONS, RULE_LIVE,
    FEATURE_SLOTS, FEATURE_IS_TEXT, FEATURE_COUNT, SHADOW_SLOTS, SHADOW_COUNT,
    MOVED, REASONS, PLACES, VALUES, EXPLAINED, EXPLAINED_WIDTH,
    SIZE,
) = range(133)  # fmt: skip

MAKING_ROOM, DECODING, ADMITTING, LABELLING, INGESTING, MARKING, LOOKING_BACK, SIGNALLING, TAKEN = range(9)
"""The stages up to the models: where `take_in` stopped, or goes on."""
SCORING, RULING, JUDGING, EXPLAINING, WRITING, WRITTEN = range(6)
"""The stages from a forest's scores on (other models score before): where `decide` stopped - a text is to be learned,
some are not allowed and Python has a part in those, there is no room for the records - or goes on."""
_DESCRIPTOR_WORDS = interpreter.DESCRIPTOR_WORDS


@kernel
def take_in(d: Any, stage: Any) -> Any:
    """From lines to features and signals, beginning with a stage; answers where it stopped, TAKEN at the end."""
    n, capacity = d[COUNT], d[CAPACITY]
    words, flags = _frame_at(d[FRAME], d[WIDTH], capacity), _bytes_at(d[FLAGS], capacity)
    entries = _frame_at(d[ENTRIES], n, t.ENTRY_WIDTH)
    if stage <= MAKING_ROOM and _lacks_room(d):
        return MAKING_ROOM
    if stage <= DECODING:
        decoded = d[DECODED]
        unsure = _decode(d[AT_DECODE], (
            _bytes_at(d[BUFFER], d[BUFFER_SIZE]), _words_at(d[STARTS], n), _words_at(d[LENGTHS], n), np.int64(0), words,
            _frame_at(d[LABELS], d[LABEL_COUNT], n), _frame_at(decoded, column.ROWS, n), _words_at(d[META], 3),
            np.uint64(d[SALT]),
            _frame_at(d[FIELDS], d[FIELD_COUNT], d[FIELD_WIDTH]), _frame_at(d[NODES], d[NODE_COUNT], d[NODE_WIDTH]),
            _frame_at(d[CHILDREN], d[CHILD_COUNT], d[CHILD_WIDTH]), _bytes_at(d[NAMES], d[NAMES_SIZE]),
            _words_at(d[SEEN], d[SEEN_SIZE]), _words_at(d[STACK], d[STACK_SIZE]),
            _bytes_at(d[TEXTS], d[TEXTS_SIZE]), _words_at(d[TEXT_ENDS], d[TEXT_ENDS_SIZE]),
            _hashes_at(d[TEXT_HASHES], d[TEXT_HASHES_SIZE]), _numbers_at(d[TEXT_TABLE], d[TEXT_TABLE_SIZE]),
            _words_at(d[TEXT_COUNT], 1),
        ))  # fmt: skip
        if unsure != 0:
            return DECODING
        for row in range(n):
            flags[row] = 0
        accepted, late = _admit(d[AT_ADMIT], (
            _words_at(decoded + 8 * column.PROBLEM * n, n), _hashes_at(decoded + 8 * column.ID_HIGH * n, n),
            _hashes_at(decoded + 8 * column.ID_LOW * n, n), _hashes_at(decoded + 8 * column.DIGEST * n, n),
            _words_at(decoded + 8 * column.TIME * n, n), _bytes_at(d[KINDS], n), _words_at(d[NUMBERS], n),
            _frame_at(d[IDS], d[IDS_SIZE], d[ID_WIDTH]), _numbers_at(d[ID_TABLE], d[ID_TABLE_SIZE]),
            d[KNOWN], d[CLOCK], d[LATENESS],
            _bytes_at(d[STATUS], n), entries, _words_at(d[CLOCKS], n), flags,
        ))  # fmt: skip
        d[ACCEPTED], d[LATE] = accepted, late
        if accepted != n:
            return ADMITTING
        if d[WAITING] != 0:
            return LABELLING
    if stage <= INGESTING and d[INGEST] != 0 and _program(d, d[INGEST]) != 0:
        return INGESTING
    if stage <= MARKING:
        before = _bytes_at(d[BEFORE], capacity)
        for row in range(n):
            if d[UNANSWERED] >= 0 and words[d[UNANSWERED], row] == 1:
                flags[row] |= np.uint8(DEGRADED)
            before[row] = flags[row]
    if stage <= LOOKING_BACK:
        control = _words_at(d[CONTROL], d[CONTROL_SIZE])
        control[t.PASS] = -1
        control[t.NEXT] = 0
        nothing = _frame_at(d[NOTHING], 1, t.LABEL_CODES)
        d[NEED] = _look_back(
            d[AT_LOOK_BACK],
            (control, _words_at(d[WINDOWS], d[WINDOWS_SIZE]), entries, words, flags, nothing, nothing),
        )
        if d[NEED] != 0:
            return LOOKING_BACK
    if stage <= SIGNALLING and d[SIGNALS] != 0 and _program(d, d[SIGNALS]) != 0:
        return SIGNALLING
    return TAKEN


@kernel
def _lacks_room(d: Any) -> Any:
    """Whether the texts of these events may need more room than `Strings` has, as its `reserve` sees it."""
    more = d[COUNT] * d[TEXTS_AN_EVENT]
    if more == 0:
        return False
    count = _words_at(d[TEXT_COUNT], 1)[0]
    used = _words_at(d[TEXT_ENDS], d[TEXT_ENDS_SIZE])[count]
    return (
        used + d[BUFFER_SIZE] > d[TEXTS_SIZE]
        or count + more > d[TEXT_HASHES_SIZE]
        or 4 * (count + more) > 3 * d[TEXT_TABLE_SIZE]
    )


@kernel
def _program(d: Any, program: Any) -> Any:
    start = np.int64(0)
    return _run(d[AT_RUN], (_words_at(program, _DESCRIPTOR_WORDS), start, d[COUNT], start, start))


@kernel
def decide(d: Any, stage: Any) -> Any:
    """From scores to records, beginning with a stage; answers where it stopped, WRITTEN at the end."""
    if stage <= SCORING and d[AT_SUMS] != 0:
        _score(d)
    if stage <= RULING and d[RULES] != 0 and _program(d, d[RULES]) != 0:
        return RULING
    if stage <= JUDGING:
        _judge_rows(d)
        if d[STOPPED] != 0 and d[IS_PLAIN] == 0:
            return JUDGING
    if stage <= EXPLAINING and d[STOPPED] != 0 and d[AT_MOVES] != 0:
        _explain(d)
    return _write_down(d)


@kernel
def _score(d: Any) -> None:
    """The scores of a forest."""
    n = d[COUNT]
    words = _frame_at(d[FRAME], d[WIDTH], d[CAPACITY])
    inputs = _float_frame_at(d[INPUTS], n, d[INPUT_COUNT])
    gather_inputs(
        words, _float_frame_at(d[FRAME], d[WIDTH], d[CAPACITY]), np.int64(0), _words_at(d[INPUT_SLOTS], d[INPUT_COUNT]),
        _floats_at(d[INPUT_UNITS], d[INPUT_COUNT]), inputs,
    )  # fmt: skip
    numbers = _floats_at(np.int64(d.ctypes.data), d.shape[0])
    _sums(d[AT_SUMS], (
        _words_at(d[FOREST], d[FOREST_SIZE]), _floats_at(d[FOREST], d[FOREST_SIZE]), d[TREES], numbers[DIVISOR],
        d[LINK], numbers[STEEPNESS], inputs, _floats_at(d[SCORE], n),
    ))  # fmt: skip


@kernel
def _judge_rows(d: Any) -> None:
    n, width = d[COUNT], d[SET_WORDS]
    decided_at = _words_at(d[DECIDED_AT], n)
    for row in range(n):
        decided_at[row] = d[ARRIVED]
    hits, unknown = _hash_frame_at(d[HITS], n, width), _hash_frame_at(d[UNKNOWN], n, width)
    for row in range(n):
        for word in range(width):
            hits[row, word] = unknown[row, word] = 0
    d[STOPPED] = _judge(d[AT_JUDGE], (
        _frame_at(d[FRAME], d[WIDTH], d[CAPACITY]), np.int64(0), n, _bytes_at(d[FLAGS], d[CAPACITY]),
        _words_at(d[RULE_SLOTS], d[RULE_COUNT]), _small_at(d[RULE_OUTCOMES], d[RULE_COUNT]),
        _bytes_at(d[RULE_MODES], d[RULE_COUNT]), _words_at(d[BAND_SLOTS], d[BAND_COUNT]),
        _small_at(d[BAND_OUTCOMES], d[BAND_COUNT]), d[SCORE_SLOT], d[OTHERWISE], d[FALLBACK],
        _small_at(d[OUTCOME], n), _numbers_at(d[WON], n), hits, unknown,
    ))  # fmt: skip
    d[EXPLAINED] = d[EXPLAINED_WIDTH] = 0


@kernel
def _explain(d: Any) -> None:
    """What moved a forest's scores of what is not allowed. Its inputs come together where those of all were."""
    n, width, reasons = d[COUNT], d[INPUT_COUNT], d[REASONS]
    outcome, inputs = _small_at(d[OUTCOME], n), _float_frame_at(d[INPUTS], n, width)
    count = 0
    for row in range(n):
        if outcome[row] != 0:
            for place in range(width):
                inputs[count, place] = inputs[row, place]
            count += 1
    moved = _float_frame_at(d[MOVED], count, width + 1)
    numbers = _floats_at(np.int64(d.ctypes.data), d.shape[0])
    _moves(d[AT_MOVES], (
        _words_at(d[FOREST], d[FOREST_SIZE]), _floats_at(d[FOREST], d[FOREST_SIZE]), d[TREES], numbers[DIVISOR],
        _float_frame_at(d[INPUTS], count, width), moved,
    ))  # fmt: skip
    _explain_all(
        d[AT_EXPLAIN],
        (moved, _frame_at(d[PLACES], count, reasons), _float_frame_at(d[VALUES], count, reasons)),
    )
    d[EXPLAINED], d[EXPLAINED_WIDTH] = count, reasons


@kernel
def _write_down(d: Any) -> Any:
    """The features that outlive the batch, and the records."""
    n = d[COUNT]
    words = _frame_at(d[FRAME], d[WIDTH], d[CAPACITY])
    slots, kept = _words_at(d[KEPT_SLOTS], d[KEPT_COUNT]), _frame_at(d[KEPT], d[KEPT_COUNT], n)
    for place in range(d[KEPT_COUNT]):
        for row in range(n):
            kept[place, row] = words[slots[place], row]
    is_text = _truths_at(d[FEATURE_IS_TEXT], d[FEATURE_COUNT])
    features = _words_at(d[FEATURE_SLOTS], d[FEATURE_COUNT])
    text_ends = _words_at(d[TEXT_ENDS], d[TEXT_ENDS_SIZE])
    room = n * d[FIXED] + d[BUFFER_SIZE]
    for feature in range(d[FEATURE_COUNT]):
        if is_text[feature]:
            for row in range(n):
                code = kept[features[feature], row]
                room += 6 if code < 0 else 6 + text_ends[code + 1] - text_ends[code]
    if room > d[OUT_SIZE]:
        d[NEED] = room
        return WRITING
    decoded, width = d[DECODED], d[SET_WORDS]
    _write(d[AT_WRITE], (
        _bytes_at(d[OUT], d[OUT_SIZE]), _words_at(d[OFFSETS], n + 1), kept, _bytes_at(d[PIECES], d[PIECES_SIZE]),
        _words_at(d[PIECE_ENDS], d[PIECE_COUNT]), d[FIRST_RULE], d[FIRST_REASON], d[FIRST_INPUT], d[VERSIONS],
        _truths_at(d[RULE_LIVE], d[RULE_COUNT]), features, is_text, _words_at(d[SHADOW_SLOTS], d[SHADOW_COUNT]),
        _bytes_at(d[TEXTS], d[TEXTS_SIZE]), text_ends,
        _small_at(d[OUTCOME], n), _numbers_at(d[WON], n),
        _hash_frame_at(d[HITS], n, width), _hash_frame_at(d[UNKNOWN], n, width),
        _frame_at(d[PLACES], d[EXPLAINED], d[EXPLAINED_WIDTH]),
        _float_frame_at(d[VALUES], d[EXPLAINED], d[EXPLAINED_WIDTH]),
        _hashes_at(decoded + 8 * column.ID_HIGH * n, n), _hashes_at(decoded + 8 * column.ID_LOW * n, n),
        _bytes_at(d[BUFFER], d[BUFFER_SIZE]), _words_at(decoded + 8 * column.ID_START * n, n),
        _words_at(decoded + 8 * column.ID_LENGTH * n, n), _words_at(decoded + 8 * column.TIME * n, n),
        _words_at(d[DECIDED_AT], n), _floats_at(d[SCORE], n), _bytes_at(d[FLAGS], n),
    ))  # fmt: skip
    return WRITTEN


def stages() -> dict[int, int]:
    """Where the descriptor has the address of each stage's kernel, and the address."""
    return {
        place: kernel_address(stage, taken, result)
        for place, stage, taken, result in (
            (AT_DECODE, json_lines.decode_json, _DECODE, _INT),
            (AT_ADMIT, admission.admit_all, _ADMIT, _TWO),
            (AT_RUN, interpreter.run, _PROGRAM, _INT),
            (AT_LOOK_BACK, passes.run, _WINDOWS, _INT),
            (AT_JUDGE, policy.judge_all, _JUDGE, _INT),
            (AT_EXPLAIN, record.explain_all, _EXPLAIN, nb.none),
            (AT_WRITE, record.write_all, _WRITE, nb.none),
        )
    }
