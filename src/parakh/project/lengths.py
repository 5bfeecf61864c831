"""Lengths of time and sizes of memory as people write them: 30s, 10m, 1h, 7d, calendar_day; 8GB."""

from __future__ import annotations

import re

from parakh.features.definition import Calendar, Window

__all__ = ["LENGTH_PATTERN", "SIZE_PATTERN", "length_text", "length_us", "size_bytes", "size_text", "window"]

UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
UNITS_BYTES = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}

LENGTH_PATTERN = "^[1-9][0-9]{0,8}(us|ms|s|m|h|d|w)$"
SIZE_PATTERN = "^[1-9][0-9]{0,8}(KB|MB|GB|TB)$"
MAX_LENGTH_US = 100 * 366 * UNITS_US["d"]


def length_us(text: str) -> int | None:
    """A length of time in microseconds; None where the text is none, or is longer than a hundred years.

    >>> length_us("10m"), length_us("90"), length_us("010m")
    (600000000, None, None)
    """
    found = re.fullmatch(LENGTH_PATTERN, text)
    if not found:
        return None
    unit = found.group(1)
    length = int(text[: -len(unit)]) * UNITS_US[unit]
    return length if length <= MAX_LENGTH_US else None


def window(text: str) -> Window | None:
    """A window: a length of time, or a calendar unit in the project's time zone.

    >>> window("calendar_week").calendar.name, window("7d").length_us
    ('WEEK', 604800000000)
    """
    if text in {unit.value for unit in Calendar}:
        return Window(text, calendar=Calendar(text))
    length = length_us(text)
    return None if length is None else Window(text, length_us=length)


def size_bytes(text: str) -> int | None:
    """A size of memory in bytes; None where the text is none.

    >>> size_bytes("8GB"), size_bytes("8")
    (8589934592, None)
    """
    found = re.fullmatch(SIZE_PATTERN, text)
    return int(text[:-2]) * UNITS_BYTES[found.group(1)] if found else None


def length_text(length: int) -> str:
    """A length of time as a person would write it.

    >>> length_text(600_000_000), length_text(400 * 86_400_000_000)
    ('10m', '400d')
    """
    unit = next(unit for unit in ("d", "h", "m", "s", "ms", "us") if length % UNITS_US[unit] == 0)
    return f"{length // UNITS_US[unit]}{unit}"


def size_text(size: int) -> str:
    """A size of memory as a person would write it.

    >>> size_text(8 * 2**30)
    '8GB'
    """
    for unit in ("TB", "GB", "MB", "KB"):
        if size % UNITS_BYTES[unit] == 0:
            return f"{size // UNITS_BYTES[unit]}{unit}"
    return f"{size} bytes"
