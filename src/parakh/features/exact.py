"""Sums that do not drift: integers in 96 bits, squares in 128, numbers in two float64.

A record carries the sum of all records before it, so the sum of a window is one subtraction, whatever order events came
in. Integer sums are kept modulo 2^96, which holds any sum of 2^32 64-bit values exactly; sums of numbers are kept as an
unevaluated pair of float64 (about 106 bits; Dekker 1971, Knuth TAOCP 4.2.2).
"""

from __future__ import annotations

from typing import Any

from parakh.features.memory import part
from parakh.features.tables import LOW32, LOWEST

__all__ = [
    "add_pair",
    "below",
    "divide_pair",
    "pair_of_wide",
    "product_pair",
    "square_wide",
    "subtract_wide",
    "times_wide",
    "wide_to_number",
]


@part
def below(a: Any, b: Any) -> Any:
    """a < b where both are read as unsigned words."""
    return (a ^ LOWEST) < (b ^ LOWEST)


@part
def subtract_wide(high: Any, low: Any, high_taken: Any, low_taken: Any) -> Any:
    """The difference of two sums of 96 bits (`high` in 32 bits): (high, low), the high part with its sign."""
    rest = high - high_taken - (1 if below(low, low_taken) else 0)
    rest = rest & LOW32
    if rest >= 2**31:
        rest -= 2**32
    return rest, low - low_taken


@part
def wide_to_number(high: Any, low: Any) -> Any:
    """high * 2^64 + low (unsigned) as a float64."""
    if high == (low >> 63):
        return float(low)
    number = float(low)
    if low < 0:
        number += 18446744073709551616.0
    return float(high) * 18446744073709551616.0 + number


@part
def multiply(a: Any, b: Any) -> Any:
    """The product of two unsigned words: (high, low)."""
    a0, a1 = a & LOW32, (a >> 32) & LOW32
    b0, b1 = b & LOW32, (b >> 32) & LOW32
    middle = a1 * b0 + ((a0 * b0 >> 32) & LOW32)
    cross = a0 * b1 + (middle & LOW32)
    return a1 * b1 + ((middle >> 32) & LOW32) + ((cross >> 32) & LOW32), a * b


@part
def square_wide(value: Any) -> Any:
    """value * value in 128 bits: (high, low)."""
    magnitude = -value if value < 0 else value
    return multiply(magnitude, magnitude)


@part
def times_wide(high: Any, low: Any, factor: Any) -> Any:
    """(high, low) * factor modulo 2^128."""
    carry, product = multiply(low, factor)
    return high * factor + carry, product


@part
def add_pair(high: Any, low: Any, other_high: Any, other_low: Any) -> Any:
    """The sum of two pairs of float64."""
    s = high + other_high
    b = s - high
    e = (high - (s - b)) + (other_high - b)
    t = low + other_low
    b = t - low
    f = (low - (t - b)) + (other_low - b)
    e += t
    u = s + e
    e = (e - (u - s)) + f
    v = u + e
    return v, e - (v - u)


@part
def product_pair(a: Any, b: Any) -> Any:
    """a * b as a pair of float64, exact unless it leaves their range (Veltkamp's split)."""
    p = a * b
    if abs(a) > 1e145 or abs(b) > 1e145:
        return p, 0.0
    t = 134217729.0 * a
    a1 = t - (t - a)
    a2 = a - a1
    t = 134217729.0 * b
    b1 = t - (t - b)
    b2 = b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


@part
def divide_pair(high: Any, low: Any, by: Any) -> Any:
    """A pair divided by a float64, as a pair."""
    q = high / by
    p, e = product_pair(q, by)
    r = ((high - p) - e) + low
    s = r / by
    v = q + s
    return v, s - (v - q)


@part
def pair_of_wide(high: Any, low: Any) -> Any:
    """A sum of 96 bits as a pair of float64: exact where it has no more than 106 bits."""
    first = float(low & ~LOW32) + (18446744073709551616.0 if low < 0 else 0.0)
    a, b = add_pair(float(high) * 18446744073709551616.0, 0.0, first, 0.0)
    return add_pair(a, b, float(low & LOW32), 0.0)
