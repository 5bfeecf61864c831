"""A program at run time: its instructions bound to a frame, and what it does when it meets a text for the first time.

`parakh.expressions.program` compiles it; the kernel is `interpreter`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.expressions import interpreter
from parakh.expressions.instructions import CHUNK
from parakh.expressions.memory import address_of
from parakh.expressions.pool import Pool, Words
from parakh.expressions.remembered import Memory
from parakh.expressions.types import NULL_WORD
from parakh.expressions.values import Dictionary

__all__ = ["Program"]


class Program:
    """Instructions bound to a frame. One thread runs it at a time.

    `run(words, start, stop, flags)` computes every output of rows [start, stop); `words` is int64[slots, capacity],
    `flags` uint8[capacity], in which OVERFLOW is set where whole-number or money arithmetic left 64 bits.
    """

    def __init__(
        self,
        *,
        code: Words,
        registers: Words,
        strings: Dictionary,
        pool: Pool,
        memories: Mapping[int, Memory],
        owned: tuple[int, ...],
        slots: int,
    ) -> None:
        self._code = code
        self._registers = registers
        self._strings = strings
        self._pool = pool
        self._memories = memories
        self._slots = slots
        self._descriptor = np.zeros(interpreter.DESCRIPTOR_WORDS, dtype=np.int64)
        self._address = address_of(self._descriptor)
        self._words: npt.NDArray[Any] | None = None
        self._flags: npt.NDArray[Any] | None = None
        self._pool_data: npt.NDArray[Any] | None = None
        self._pool_offsets: npt.NDArray[Any] | None = None
        self._capacity = 0
        weakref.finalize(self, _release, pool, owned)

    def __len__(self) -> int:
        """The number of instructions."""
        return len(self._code)

    def run(self, words: Words, start: int, stop: int, flags: npt.NDArray[np.uint8]) -> None:
        """Compute every output of rows [start, stop)."""
        if not self.bound(words, flags):
            return
        if not 0 <= start <= stop <= self._capacity:
            raise AssertionError(f"rows {start} to {stop} of a frame of {self._capacity}")
        if interpreter.run(self._descriptor, start, stop, 0, 0):
            self.resume(words, stop, flags)

    def bound(self, words: Words, flags: npt.NDArray[np.uint8]) -> int:
        """The address of the descriptor that `interpreter.run` takes for this frame; 0 where there is nothing to run.

        It is good until a program that reads the same pool is made or learns a text.
        """
        if not len(self._code):
            return 0
        if (
            words is not self._words
            or flags is not self._flags
            or self._pool.data is not self._pool_data
            or self._pool.offsets is not self._pool_offsets
        ):
            self._bind(words, flags)
        return self._address

    def _bind(self, words: Words, flags: npt.NDArray[np.uint8]) -> None:
        """Write down where everything is; the arrays are kept, so that the addresses stay good."""
        if words.dtype != np.int64 or words.ndim != 2 or words.shape[0] < self._slots:
            raise AssertionError(f"a frame is int64[at least {self._slots} slots, capacity]")
        if flags.dtype != np.uint8 or flags.shape != (words.shape[1],):
            raise AssertionError("flags are uint8[capacity]")
        self._words, self._flags = words, flags
        self._pool_data, self._pool_offsets = self._pool.data, self._pool.offsets
        self._capacity = words.shape[1]
        arrays = (self._code, self._registers, words, flags, self._pool_data, self._pool_offsets)
        code, registers, frame, marks, pool, offsets = (address_of(array) for array in arrays)
        self._descriptor[:8] = (code, len(self._code), registers, frame, self._capacity * 8, marks, pool, offsets)

    def resume(self, words: Words, stop: int, flags: npt.NDArray[np.uint8]) -> None:
        """Compute the texts that a run has met for the first time, and go on from there until all rows are done."""
        state = self._descriptor
        missing = True
        while missing:
            base = int(state[interpreter.AT_BASE])
            instruction = int(state[interpreter.AT_INSTRUCTION])
            row = int(state[interpreter.AT_ROW])
            cell = int(self._code[instruction, 2])
            rows = slice(row, min(CHUNK, stop - base))
            column = self._registers[cell] if cell >= 0 else words[-1 - cell, base:]
            codes = list(dict.fromkeys(int(code) for code in column[rows] if code != NULL_WORD))
            self._memories[instruction].learn(codes, self._strings)
            self._bind(words, flags)
            missing = bool(interpreter.run(state, base, stop, instruction, row))


def _release(pool: Pool, owned: tuple[int, ...]) -> None:
    for number in owned:
        pool.release(number)
