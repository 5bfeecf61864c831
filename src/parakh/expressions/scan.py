"""The words of an expression, checked before it is parsed: each is one we allow, in a place where it may stand.

sqlglot is made to accept much: it reads `a b` as an alias and turns unknown words into columns. So the words are first
read as a plain sequence of values and operators; what is not that is refused here, with its place.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import NoReturn

from parakh.expressions.functions import FUNCTIONS, INSTEAD
from parakh.expressions.tokens import BINARY, Word, refuse, tokens_of

__all__ = ["MAX_NODES", "scan"]

MAX_NODES = 200
MAX_NESTING = 40  # parentheses and cases; keeps the parser's own recursion shallow
MAX_PREFIXES = 20
MAX_LIST_ITEMS = 4_000

_RESERVED_WORDS = (
    "all analyse analyze and any array as asc asymmetric between both case cast check collate column constraint create "
    "default deferrable desc describe distinct do else end except false fetch for foreign from glob group having ilike "
    "in initially intersect into is isnull lambda lateral leading like limit not notnull null offset on only or order "
    "over pivot pivot_longer pivot_wider placing primary qualify references returning select set show similar some "
    "summarize symmetric table then to trailing true union unique unpivot using variadic when where window with "
    "escape exists interval row values current_date current_time current_timestamp localtime localtimestamp"
)
RESERVED = frozenset(_RESERVED_WORDS.split())
"""Words that cannot be the name of a column."""

_OPERATOR_WORDS = frozenset(("and", "or"))
_VALUE_WORDS = frozenset(("null", "true", "false"))
_ENDS_COMPARISON = frozenset(("(", ")", ",", "and", "or", "when", "then", "else", "end"))
_BEFORE_NOT = frozenset(("(", ",", "and", "or", "not", "case", "when", "then", "else"))


@dataclass(slots=True)
class _Open:
    """An open parenthesis or case: of which function (or `in`, `case`, none), and how many commas so far."""

    word: Word
    function: str = ""
    commas: int = 0
    seen: list[str] = field(default_factory=list)


def scan(text: str) -> tuple[list[Word], list[Word]]:
    """Check that values and operators take turns; returns the names, numbers and texts, and each null, true and false.

    Raises ExpressionError for whatever an expression may not hold.
    """
    scanner = _Scanner(tokens_of(text))
    return scanner.values, scanner.constants


class _Scanner:
    def __init__(self, words: list[Word]) -> None:
        self.words = words
        self.at = 0
        self.open: list[_Open] = []
        self.values: list[Word] = []
        self.constants: list[Word] = []
        self.counted = 0
        self.listed = 0
        self.prefixes = 0
        # The nesting levels at which `is distinct from` could still be chained, and those where `between` awaits `and`.
        self.distinct: set[int] = set()
        self.between: dict[int, Word] = {}
        wants_value = True
        while self.at < len(words):
            word = words[self.at]
            self.end_comparison(word)
            wants_value = self.value(word) if wants_value else self.operator(word)
            self.at += 1
        if wants_value:
            refuse(f"a value is missing after `{words[-1].text}`", words[-1])
        if self.open:
            last = self.open[-1].word
            refuse(f"`{last.text}` is not closed", last, "case .. end" if last.text.lower() == "case" else "")
        if self.between:
            self.half_between(0)

    def half_between(self, level: int) -> NoReturn:
        refuse("`between` has no upper bound", self.between[level], "x between 1 and 5")

    def end_comparison(self, word: Word) -> None:
        level, lower = len(self.open), word.text.lower() if word.kind != "text" else ""
        if lower == "and" and level in self.between:
            del self.between[level]
        elif level in self.between and lower in _ENDS_COMPARISON and lower != "(":
            self.half_between(level)
        elif lower in _ENDS_COMPARISON:
            self.distinct.discard(level)

    def peek(self, ahead: int = 1) -> str:
        """The lower-case text of a word further on; empty where there is none or it is a literal."""
        index = self.at + ahead
        if index < len(self.words) and self.words[index].kind in ("word", "mark"):
            return self.words[index].text.lower()
        return ""

    def count(self, word: Word) -> None:
        """One more value; texts and numbers of an IN list have a limit of their own."""
        self.values.append(word)
        self.prefixes = 0
        if word.kind != "word" and self.open and self.open[-1].function == "in":
            self.listed += 1
            if self.listed > MAX_LIST_ITEMS:
                refuse(f"more than {MAX_LIST_ITEMS:,} values in lists", word, "lists/*.yaml and in_list(field, 'name')")
            return
        self.counted += 1
        if self.counted > MAX_NODES:
            refuse(f"the expression has more than {MAX_NODES} parts", word, "split it into signals or rules")

    def value(self, word: Word) -> bool:
        """A value is expected; returns whether one is still expected."""
        lower = word.text.lower()
        if word.kind in ("number", "text"):
            self.count(word)
            return False
        if word.kind == "mark":
            return self.mark_before_value(word)
        if lower in _VALUE_WORDS:
            self.prefixes = 0
            self.counted += 1
            self.constants.append(word)
            return False
        if lower == "not":
            if self.at and self.words[self.at - 1].text.lower() not in _BEFORE_NOT:
                refuse("`not` needs parentheses here", word, "a = (not b)")
            return self.prefix(word)
        if lower == "case":
            self.push(_Open(word, "case"))
            self.at += self.peek() == "when"
            if self.at < len(self.words) and self.words[self.at].text.lower() == "when":
                self.open[-1].seen.append("when")
            return True
        if self.peek() == "(":
            return self.call(word)
        return self.name(word)

    def prefix(self, word: Word) -> bool:
        self.prefixes += 1
        if self.prefixes > MAX_PREFIXES:
            refuse("the expression is nested too deeply", word)
        return True

    def push(self, opened: _Open) -> None:
        self.prefixes = 0
        self.open.append(opened)
        if len(self.open) > MAX_NESTING:
            refuse("the expression is nested too deeply", opened.word, "split it into signals")

    def mark_before_value(self, word: Word) -> bool:
        if word.text == "(":
            self.push(_Open(word))
            return True
        if word.text in ("-", "+"):
            return self.prefix(word)
        if word.text == "*":
            refuse("`*` stands for nothing here", word, "count(*) is an aggregate of a feature")
        if word.text == ".":
            refuse("a number needs a digit before the point", word, "write 0.5")
        before = f" after `{self.words[self.at - 1].text}`" if self.at else ""
        refuse(f"a value is missing before `{word.text}`" if not before else f"a value is missing{before}", word)

    def call(self, word: Word) -> bool:
        lower = word.text.lower()
        if lower not in FUNCTIONS:
            if lower in RESERVED and lower not in INSTEAD:
                refuse(f"`{word.text}` is not allowed here", word)
            close = difflib.get_close_matches(lower, FUNCTIONS, n=1, cutoff=0.7)
            hint = INSTEAD.get(lower) or (f"did you mean {FUNCTIONS[close[0]].usage}?" if close else "")
            refuse(f"there is no function {word.text}()", word, hint or "functions: " + ", ".join(sorted(FUNCTIONS)))
        self.counted += 1
        self.at += 1
        self.push(_Open(word, lower))
        if self.peek() == ")":
            refuse(f"{lower}() needs arguments", word, FUNCTIONS[lower].usage)
        return True

    def name(self, word: Word) -> bool:
        lower = word.text.lower()
        if lower in INSTEAD and lower in RESERVED:
            refuse(f"`{word.text}` is not allowed", word, INSTEAD[lower])
        if lower in RESERVED:
            hint = "sub-queries are not allowed: history is read through features" if lower == "select" else ""
            refuse(f"`{word.text}` cannot be a name", word, hint)
        self.count(word)
        if self.peek() == ".":
            self.at += 2
            if self.at >= len(self.words) or self.words[self.at].kind != "word":
                refuse(f"a name is missing after `{word.text}.`", self.words[self.at - 1], "names begin with a letter")
            last = self.words[self.at]
            if last.text.lower() in RESERVED:
                refuse(f"`{last.text}` cannot be a name", last)
            if self.peek() == ".":
                refuse("a name has at most two parts", last, "entity.feature")
            if self.peek() == "(":
                refuse("methods are not allowed", last, "function(value)")
            if word.end != self.words[self.at - 1].start or last.start != self.words[self.at - 1].end:
                refuse("a name has no blanks around its point", last)
        return False

    def operator(self, word: Word) -> bool:
        """An operator is expected; returns whether a value is expected next."""
        lower = word.text.lower()
        if word.kind == "mark":
            return self.mark_after_value(word)
        if word.kind == "word":
            if lower in _OPERATOR_WORDS:
                return True
            if lower in ("in", "between", "like", "ilike", "escape", "is", "not"):
                return self.predicate(word, lower)
            if lower in ("when", "then", "else", "end"):
                return self.case_word(word, lower)
            if lower in ("isnull", "notnull"):
                refuse(f"`{word.text}` is not allowed", word, "x is null, x is not null")
            if lower in ("as", "over", "collate", "similar", "glob", "at", "filter", "xor"):
                refuse(f"`{word.text}` is not allowed", word)
        before = self.words[self.at - 1]
        if before.kind == "text" and word.kind == "text":
            refuse("two texts stand side by side", word, "a quote inside a text is doubled: 'it''s'")
        refuse(
            f"an operator is missing between `{before.text}` and `{word.text}`",
            word,
            "join conditions with `and` or `or`" if word.kind == "word" else "",
        )

    def mark_after_value(self, word: Word) -> bool:
        if word.text in BINARY:
            return True
        if word.text == "," and self.open and self.open[-1].function not in ("", "case"):
            self.open[-1].commas += 1
            return True
        if word.text == ",":
            around = {other.kind for other in self.words[self.at - 1 : self.at + 2 : 2]}
            hint = "numbers have no commas: 100000" if around == {"number"} else "join conditions with `and` or `or`"
            refuse("a comma does not belong here", word, hint)
        if word.text == ")" and self.open and self.open[-1].function != "case":
            self.close(self.open.pop(), word)
            return False
        if word.text == ")":
            refuse("`)` closes nothing", word)
        before = self.words[self.at - 1]
        refuse(f"an operator is missing between `{before.text}` and `{word.text}`", word)

    def close(self, opened: _Open, word: Word) -> None:
        if opened.function in FUNCTIONS:
            function, given = FUNCTIONS[opened.function], opened.commas + 1
            if not function.least <= given <= function.most:
                plural = "argument" if given == 1 else "arguments"
                place = Word("word", opened.word.text, opened.word.start, word.end)
                refuse(f"{opened.function}() does not take {given} {plural}", place, function.usage)

    def predicate(self, word: Word, lower: str) -> bool:
        if lower == "not":
            if self.peek() not in ("in", "between", "like", "ilike"):
                refuse("`not` does not belong here", word, "not (a = b), a not in (..), a is not null")
            return False
        if lower == "between":
            self.between[len(self.open)] = word
        if lower == "in":
            if self.peek() != "(":
                refuse("`in` needs a list in parentheses", word, "x in (1, 2, 3) or in_list(x, 'name')")
            self.at += 1
            self.push(_Open(self.words[self.at], "in"))
            if self.peek() == ")":
                refuse("the list is empty", self.words[self.at])
            if self.peek() == "select":
                refuse("sub-queries are not allowed", self.words[self.at + 1], "history is read through features")
        if lower == "is":
            self.at += self.peek() == "not"
            following = self.peek()
            if following == "distinct" and self.peek(2) == "from":
                if len(self.open) in self.distinct:
                    refuse("comparisons do not chain", word, "join comparisons with `and`, or add parentheses")
                self.distinct.add(len(self.open))
                self.at += 2
                return True
            if following not in _VALUE_WORDS:
                refuse("`is` is followed by null, true or false", word, "values are compared with =")
            self.at += 1
            self.counted += 1
            return False
        return True

    def case_word(self, word: Word, lower: str) -> bool:
        if not self.open or self.open[-1].function != "case":
            refuse(f"`{word.text}` without `case`", word, "case when .. then .. else .. end")
        seen = self.open[-1].seen
        allowed = {"when": ("", "then"), "then": ("when",), "else": ("then",), "end": ("then", "else")}
        if (seen[-1] if seen else "") not in allowed[lower]:
            refuse(f"`{word.text}` does not belong here", word, "case when .. then .. else .. end")
        if lower == "end":
            self.open.pop()
            self.counted += 1
            return False
        seen.append(lower)
        return True
