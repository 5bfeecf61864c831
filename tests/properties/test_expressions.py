"""Expressions: compiled programs equal the row-by-row oracle and DuckDB; no text does worse than an ExpressionError."""

from __future__ import annotations

import math
import random
import re
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import expressions as oracle
from oracle.expression_trees import COLUMNS, TEXTS, Trees, draw_row
from oracle.expressions import Row, Tree, evaluate, render
from parakh.errors import ExpressionError
from parakh.expressions.check import Scope, TableType, check
from parakh.expressions.columns import Layout
from parakh.expressions.instructions import OVERFLOW
from parakh.expressions.lists import ListIndex, TableIndex
from parakh.expressions.parse import parse
from parakh.expressions.program import ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, Type, money
from parakh.expressions.values import from_word, timestamp_us, to_word
from parakh.expressions.zones import Zone

TYPES: dict[str, Type] = {
    oracle.BOOLEAN: BOOLEAN,
    oracle.INTEGER: INTEGER,
    oracle.NUMBER: NUMBER,
    oracle.MONEY: money("INR"),
    oracle.STRING: STRING,
    oracle.TIMESTAMP: TIMESTAMP,
}
SCOPE = Scope(
    columns={name: TYPES[type] for name, type in COLUMNS.items()},
    lists={"watched": STRING},
    tables={"risk": TableType(STRING, {"share": NUMBER, "region": STRING})},
)
ZONES = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo"]
OPEN = (-(2**63) + 1, 2**63 - 1)


class World:
    """A frame of random rows with random lists and tables, for Parakh and for the oracle alike."""

    def __init__(self, rng: random.Random, count: int, *, extremes: bool = True) -> None:
        self.zone = rng.choice(ZONES)
        self.rows = [draw_row(rng, extremes=extremes) for _ in range(count)]
        self.times = [rng.randint(0, 100) for _ in range(count)]
        self.listed = [(rng.choice(TEXTS), *self.span(rng)) for _ in range(rng.randint(0, 8))]
        self.table = [
            (
                rng.choice(TEXTS),
                {"share": rng.choice([None, 0.5, 2.0]), "region": rng.choice(["a", None])},
                *self.span(rng),
            )
            for _ in range(rng.randint(0, 8))
        ]
        self.strings = Strings()
        watched = ListIndex(STRING)
        watched.add(self.listed, self.strings)
        risk = TableIndex(STRING, {"share": NUMBER, "region": STRING})
        rows = [(key, list(values.values()), since, until) for key, values, since, until in self.table]
        risk.extend(rows, self.strings)
        self.references = References(self.strings, {"watched": watched}, {"risk": risk}, Zone(self.zone))
        self.layout = Layout()
        for name, type in SCOPE.columns.items():
            self.layout.add(name, type)
        self.time_slot = self.layout.scratch()

    @staticmethod
    def span(rng: random.Random) -> tuple[int, int]:
        if rng.random() < 0.3:
            return OPEN
        since = rng.randint(0, 100)
        return since, since + rng.randint(0, 60)

    def expected(self, tree: Tree) -> tuple[list[object], list[bool]]:
        answers, overflows = [], []
        for values, time in zip(self.rows, self.times):
            row = Row(values, time, self.zone, {"watched": self.listed}, {"risk": self.table})
            answers.append(evaluate(tree, row))
            overflows.append(row.overflow)
        return answers, overflows

    def computed(self, texts: list[str], batches: list[int]) -> tuple[list[list[object]], list[bool]]:
        builder = ProgramBuilder(self.layout, self.references, self.time_slot)
        outputs = []
        for text in texts:
            typed = check(text, SCOPE)
            slot = self.layout.scratch()
            builder.output(typed, slot)
            outputs.append((slot, typed.type))
        words = np.zeros((self.layout.width, len(self.rows)), dtype=np.int64)
        for name, type in SCOPE.columns.items():
            column = [to_word(row[name], type, self.strings) for row in self.rows]  # type: ignore[arg-type]
            words[self.layout[name].slot] = column
        words[self.time_slot] = self.times
        flags = np.zeros(len(self.rows), dtype=np.uint8)
        program = builder.build()
        for start, stop in zip([0, *batches], [*batches, len(self.rows)]):
            program.run(words, start, stop, flags)
        answers = [[from_word(word, type, self.strings) for word in words[slot]] for slot, type in outputs]
        return answers, [bool(flag & OVERFLOW) for flag in flags]


def same(computed: object, expected: object, type: str) -> bool:
    if computed is None or expected is None:
        return computed is expected
    if type == oracle.TIMESTAMP:
        return timestamp_us(str(computed)) == expected
    if type == oracle.NUMBER:
        return float(computed) == float(expected)  # type: ignore[arg-type]
    return computed == expected


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_programs_equal_the_oracle(seed: int) -> None:
    rng = random.Random(seed)
    world = World(rng, rng.choice([1, 3, 128, 129, 300]))
    types = [rng.choice([*TYPES, *[oracle.BOOLEAN] * 5]) for _ in range(rng.randint(1, 12))]
    trees = []
    for type in types:
        tree = Trees(rng).draw(type, rng.randint(1, 4))
        trees.append(tree if tree.what != "literal" and can_hold(tree) else Trees(rng).column(type))
    batches = sorted(rng.randint(0, len(world.rows)) for _ in range(rng.randint(0, 3)))
    computed, overflows = world.computed([render(tree) for tree in trees], batches)
    flagged = [False] * len(world.rows)
    for tree, answers in zip(trees, computed):
        expected, over = world.expected(tree)
        flagged = [a or b for a, b in zip(flagged, over)]
        for index, (answer, right) in enumerate(zip(answers, expected)):
            assert same(answer, right, tree.type), (seed, render(tree), world.rows[index], answer, right)
    assert overflows == flagged, (seed, [render(tree) for tree in trees])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_distances_equal_the_chord(seed: int) -> None:
    rng = random.Random(seed)
    world = World(rng, 20)
    text = "distance_km(latitude, score, card.usual_30d, n)"
    parts = tuple(Tree("column", COLUMNS[name], data=name) for name in ("latitude", "score", "card.usual_30d", "n"))
    computed, _ = world.computed([text], [])
    expected, _ = world.expected(Tree("distance_km", oracle.NUMBER, parts))
    for answer, right in zip(computed[0], expected):
        if answer is None or right is None:
            assert answer is right
        else:
            assert math.isclose(float(answer), float(right), rel_tol=1e-7, abs_tol=1e-4)  # type: ignore[arg-type]


# ---- DuckDB


DUCK_COLUMNS = {
    oracle.BOOLEAN: "BOOLEAN",
    oracle.INTEGER: "BIGINT",
    oracle.NUMBER: "DOUBLE",
    oracle.MONEY: "DECIMAL(18,2)",
    oracle.STRING: "VARCHAR",
    oracle.TIMESTAMP: "TIMESTAMP",
}


def duck(tree: Tree, *, number: bool = False) -> str:
    """A tree as DuckDB reads it; with `number`, what is no float64 yet is cast to one."""
    cast = number and tree.type in (oracle.INTEGER, oracle.MONEY)
    if tree.what == "literal":
        text = oracle.literal(tree)
        if tree.type == oracle.TIMESTAMP and tree.data is not None:
            return f"TIMESTAMP {text}"
        return f"CAST({text} AS DOUBLE)" if number else text
    if tree.what == "column":
        text = f'"{tree.data}"'
        return f"CAST({text} AS DOUBLE)" if cast else text
    text = _duck_operation(tree)
    return f"CAST(({text}) AS DOUBLE)" if cast else f"({text})"


def _floats(parts: tuple[Tree, ...]) -> bool:
    """Whether a comparison is between float64 values."""
    types = {part.type for part in parts}
    literals = [part for part in parts if part.what == "literal"]
    if literals:
        return any(part.type == oracle.NUMBER for part in parts if part.what != "literal")
    return len(types) > 1 or oracle.NUMBER in types


def _duck_operation(tree: Tree) -> str:
    parts = tree.parts
    if tree.what in ("compare", "distinct", "between", "in", "nullif"):
        real = {part.type for part in parts} <= {oracle.INTEGER, oracle.NUMBER, oracle.MONEY} and _floats(parts)
        a, *rest = (duck(part, number=real) for part in parts)
        negated = "NOT " if tree.data is True else ""
        if tree.what == "compare":
            return f"{a} {tree.data} {rest[0]}"
        if tree.what == "distinct":
            return f"{a} IS DISTINCT FROM {rest[0]}"
        if tree.what == "between":
            return f"{a} {negated}BETWEEN {rest[0]} AND {rest[1]}"
        if tree.what == "in":
            return f"{a} {negated}IN ({', '.join(rest)})"
        return f"NULLIF({a}, {rest[0]})"
    number = tree.type == oracle.NUMBER
    inner = [duck(part, number=number or tree.what in ("ln", "sqrt", "power")) for part in parts]
    if tree.what in ("case", "coalesce", "least", "greatest"):
        if tree.what == "case":
            branches = "".join(f" WHEN {when} THEN {then}" for when, then in zip(inner[:-1:2], inner[1::2]))
            return f"CASE{branches} ELSE {inner[-1]} END"
        return f"{tree.what}({', '.join(inner)})"
    if tree.what == "arithmetic":
        if tree.data in ("//", "%", "/"):
            text = f"{inner[0]} {tree.data} NULLIF({inner[1]}, 0)"
        else:
            text = f"{inner[0]} {tree.data} {inner[1]}"
        return f"fin({text})" if number else text
    match tree.what:
        case "negate":
            return f"-{inner[0]}"
        case "ln":
            return f"CASE WHEN {inner[0]} > 0 THEN ln({inner[0]}) END"
        case "sqrt":
            return f"CASE WHEN {inner[0]} >= 0 THEN sqrt({inner[0]}) END"
        case "power":
            return f"fin(power({inner[0]}, {inner[1]}))"
        case "day_of_week":
            return f"isodow({inner[0]})"
        case "date_diff":
            return f"date_diff('{tree.data}', {inner[0]}, {inner[1]})"
        case "not":
            return f"NOT {inner[0]}"
        case "and" | "or":
            return f" {tree.what} ".join(inner)
        case "is_null":
            return f"{inner[0]} IS {'NOT ' if tree.data else ''}NULL"
        case "is_true":
            wanted, negated = tree.data  # type: ignore[misc]
            return f"{inner[0]} IS {'NOT ' if negated else ''}{wanted}"
        case "like":
            pattern, escape, negated = tree.data  # type: ignore[misc]
            tail = f" ESCAPE {oracle.quoted(escape)}" if escape else ""
            return f"{inner[0]} {'NOT ' if negated else ''}LIKE {oracle.quoted(pattern)}{tail}"
        case "starts_with":
            return f"starts_with({inner[0]}, {oracle.quoted(str(tree.data))})"
        case "round":
            # DuckDB asks the digits of a double whether it is a tie: 1.285, which is a little less, becomes 1.28.
            whole = tree.type in (oracle.INTEGER, oracle.MONEY)
            return f"round({inner[0]}, {tree.data or 0})" if whole else f"rounded({inner[0]}, 1e{tree.data or 0})"
        case _:
            return f"{tree.what}({', '.join(inner)})"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_programs_equal_duckdb(seed: int) -> None:
    duckdb = pytest.importorskip("duckdb")
    rng = random.Random(seed)
    world = World(rng, 40, extremes=False)
    world.references.zone = Zone("UTC")
    draw = Trees(rng, extremes=False, lookups=False)
    trees = []
    while len(trees) < 8:
        tree = draw.draw(rng.choice([*TYPES, *[oracle.BOOLEAN] * 5]), rng.randint(1, 3))
        if tree.what != "literal" and can_hold(tree):
            trees.append(tree)
    computed, overflows = world.computed([render(tree) for tree in trees], [])
    assert not any(overflows)
    connection = duckdb.connect()
    connection.execute("CREATE MACRO fin(x) AS CASE WHEN isfinite(x) THEN x END")
    connection.execute(
        "CREATE MACRO halves_up(x) AS floor(x) + CASE WHEN x - floor(x) >= 0.5 THEN 1 ELSE 0 END;"
        "CREATE MACRO rounded(x, k) AS CASE WHEN isfinite(x * k) THEN sign(x) * halves_up(abs(x) * k) / k ELSE x END"
    )
    columns = ", ".join(f'"{name}" {DUCK_COLUMNS[type]}' for name, type in COLUMNS.items())
    connection.execute(f"CREATE TABLE t (i BIGINT, {columns})")
    rows = []
    for index, row in enumerate(world.rows):
        values = [
            datetime(1970, 1, 1) + timedelta(microseconds=value)
            if COLUMNS[name] == oracle.TIMESTAMP and value
            else value
            for name, value in row.items()
        ]
        rows.append([index, *values])
    connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * (1 + len(COLUMNS)))})", rows)
    for tree, answers in zip(trees, computed):
        expected = [row[0] for row in connection.execute(f"SELECT {duck(tree)} FROM t ORDER BY i").fetchall()]
        for index, (answer, right) in enumerate(zip(answers, expected)):
            assert alike(answer, right), (seed, render(tree), duck(tree), world.rows[index], answer, right)


def can_hold(tree: Tree) -> bool:
    """Whether no comparison in it is refused for what its literal can never be."""
    try:
        check(render(tree), SCOPE)
    except ExpressionError as error:
        return not re.search(r": it is never |: this (never|always) holds", error.message)
    return True


def alike(answer: object, right: object) -> bool:
    if answer is None or right is None:
        return answer is right
    if isinstance(right, datetime):
        return timestamp_us(str(answer)) == (right - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    if isinstance(right, float):
        return math.isclose(float(answer), right, rel_tol=1e-12, abs_tol=1e-12)  # type: ignore[arg-type]
    if isinstance(right, Decimal):
        return Decimal(str(answer)) == right
    return answer == right


BINARY = ["+", "-", "*", "//", "%", "=", "!=", "<", "<=", ">", ">=", "and", "or", "is distinct from"]
SUFFIX = [
    " is null",
    " is not null",
    " in (1, 2)",
    " not in (3)",
    " between 1 and 2",
    " not between 0 and 1",
    " is true",
]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_accepted_without_parentheses_groups_as_in_duckdb(seed: int) -> None:
    duckdb = pytest.importorskip("duckdb")
    rng = random.Random(seed)
    parts = []
    for index in range(rng.randint(2, 6)):
        if index:
            parts.append(rng.choice(BINARY))
        prefix = rng.choice(["", "", "", "not ", "-"])
        parts.append(prefix + rng.choice(["n", "m", "p", "q", "2"]) + rng.choice(["", "", rng.choice(SUFFIX)]))
    text = " ".join(parts)
    scope = Scope({"n": INTEGER, "m": INTEGER, "p": BOOLEAN, "q": BOOLEAN})
    try:
        typed = check(text, scope)
    except ExpressionError:
        return
    layout, strings = Layout(), Strings()
    values = [(n, m, p, q) for n in (None, 1, 3) for m in (2, -1) for p in (True, None) for q in (False, True)]
    for name, type in scope.columns.items():
        layout.add(name, type)
    builder = ProgramBuilder(layout, References(strings))
    slot = layout.scratch()
    builder.output(typed, slot)
    words = np.zeros((layout.width, len(values)), dtype=np.int64)
    for index, type in enumerate(scope.columns.values()):
        words[index] = [to_word(row[index], type, strings) for row in values]
    builder.build().run(words, 0, len(values), np.zeros(len(values), dtype=np.uint8))
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t (i BIGINT, n BIGINT, m BIGINT, p BOOLEAN, q BOOLEAN)")
    rows = [[index, *row] for index, row in enumerate(values)]
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    expected = [row[0] for row in connection.execute(f"SELECT {text} FROM t ORDER BY i").fetchall()]
    assert [from_word(word, typed.type, strings) for word in words[slot]] == expected, (seed, text)


# ---- fuzzing


def refused_or_read(text: str) -> None:
    """Reading either gives an expression or an ExpressionError whose place lies in the text."""
    for read in (parse, lambda item: check(item, SCOPE)):
        try:
            read(text)
        except ExpressionError as error:
            problem = error
        else:
            continue
        assert problem.message
        assert 0 <= problem.start <= problem.end <= len(text), (text, problem.start, problem.end)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    refused_or_read(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    refused_or_read(content.decode("utf-8", "surrogateescape"))
    refused_or_read(content.decode("latin-1"))


WORDS = (
    "amount card.payments_1h country night paid_at 1 2.5 'IN' '' null true ( ) , . + - * / // % = != <> < <= > >= and "
    "or not in between is like ilike escape case when then else end coalesce( abs( round( date_diff('day', hour( "
    '; -- /* */ :: [ ] { } ? $1 @ # ! ~ ^ | & \\ " ` select from over distinct interval cast( lower( exists( '
    "' E'x' $$ x'00' 1e5 1e999 0x1 1_0 ... .5 5. \u00a0 \u200b é 你好 😀 \x00"
)
PIECES = WORDS.split(" ")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from(["", " "]))
def test_any_row_of_words_is_read_or_refused(pieces: list[str], between: str) -> None:
    refused_or_read(between.join(pieces))


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mutated_expressions_are_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    text = render(Trees(rng).draw(oracle.BOOLEAN, 3))
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        text = (
            text[:at]
            + rng.choice(["", rng.choice(PIECES), chr(rng.randrange(1, 0x3000))])
            + text[at + rng.randint(0, 2) :]
        )
    refused_or_read(text)
