"""One event and its answer at the connection, where something in the service goes wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from parakh.service.hot import _Exchange, _Head


def test_keys_that_cannot_be_read_are_a_mistake_of_ours_and_the_connection_goes_on() -> None:
    def unreadable(headers: Any, scope: str) -> None:
        raise OSError("the disk is gone")

    sent: list[bytes] = []
    over: list[bool] = []
    route: Any = SimpleNamespace(access=SimpleNamespace(check=unreadable), done=lambda told, began: None)
    transport: Any = SimpleNamespace(is_closing=lambda: False, write=sent.append)
    exchange = _Exchange(route, _Head("payment", False, [], True), transport, lambda: over.append(True))
    exchange.begin()
    assert sent[0].startswith(b"HTTP/1.1 500 ")
    assert b'"code":"internal"' in sent[0]
    assert b"the disk is gone" not in sent[0]
    assert over == [True]
