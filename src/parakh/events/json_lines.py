"""The kernel that reads JSON lines straight into columns, driven by the schema.

The whole line is checked, wanted or not: a line is either surely valid JSON with values that its fields surely take, or
it is left UNSURE to `parakh.events.convert`. No reason of a refusal is found here, so both ways cannot differ in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parakh.events.fields import (
    FALSE,
    NULL,
    NUMBER,
    TEXT,
    TRUE,
    clear_row,
    close_row,
    store,
)
from parakh.events.scalars import scan_number, utf8_size
from parakh.events.schema import NEXT
from parakh.expressions.kernels import kernel
from parakh.expressions.strings import bytes_equal, load_word

__all__ = ["DEEPEST", "decode_json"]

DEEPEST = 60  # one bit a level says whether it is an object

# What is expected next.
_FIRST_KEY, _KEY, _FIRST_VALUE, _VALUE, _AFTER = range(5)

# Bytes of a string that need no look: neither quote, backslash, control character nor beyond ASCII.
_PLAIN = np.array([byte >= 32 and byte < 128 and byte not in b'"\\' for byte in range(256)])
_SPACE = np.array([byte in b" \t\r\n" for byte in range(256)])
_ESCAPED = np.array([byte in b'"\\/bfnrt' for byte in range(256)])
_HEX = np.array([byte in b"0123456789abcdefABCDEF" for byte in range(256)])
_U64 = np.uint64(64)


@kernel
def _string_end(buffer: Any, position: Any, end: Any) -> Any:
    """(place of the closing quote, whether there are escapes) of the string from `position` on; -1 if unsure."""
    escapes = False
    while position < end:
        byte = buffer[position]
        if _PLAIN[byte]:
            position += 1
        elif byte == 34:
            return position, escapes
        elif byte == 92:
            escapes = True
            if position + 6 > end:
                return np.int64(-1), escapes
            if buffer[position + 1] == 117:
                for index in range(position + 2, position + 6):
                    if not _HEX[buffer[index]]:
                        return np.int64(-1), escapes
                position += 6
            elif _ESCAPED[buffer[position + 1]]:
                position += 2
            else:
                return np.int64(-1), escapes
        else:
            size = utf8_size(buffer, position, end)
            if size == 0:
                return np.int64(-1), escapes
            position += size
    return np.int64(-1), escapes


@kernel
def _literal(buffer: Any, position: Any, end: Any) -> Any:
    """(token, end) of true, false or null at `position`; the token is -1 if it is none of them."""
    if position + 4 <= end and buffer[position] == 116:
        if buffer[position + 1] == 114 and buffer[position + 2] == 117 and buffer[position + 3] == 101:
            return TRUE, position + 4
    elif position + 4 <= end and buffer[position] == 110:
        if buffer[position + 1] == 117 and buffer[position + 2] == 108 and buffer[position + 3] == 108:
            return NULL, position + 4
    elif (
        position + 5 <= end
        and buffer[position] == 102
        and buffer[position + 1] == 97
        and buffer[position + 2] == 108
        and buffer[position + 3] == 115
        and buffer[position + 4] == 101
    ):
        return FALSE, position + 5
    return -1, position


@kernel
def _find_child(
    buffer: Any, start: Any, length: Any, node: Any, hint: Any, nodes: Any, children: Any, keys: Any
) -> Any:
    """The number of the child of `node` that a key leads to, looked for from `hint` on; -1 if it is not wanted."""
    first, number = nodes[node, 0], nodes[node, 1]
    head = np.uint64(0)
    if start + 8 <= buffer.shape[0]:
        head = load_word(buffer, start)
        if length < 8:
            head &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
    else:
        for index in range(min(length, 8)):
            head |= np.uint64(buffer[start + index]) << np.uint64(8 * index)
    word = np.int64(head)
    child = hint if first <= hint < first + number else first
    for _ in range(number):
        if (
            children[child, 0] == word
            and children[child, 1] == length
            and (length <= 8 or bytes_equal(keys, children[child, 2], buffer, start, length))
        ):
            return child
        child += 1
        if child == first + number:
            child = first
    return np.int64(-1)


@kernel
def decode_json(
    buffer: Any, starts: Any, lengths: Any, first_row: Any, words: Any, labels: Any, out: Any, meta: Any, salt: Any,
    fields: Any, nodes: Any, children: Any, keys: Any, seen: Any, stack: Any,
    arena: Any, offsets: Any, hashes: Any, table: Any, count: Any,
) -> Any:  # fmt: skip
    """Decode lines into `words` (from `first_row`), `labels` and `out` (from 0); answers how many are UNSURE.

    `seen`: int64[nodes + fields + 1], scratch that knows what a line has given already; its last entry numbers lines.
    `stack`: int64[DEEPEST + 1], scratch: the node of each open bracket.
    """
    unsure = 0
    field_count = fields.shape[0]
    for index in range(starts.shape[0]):
        row = first_row + index
        clear_row(fields, words, labels, out, row, index)
        position, end = starts[index], starts[index] + lengths[index]
        seen[-1] += 1
        stamp = seen[-1]
        while position < end and _SPACE[buffer[position]]:
            position += 1
        sure = position < end and buffer[position] == 123
        position += 1
        depth = 1
        objects = np.uint64(2)
        stack[1] = 0
        node = np.int64(-1)
        hint = np.int64(-1)
        state = _FIRST_KEY
        while sure and depth > 0:
            while position < end and _SPACE[buffer[position]]:
                position += 1
            if position >= end:
                sure = False
                break
            byte = buffer[position]
            inside_object = (objects >> np.uint64(depth)) & np.uint64(1) != np.uint64(0)
            closing = byte == 125 if inside_object else byte == 93
            if closing and (state in (_AFTER, _FIRST_KEY, _FIRST_VALUE)):
                depth -= 1
                position += 1
                state = _AFTER
                continue
            if state == _AFTER:
                sure = byte == 44
                position += 1
                state = _KEY if inside_object else _VALUE
                continue
            if state in (_FIRST_KEY, _KEY):
                if byte != 34:
                    sure = False
                    break
                start = position + 1
                stop, escapes = _string_end(buffer, start, end)
                if stop < 0 or escapes:
                    sure = False
                    break
                position = stop + 1
                while position < end and _SPACE[buffer[position]]:
                    position += 1
                if position >= end or buffer[position] != 58:
                    sure = False
                    break
                position += 1
                node = np.int64(-1)
                if stack[depth] >= 0:
                    child = _find_child(buffer, start, stop - start, stack[depth], hint, nodes, children, keys)
                    if child >= 0:
                        hint = child + 1
                        node = children[child, 3]
                        # A key that comes twice: Python decides which one holds.
                        if seen[field_count + node] == stamp:
                            sure = False
                        seen[field_count + node] = stamp
                state = _VALUE
                continue
            # A value; `node` is the place it belongs to, -1 where nobody wants it.
            if byte == 123 or byte == 91:
                if node >= 0 and (nodes[node, 2] >= 0 or byte == 91):
                    sure = False
                    break
                depth += 1
                if depth > DEEPEST:
                    sure = False
                    break
                stack[depth] = node
                bit = np.uint64(1) << np.uint64(depth)
                objects = objects | bit if byte == 123 else objects & ~bit
                state = _FIRST_KEY if byte == 123 else _FIRST_VALUE
                node = np.int64(-1)
                position += 1
                continue
            token = np.int64(NULL)
            start = position
            stop = position
            mantissa = np.uint64(0)
            exponent = np.int64(0)
            negative = False
            plain = False
            if byte == 34:
                token = np.int64(TEXT)
                start = position + 1
                stop, escapes = _string_end(buffer, start, end)
                if stop < 0 or (escapes and node >= 0):
                    sure = False
                    break
                position = stop + 1
            elif byte == 45 or 48 <= byte <= 57:
                token = np.int64(NUMBER)
                stop, mantissa, exponent, negative, plain = scan_number(buffer, position, end)
                position = stop
                sure = stop >= 0
            else:
                token, position = _literal(buffer, position, end)
                sure = token >= 0
            state = _AFTER
            if node >= 0 and sure and token != NULL:
                if nodes[node, 1] > 0:
                    sure = False
                field = nodes[node, 2]
                while field >= 0 and sure:
                    sure = seen[field] != stamp and store(
                        buffer, token, start, stop, mantissa, exponent, negative, plain, fields, field, words, labels,
                        out, row, index, salt, arena, offsets, hashes, table, count,
                    )  # fmt: skip
                    seen[field] = stamp
                    field = fields[field, NEXT]
            elif node >= 0:
                field = nodes[node, 2]
                while field >= 0:
                    sure = sure and seen[field] != stamp
                    seen[field] = stamp
                    field = fields[field, NEXT]
        while position < end and _SPACE[buffer[position]]:
            position += 1
        unsure += close_row(fields, words, labels, out, row, index, meta, sure and position == end)
    return unsure
