"""Card numbers in free text are found whatever stands around them, others are left, and long texts cost little."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from parakh.service.personal.cards import has_card_number, mask_card_numbers, may_hold_card_number

TEST_NUMBERS = [
    "4111111111111111",  # the numbers that the schemes and processors publish for tests
    "4012888888881881",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "30569309025904",
    "6011111111111117",
    "3530111333300000",
    "6200000000000005",
    "6799990100000000019",
]


def grouped(number: str, sizes: list[int], separator: str) -> str:
    parts = []
    for size in sizes:
        parts.append(number[:size])
        number = number[size:]
    return separator.join([part for part in (*parts, number) if part])


@pytest.mark.parametrize("number", TEST_NUMBERS)
@pytest.mark.parametrize("separator", ["", " ", "-", " - "])
def test_published_test_numbers_are_masked(number: str, separator: str) -> None:
    written = grouped(number, [4, 4, 4], separator)
    text = f"please charge {written}, cvv 737"
    hidden = mask_card_numbers(text)
    assert number[:-4] not in re.sub(r"[ -]", "", hidden)
    kept = "".join(letter for letter in hidden if letter.isdigit())
    assert kept == number[-4:] + "737"
    assert len(hidden) == len(text)
    assert has_card_number(text)
    assert may_hold_card_number(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4111 1111 1111",
        "4111111111111112",  # wrong check digit
        "9111111111111111111",
        "1736499130000000",  # microseconds since 1970
        "0000000000000000",
        "2026-01-01T10:00:00.000000Z",
        "+91 98765 43210",
        "41111111111111111111",  # twenty digits in one piece
        "4111.1111.1111.1111",
        "4111\u0661111111111111",
    ],
)
def test_what_is_no_card_number_is_left(text: str) -> None:
    assert mask_card_numbers(text) is text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("4111111111111111", "************1111"),
        ("x4111111111111111y", "x************1111y"),
        ("ref 77 4111 1111 1111 1111 99", "ref 77 **** **** **** 1111 99"),
        ("4111-1111-1111-11 11", "****-****-****-11 11"),
        ("4111111111111111 5555555555554444", "************1111 ************4444"),
        ("4111111111111111,378282246310005;", "************1111,***********0005;"),
        ("4111111111111111=27121010000012345678", "************1111=27121010000012345678"),
        ("naïve ₹ 4111111111111111 ₹", "naïve ₹ ************1111 ₹"),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "* * * * * * * * * * * * 1 1 1 1"),
    ],
)
def test_where_numbers_stand(text: str, hidden: str) -> None:
    assert mask_card_numbers(text) == hidden


def naive(text: str) -> list[tuple[int, int]]:
    """Every span of whole groups by trying all, from each group the longest, left to right."""
    spans = []
    groups = [match.span() for match in re.finditer(r"[0-9]+", text)]
    free = 0
    for first, (start, _) in enumerate(groups):
        if start < free:
            continue
        best = 0
        for last in range(first, len(groups)):
            if last > first and not re.fullmatch(r"[ -]{1,3}", text[groups[last - 1][1] : groups[last][0]]):
                break
            digits = re.sub(r"[ -]", "", text[start : groups[last][1]])
            if 13 <= len(digits) <= 19 and luhn.is_valid(digits) and digits[0] in "4" and len(digits) in (13, 16, 19):
                best = groups[last][1]
        if best:
            spans.append((start, best))
            free = best
    return spans


@given(st.text(alphabet="40 -a", max_size=80))
def test_every_number_is_found_that_trying_all_finds(text: str) -> None:
    hidden = mask_card_numbers(text)
    expected = [place for start, end in naive(text) for place in range(start, end) if text[place].isdigit()]
    changed = [place for place, (old, new) in enumerate(zip(text, hidden, strict=True)) if old != new]
    shown = [place for start, end in naive(text) for place in [p for p in range(start, end) if text[p].isdigit()][-4:]]
    assert changed == [place for place in expected if place not in shown]


def test_random_numbers_of_all_issuers_are_found() -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(2_000):
        prefix, length = chance.choice(
            [
                ("4", 16),
                ("51", 16),
                ("2720", 16),
                ("34", 15),
                ("37", 15),
                ("6011", 16),
                ("3528", 16),
                ("36", 14),
                ("62", 19),
            ]
        )
        digits = prefix + "".join(chance.choice("0123456789") for _ in range(length - len(prefix) - 1))
        number = digits + luhn.calc_check_digit(digits)
        hidden = mask_card_numbers(f"pay {number} now")
        assert hidden == f"pay {'*' * (length - 4)}{number[-4:]} now", f"seed {seed}"


@pytest.mark.parametrize("part", ["1 ", "1", "4111 ", "- ", "1   ", "4 ", "6-", "9" * 19 + " "])
def test_time_grows_with_the_text_alone(part: str) -> None:
    def seconds(size: int) -> float:
        text = part * (size // len(part))
        begun = time.process_time()
        mask_card_numbers(text)
        return time.process_time() - begun

    seconds(1_000)
    assert seconds(200_000) < 2.0
