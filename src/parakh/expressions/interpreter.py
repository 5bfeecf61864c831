"""The one kernel that runs every expression: instruction by instruction over a chunk of rows.

Nothing is compiled for an expression, so an edited rule is live at once. Each family of instructions is a function of
its own, which keeps the first compilation short; each loop is plain enough for the compiler to vectorise.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from parakh.expressions import instructions as op
from parakh.expressions.instructions import CHUNK, FAMILY, OVERFLOW, REGISTER_BYTES, WIDTH
from parakh.expressions.kernels import stamped
from parakh.expressions.lookups import Word, lower_bound, run_lookups
from parakh.expressions.memory import get_float, get_word, mark, set_float, set_word
from parakh.expressions.types import NULL_WORD

__all__ = ["AT_BASE", "AT_INSTRUCTION", "AT_ROW", "DESCRIPTOR_WORDS", "run"]

# What `run` is told: addresses and sizes.
CODE, COUNT, REGISTERS, WORDS, STRIDE, FLAGS, POOL, OFFSETS = range(8)
# Where it stopped, if it stopped: the chunk's first row, the instruction, the row in the chunk.
AT_BASE, AT_INSTRUCTION, AT_ROW = 8, 9, 10
DESCRIPTOR_WORDS = 11

MISS = 1
"""`run` met a text that is not in an instruction's memory yet."""

_NULL = np.int64(NULL_WORD)
_NAN = np.nan
_LARGEST = 1.7976931348623157e308
_SMALL = 2**31
_EARTH_KM = 6371.0088  # the mean radius (IUGG)
_RADIAN = math.pi / 180.0


@stamped
@njit(cache=True, nogil=True)
def _run_words(code: Word, d: Word, a: Word, b: Word, c: Word, k: Word, n: Word, pool: Word) -> None:
    """Comparisons of words, and three-valued logic."""
    if code == op.AT_MOST_K:
        for i in range(n):
            x = get_word(a, i)
            set_word(d, i, _NULL if x == _NULL else np.int64(x <= k))
    elif code == op.AT_LEAST_K:
        for i in range(n):
            x = get_word(a, i)
            set_word(d, i, _NULL if x == _NULL else np.int64(x >= k))
    elif code == op.EQUAL_K:
        for i in range(n):
            x = get_word(a, i)
            set_word(d, i, _NULL if x == _NULL else np.int64(x == k))
    elif code == op.NOT_EQUAL_K:
        for i in range(n):
            x = get_word(a, i)
            set_word(d, i, _NULL if x == _NULL else np.int64(x != k))
    elif code == op.AND:
        for i in range(n):
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, np.int64(0) if x == 0 or y == 0 else _NULL if x == _NULL or y == _NULL else np.int64(1))
    elif code == op.OR:
        for i in range(n):
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, np.int64(1) if x == 1 or y == 1 else _NULL if x == _NULL or y == _NULL else np.int64(0))
    elif code == op.NOT:
        for i in range(n):
            x = get_word(a, i)
            set_word(d, i, _NULL if x == _NULL else np.int64(1) - x)
    elif code == op.IS_NULL:
        for i in range(n):
            set_word(d, i, np.int64(get_word(a, i) == _NULL))
    elif code == op.IS_NAN:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, np.int64(x != x))
    elif code == op.LESS:
        for i in range(n):
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, _NULL if x == _NULL or y == _NULL else np.int64(x < y))
    elif code == op.AT_MOST:
        for i in range(n):
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, _NULL if x == _NULL or y == _NULL else np.int64(x <= y))
    elif code == op.EQUAL:
        for i in range(n):
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, _NULL if x == _NULL or y == _NULL else np.int64(x == y))
    elif code == op.NOT_EQUAL:
        for i in range(n):
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, _NULL if x == _NULL or y == _NULL else np.int64(x != y))
    elif code == op.COPY:
        for i in range(n):
            set_word(d, i, get_word(a, i))
    elif code == op.SELECT:
        for i in range(n):
            set_word(d, i, get_word(b, i) if get_word(a, i) == 1 else get_word(c, i))
    elif code == op.COALESCE:
        for i in range(n):
            x = get_word(a, i)
            set_word(d, i, get_word(b, i) if x == _NULL else x)
    elif code == op.COALESCE_F:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, get_word(b, i) if x != x else get_word(a, i))
    elif code == op.IN:
        count = get_word(pool, 0)
        for i in range(n):
            x = get_word(a, i)
            at = lower_bound(pool, 1, count, x)
            found = at < count and get_word(pool, 1 + at) == x
            set_word(d, i, _NULL if x == _NULL else np.int64(found))
    elif code == op.IN_F:
        count = get_word(pool, 0)
        for i in range(n):
            f = get_float(a, i)
            found = False
            low, high = np.int64(0), count
            while low < high:
                middle = (low + high) >> 1
                y = get_float(pool, 1 + middle)
                if y == f:
                    found = True
                    break
                if y < f:
                    low = middle + 1
                else:
                    high = middle
            set_word(d, i, _NULL if f != f else np.int64(found))


@stamped
@njit(cache=True, nogil=True)
def _finite(x: float) -> float:
    """NaN and infinity are NULL, and NULL has one pattern of bits."""
    return x if abs(x) <= _LARGEST else _NAN


@stamped
@njit(cache=True, nogil=True, error_model="numpy")
def _run_numbers(code: Word, d: Word, a: Word, b: Word, c: Word, e: Word, k: float, n: Word) -> None:
    """Comparisons and arithmetic of float64."""
    if code == op.LESS_FK:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, _NULL if x != x else np.int64(x < k))
    elif code == op.AT_MOST_FK:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, _NULL if x != x else np.int64(x <= k))
    elif code == op.MORE_FK:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, _NULL if x != x else np.int64(x > k))
    elif code == op.AT_LEAST_FK:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, _NULL if x != x else np.int64(x >= k))
    elif code == op.EQUAL_FK:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, _NULL if x != x else np.int64(x == k))
    elif code == op.NOT_EQUAL_FK:
        for i in range(n):
            x = get_float(a, i)
            set_word(d, i, _NULL if x != x else np.int64(x != k))
    elif code == op.LESS_F:
        for i in range(n):
            x, y = get_float(a, i), get_float(b, i)
            set_word(d, i, _NULL if x != x or y != y else np.int64(x < y))
    elif code == op.AT_MOST_F:
        for i in range(n):
            x, y = get_float(a, i), get_float(b, i)
            set_word(d, i, _NULL if x != x or y != y else np.int64(x <= y))
    elif code == op.EQUAL_F:
        for i in range(n):
            x, y = get_float(a, i), get_float(b, i)
            set_word(d, i, _NULL if x != x or y != y else np.int64(x == y))
    elif code == op.NOT_EQUAL_F:
        for i in range(n):
            x, y = get_float(a, i), get_float(b, i)
            set_word(d, i, _NULL if x != x or y != y else np.int64(x != y))
    elif code == op.TO_NUMBER:
        for i in range(n):
            w = get_word(a, i)
            set_float(d, i, _NAN if w == _NULL else np.float64(w) / k)
    elif code == op.ADD_F:
        for i in range(n):
            set_float(d, i, _finite(get_float(a, i) + get_float(b, i)))
    elif code == op.SUBTRACT_F:
        for i in range(n):
            set_float(d, i, _finite(get_float(a, i) - get_float(b, i)))
    elif code == op.MULTIPLY_F:
        for i in range(n):
            set_float(d, i, _finite(get_float(a, i) * get_float(b, i)))
    elif code == op.DIVIDE_F:
        for i in range(n):
            set_float(d, i, _finite(get_float(a, i) / get_float(b, i)))
    elif code == op.NEGATE_F:
        for i in range(n):
            set_float(d, i, _finite(-get_float(a, i)))
    elif code == op.ABS_F:
        for i in range(n):
            set_float(d, i, _finite(abs(get_float(a, i))))
    elif code == op.LEAST_F:
        for i in range(n):
            x, y = get_float(a, i), get_float(b, i)
            set_float(d, i, y if x != x or y < x else x)
    elif code == op.GREATEST_F:
        for i in range(n):
            x, y = get_float(a, i), get_float(b, i)
            set_float(d, i, y if x != x or y > x else x)
    else:
        for i in range(n):
            x = get_float(a, i)
            r = _NAN
            if x == x:
                if code == op.FLOOR_F:
                    r = np.floor(x)
                elif code == op.CEIL_F:
                    r = np.ceil(x)
                elif code == op.ROUND_F:
                    r = _rounded(x, k)
                elif code == op.LN:
                    r = math.log(x) if x > 0.0 else _NAN
                elif code == op.SQRT:
                    r = math.sqrt(x) if x >= 0.0 else _NAN
                elif code == op.MODULO_F:
                    y = get_float(b, i)
                    r = np.fmod(x, y) if y != 0.0 else _NAN
                elif code == op.POWER:
                    y = get_float(b, i)
                    r = math.pow(x, y) if y == y and (x != 0.0 or y >= 0.0) else _NAN
                elif code == op.DISTANCE_KM:
                    r = _distance_km(x, get_float(b, i), get_float(c, i), get_float(e, i))
            set_float(d, i, _finite(r))


@stamped
@njit(cache=True, nogil=True, error_model="numpy")
def _rounded(x: float, scale: float) -> float:
    """To the nearest multiple of 1/scale, halves away from zero; what is too large to scale has no decimals."""
    scaled = abs(x) * scale
    if not scaled <= _LARGEST:
        return x
    whole = np.floor(scaled)
    if scaled - whole >= 0.5:
        whole += 1.0
    return math.copysign(whole / scale, x)


@stamped
@njit(cache=True, nogil=True, error_model="numpy")
def _distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """The great-circle distance (haversine); NaN where a position is none."""
    positions = abs(latitude) <= 90.0 and abs(to_latitude) <= 90.0
    if not (positions and abs(longitude) <= 360.0 and abs(to_longitude) <= 360.0):
        return _NAN
    up = math.sin((to_latitude - latitude) * _RADIAN / 2.0)
    across = math.sin((to_longitude - longitude) * _RADIAN / 2.0)
    h = up * up + math.cos(latitude * _RADIAN) * math.cos(to_latitude * _RADIAN) * across * across
    return 2.0 * _EARTH_KM * math.asin(math.sqrt(min(1.0, h)))


@stamped
@njit(cache=True, nogil=True, error_model="numpy")
def _run_wholes(code: Word, d: Word, a: Word, b: Word, k: Word, n: Word, flags: Word) -> None:
    """Arithmetic of 64-bit words; what does not fit is NULL and flagged."""
    if code == op.LEAST:
        for i in range(n):
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, y if x == _NULL or (y != _NULL and y < x) else x)
        return
    if code == op.GREATEST:
        for i in range(n):  # NULL is the least word
            x, y = get_word(a, i), get_word(b, i)
            set_word(d, i, y if y > x else x)
        return
    for i in range(n):
        x = get_word(a, i)
        y = get_word(b, i)
        r = _NULL
        if x != _NULL and y != _NULL:
            over = False
            if code == op.ADD:
                r = x + y
                over = ((x ^ r) & (y ^ r)) < 0 or r == _NULL
            elif code == op.SUBTRACT:
                r = x - y
                over = ((x ^ y) & (x ^ r)) < 0 or r == _NULL
            elif code == op.MULTIPLY:
                r = x * y
                small = -_SMALL < x < _SMALL and -_SMALL < y < _SMALL
                over = not small and x != 0 and (r == _NULL or _quotient(r, x) != y)
            elif code == op.DIVIDE:
                r = _quotient(x, y) if y != 0 else _NULL
            elif code == op.MODULO:
                r = x - y * _quotient(x, y) if y != 0 else _NULL
            elif code == op.NEGATE:
                r = -x
            elif code == op.ABS:
                r = abs(x)
            else:  # to a multiple of k: q below, the rest above it
                q = x // k
                rest = x - q * k
                if code == op.CEIL_TO:
                    q += np.int64(rest > 0)
                elif code == op.ROUND_TO:
                    q += np.int64(2 * rest > k or (2 * rest == k and x > 0))
                over = q > (2**63 - 1) // k or q < -((2**63 - 1) // k)
                r = _NULL if over else q * k
            if over:
                r = _NULL
                mark(flags, i, OVERFLOW)
        set_word(d, i, r)


@stamped
@njit(cache=True, nogil=True, error_model="numpy")
def _quotient(x: Word, y: Word) -> Word:
    """x / y towards zero, y not 0 (x is never the least word)."""
    q = abs(x) // abs(y)
    return q if (x < 0) == (y < 0) else -q


@stamped
@njit(cache=True, nogil=True)
def _cell(cell: Word, registers: Word, columns: Word, stride: Word) -> Word:
    return registers + cell * REGISTER_BYTES if cell >= 0 else columns + (-1 - cell) * stride


@stamped
@njit(cache=True, nogil=True)
def run(descriptor: npt.NDArray[np.int64], base: Word, stop: Word, instruction: Word, row: Word) -> Word:
    """Run a program over rows [base, stop) of the frame that `descriptor` tells of; 0 when done, MISS to be resumed.

    A fresh run begins at instruction 0 and row 0; after a MISS it is called again with what stands at AT_BASE,
    AT_INSTRUCTION and AT_ROW of the descriptor.
    """
    code, count, registers = descriptor[CODE], descriptor[COUNT], descriptor[REGISTERS]
    stride, pool, offsets = descriptor[STRIDE], descriptor[POOL], descriptor[OFFSETS]
    while base < stop:
        n = min(np.int64(CHUNK), stop - base)
        columns = descriptor[WORDS] + base * 8
        flags = descriptor[FLAGS] + base
        while instruction < count:
            at = code + instruction * (WIDTH * 8)
            what = get_word(at, 0)
            d = _cell(get_word(at, 1), registers, columns, stride)
            a = _cell(get_word(at, 2), registers, columns, stride)
            b = _cell(get_word(at, 3), registers, columns, stride)
            c = _cell(get_word(at, 4), registers, columns, stride)
            family = what // FAMILY
            if family == 0:
                segment = pool + get_word(offsets, get_word(at, 6)) * 8
                _run_words(what, d, a, b, c, get_word(at, 5), n, segment)
            elif family == 1:
                e = _cell(get_word(at, 6), registers, columns, stride)
                _run_numbers(what, d, a, b, c, e, get_float(at, 5), n)
            elif family == 2:
                _run_wholes(what, d, a, b, get_word(at, 5), n, flags)
            else:
                segment = pool + get_word(offsets, get_word(at, 6)) * 8
                missing = run_lookups(what, d, a, b, get_word(at, 5), n, row, segment, get_word(at, 7))
                if missing >= 0:
                    descriptor[AT_BASE] = base
                    descriptor[AT_INSTRUCTION] = instruction
                    descriptor[AT_ROW] = missing
                    return MISS
                row = np.int64(0)
            instruction += 1
        instruction = np.int64(0)
        base += n
    return 0
