"""Python mappings as JSON lines, so that events of a notebook take the same way as those of a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["encode_objects", "plain_value"]

_NEWLINE = 10
_PLAIN = frozenset((str, int, float, bool, type(None)))


def plain_value(value: Any) -> object:
    """A NumPy or pandas scalar as a plain Python value; what is missing to pandas (NaT, NA) is None."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if not isinstance(value, float) and hasattr(value, "item") and hasattr(value, "dtype"):
        return value.item()
    return value


def encode_objects(
    objects: Sequence[Mapping[str, Any]],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(buffer, starts, lengths) of one JSON line an object; an empty line where JSON cannot say what it holds."""
    try:
        text = _ENCODER.encode_lines(objects)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        text = b"".join(_encoded(record) + b"\n" for record in objects)
    if any(map(_holds_bytes, objects)):
        # JSON has no bytes, and msgspec would make Base64 of them: another key without a word. `convert` reads text.
        lines = text.split(b"\n")
        text = b"".join(b"\n" if _holds_bytes(record) else line + b"\n" for record, line in zip(objects, lines))
    if b"null" in text:
        # JSON writes NaN and infinities as null, which would make them unknown instead of refused.
        lines = text.split(b"\n")
        text = b"".join(
            b"\n" if _infinite(record) else line + b"\n" for record, line in zip(objects, lines)
        )  # fmt: skip
    buffer = np.frombuffer(bytearray(text or b"\n"), np.uint8)
    ends = np.flatnonzero(buffer == _NEWLINE)[: len(objects)]
    starts = np.empty_like(ends)
    if len(objects):
        starts[0] = 0
        starts[1:] = ends[:-1] + 1
    return buffer, starts, ends - starts


def _encoded(record: object) -> bytes:
    try:
        return _ENCODER.encode(record)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return b""


def _hook(value: Any) -> object:
    plain = plain_value(value)
    if plain is value:
        raise TypeError("not a value of JSON")
    return plain


def _holds_bytes(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(type(item) not in _PLAIN and _holds_bytes(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(map(_holds_bytes, value))
    return isinstance(value, bytes | bytearray | memoryview)


def _infinite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_infinite, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_infinite, value))
    plain = plain_value(value)
    return plain is not value and _infinite(plain)


_ENCODER = msgspec.json.Encoder(enc_hook=_hook)
