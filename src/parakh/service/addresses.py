"""The only way out: HTTP clients that reach pinned or public hosts alone, whatever a URL or a name server says.

A name is resolved once for a connection, its addresses are vetted, and the connection is made to the vetted address
itself, so that a name that changes its answer in between gains nothing. The certificate and the Host header stay those
of the name. Redirects are not followed, proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from parakh.decisions.hosts import Address, HostError, Origin, Pin, is_public, origin_of, pins_of, vetted

__all__ = ["HostError", "Origin", "RefusedError", "Resolve", "UnreachableError", "Vetting", "guarded_client",
           "is_public", "origin_of", "trusted", "vetted"]  # fmt: skip

for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # they log URLs and headers, which carry values of events

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name, as texts, the preferred first; raises OSError."""

_RESOLVERS = 4
"""Threads that wait for name servers, for each client: a hung one holds up no other work of the process."""


def trusted() -> ssl.SSLContext:
    """The certificates that are trusted for outgoing calls."""
    return httpx.create_ssl_context(trust_env=False)


class RefusedError(httpx.ConnectError):
    """A request that may not leave: nothing was sent."""


def guarded_client(
    allowed: Sequence[str],
    *,
    timeout_s: float,
    public: bool = False,
    connections: int = 64,
    resolve: Resolve | None = None,
    verify: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """A client that reaches the `allowed` hosts and, where `public`, any host of the public internet by https.

    `allowed` is written as in parakh.toml (`risk.example.com`, `127.0.0.1:9000`): an address or localhost with a port
    may be private and plain http, all else is https at public addresses. What may not be asked raises `RefusedError`,
    an httpx.ConnectError, before anything is sent.

    `timeout_s` bounds each step (connect, write, read, waiting for a connection), not their sum: put the call into
    `asyncio.timeout`. Bodies are asked for uncompressed and come in whole: read them by `client.stream` with a bound.
    Raises HostError for an entry that is no host.
    """
    transport = _GuardedTransport(pins_of(allowed), public, connections, resolve, verify)
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=False,
        headers={"accept-encoding": "identity", "user-agent": "parakh"},
    )


class UnreachableError(OSError):
    """A host without an address that may be connected to."""


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over a pool whose connections are made by `_VettedNetwork`."""

    def __init__(
        self,
        pins: tuple[Pin, ...],
        public: bool,
        connections: int,
        resolve: Resolve | None,
        verify: ssl.SSLContext | None,
    ) -> None:
        # Not super().__init__: all it does is to make a pool, and that of httpx takes no network backend.
        self._pins = pins
        self._public = public
        self._network = _VettedNetwork(Vetting(pins, public=public, resolve=resolve))
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify or trusted(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=self._network,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # What is vetted is the URL as httpx has understood it, since that is what it will connect to.
        try:
            vetted(str(request.url), self._pins, public=self._public)
        except HostError as error:
            raise RefusedError(error.message, request=request) from None
        return await super().handle_async_request(request)

    async def aclose(self) -> None:
        await super().aclose()
        self._network.close()


class Vetting:
    """Names resolved to the addresses that may be connected to."""

    def __init__(self, pins: Sequence[Pin], *, public: bool = False, resolve: Resolve | None = None) -> None:
        self._pins = pins
        self._public = public
        self._resolve = resolve or self._ask
        self._threads = ThreadPoolExecutor(_RESOLVERS, "resolve")

    async def addresses(self, host: str, port: int) -> list[Address]:
        """The addresses of a host that may be connected to, the preferred first. Raises UnreachableError."""
        host = host.lower()
        pin = next((pin for pin in self._pins if pin.covers(host, port)), None)
        if pin is None and not self._public:
            raise UnreachableError("the host is not pinned")
        try:
            found = [ip_address(host)]
        except ValueError:
            try:
                found = [ip_address(text) for text in await self._resolve(host, port)]
            except (OSError, ValueError):
                raise UnreachableError("the name cannot be resolved") from None
        may = pin.admits if pin is not None else is_public
        admitted = [address for address in found if may(address)]
        if not admitted:
            raise UnreachableError("the name has no address that may be connected to")
        return admitted

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _addresses, host, port)
        return list(dict.fromkeys(found))


def _addresses(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class _VettedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were vetted after the name was resolved, never to a name."""

    def __init__(self, vetting: Vetting) -> None:
        self._vetting = vetting
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._vetting.addresses(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the name was not resolved in time") from None
        except UnreachableError as error:
            raise httpcore.ConnectError(str(error)) from None
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("sockets of this machine are not for outgoing calls")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        self._vetting.close()
