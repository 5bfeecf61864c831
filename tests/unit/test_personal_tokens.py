"""A token is a function of key and value alone, and nothing of the value is in it."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakh.service.personal.tokens import KEY_BYTES, Tokens, is_token

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def oracle(key: bytes, value: str) -> str:
    """HMAC-SHA256 by the standard library; five bits of each byte."""
    mac = hmac.new(key, value.encode(), hashlib.sha256).digest()
    return "tok_" + "".join(ALPHABET[byte % 32] for byte in mac[:26])


@given(
    st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
)
def test_tokens_are_hmacs(key: bytes, value: str) -> None:
    tokens = Tokens(key)
    assert tokens.of(value) == oracle(key, value) == tokens.of_bytes(value.encode()).decode()
    assert is_token(tokens.of(value))


def test_tokens_tell_values_and_keys_apart() -> None:
    values = [str(number) for number in range(20_000)]
    tokens = Tokens(bytes(KEY_BYTES))
    other = Tokens(b"\1" * KEY_BYTES)
    made = {tokens.of(value) for value in values}
    assert len(made) == len(values)
    assert not made & {other.of(value) for value in values}


def test_every_letter_is_as_likely() -> None:
    tokens = Tokens(bytes(KEY_BYTES))
    letters = "".join(tokens.of(str(number))[4:] for number in range(4_000))
    expected = len(letters) / 32
    assert all(abs(letters.count(letter) - expected) < 0.15 * expected for letter in ALPHABET)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_has_32_bytes(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Tokens(key)


def test_a_token_says_nothing_of_its_key() -> None:
    assert repr(Tokens(b"k" * KEY_BYTES)) == "<Tokens>"


@pytest.mark.parametrize(
    "text", ["", "tok_", "tok_" + "a" * 25, "tok_" + "a" * 27, "tok_" + "A" * 26, "tok_" + "1" * 26]
)
def test_what_is_no_token(text: str) -> None:
    assert not is_token(text)
