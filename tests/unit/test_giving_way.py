"""Threads that give way: a lower priority where that is allowed, and work that is done all the same where it is not."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from parakh.streams.giving_way import give_way, one_thread


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own on Linux")
def test_a_thread_gives_way_and_the_others_do_not() -> None:
    before = nice()
    pool = one_thread("test")
    assert pool.submit(nice).result() == max(before, 10)
    assert nice() == before

    def twice() -> int:
        give_way()
        return nice()

    assert pool.submit(twice).result() == max(before, 10)
    pool.shutdown()


def test_where_it_is_forbidden_the_work_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*given: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)
    pool = one_thread("test")
    assert pool.submit(sum, [1, 2]).result() == 3
    pool.shutdown()
