"""Arrays that grow keep what they hold, stay where they are, and do with less where the system has not so much."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parakh.expressions import growing
from parakh.expressions.growing import Growing
from parakh.expressions.memory import address_of

LARGE = 3 << 20


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    growing._free_words.cache_clear()
    yield
    growing._free_words.cache_clear()


def test_what_is_held_stays_and_the_rest_is_zero() -> None:
    memory = Growing(most=10**9)
    held = 0
    for words in (5, 1_000, 1 << 20, LARGE, LARGE, 2 * LARGE):
        array = memory.to(words)
        assert len(array) == words
        assert (array[:held] == np.arange(1, held + 1)).all()
        assert not array[held:].any()
        array[:] = np.arange(1, words + 1)
        held = words


def test_a_large_one_is_not_moved() -> None:
    memory = Growing(most=10**9)
    first = address_of(memory.to(LARGE))
    assert {address_of(memory.to(LARGE + more)) for more in (1, 1_000, LARGE)} == {first}


def test_where_the_system_has_not_so_many_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Mapping(mmap.mmap):
        def __new__(cls, file: int, size: int, **more: Any) -> Mapping:
            asked.append(size)
            if size > 48 * LARGE:
                raise OSError("Cannot allocate memory")
            return super().__new__(cls, file, size, **more)

    monkeypatch.setattr(growing.mmap, "mmap", Mapping)
    memory = Growing(most=10**9)
    memory.to(LARGE)[-1] = 7
    assert asked[0] > 48 * LARGE
    assert asked[-1] == 8 * LARGE
    wider = memory.to(5 * LARGE)  # beyond what it got: it is moved after all
    assert wider[LARGE - 1] == 7
    assert not wider[LARGE:].any()
    with pytest.raises(MemoryError, match=f"{8 * 7 * LARGE:,} bytes"):
        memory.to(7 * LARGE)
    assert wider[LARGE - 1] == 7


@pytest.mark.parametrize("counted", ["ulimit", "overcommit"])
def test_where_addresses_are_counted_few_are_taken(
    counted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if counted == "ulimit":
        monkeypatch.setattr(growing.resource, "getrlimit", lambda which: (1 << 40, resource.RLIM_INFINITY))
    else:
        monkeypatch.setattr(growing, "_COUNTED", tmp_path / "overcommit_memory")
        (tmp_path / "overcommit_memory").write_text("2\n")
    asked = []

    class Mapping(mmap.mmap):
        def __new__(cls, file: int, size: int, **more: Any) -> Mapping:
            asked.append(size)
            return super().__new__(cls, file, size, **more)

    monkeypatch.setattr(growing.mmap, "mmap", Mapping)
    memory = Growing(most=10**9)
    for words in (LARGE, LARGE + LARGE // 8, 2 * LARGE):
        memory.to(words)[-1] = words
    assert asked == [12 * LARGE, 24 * LARGE]
    assert int(memory.to(2 * LARGE)[LARGE - 1]) == LARGE


def test_a_kernel_without_large_pages_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mapping(mmap.mmap):
        def madvise(self, *asked: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(growing.mmap, "mmap", Mapping)
    assert len(Growing(most=10**7).to(LARGE)) == LARGE
