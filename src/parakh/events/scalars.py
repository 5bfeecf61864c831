"""Kernels that read one value from bytes: a number, a whole number or an amount, a time.

They answer only where they are sure. All else is left to `parakh.events.convert`, which says the same in Python and
gives the reason of a refusal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.expressions.kernels import kernel

__all__ = [
    "DAY_US", "epoch_us", "number_bits", "read_time", "scaled", "scan_number",
    "utf8_size", "valid_utf8",
]  # fmt: skip

DAY_US = 86_400_000_000
_MOST_DIGITS = 19
_LEAST_POWER = -330
_GREATEST_POWER = 310
_GREATEST_WORD = 2**63 - 1

# Whole numbers as times: seconds, ms, us or ns since 1970, told apart by size. From 2000 to 2100 no two ranges overlap.
_LESS_THAN_SECONDS, _LESS_THAN_MS, _LESS_THAN_US = 10**11, 10**14, 10**17


def _powers_of_ten() -> npt.NDArray[np.uint64]:
    """The leading 128 bits (high, low) of 10^e, cut off, for every e that Eisel and Lemire's method needs."""
    powers = np.empty((_GREATEST_POWER - _LEAST_POWER + 1, 2), np.uint64)
    for exponent in range(_LEAST_POWER, _GREATEST_POWER + 1):
        if exponent >= 0:
            value = 10**exponent
            shift = value.bit_length() - 128
            value = value >> shift if shift > 0 else value << -shift
        else:
            divisor = 10**-exponent
            value = (1 << (127 + divisor.bit_length())) // divisor
            value >>= value.bit_length() - 128
        powers[exponent - _LEAST_POWER] = value >> 64, value & (2**64 - 1)
    return powers


_POWERS = _powers_of_ten()
# Below 2^53 and up to 10^22 both factors are exact, so that one operation rounds once (W. Clinger, 1990).
_EXACT = np.uint64(2**53)
_TENS = np.array([float(10**exponent) for exponent in range(23)])
_U1, _U3, _U9, _U32, _U52, _U53, _U63 = (np.uint64(n) for n in (1, 3, 9, 32, 52, 53, 63))
_LOW32, _LOW9 = np.uint64(0xFFFFFFFF), np.uint64(0x1FF)


@kernel
def _multiply(left: Any, right: Any) -> Any:
    """The product of two uint64 in 128 bits: (high, low)."""
    left_high, left_low = left >> _U32, left & _LOW32
    right_high, right_low = right >> _U32, right & _LOW32
    low = left_low * right_low
    middle = left_high * right_low + (low >> _U32)
    cross = left_low * right_high + (middle & _LOW32)
    return left_high * right_high + (middle >> _U32) + (cross >> _U32), (cross << _U32) | (low & _LOW32)


@kernel
def number_bits(mantissa: Any, exponent: Any, negative: Any) -> Any:
    """(sure, bits) of the float64 nearest to mantissa * 10^exponent; both zeros are +0.

    Source: D. Lemire, "Number parsing at a gigabyte per second", 2021 (after M. Eisel).
    """
    if mantissa == np.uint64(0):
        return True, np.int64(0)
    if mantissa < _EXACT and -22 <= exponent <= 22:
        value = np.float64(mantissa)
        value = value * _TENS[exponent] if exponent >= 0 else value / _TENS[-exponent]
        return True, np.float64(-value if negative else value).view(np.int64)
    if exponent < _LEAST_POWER or exponent > _GREATEST_POWER:
        return False, np.int64(0)
    shifted = np.int64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if mantissa >> np.uint64(64 - step) == np.uint64(0):
            mantissa <<= np.uint64(step)
            shifted += step
    power = exponent - _LEAST_POWER
    binary = ((217706 * exponent) >> 16) + 64 + 1023 - shifted
    high, low = _multiply(mantissa, _POWERS[power, 0])
    if high & _LOW9 == _LOW9 and low + mantissa < mantissa:
        more_high, more_low = _multiply(mantissa, _POWERS[power, 1])
        merged = low + more_high
        if merged < low:
            high += _U1
        if high & _LOW9 == _LOW9 and merged + _U1 == np.uint64(0) and more_low + mantissa < mantissa:
            return False, np.int64(0)
        low = merged
    top = high >> _U63
    result = high >> (top + _U9)
    binary -= np.int64(_U1 ^ top)
    if low == np.uint64(0) and high & _LOW9 == np.uint64(0) and result & _U3 == _U1:
        return False, np.int64(0)
    result = (result + (result & _U1)) >> _U1
    if result >> _U53 > np.uint64(0):
        result >>= _U1
        binary += 1
    if binary < 1 or binary >= 0x7FF:
        return False, np.int64(0)
    bits = (np.uint64(binary) << _U52) | (result & np.uint64(0x000FFFFFFFFFFFFF))
    if negative:
        bits |= np.uint64(0x8000000000000000)
    return True, np.int64(bits)


@kernel
def scan_number(buffer: Any, position: Any, end: Any) -> Any:
    """(end, mantissa, exponent, negative, plain) of the JSON number at `position`; end is -1 where unsure.

    `plain` is true for a whole number written without fraction or exponent, whose own digits are its canonical text.
    """
    failed = (np.int64(-1), np.uint64(0), np.int64(0), False, False)
    negative = position < end and buffer[position] == 45
    if negative:
        position += 1
    first = position
    mantissa = np.uint64(0)
    digits = np.int64(0)
    exponent = np.int64(0)
    while position < end and 48 <= buffer[position] <= 57:
        mantissa = mantissa * np.uint64(10) + np.uint64(buffer[position] - 48)
        if digits > 0 or mantissa != np.uint64(0):
            digits += 1
        position += 1
        if digits > _MOST_DIGITS:
            return failed
    if position == first or (buffer[first] == 48 and position - first > 1):
        return failed
    plain = True
    if position < end and buffer[position] == 46:
        plain = False
        position += 1
        first = position
        while position < end and 48 <= buffer[position] <= 57:
            mantissa = mantissa * np.uint64(10) + np.uint64(buffer[position] - 48)
            if digits > 0 or mantissa != np.uint64(0):
                digits += 1
            exponent -= 1
            position += 1
            if digits > _MOST_DIGITS or exponent < -400:
                return failed
        if position == first:
            return failed
    if position < end and (buffer[position] | 32) == 101:
        plain = False
        position += 1
        below = position < end and buffer[position] == 45
        if below or (position < end and buffer[position] == 43):
            position += 1
        first = position
        power = np.int64(0)
        while position < end and 48 <= buffer[position] <= 57:
            power = power * 10 + np.int64(buffer[position] - 48)
            position += 1
            if power > 400:
                return failed
        if position == first:
            return failed
        exponent += -power if below else power
    if mantissa == np.uint64(0) and negative:
        return failed
    return position, mantissa, exponent, negative, plain


@kernel
def scaled(mantissa: Any, exponent: Any, negative: Any) -> Any:
    """(sure, word): mantissa * 10^exponent where that is a whole number of 64 bits."""
    if mantissa == np.uint64(0):
        return True, np.int64(0)
    if mantissa > np.uint64(_GREATEST_WORD):
        return False, np.int64(0)
    word = np.int64(mantissa)
    while exponent < 0:
        if word % 10 != 0:
            return False, np.int64(0)
        word //= 10
        exponent += 1
    while exponent > 0:
        if word > _GREATEST_WORD // 10:
            return False, np.int64(0)
        word *= 10
        exponent -= 1
    return True, -word if negative else word


@kernel
def epoch_us(word: Any) -> Any:
    """Microseconds since 1970 of a whole number of seconds, ms, us or ns, told apart by its size."""
    size = abs(word)
    if size < _LESS_THAN_SECONDS:
        return word * 1_000_000
    if size < _LESS_THAN_MS:
        return word * 1_000
    if size < _LESS_THAN_US:
        return word
    return word // 1_000


@kernel
def _days_from_civil(year: Any, month: Any, day: Any) -> Any:
    """Days from 1970-01-01 to a date of the Gregorian calendar."""
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@kernel
def _two_digits(buffer: Any, position: Any) -> Any:
    """The number that two digits write, or a large one where they are not digits."""
    tens, ones = np.int64(buffer[position]) - 48, np.int64(buffer[position + 1]) - 48
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else np.int64(1_000_000)


@kernel
def read_time(buffer: Any, start: Any, end: Any) -> Any:
    """(sure, microseconds) of an ISO 8601 time: a date, or date and time with `T` or a space, an optional fraction of a
    second (cut off after microseconds) and an optional `Z` or offset; without one it is UTC."""
    failed = (False, np.int64(0))
    if end - start < 10 or buffer[start + 4] != 45 or buffer[start + 7] != 45:
        return failed
    year = _two_digits(buffer, start) * 100 + _two_digits(buffer, start + 2)
    month, day = _two_digits(buffer, start + 5), _two_digits(buffer, start + 8)
    if year < 1 or year > 9999 or month < 1 or month > 12 or day < 1:
        return failed
    last = 30 + ((month + month // 8) & 1)
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    if day > last:
        return failed
    time = _days_from_civil(year, month, day) * DAY_US
    if end - start == 10:
        return True, time
    if end - start < 16 or buffer[start + 13] != 58:
        return failed
    if buffer[start + 10] != 84 and buffer[start + 10] != 32 and buffer[start + 10] != 116:
        return failed
    hour, minute = _two_digits(buffer, start + 11), _two_digits(buffer, start + 14)
    if hour > 23 or minute > 59:
        return failed
    time += (hour * 60 + minute) * 60_000_000
    position = start + 16
    if position + 3 <= end and buffer[position] == 58:
        second = _two_digits(buffer, position + 1)
        if second > 59:
            return failed
        time += second * 1_000_000
        position += 3
        if position < end and (buffer[position] == 46 or buffer[position] == 44):
            position += 1
            first = position
            unit = np.int64(100_000)
            while position < end and 48 <= buffer[position] <= 57:
                time += np.int64(buffer[position] - 48) * unit
                unit //= 10
                position += 1
            if position == first:
                return failed
    if position == end:
        return True, time
    if (buffer[position] | 32) == 122:
        return position + 1 == end, time
    sign = np.int64(buffer[position])
    if (sign != 43 and sign != 45) or position + 3 > end:
        return failed
    hour, minute = _two_digits(buffer, position + 1), np.int64(0)
    position += 3
    if position < end:
        if buffer[position] == 58:
            position += 1
        if position + 2 != end:
            return failed
        minute = _two_digits(buffer, position)
    if hour > 23 or minute > 59:
        return failed
    offset = (hour * 60 + minute) * 60_000_000
    return True, time + offset if sign == 45 else time - offset


@kernel
def utf8_size(buffer: Any, position: Any, end: Any) -> Any:
    """Bytes of the character beyond ASCII at `position`, 0 where it is not well-formed UTF-8 (RFC 3629)."""
    byte = buffer[position]
    size = 2 if byte < 0xE0 else (3 if byte < 0xF0 else 4)
    if byte < 0xC2 or byte > 0xF4 or position + size > end:
        return 0
    second = buffer[position + 1]
    low = 0xA0 if byte == 0xE0 else (0x90 if byte == 0xF0 else 0x80)
    high = 0x9F if byte == 0xED else (0x8F if byte == 0xF4 else 0xBF)
    if second < low or second > high:
        return 0
    for index in range(position + 2, position + size):
        if buffer[index] & 0xC0 != 0x80:
            return 0
    return size


@kernel
def valid_utf8(buffer: Any, start: Any, end: Any) -> Any:
    """Whether a span is well-formed UTF-8."""
    position = start
    while position < end:
        if buffer[position] < 128:
            position += 1
        else:
            size = utf8_size(buffer, position, end)
            if size == 0:
                return False
            position += size
    return True
