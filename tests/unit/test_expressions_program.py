"""Programs: sharing, chunks, remembered texts, lists that change while they run, zones, and overflow."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from parakh.expressions import remembered
from parakh.expressions.check import Scope, TableType, check
from parakh.expressions.columns import Layout
from parakh.expressions.instructions import OVERFLOW
from parakh.expressions.lists import ListIndex, TableIndex
from parakh.expressions.pool import Pool
from parakh.expressions.program import Program, ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.texts import Pattern, lower, upper
from parakh.expressions.types import BOOLEAN, INTEGER, NULL_WORD, NUMBER, STRING, TIMESTAMP, Type
from parakh.expressions.zones import Zone


class Bench:
    """A layout of some columns, a program over it, and a frame to run it on."""

    def __init__(self, columns: dict[str, Type], references: References | None = None, **scope: object) -> None:
        self.scope = Scope(columns, **scope)  # type: ignore[arg-type]
        self.references = references or References(Strings())
        self.layout = Layout()
        for name, type in columns.items():
            self.layout.add(name, type)
        self.time_slot = self.layout.scratch()
        self.slots: list[int] = []

    def compile(self, *texts: str) -> Program:
        builder = ProgramBuilder(self.layout, self.references, self.time_slot)
        self.slots = [self.layout.scratch() for _ in texts]
        for text, slot in zip(texts, self.slots):
            builder.output(check(text, self.scope), slot)
        return builder.build()

    def frame(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((self.layout.width, rows), dtype=np.int64), np.zeros(rows, dtype=np.uint8)


def test_common_parts_are_computed_once() -> None:
    bench = Bench({"a": INTEGER, "b": INTEGER})
    once = len(bench.compile("a * b + 1 > 5"))
    assert len(bench.compile("a * b + 1 > 5", "a * b + 1 > 7")) == once + 1
    assert len(bench.compile("a * b + 1 > 5", "a * b + 1 > 5")) == once + 1  # a copy


def test_an_output_may_be_read_as_a_column_by_the_next() -> None:
    bench = Bench({"a": INTEGER, "large": BOOLEAN})
    builder = ProgramBuilder(bench.layout, bench.references)
    builder.output(check("a > 5", bench.scope), bench.layout["large"].slot)
    slot = bench.layout.scratch()
    builder.output(check("not large and a < 3", bench.scope), slot)
    words, flags = bench.frame(3)
    words[0] = [9, 1, 4]
    builder.build().run(words, 0, 3, flags)
    assert words[bench.layout["large"].slot].tolist() == [1, 0, 0]
    assert words[slot].tolist() == [0, 1, 0]


def test_constants_and_columns_may_be_outputs() -> None:
    bench = Bench({"a": INTEGER})
    program = bench.compile("a", "7", "true", "1.5")
    words, flags = bench.frame(2)
    words[0] = [3, NULL_WORD]
    program.run(words, 0, 2, flags)
    assert [words[slot].tolist() for slot in bench.slots[:3]] == [[3, NULL_WORD], [7, 7], [1, 1]]
    assert words.view(np.float64)[bench.slots[3]].tolist() == [1.5, 1.5]


def test_only_the_rows_asked_for_are_touched() -> None:
    bench = Bench({"a": INTEGER})
    program = bench.compile("a + 1")
    words, flags = bench.frame(1_000)
    words[0] = np.arange(1_000)
    words[bench.slots[0]] = -1
    program.run(words, 200, 700, flags)
    expected = np.full(1_000, -1)
    expected[200:700] = np.arange(201, 701)
    assert (words[bench.slots[0]] == expected).all()
    program.run(words, 5, 5, flags)
    assert (words[bench.slots[0]] == expected).all()


def test_rows_and_frames_that_do_not_fit_are_our_own_bug() -> None:
    bench = Bench({"a": INTEGER})
    program = bench.compile("a + 1")
    words, flags = bench.frame(4)
    for start, stop in ((0, 5), (-1, 2), (3, 2)):
        with pytest.raises(AssertionError):
            program.run(words, start, stop, flags)
    with pytest.raises(AssertionError):
        program.run(words[:1].copy(), 0, 4, flags)
    with pytest.raises(AssertionError):
        program.run(words.T.copy().T, 0, 4, flags)
    with pytest.raises(AssertionError):
        program.run(words, 0, 4, flags[:3])


def test_overflow_is_null_and_flagged_on_its_row_alone() -> None:
    bench = Bench({"a": INTEGER, "b": INTEGER})
    program = bench.compile("a + b", "a * b", "a - b")
    words, flags = bench.frame(5)
    top = 2**63 - 1
    words[0] = [top, top, 3_037_000_500, -top, NULL_WORD]
    words[1] = [1, 0, 3_037_000_500, 1, 1]
    program.run(words, 0, 5, flags)
    added, multiplied, subtracted = (words[slot].tolist() for slot in bench.slots)
    assert added == [NULL_WORD, top, 6_074_001_000, -top + 1, NULL_WORD]
    assert multiplied == [top, 0, NULL_WORD, -top, NULL_WORD]
    assert subtracted == [top - 1, top, 0, NULL_WORD, NULL_WORD]
    assert flags.tolist() == [OVERFLOW, 0, OVERFLOW, OVERFLOW, 0]


def test_not_a_number_has_one_pattern_of_bits() -> None:
    bench = Bench({"x": NUMBER, "y": NUMBER})
    program = bench.compile("x / y", "ln(x)", "sqrt(x)", "power(x, y)", "x * y", "x - y", "-y")
    words, flags = bench.frame(4)
    reals = words.view(np.float64)
    reals[0], reals[1] = [0.0, -1.0, 1e308, np.nan], [0.0, 0.5, 1e308, -np.nan]
    program.run(words, 0, 4, flags)
    quiet = int(np.array(np.nan).view(np.int64))
    for slot in bench.slots:
        values = reals[slot]
        assert not np.isinf(values).any()
        assert {int(word) for word in words[slot][np.isnan(values)]} <= {quiet}
    assert np.isnan(reals[bench.slots[0]]).tolist() == [True, False, False, True]


def test_texts_are_remembered_across_runs_growth_and_beginning_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_BITS", 9)  # at most 256 texts at a time
    bench = Bench({"s": STRING})
    program = bench.compile("upper(s)", "length(s)", "s like '%7%'")
    strings = bench.references.strings
    texts = [f"text {index}" for index in range(1_000)]
    codes = [strings.intern(text) for text in texts]
    words, flags = bench.frame(1_000)
    for _ in range(2):
        words[0] = codes
        words[0, ::10] = NULL_WORD
        program.run(words, 0, 1_000, flags)
        raised, length, seven = (words[slot].tolist() for slot in bench.slots)
        for index, text in enumerate(texts):
            if index % 10 == 0:
                assert (raised[index], length[index], seven[index]) == (NULL_WORD,) * 3
            else:
                assert strings.text(raised[index]) == text.upper()
                assert (length[index], seven[index]) == (len(text), int("7" in text))


def test_a_list_changes_under_a_running_program() -> None:
    strings = Strings()
    blocked = ListIndex(STRING)
    references = References(strings, {"blocked": blocked})
    bench = Bench({"s": STRING}, references, lists={"blocked": STRING})
    program = bench.compile("in_list(s, 'blocked')")
    words, flags = bench.frame(3)
    words[0] = [strings.intern("a"), strings.intern("b"), NULL_WORD]
    words[bench.time_slot] = 100

    def listed() -> list[int]:
        program.run(words, 0, 3, flags)
        return words[bench.slots[0]].tolist()

    assert listed() == [0, 0, NULL_WORD]
    blocked.add([("a", None, None)], strings)
    assert listed() == [1, 0, NULL_WORD]
    blocked.add([(f"x{index}", None, None) for index in range(5_000)] + [("b", 101, None)], strings)
    assert listed() == [1, 0, NULL_WORD]
    words[bench.time_slot] = 101
    assert listed() == [1, 1, NULL_WORD]
    assert blocked.remove("a", strings, at_us=101)
    assert listed() == [0, 1, NULL_WORD]
    words[bench.time_slot] = 100
    assert listed() == [1, 0, NULL_WORD]
    assert not blocked.remove("never", strings)
    other = ListIndex(STRING)
    blocked.replace_with(other)
    assert listed() == [0, 0, NULL_WORD]
    words[bench.time_slot] = NULL_WORD
    assert listed() == [NULL_WORD] * 3


def test_a_span_begins_at_since_and_ends_before_until() -> None:
    strings = Strings()
    table = TableIndex(INTEGER, {"rate": NUMBER, "name": STRING})
    table.extend(
        [(1, (0.5, "old"), None, None), (1, (0.7, "new"), 10, 20), (1, (0.9, None), 15, 16), (2, (None, "x"), 5, 5)],
        strings,
    )
    references = References(strings, {}, {"t": table})
    scope = {"t": TableType(INTEGER, {"rate": NUMBER, "name": STRING})}
    bench = Bench({"k": INTEGER}, references, tables=scope)
    program = bench.compile("lookup('t', k, 'rate')", "lookup('t', k, 'name')")
    words, flags = bench.frame(8)
    words[0] = [1, 1, 1, 1, 1, 2, 3, NULL_WORD]
    words[bench.time_slot] = [9, 10, 15, 16, 20, 5, 5, 5]
    program.run(words, 0, 8, flags)
    rates = words.view(np.float64)[bench.slots[0]]
    assert np.array_equal(rates, [0.5, 0.7, 0.9, 0.7, 0.5, np.nan, np.nan, np.nan], equal_nan=True)
    assert strings.texts(words[bench.slots[1]]) == ["old", "new", None, "new", "old", None, None, None]


def test_number_keys_know_one_zero_and_null() -> None:
    listed = ListIndex(NUMBER)
    listed.add([(0.0, None, None), (2.5, None, None)], Strings())
    bench = Bench({"x": NUMBER}, References(Strings(), {"l": listed}), lists={"l": NUMBER})
    program = bench.compile("in_list(x, 'l')")
    words, flags = bench.frame(4)
    words.view(np.float64)[0] = [-0.0, 2.5, 1.0, np.nan]
    program.run(words, 0, 4, flags)
    assert words[bench.slots[0]].tolist() == [1, 1, 0, NULL_WORD]


def test_values_of_another_type_do_not_enter_a_list() -> None:
    listed = ListIndex(INTEGER)
    for value in ("a", 1.5, True, None, 2**63):
        with pytest.raises(ValueError):
            listed.add([(value, None, None)], Strings())
    with pytest.raises(ValueError, match="ends before"):
        listed.add([(1, 10, 5)], Strings())
    assert len(listed) == 0


def test_a_program_gives_its_room_in_the_pool_back() -> None:
    bench = Bench({"a": INTEGER, "s": STRING})
    pool = bench.references.pool
    for _ in range(200):
        bench.compile("a in (1, 2, 3)", "lower(s) = 'x'", "a in (4, 5)")
    assert pool.nbytes < 100_000


def test_a_pool_keeps_what_lives() -> None:
    pool = Pool()
    rng = np.random.default_rng(5)
    held: dict[int, np.ndarray] = {}
    for step in range(2_000):
        words = rng.integers(0, 1000, rng.integers(1, 60))
        if held and rng.random() < 0.4:
            number = int(rng.choice(list(held)))
            if rng.random() < 0.5:
                pool.release(number)
                del held[number]
                continue
            pool.replace(number, words)
        elif len(held) < 40:
            number = pool.add(words)
            assert number not in held
        else:
            continue
        held[number] = words
        if step % 50 == 0:
            assert all(np.array_equal(pool.segment(number), words) for number, words in held.items())
    assert len(pool.data) < 20_000


@pytest.mark.parametrize("name", ["Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "America/Havana", "UTC"])
def test_zones_agree_with_the_system(name: str) -> None:
    zone, system = Zone(name), ZoneInfo(name)
    times = np.arange(946_684_800, 1_900_000_000, 10_000_019, dtype=np.int64)
    for instant in (1_699_163_999, 1_699_164_000, 1_710_054_000, 1_710_053_999):  # around changes in New York
        times = np.append(times, instant)
    local = [datetime.fromtimestamp(int(time), system) for time in times]
    micros = times * 1_000_000

    def starts(days: list[datetime]) -> list[int]:
        return [int(day.replace(hour=0, minute=0, second=0, fold=0).timestamp()) * 1_000_000 for day in days]

    assert zone.offset_us(micros).tolist() == [int(time.utcoffset().total_seconds()) * 1_000_000 for time in local]  # type: ignore[union-attr]
    assert zone.day_start(micros).tolist() == starts(local)
    assert zone.month_start(micros).tolist() == starts([time.replace(day=1) for time in local])
    mondays = [datetime.fromordinal(time.toordinal() - time.weekday()).replace(tzinfo=system) for time in local]
    assert zone.week_start(micros).tolist() == starts(mondays)
    assert zone.day_start(np.array([NULL_WORD])).tolist() == [NULL_WORD]


def test_hours_pass_whatever_the_clocks_are_set_to() -> None:
    """New York set its clocks back at 06:00 UTC on 2023-11-05, and forward at 07:00 UTC on 2024-03-10."""
    bench = Bench({"a": TIMESTAMP, "b": TIMESTAMP}, References(Strings(), zone=Zone("America/New_York")))
    program = bench.compile("date_diff('hour', a, b)", "date_diff('day', a, b)", "hour(a)", "date_diff('week', b, a)")
    words, flags = bench.frame(3)

    def micros(*parts: int) -> int:
        return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc, arg-type]

    words[0] = [micros(2023, 11, 5, 5, 30), micros(2024, 3, 10, 6, 30), micros(2024, 1, 1, 3)]
    words[1] = [micros(2023, 11, 5, 7, 30), micros(2024, 3, 10, 8, 30), micros(2024, 1, 15, 12)]
    program.run(words, 0, 3, flags)
    hours, days, hour, weeks = (words[slot].tolist() for slot in bench.slots)
    assert hours == [2, 2, 14 * 24 + 9]
    assert days == [0, 0, 15]
    assert hour == [1, 1, 22]
    assert weeks == [0, 0, -2]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("", "", True),
        ("", "a", False),
        ("%", "", True),
        ("_", "é", True),
        ("a%", "abc", True),
        ("a%a", "a", False),
        ("%b_d%", "abbcd", True),
        ("%_b_%_", "aabcd", True),
        ("%ab%ab%", "ab ab", True),
        ("%ab%ab%", "abab", True),
        ("%aba%ba", "abaaba", True),
        ("%aba%ba", "ababa", True),
        ("%aba%ba", "aba", False),
    ],
)
def test_patterns(pattern: str, text: str, matches: bool) -> None:
    assert Pattern(pattern).matches(text) is matches


def test_a_hostile_pattern_takes_linear_time() -> None:
    pattern = Pattern("%" + "a_%" * 300 + "b")
    assert not pattern.matches("a" * 200_000)
    assert not Pattern("%" + "a" * 300 + "_b%").matches("a" * 100_000)


def test_case_is_changed_character_by_character() -> None:
    assert (lower("ÀİΣ"), upper("àßﬁǆ")) == ("àiσ", "ÀẞﬁǄ")
