"""What an instruction remembers of texts: for each code that it met, the word that a function made of the text.

A memory is a segment of the pool (its size in bits, the keys, the results) that the kernel reads; half of it is always
free, so that every search ends. It doubles up to a bound, then begins anew.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from parakh.expressions.lookups import place_of
from parakh.expressions.pool import Pool, Words
from parakh.expressions.texts import Pattern, lower, upper
from parakh.expressions.typed import Node, Op
from parakh.expressions.values import Dictionary

__all__ = ["MOST_BITS", "Memory", "text_function"]

FIRST_BITS = 6
MOST_BITS = 18
"""At most 2**17 texts, in 4 MB, are remembered for an instruction."""


class Memory:
    """The memory of one instruction."""

    def __init__(self, pool: Pool, compute: Callable[[str], int]) -> None:
        self._pool = pool
        self._compute = compute
        self._used = 0
        self.segment = pool.add(_empty(FIRST_BITS))

    def learn(self, codes: list[int], strings: Dictionary) -> None:
        """Compute and keep what is not known yet of some codes (at most a chunk of them)."""
        words = self._pool.segment(self.segment)
        fresh = [code for code in codes if words[1 + _place(words, code)] != code]
        results = [(code, self._compute(strings.text(code))) for code in fresh]
        words = self._pool.segment(self.segment)  # computing may have interned, never moved the pool
        bits = int(words[0])
        if (self._used + len(results)) * 2 > 1 << bits:
            size = 1 << bits
            keys, values = words[1 : 1 + size], words[1 + size :]
            kept = [(int(key), int(value)) for key, value in zip(keys, values) if key >= 0]
            if bits >= MOST_BITS:
                kept = []
            wanted = len(kept) + len(results)
            bits = max(bits, (2 * wanted - 1).bit_length())
            self._pool.replace(self.segment, _empty(bits))
            words = self._pool.segment(self.segment)
            results = kept + results
            self._used = 0
        for code, result in results:
            at = _place(words, code)
            words[1 + at] = code
            words[1 + (1 << bits) + at] = result
            self._used += 1


def _empty(bits: int) -> Words:
    size = 1 << bits
    return np.concatenate(
        (np.array([bits], dtype=np.int64), np.full(size, -1, dtype=np.int64), np.zeros(size, dtype=np.int64))
    )


def _place(words: Words, code: int) -> int:
    """Where a code stands in a memory, or where it would."""
    mask = (1 << int(words[0])) - 1
    at = place_of(code) & mask
    while words[1 + at] not in (-1, code):
        at = (at + 1) & mask
    return int(at)


def text_function(node: Node, strings: Dictionary) -> Callable[[str], int]:
    """The function of a text that a node stands for, giving a word."""
    match node.op:
        case Op.LOWER:
            return lambda text: strings.intern(lower(text))
        case Op.UPPER:
            return lambda text: strings.intern(upper(text))
        case Op.LENGTH:
            return len
        case Op.STARTS_WITH:
            prefix = str(node.value)
            return lambda text: int(text.startswith(prefix))
        case Op.LIKE:
            assert isinstance(node.value, tuple)
            written, escape, any_case = node.value
            pattern = Pattern(written, escape, any_case=any_case)
            return lambda text: int(pattern.matches(text))
        case _:
            raise AssertionError(f"{node.op} has no instruction")
