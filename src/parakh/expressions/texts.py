"""What expressions do with texts: patterns, and upper and lower case.

It runs in Python, once for each distinct text: programs remember the results. Patterns are matched in linear time, so
no pattern and no event can hold a worker up.
"""

from __future__ import annotations

__all__ = ["Pattern", "lower", "upper"]


def lower(text: str) -> str:
    """Lower case, character by character (as DuckDB does), so that a text keeps its length.

    >>> lower("ÀÉ İ Σ")
    'àé i σ'
    """
    if text.isascii():
        return text.lower()
    return "".join(character.lower()[0] for character in text)


def upper(text: str) -> str:
    """Upper case, character by character; what has no single upper-case character stays.

    >>> upper("straße ﬁ")
    'STRAẞE ﬁ'
    """
    if text.isascii():
        return text.upper()
    return "".join(map(_upper, text))


def _upper(character: str) -> str:
    if character == "ß":
        return "ẞ"
    changed = character.upper()
    if len(changed) == 1:
        return changed
    titled = character.title()
    return titled if len(titled) == 1 else character


_ANY = None  # stands for _ in a piece


class Pattern:
    """A LIKE pattern: % is any text, _ any one character, `escape` makes the next one plain.

    >>> Pattern("IN%_9").matches("IN1289"), Pattern("10!%", "!").matches("100")
    (True, False)
    """

    def __init__(self, pattern: str, escape: str = "", *, any_case: bool = False) -> None:
        self._any_case = any_case
        self._pieces = _pieces(lower(pattern) if any_case else pattern, lower(escape) if any_case else escape)

    def matches(self, text: str) -> bool:
        """Whether the whole text matches; linear in its length."""
        if self._any_case:
            text = lower(text)
        first, *rest = self._pieces
        if not rest:
            return len(text) == len(first) and _stands_at(first, text, 0)
        *middle, last = rest
        end = len(text) - len(last)
        if len(first) > end or not _stands_at(first, text, 0) or not _stands_at(last, text, end):
            return False
        at = len(first)
        for piece in middle:
            found = _find(piece, text, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


_Piece = list[str | None]


def _pieces(pattern: str, escape: str) -> list[_Piece]:
    """What stands between the % of a pattern."""
    pieces: list[_Piece] = [[]]
    plain = False
    for character in pattern:
        if plain or (character not in "%_" and character != escape):
            pieces[-1].append(character)
            plain = False
        elif character == escape:
            plain = True
        elif character == "%":
            pieces.append([])
        else:
            pieces[-1].append(_ANY)
    return pieces


def _stands_at(piece: _Piece, text: str, at: int) -> bool:
    return all(wanted is _ANY or text[at + index] == wanted for index, wanted in enumerate(piece))


def _find(piece: _Piece, text: str, start: int, end: int) -> int:
    """The first place at or after `start` where a piece stands in text[start:end]; -1 where it does not."""
    if _ANY not in piece:
        return text.find("".join(str(character) for character in piece), start, end)
    # Bit i of `state` says that the first i + 1 characters of the piece end here (Baeza-Yates and Gonnet, 1992).
    anything = sum(1 << index for index, wanted in enumerate(piece) if wanted is _ANY)
    masks: dict[str, int] = {}
    for index, wanted in enumerate(piece):
        if wanted is not _ANY:
            masks[wanted] = masks.get(wanted, anything) | 1 << index
    done = 1 << (len(piece) - 1)
    state = 0
    for at in range(start, end):
        state = (state << 1 | 1) & masks.get(text[at], anything)
        if state & done:
            return at + 1 - len(piece)
    return -1
