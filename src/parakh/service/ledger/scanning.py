"""The kernels of the ledger's index: hashes of many texts, and what it keeps of a decision's record.

A record is read where it stands, without a Python object; `parakh.decisions.record` says what its parts are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.expressions.kernels import kernel
from parakh.expressions.strings import hash_bytes, mix
from parakh.expressions.types import NAN_WORD

__all__ = ["hash_spans", "mix_in", "scan_records", "warm_up"]

_PARTS = 18
_SCORE, _HITS, _SHADOW_HITS, _FLAGS = 6, 9, 11, 17
_BROKEN = np.int64(-1)
_NAN = np.uint64(NAN_WORD)


@kernel
def hash_spans(buffer: Any, lengths: Any, salt: Any, out: Any) -> Any:
    """Fills and gives back `out`: the 64-bit hashes of texts that stand one after another in a buffer."""
    start = np.int64(0)
    for index in range(lengths.shape[0]):
        out[index], _ = hash_bytes(buffer, start, lengths[index], salt)
        start += lengths[index]
    return out


@kernel
def mix_in(hashes: Any, parts: Any) -> Any:
    """Makes the hashes of keys those of keys with one part more; gives them back."""
    for index in range(hashes.shape[0]):
        hashes[index] = mix(hashes[index] ^ parts[index])
    return hashes


@kernel
def scan_records(
    buffer: Any, lengths: Any, first_row: Any, salt: Any, scores: Any, flags: Any, terms: Any, rows: Any
) -> Any:
    """What the index keeps of records that stand one after another in a buffer; a length of 0 is no record.

    Fills in each one's score (the bits of a float64, NaN for none) and flags, and for each rule that hit the upper half
    of its name's hash in `terms` and the record's number from `first_row` on in `rows`, as many as fit. Answers how
    many hits there are; -1 where something is not a record.
    """
    hits = np.int64(0)
    start = np.int64(0)
    for index in range(lengths.shape[0]):
        scores[index] = _NAN
        flags[index] = 0
        end = start + lengths[index]
        if lengths[index] > 0:
            count, at = _array(buffer, start, end)
            if count != _PARTS:
                return _BROKEN
            for part in range(_PARTS):
                if at < 0 or at >= end:
                    return _BROKEN
                if part == _SCORE and buffer[at] == 0xCB and at + 9 <= end:
                    scores[index] = 0
                    for byte in range(8):
                        scores[index] = (scores[index] << np.uint64(8)) | np.uint64(buffer[at + 1 + byte])
                elif part == _FLAGS and buffer[at] < 0x80:
                    flags[index] = buffer[at]
                elif part in (_HITS, _SHADOW_HITS):
                    count, place = _array(buffer, at, end)
                    for _ in range(count):
                        length, place = _text(buffer, place, end)
                        if length < 0:
                            return _BROKEN
                        if hits < terms.shape[0]:
                            high, _low = hash_bytes(buffer, place, length, salt)
                            terms[hits] = np.uint32(high >> np.uint64(32))
                            rows[hits] = first_row + index
                        hits += 1
                        place += length
                at = _skipped(buffer, at, end)
            if at != end:
                return _BROKEN
        start = end
    return hits


@kernel
def _array(buffer: Any, at: Any, end: Any) -> Any:
    """(elements, where the first begins) of an array; -1 elements where there is none."""
    tag = buffer[at]
    if 0x90 <= tag <= 0x9F:
        return np.int64(tag & 15), at + 1
    if tag == 0xDC and at + 3 <= end:
        return _whole(buffer, at + 1, 2), at + 3
    if tag == 0xDD and at + 5 <= end:
        return _whole(buffer, at + 1, 4), at + 5
    return np.int64(-1), at


@kernel
def _text(buffer: Any, at: Any, end: Any) -> Any:
    """(length, where it begins) of a text; -1 where there is none that ends in time."""
    size = np.int64(-1)
    if at < end:
        tag = buffer[at]
        if 0xA0 <= tag <= 0xBF:
            size = np.int64(0)
        elif 0xD9 <= tag <= 0xDB:
            size = np.int64(1) << np.int64(tag - 0xD9)
    if size < 0 or at + 1 + size > end:
        return np.int64(-1), at
    length = np.int64(buffer[at] & 31) if size == 0 else _whole(buffer, at + 1, size)
    start = at + 1 + size
    return (length, start) if start + length <= end else (np.int64(-1), at)


@kernel
def _whole(buffer: Any, at: Any, size: Any) -> Any:
    value = np.int64(0)
    for byte in range(size):
        value = (value << 8) | np.int64(buffer[at + byte])
    return value


@kernel
def _skipped(buffer: Any, at: Any, end: Any) -> Any:
    """Where the value after the one at `at` begins; -1 where it does not end in time. It takes no extension types."""
    left = np.int64(1)
    while left > 0:
        if at >= end:
            return _BROKEN
        tag = np.int64(buffer[at])
        at += 1
        left -= 1
        if tag < 0x80 or tag >= 0xE0 or tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
            continue
        if tag < 0x90:
            left += 2 * (tag & 15)
        elif tag < 0xA0:
            left += tag & 15
        elif tag < 0xC0:
            at += tag & 31
        elif 0xCA <= tag <= 0xD3:
            at += 4 if tag == 0xCA else (8 if tag == 0xCB else np.int64(1) << ((tag - 0xCC) & 3))
        else:
            # bin 8 to 32, str 8 to 32, array 16 and 32, map 16 and 32
            size = np.int64(0)
            if 0xC4 <= tag <= 0xC6:
                size = np.int64(1) << (tag - 0xC4)
            elif 0xD9 <= tag <= 0xDB:
                size = np.int64(1) << (tag - 0xD9)
            elif 0xDC <= tag <= 0xDF:
                size = np.int64(2) << (tag & 1)
            if size == 0 or at + size > end:
                return _BROKEN
            length = _whole(buffer, at, size)
            at += size
            if tag < 0xDC:
                at += length
            elif tag < 0xDE:
                left += length
            else:
                left += 2 * length
        if at > end:
            return _BROKEN
    return at


def warm_up() -> None:
    """Compile the kernels, or load them, so that nobody waits for it later."""
    buffer = np.frombuffer(b"\0", np.uint8)
    nothing = np.empty(0, np.int64)
    hashes = hash_spans(buffer, nothing, np.uint64(0), np.empty(0, np.uint64))
    mix_in(hashes, hashes)
    flags, terms, rows = np.empty(0, np.uint8), np.empty(0, np.uint32), np.empty(0, np.uint32)
    scan_records(buffer, nothing, np.int64(0), np.uint64(0), np.empty(0, np.uint64), flags, terms, rows)
