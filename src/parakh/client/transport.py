"""What both drivers share of HTTP: address, headers, time-outs that end with the deadline, failures by their cause."""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from parakh import __version__
from parakh.client.errors import NotSent
from parakh.client.exchange import Failure, Request

__all__ = ["LIMITS", "MOST_BYTES", "Address", "Remaining", "failure_of", "too_large"]

DEFAULT_URL: Final = "http://127.0.0.1:8321"
MOST_BYTES: Final = 256 * 2**20
"""The largest answer that is read: a guard against an address that never ends."""
LIMITS: Final = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=15.0)
_SHORTEST_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Address:
    """Where the service is, and the key that opens it; the key is in no repr."""

    base_url: str
    _key: str = field(repr=False)

    @classmethod
    def of(cls, base_url: str | None, api_key: str | None) -> Address:
        """The address given, else of PARAKH_URL, else this machine; the key given, else PARAKH_API_KEY. Raises NotSent.

        >>> Address.of("https://decisions.internal/", "secret")
        Address(base_url='https://decisions.internal')
        """
        text = base_url or os.environ.get("PARAKH_URL") or DEFAULT_URL
        key = os.environ.get("PARAKH_API_KEY", "") if api_key is None else api_key
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as error:
            raise NotSent(f"the base URL cannot be read: {error}", field="base_url") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise NotSent(f"the base URL is http://HOST:PORT or https://HOST:PORT, not {text!r}", field="base_url")
        if url.userinfo or url.query or url.fragment:
            raise NotSent("the base URL has no user, query or fragment; the key goes into api_key=", field="base_url")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise NotSent("the API key has characters that no key has; is it cut from a longer text?", field="api_key")
        return cls(str(url).rstrip("/"), key)

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        headers = {
            "user-agent": f"parakh-python/{__version__}",
            "accept": "application/json",
            "accept-encoding": "identity",
        }
        return headers | ({"authorization": f"Bearer {self._key}"} if self._key else {})

    def verify(self) -> bool | ssl.SSLContext:
        """How certificates are proved: by those of the system, which take 0.2 s to load; for a service on this machine
        that is asked without TLS, by none at all, so that any would be refused.

        >>> Address.of("https://decisions.internal", "").verify()
        True
        """
        plain = self.base_url.startswith(tuple(f"http://{host}" for host in ("127.0.0.1", "localhost", "[::1]")))
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True

    def request(self, client: httpx.Client | httpx.AsyncClient, request: Request, timeouts: Remaining) -> httpx.Request:
        """A request as httpx sends it."""
        headers = {"content-type": request.content_type} if request.body is not None else {}
        return client.build_request(
            request.method,
            self.base_url + request.path,
            content=request.body,
            headers=headers,
            extensions={"timeout": timeouts},
        )


class Remaining(dict[str, float]):
    """The time-outs of one try. Each phase - pool, connect, write, read - is given what is left when it begins, so that
    phases together, not each by itself, end with the try.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(dict.fromkeys(("pool", "connect", "write", "read"), seconds))
        self._end = time.monotonic() + seconds

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]

    def __getitem__(self, key: str) -> float:
        return max(_SHORTEST_S, self._end - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the time of the try has passed."""
        return time.monotonic() >= self._end


def failure_of(error: httpx.TransportError) -> Failure:
    """The failure that an exception of httpx stands for."""
    words = str(error) or type(error).__name__
    if isinstance(error, httpx.PoolTimeout):
        return Failure("timed_out", "all connections of this client are in use")
    if isinstance(error, httpx.ConnectTimeout):
        return Failure("timed_out", "no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return Failure("timed_out", "nothing came in time")
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
        return Failure("unreachable", words)
    return Failure("broken", words)


def too_large() -> str:
    """What is said of an answer over the bound."""
    return f"the answer is larger than {MOST_BYTES >> 20} MB"
