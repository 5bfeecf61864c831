"""Outgoing calls reach pinned or public hosts alone: whatever a URL, a name server or a redirect says (S16)."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.decisions.hosts import HostError, is_public, origin_of, pin_of, vetted
from parakh.service.addresses import RefusedError, guarded_client

PUBLIC = "93.184.216.34"
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "100.127.255.255", "0.0.0.0", "0.1.2.3", "192.0.0.8", "192.0.2.1",
    "192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "100::1", "2001::1",
    "2001:0:7f00:1::", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1",
    "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
HOSTS = [
    *(f"[{text}]" if ":" in text else text for text in PRIVATE if "%" not in text),
    "0177.0.0.1", "0177.0.0.01", "017700000001", "0x7f.0.0.1", "0x7f000001", "0x7F.1", "2130706433", "3232235521",
    "127.1", "127.0.1", "0", "0x0", "00", "127.0.0.01", "127.0.0.1.", "0000:127.0.0.1", "1.2.3.4.5", "256.256.256.256",
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "[::1%25lo]", "[fe80::1%25eth0]", "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[v1.x]", "[127.0.0.1]",
    "127。0。0。1", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "127.0.0.1\u200b",
    "risk.example.com@127.0.0.1", "risk.example.com:443@127.0.0.1", "risk.example.com%40127.0.0.1",
    "127.0.0.1\\@risk.example.com", "risk.example.com\\@127.0.0.1", "risk.example.com\\.127.0.0.1",
    "127.0.0.1#@risk.example.com", "127.0.0.1?@risk.example.com", "127.0.0.1/@risk.example.com",
    "127.0.0.1%00.example.com", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "127.0.0.1\t", "127.0.0.1\r\nHost: a",
    " 127.0.0.1", "127.0.0.1 ", "risk.example.com\n@127.0.0.1", ":80", "", "-a.example.com", "a_b.example.com",
]  # fmt: skip
_RANGES = [
    ipaddress.ip_network(block)
    for block in ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
                  "192.168.0.0/16", "224.0.0.0/3", "::/8", "fc00::/6", "2002::/16", "2001::/32")
]  # fmt: skip


def run(test: Awaitable[None]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await test

    asyncio.run(whole())


class Spy(httpcore.AsyncNetworkBackend):
    """Stands where connections are made: notes every address, and leads to a server of the test, or nowhere."""

    def __init__(self, port: int | None) -> None:
        self.port = port
        self.dialled: list[tuple[str, int]] = []
        self.inner = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *rest: Any) -> httpcore.AsyncNetworkStream:
        self.dialled.append((host, port))
        if self.port is None:
            raise httpcore.ConnectError("nobody is there")
        return await self.inner.connect_tcp("127.0.0.1", self.port, *rest)


class Server:
    """A local HTTP server: notes the requests that reach it."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n", **tls: Any) -> AsyncIterator[Server]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, **tls)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


def resolving(*answers: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A name server that gives one answer after another, and the last for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def spied(client: httpx.AsyncClient, port: int | None) -> Spy:
    spy = Spy(port)
    client._transport._network._inner = spy  # type: ignore[attr-defined]
    return spy


def test_there_are_enough_addresses() -> None:
    assert len(set(HOSTS)) >= 60
    assert len(set(PRIVATE)) >= 40


@pytest.mark.parametrize("public", [False, True])
def test_no_way_of_writing_a_private_host_reaches_it(public: bool) -> None:
    async def test() -> None:
        async with serving() as server:
            client = guarded_client(["risk.example.com"], timeout_s=5, public=public, resolve=resolving(["127.0.0.1"]))
            spy = spied(client, server.port)
            async with client:
                for host in HOSTS:
                    for url in (f"{scheme}://{host}{port}/x" for scheme in ("http", "https") for port in ("", ":8080")):
                        with pytest.raises((httpx.ConnectError, httpx.InvalidURL, httpx.UnsupportedProtocol)):
                            await client.get(url)
                        with pytest.raises(HostError):
                            vetted(url, ["risk.example.com"], public=public)
            assert spy.dialled == []
            assert server.requests == []

    run(test())


@pytest.mark.parametrize("address", PRIVATE)
def test_no_name_leads_to_a_private_address(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))

    async def test() -> None:
        async with serving() as server:
            for answers in ([address], [address, "10.0.0.1"]):
                client = guarded_client(["risk.example.com"], timeout_s=5, public=True, resolve=resolving(answers))
                spy = spied(client, server.port)
                async with client:
                    for url in ("https://risk.example.com/", "https://other.example.com:8443/"):
                        with pytest.raises(httpx.ConnectError):
                            await client.get(url)
                assert spy.dialled == []

    run(test())


def test_of_a_mixed_answer_only_the_public_address_is_connected_to() -> None:
    async def test() -> None:
        client = guarded_client([], timeout_s=5, public=True, resolve=resolving(["10.0.0.1", "::1", PUBLIC]))
        spy = spied(client, None)
        async with client:
            with pytest.raises(httpx.ConnectError):
                await client.get("https://risk.example.com/")
        assert spy.dialled == [(PUBLIC, 443)]

    run(test())


def test_a_name_that_changes_its_answer_is_connected_to_at_the_vetted_address() -> None:
    """DNS rebinding: what was vetted is an address, and that address is dialled; each connection is vetted anew."""

    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    async def test() -> None:
        client = guarded_client(["risk.example.com"], timeout_s=5, resolve=resolve)
        spy = spied(client, None)
        async with client:
            for _ in range(5):
                with pytest.raises(httpx.ConnectError):
                    await client.get("https://risk.example.com/")
        assert spy.dialled == [(PUBLIC, 443)]
        assert asked == ["risk.example.com"] * 5

    run(test())


def test_a_redirect_is_not_followed_and_could_not_lead_elsewhere() -> None:
    async def test() -> None:
        async with serving() as private:
            location = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{private.port}/\r\nContent-Length: 0\r\n\r\n"
            async with serving(location.encode()) as server:
                client = guarded_client([f"127.0.0.1:{server.port}"], timeout_s=5, public=True)
                async with client:
                    answer = await client.get(f"http://127.0.0.1:{server.port}/")
                    assert answer.status_code == 302
                    with pytest.raises(RefusedError):
                        await client.get(f"http://127.0.0.1:{server.port}/", follow_redirects=True)
                assert len(server.requests) == 2
            assert private.requests == []

    run(test())


def test_a_pinned_port_is_that_port_alone_and_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with serving() as server, serving() as other:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
            async with guarded_client([f"127.0.0.1:{server.port}", f"localhost:{server.port}"], timeout_s=5) as client:
                for host in ("127.0.0.1", "localhost"):
                    assert (await client.get(f"http://{host}:{server.port}/")).status_code == 204
                for url in (f"http://127.0.0.1:{other.port}/", f"http://127.0.0.2:{server.port}/"):
                    with pytest.raises(RefusedError):
                        await client.get(url)
            assert len(server.requests) == 2
            assert other.requests == []

    run(test())


def test_localhost_that_is_pinned_is_this_machine_alone() -> None:
    async def test() -> None:
        async with serving() as server:
            client = guarded_client(["localhost:9000"], timeout_s=5, resolve=resolving(["10.0.0.1"]))
            spy = spied(client, server.port)
            async with client:
                with pytest.raises(httpx.ConnectError):
                    await client.get("http://localhost:9000/")
            assert spy.dialled == []

    run(test())


def test_the_certificate_and_the_host_header_stay_those_of_the_name(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path, "risk.example.com")
    serve = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serve.load_cert_chain(certificate, key)
    names: list[str | None] = []
    serve.sni_callback = lambda _socket, name, _context: names.append(name)
    trust = ssl.create_default_context(cafile=str(certificate))

    async def test() -> None:
        async with serving(ssl=serve) as server:
            client = guarded_client([], timeout_s=5, public=True, resolve=resolving([PUBLIC]), verify=trust)
            spy = spied(client, server.port)
            async with client:
                assert (await client.get("https://risk.example.com/x")).status_code == 204
                with pytest.raises(httpx.ConnectError, match=r"(?i)hostname|certificate"):
                    await client.get("https://other.example.com/x")
            assert names == ["risk.example.com", "other.example.com"]
            assert {address for address, _ in spy.dialled} == {PUBLIC}
            (request,) = server.requests
            assert b"\r\nhost: risk.example.com\r\n" in request.lower()
            assert b"accept-encoding: identity" in request.lower()

    run(test())


def test_a_hung_name_server_is_given_up() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return [PUBLIC]

    async def test() -> None:
        async with guarded_client([], timeout_s=0.05, public=True, resolve=resolve) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get("https://risk.example.com/")

    run(test())


def test_what_is_asked_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving() as server, guarded_client([f"127.0.0.1:{server.port}"], timeout_s=5) as client:
            await client.get(f"http://127.0.0.1:{server.port}/secret-4111")

    with caplog.at_level("DEBUG"):
        run(test())
    assert "4111" not in caplog.text


_V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
_V6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
_FORMS = [ipaddress.ip_network("::ffff:0:0/96"), ipaddress.ip_network("64:ff9b::/96")]
"""Of an IPv4 address in IPv6: they lead to what stands inside."""


@given(st.one_of(_V4, _V6.filter(lambda address: not any(address in form for form in _FORMS))))
@settings(max_examples=500, deadline=None)
def test_what_is_public_is_so_to_python_and_in_no_private_range(address: Any) -> None:
    if is_public(address):
        assert not any(address in block for block in _RANGES if block.version == address.version)
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


@given(_V4, st.sampled_from(_FORMS))
@settings(max_examples=200, deadline=None)
def test_an_address_inside_another_is_what_counts(address: ipaddress.IPv4Address, form: ipaddress.IPv6Network) -> None:
    assert is_public(form[int(address)]) == is_public(address)


@given(
    st.text(st.sampled_from("http://[]@\\#?%:.-0127xXaAfF\t\n ef。１"), max_size=40).map(lambda text: f"https://{text}")
)
@settings(max_examples=1000, deadline=None)
def test_a_url_that_is_taken_has_one_host_to_every_reader(url: str) -> None:
    try:
        origin = origin_of(url)
    except HostError:
        return
    assert url.isascii()
    theirs, standard = httpx.URL(url), urlsplit(url)
    assert theirs.host == origin.host
    assert (theirs.port or 443) == origin.port
    if origin.address is None or origin.address.version == 4:
        assert standard.hostname == origin.host
    else:
        assert ipaddress.ip_address(standard.hostname or "") == origin.address
    assert standard.username is None


NO_HOSTS = [
    "", "a b", "https://a.com", "a.com/x", "10.0.0.1", "localhost", "::1", "[::1]", "127.1:9000", "a.com:0", "a.com.",
    "a.com:99999", "0.0.0.0:80", "169.254.169.254:80", "[fe80::1]:80", "[::]:80", "224.0.0.1:80", "*.example.com",
    "user@a.com",
]  # fmt: skip


@pytest.mark.parametrize("entry", NO_HOSTS)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(HostError):
        pin_of(entry)


@pytest.mark.parametrize(
    ("entry", "host", "port", "local"),
    [
        ("Risk.example.com", "risk.example.com", 443, False),
        ("risk.example.com:8443", "risk.example.com", 8443, False),
        ("8.8.8.8", "8.8.8.8", 443, False),
        ("10.0.0.5:9000", "10.0.0.5", 9000, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[fd00::5]:9000", "fd00::5", 9000, True),
        ("localhost:9000", "localhost", 9000, True),
    ],
)
def test_an_entry_is_a_host_and_its_port(entry: str, host: str, port: int, local: bool) -> None:
    pin = pin_of(entry)
    assert (pin.host, pin.port, pin.local) == (host, port, local)


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
