"""The one dictionary of strings: every key, field, literal and list entry becomes a dense code, so that downstream
equality of text is equality of integers.

It is made of flat arrays that Numba kernels share: the bytes of all texts in one arena, their offsets, a 64-bit hash of
each and an open-addressing table of codes. No Python object is held per text, so five million keys neither slow the
garbage collector nor cost more than their bytes and about 30 more each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from parakh.expressions.kernels import inlined, kernel
from parakh.expressions.types import NULL_WORD

__all__ = ["FULL", "Strings", "bytes_equal", "copy_spans", "hash_bytes", "intern_bytes", "load_word", "mix"]

FULL = -2
"""What `intern_bytes` answers where the text is new and there is no room for it."""

_MOST_KEYS = 2**31 - 2
_SPANS_A_CALL = 65_536
_NULL = np.int64(NULL_WORD)

_S0 = np.uint64(0x736F6D6570736575)
_S1 = np.uint64(0x646F72616E646F6D)
_S2 = np.uint64(0x6C7967656E657261)
_S3 = np.uint64(0x7465646279746573)
# A fixed key: the hashes stand in snapshots and must be the same in every process.
_K0 = np.uint64(0x5061726B68206B31)
_K1 = np.uint64(0x70617261206B6579)

_U13, _U32, _U16, _U21, _U17 = np.uint64(13), np.uint64(32), np.uint64(16), np.uint64(21), np.uint64(17)
_U51, _U48, _U43, _U47 = np.uint64(51), np.uint64(48), np.uint64(43), np.uint64(47)
_U3, _U8, _U56, _U64 = np.uint64(3), np.uint64(8), np.uint64(56), np.uint64(64)


def _load_word(typingctx: Any, buffer: Any, index: Any) -> Any:
    signature = types.uint64(buffer, types.int64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.gep(array.data, [args[1]])
        word = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return signature, generate


load_word: Any = intrinsic(_load_word)
"""`load_word(buffer, index)`: eight bytes of a uint8 array as one little-endian word; the caller keeps inside it."""


@kernel
def _round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 += v1
    v1 = (v1 << _U13) | (v1 >> _U51)
    v1 ^= v0
    v0 = (v0 << _U32) | (v0 >> _U32)
    v2 += v3
    v3 = (v3 << _U16) | (v3 >> _U48)
    v3 ^= v2
    v0 += v3
    v3 = (v3 << _U21) | (v3 >> _U43)
    v3 ^= v0
    v2 += v1
    v1 = (v1 << _U17) | (v1 >> _U47)
    v1 ^= v2
    v2 = (v2 << _U32) | (v2 >> _U32)
    return v0, v1, v2, v3


@kernel
def hash_bytes(buffer: Any, start: Any, length: Any, salt: Any) -> Any:
    """SipHash-1-3 with 128 bits of output of `buffer[start : start + length]`: two uint64; `salt` tells uses apart.

    Source: J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012.
    """
    v0 = _K0 ^ _S0 ^ salt
    v1 = _K1 ^ _S1 ^ np.uint64(0xEE)
    v2 = _K0 ^ _S2 ^ salt
    v3 = _K1 ^ _S3
    position = start
    whole = start + (length & ~7)
    word: Any
    while position < whole:
        word = load_word(buffer, position)
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
        position += 8
    word = np.uint64(length) << _U56
    shift: Any = np.uint64(0)
    for index in range(position, start + length):
        word |= np.uint64(buffer[index]) << shift
        shift += _U8
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= np.uint64(0xEE)
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    high = v0 ^ v1 ^ v2 ^ v3
    v1 ^= np.uint64(0xDD)
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return high, v0 ^ v1 ^ v2 ^ v3


@kernel
def mix(word: Any) -> Any:
    """A bijection of uint64 that spreads every bit over all (the finalizer of MurmurHash3)."""
    word ^= word >> np.uint64(33)
    word *= np.uint64(0xFF51AFD7ED558CCD)
    word ^= word >> np.uint64(33)
    word *= np.uint64(0xC4CEB9FE1A85EC53)
    word ^= word >> np.uint64(33)
    return word


@kernel
def bytes_equal(left: Any, left_start: Any, right: Any, right_start: Any, length: Any) -> Any:
    """Whether two spans of uint8 arrays hold the same bytes."""
    index = np.int64(0)
    while index + 8 <= length:
        if load_word(left, left_start + index) != load_word(right, right_start + index):
            return False
        index += 8
    while index < length:
        if left[left_start + index] != right[right_start + index]:
            return False
        index += 1
    return True


@kernel
def copy_spans(buffer: Any, starts: Any, lengths: Any, places: Any, out: Any) -> None:
    """Copy spans of one uint8 array to places of another, one for each element of `starts`."""
    for index in range(starts.shape[0]):
        for byte in range(lengths[index]):
            out[places[index] + byte] = buffer[starts[index] + byte]


@inlined
def intern_bytes(
    buffer: Any, start: Any, length: Any, hash: Any, insert: Any,
    arena: Any, offsets: Any, hashes: Any, table: Any, count: Any,
) -> Any:  # fmt: skip
    """The code of a span whose hash is known, given one if it is new and `insert` is true.

    -1 where it is unknown and not to be inserted, FULL where there is no room (the owner reserves it first).
    """
    mask = np.int64(table.shape[0] - 1)
    slot = np.int64(hash) & mask
    while True:
        code = np.int64(table[slot])
        if code < 0:
            break
        if hashes[code] == hash:
            begin = offsets[code]
            if offsets[code + 1] - begin == length and bytes_equal(arena, begin, buffer, start, length):
                return code
        slot = (slot + 1) & mask
    if not insert:
        return np.int64(-1)
    code = count[0]
    begin = offsets[code]
    full = code + 1 >= offsets.shape[0] or begin + length > arena.shape[0] or 4 * (code + 1) > 3 * table.shape[0]
    if full:
        return np.int64(FULL)
    for index in range(length):
        arena[begin + index] = buffer[start + index]
    offsets[code + 1] = begin + length
    hashes[code] = hash
    table[slot] = code
    count[0] = code + 1
    return code


@kernel
def _intern_spans(
    buffer: Any, starts: Any, lengths: Any, out: Any, insert: Any,
    arena: Any, offsets: Any, hashes: Any, table: Any, count: Any,
) -> None:  # fmt: skip
    for row in range(starts.shape[0]):
        if lengths[row] < 0:
            out[row] = _NULL
        else:
            high, _ = hash_bytes(buffer, starts[row], lengths[row], np.uint64(0))
            out[row] = intern_bytes(
                buffer, starts[row], lengths[row], high, insert, arena, offsets, hashes, table, count
            )  # fmt: skip


@kernel
def _rehash(hashes: Any, count: Any, table: Any) -> None:
    mask = np.int64(table.shape[0] - 1)
    for code in range(count):
        slot = np.int64(hashes[code]) & mask
        while table[slot] >= 0:
            slot = (slot + 1) & mask
        table[slot] = code


@kernel
def _hash_all(arena: Any, offsets: Any, count: Any, hashes: Any) -> None:
    for code in range(count):
        high, _ = hash_bytes(arena, offsets[code], offsets[code + 1] - offsets[code], np.uint64(0))
        hashes[code] = high


class Strings:
    """Texts and their codes: dense integers from 0 in the order of first sight.

    Exact: two texts have one code only if their bytes are equal. Codes depend on the order of arrival, so nothing that
    leaves the process may contain one; `hashes` are the same everywhere.

    >>> strings = Strings()
    >>> strings.intern("IN"), strings.intern("FR"), strings.intern("IN"), strings.find("US"), strings.text(1)
    (0, 1, 0, -1, 'FR')
    """

    __slots__ = ("_arena", "_count", "_hashes", "_offsets", "_table", "moves")

    def __init__(self) -> None:
        self._arena = np.empty(1 << 14, np.uint8)
        self._offsets = np.zeros((1 << 10) + 1, np.int64)
        self._hashes = np.empty(1 << 10, np.uint64)
        self._table = np.full(1 << 11, -1, np.int32)
        self._count = np.zeros(1, np.int64)
        self.moves = 0
        """How often an array was replaced by a larger one."""

    def __len__(self) -> int:
        return int(self._count[0])

    @property
    def kernel_arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """(arena, offsets, hashes, table, count), as `intern_bytes` takes them; valid until the next `reserve`."""
        return self._arena, self._offsets, self._hashes, self._table, self._count

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """The 64-bit content hash of each code."""
        return self._hashes[: len(self)]

    @property
    def nbytes(self) -> int:
        """Bytes held, including the room for growth."""
        return sum(array.nbytes for array in self.kernel_arrays)

    def reserve(self, texts: int, size: int) -> None:
        """Make room for so many new texts of so many bytes together, so that a kernel need not stop."""
        count = int(self._count[0])
        used = int(self._offsets[count])
        if used + size > self._arena.shape[0]:
            self.moves += 1
            self._arena = _grown(self._arena, used, max(used + size, self._arena.shape[0] * 3 // 2))
        needed = count + texts
        if needed > self._hashes.shape[0]:
            if needed > _MOST_KEYS:
                raise MemoryError(f"more than {_MOST_KEYS} different texts in one dictionary")
            self.moves += 1
            capacity = max(needed, self._hashes.shape[0] * 3 // 2)
            self._hashes = _grown(self._hashes, count, capacity)
            self._offsets = _grown(self._offsets, count + 1, capacity + 1)
        if 4 * needed > 3 * self._table.shape[0]:
            self.moves += 1
            self._table = np.full(1 << int(needed * 4 // 3).bit_length(), -1, np.int32)
            _rehash(self._hashes, count, self._table)

    def intern(self, text: str) -> int:
        """The code of a text, given one if it is new."""
        return self._one(text, insert=True)

    def find(self, text: str) -> int:
        """The code of a text, -1 if it has none."""
        return self._one(text, insert=False)

    def intern_spans(
        self,
        buffer: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        out: npt.NDArray[np.int64],
    ) -> None:
        """The codes of many spans of one buffer into `out`; a negative length is NULL. Spans must lie in the buffer."""
        if starts.shape[0] and bool(((lengths >= 0) & ((starts < 0) | (starts + lengths > buffer.shape[0]))).any()):
            raise AssertionError("a span leaves its buffer")
        for first in range(0, starts.shape[0], _SPANS_A_CALL):
            part = slice(first, first + _SPANS_A_CALL)
            self.reserve(lengths[part].shape[0], int(np.maximum(lengths[part], 0).sum()))
            _intern_spans(buffer, starts[part], lengths[part], out[part], True, *self.kernel_arrays)

    def text(self, code: int) -> str:
        """The text of a code."""
        if not 0 <= code < len(self):
            raise IndexError(f"no text has the code {code}")
        return bytes(self._arena[self._offsets[code] : self._offsets[code + 1]]).decode()

    def texts(self, codes: npt.NDArray[np.int64]) -> list[str | None]:
        """The texts of many codes, None for NULL."""
        return [None if code == NULL_WORD else self.text(code) for code in codes.tolist()]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a snapshot keeps: the bytes and the offsets (views; hashes and table are made again from them)."""
        count = len(self)
        return {"bytes": self._arena[: self._offsets[count]], "offsets": self._offsets[: count + 1]}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Strings:
        """The dictionary that `arrays` was taken from, with the same codes."""
        offsets = np.ascontiguousarray(arrays["offsets"], np.int64)
        texts = np.ascontiguousarray(arrays["bytes"], np.uint8)
        count = offsets.shape[0] - 1
        if count < 0 or offsets[0] != 0 or bool((np.diff(offsets) < 0).any()) or offsets[count] != texts.shape[0]:
            raise ValueError("the offsets of a snapshot's strings do not fit its bytes")
        self = cls()
        self.reserve(count, texts.shape[0])
        self._arena[: texts.shape[0]] = texts
        self._offsets[: count + 1] = offsets
        self._count[0] = count
        _hash_all(self._arena, self._offsets, count, self._hashes)
        _rehash(self._hashes, count, self._table)
        return self

    def __repr__(self) -> str:
        return f"<Strings: {len(self):,} texts, {self.nbytes:,} bytes>"

    def _one(self, text: str, *, insert: bool) -> int:
        encoded = text.encode()
        if insert:
            self.reserve(1, len(encoded))
        buffer = np.frombuffer(encoded or b"\0", np.uint8).copy()
        out = np.empty(1, np.int64)
        _intern_spans(
            buffer, np.zeros(1, np.int64), np.array([len(encoded)], np.int64), out, insert, *self.kernel_arrays
        )  # fmt: skip
        return int(out[0])


def _grown(array: npt.NDArray[Any], used: int, capacity: int) -> npt.NDArray[Any]:
    grown = np.empty(capacity, array.dtype)
    grown[:used] = array[:used]
    return grown
