"""The dictionary of strings: exact, dense, the same after a snapshot, and small."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.expressions.strings import FULL, Strings, bytes_equal, hash_bytes, intern_bytes
from parakh.expressions.types import NULL_WORD


def spans(texts: list[bytes | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array([-1 if text is None else len(text) for text in texts], np.int64)
    starts = np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0)
    return np.frombuffer(bytearray(b"".join(text or b"" for text in texts) + b"\0"), np.uint8), starts, lengths


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)))
def test_codes_are_those_of_a_dict(texts: list[str | None]) -> None:
    strings = Strings()
    codes: dict[str, int] = {}
    wanted = [NULL_WORD if text is None else codes.setdefault(text, len(codes)) for text in texts]
    out = np.empty(len(texts), np.int64)
    strings.intern_spans(*spans([None if text is None else text.encode() for text in texts]), out)
    assert out.tolist() == wanted
    assert len(strings) == len(codes)
    assert strings.texts(out) == texts
    for text, code in codes.items():
        assert strings.find(text) == strings.intern(text) == code
        assert strings.text(code) == text
    assert strings.find("never seen") == -1
    assert len(strings) == len(codes)


def test_many_texts_survive_growth_and_a_snapshot() -> None:
    strings = Strings()
    texts = [f"key-{n * 7919 % 200_000}" for n in range(300_000)]
    out = np.empty(len(texts), np.int64)
    strings.intern_spans(*spans([text.encode() for text in texts]), out)
    assert len(strings) == 200_000
    assert [strings.text(int(code)) for code in out[::1000]] == texts[::1000]
    again = Strings.from_arrays({name: array.copy() for name, array in strings.arrays().items()})
    assert len(again) == len(strings)
    assert (again.hashes == strings.hashes).all()
    assert again.find(texts[5]) == strings.find(texts[5])
    assert again.intern("new") == strings.intern("new") == 200_000
    text_bytes = sum(len(text) for text in set(texts))
    assert (strings.nbytes - text_bytes) / len(strings) < 60, "with the room for growth"


def test_a_snapshot_that_does_not_fit_is_refused() -> None:
    strings = Strings()
    strings.intern("abc")
    arrays = strings.arrays()
    with pytest.raises(ValueError, match="do not fit"):
        Strings.from_arrays({"bytes": arrays["bytes"][:2], "offsets": arrays["offsets"]})


def test_equal_hashes_do_not_make_equal_texts() -> None:
    strings = Strings()
    strings.reserve(2, 100)
    buffer, _, _ = spans([b"firstsecond"])
    # Two texts under one hash: their bytes must tell them apart.
    one = np.uint64(77)
    assert intern_bytes(buffer, 0, 5, one, True, *strings.kernel_arrays) == 0
    assert intern_bytes(buffer, 5, 6, one, True, *strings.kernel_arrays) == 1
    assert intern_bytes(buffer, 0, 5, one, True, *strings.kernel_arrays) == 0
    assert intern_bytes(buffer, 0, 4, one, False, *strings.kernel_arrays) == -1


def test_a_kernel_without_room_says_so_and_changes_nothing() -> None:
    strings = Strings()
    buffer = np.zeros(1 << 20, np.uint8)
    assert intern_bytes(buffer, 0, 1 << 20, np.uint64(1), True, *strings.kernel_arrays) == FULL
    assert len(strings) == 0


def test_codes_out_of_range_and_spans_out_of_bounds_are_errors() -> None:
    strings = Strings()
    strings.intern("a")
    for code in (-1, 1, NULL_WORD):
        with pytest.raises(IndexError):
            strings.text(code)
    buffer = np.zeros(4, np.uint8)
    with pytest.raises(AssertionError):
        strings.intern_spans(buffer, np.array([2]), np.array([3]), np.empty(1, np.int64))


def test_the_hash_is_siphash_and_spreads() -> None:
    buffer = np.frombuffer(bytearray(b"\0" * 8 + b"payment-0001"), np.uint8)
    # The place of a text in its buffer does not matter, its length and every byte do.
    assert hash_bytes(buffer, 8, 12, np.uint64(0)) == hash_bytes(buffer[8:].copy(), 0, 12, np.uint64(0))
    seen = {hash_bytes(buffer, 0, length, np.uint64(salt)) for length in range(20) for salt in range(3)}
    assert len(seen) == 60
    numbers = [f"{n}".encode() for n in range(20_000)]
    buckets = Counter(int(hash_bytes(spans([text])[0], 0, len(text), np.uint64(0))[1]) & 63 for text in numbers)
    assert 200 < min(buckets.values()) <= max(buckets.values()) < 430


def test_spans_are_compared_to_the_last_byte() -> None:
    for length in range(1, 20):
        left = np.arange(length, dtype=np.uint8)
        assert bytes_equal(left, 0, left.copy(), 0, length)
        for place in range(length):
            right = left.copy()
            right[place] ^= 1
            assert not bytes_equal(left, 0, right, 0, length)
