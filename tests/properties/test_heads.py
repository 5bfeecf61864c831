"""A head that is known: whatever is sent, it is taken for the same only where a parser reads the same in it."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st

from parakh.service.hot import _Exchange, _Head, _Known

HEADERS = [(b"host", b"x"), (b"content-type", b"application/json"), (b"x-api-key", b"pk_a_b")]
PLACES = st.integers(0, len(HEADERS))


class Read:
    """What the parser reads in some bytes."""

    def __init__(self, data: bytes) -> None:
        self.urls: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.ended = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.urls.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1

    @property
    def others(self) -> list[tuple[bytes, bytes]]:
        return [header for header in self.headers if header[0] != b"content-length"]


def sent(body: bytes, place: int, name: bytes = b"Content-Length", length: int | None = None) -> bytes:
    held = b"%b: %d" % (name, len(body) if length is None else length)
    lines = [b"%b: %b" % header for header in HEADERS]
    lines.insert(place, held)
    return b"\r\n".join([b"POST /v1/decisions/payment HTTP/1.1", *lines, b"", body])


def known(data: bytes, body: bytes) -> _Known | None:
    head = _Head("payment", False, HEADERS, True)
    exchange = _Exchange(None, head, None, lambda: None)  # type: ignore[arg-type]
    exchange.body = body
    return _Known.of(data, exchange)


@given(st.binary(max_size=40), st.binary(max_size=40), PLACES, st.sampled_from([b"Content-Length", b"content-length"]))
def test_the_same_head_with_another_length_is_known(first: bytes, second: bytes, place: int, name: bytes) -> None:
    held = known(sent(first, place, name), first)
    assert held is not None
    assert held.body_of(sent(second, place, name), 100) == second
    assert held.body_of(sent(second, place, name), len(second) - 1) is None
    assert held.body_of(sent(second, place, name) + b"P", 100) is None
    assert held.body_of(sent(second, place, name, len(second) + 1), 100) is None


@given(st.binary(max_size=20), st.binary(max_size=20), PLACES, PLACES, st.data())
def test_what_is_taken_for_known_reads_the_same(
    first: bytes, second: bytes, place: int, other_place: int, data: st.DataObject
) -> None:
    held = known(sent(first, place), first)
    assert held is not None
    other = bytearray(sent(second, other_place))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(other) - 1))
        other[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"0", b"9", b" ", b"\r\n", b"x"])
        )
    body = held.body_of(bytes(other), 100)
    if body is None:
        return
    was, now = Read(sent(first, place)), Read(bytes(other))
    assert now.ended == 1
    assert (now.urls, now.others, now.body) == (was.urls, was.others, body)


def test_a_head_that_did_not_come_whole_is_not_learned() -> None:
    whole = sent(b"{}", 1)
    assert known(whole, b"{}") is not None
    assert known(whole + whole, b"{}") is None
    assert known(whole[:-1], b"{}") is None
    assert known(sent(b"{}", 1).replace(b"Content-Length", b"X-Length"), b"{}") is None
