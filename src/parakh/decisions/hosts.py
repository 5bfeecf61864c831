"""Hosts that a project may ask for answers: URLs read strictly, addresses told public from private, and pinned hosts.

A URL is taken only in its plain form, so that no two readers can find different hosts in it: ASCII, no user, no
backslash, no octal, hexadecimal or joined-up numbers for an address. Nothing here touches the network; what connects
(`parakh.service.addresses`) asks the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from parakh.errors import ParakhError

__all__ = ["Address", "HostError", "Origin", "Pin", "is_public", "origin_of", "pin_of", "pins_of", "vetted"]

Address = IPv4Address | IPv6Address

PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?:[/?][!\"$-\[\]-~]*)?",
    re.ASCII,
)
_PIN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)

# Every block that the IANA registries of special addresses keep from the public internet; `ipaddress` has most of
# them, but which ones depends on the version of Python.
_CLOSED_4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_GLOBAL_6 = IPv6Network("2000::/3")
_CLOSED_6 = tuple(
    # 2001::/23 has Teredo, benchmarking, ORCHID; 2002::/16 is 6to4, whose relays would reach the address inside.
    IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)  # fmt: skip
_NAT64 = IPv6Network("64:ff9b::/96")
# What nobody means by a sidecar: not even a pinned address may be one of these.
_NEVER_4 = tuple(IPv4Network(block) for block in ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))
_PINNABLE_6 = tuple(IPv6Network(block) for block in ("::1/128", "fc00::/7"))


class HostError(ParakhError):
    """A URL or a host that is not taken; `hint` says what would be."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message + (f" (hint: {hint})" if hint else ""))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a URL leads: `host` in lower case, without brackets; `address` where it is written as one."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """A host that may be asked. A `local` one is an address or localhost with its port: it may be private, and http."""

    host: str
    port: int
    local: bool = False
    address: Address | None = None

    def covers(self, host: str, port: int) -> bool:
        return self.port == port and self.host == host

    def admits(self, address: Address) -> bool:
        """Whether the host may be reached at an address that it resolved to."""
        if not self.local:
            return is_public(address)
        return address == self.address if self.address is not None else address.is_loopback


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, that inside an IPv6 form of an IPv4 address included.

    >>> from ipaddress import ip_address
    >>> [is_public(ip_address(text)) for text in ("8.8.8.8", "10.1.2.3", "::ffff:10.1.2.3", "2606:4700::1111")]
    [True, False, False, True]
    """
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _CLOSED_4)
    if address.scope_id is not None:
        return False
    inside = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None)
    if inside is not None:
        return is_public(inside)
    return address in _GLOBAL_6 and not any(address in block for block in _CLOSED_6)


def origin_of(url: str) -> Origin:
    """Where a URL leads. Raises HostError where it is not written plainly.

    >>> origin_of("https://Risk.example.com/v1?ip=1.2.3.4")
    Origin(scheme='https', host='risk.example.com', port=443, address=None)
    >>> origin_of("https://0x7f.1/")
    Traceback (most recent call last):
    ...
    parakh.decisions.hosts.HostError: '0x7f.1' is neither a host's name nor an address (hint: an address is four \
decimal numbers, or IPv6 in brackets)
    """
    found = _URL.fullmatch(url)
    if found is None:
        hint = "https://host/path: ASCII, no user or password, no backslash, no # part"
        raise HostError("this is not a plain URL", hint)
    scheme: Literal["http", "https"] = "https" if found["scheme"] == "https" else "http"
    host, address = _host(found["host"])
    return Origin(scheme, host, _port(found["port"], PORTS[scheme]), address)


def pin_of(entry: str) -> Pin:
    """A pinned host as parakh.toml and options write it: `risk.example.com`, `10.0.0.5:9000`, `localhost:9000`.

    Raises HostError. Without a port it is that of https.
    """
    found = _PIN.fullmatch(entry)
    if found is None:
        raise HostError(f"{entry!r} is not a host", "a host's name, or an address and its port, such as 127.0.0.1:9000")
    host, address = _host(found["host"])
    local = found["port"] is not None and (address is not None or host == "localhost")
    if address is not None and not is_public(address):
        if not _is_pinnable(address):
            raise HostError(
                f"{entry!r} is an address that nothing outside answers at", "name the service's own address"
            )
        if not local:
            raise HostError(f"{entry!r} is a private address", f"name its port as well: {entry}:9000")
    if host == "localhost" and not local:
        raise HostError("'localhost' is a private host", "name its port as well: localhost:9000")
    return Pin(host, _port(found["port"], PORTS["https"]), local, address)


def pins_of(entries: Iterable[str]) -> tuple[Pin, ...]:
    """All pins of a list of hosts. Raises HostError."""
    return tuple(pin_of(entry) for entry in entries)


def vetted(url: str, allowed: Sequence[str | Pin], *, public: bool = False) -> Origin:
    """Where a URL leads, if it may be asked: a pinned host, or with `public` any host by https. Raises HostError.

    This reads the URL alone. A name may still resolve to a private address: `guarded_client` sees to that.

    >>> vetted("http://127.0.0.1:9000/x", ["127.0.0.1:9000"]).port
    9000
    """
    origin = origin_of(url)
    pins = [item if isinstance(item, Pin) else pin_of(item) for item in allowed]
    pin = next((pin for pin in pins if pin.covers(origin.host, origin.port)), None)
    if pin is not None and pin.local:
        return origin
    if origin.scheme != "https":
        raise HostError(
            "the URL is not https", "plain http is for a pinned address with its port, such as 127.0.0.1:9000"
        )
    if origin.address is not None and not is_public(origin.address):
        raise HostError(f"{origin.host} is a private address", "pin it with its port where that is meant")
    if origin.host == "localhost" or origin.host.endswith(".localhost"):
        raise HostError(f"{origin.host} is a private host", "pin localhost with its port where that is meant")
    if pin is None and not public:
        listed = ", ".join(_shown(pin) for pin in pins) or "none"
        raise HostError(f"{origin.host}:{origin.port} is not a pinned host", f"pinned are: {listed}")
    return origin


def _host(text: str) -> tuple[str, Address | None]:
    """A host as it is compared, and its address where it is one."""
    if text.startswith("["):
        try:
            six = IPv6Address(text[1:-1])
        except ValueError:
            raise HostError(f"{text!r} is not an IPv6 address") from None
        return str(six), six
    host = text.lower()
    labels = host.split(".")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):  # what a resolver would take for a number, however written
        try:
            return host, IPv4Address(host)
        except ValueError:
            hint = "an address is four decimal numbers, or IPv6 in brackets"
            raise HostError(f"{text!r} is neither a host's name nor an address", hint) from None
    if not all(_LABEL.fullmatch(label) for label in labels):
        hint = "labels of letters, digits and -; no dot at the end; a name beyond ASCII in its xn-- form"
        raise HostError(f"{text!r} is not a host's name", hint)
    return host, None


def _port(text: str | None, default: int) -> int:
    port = default if text is None else int(text)
    if port > 65535:
        raise HostError(f"there is no port {port}")
    return port


def _is_pinnable(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NEVER_4)
    return any(address in block for block in _PINNABLE_6)


def _shown(pin: Pin) -> str:
    host = f"[{pin.host}]" if ":" in pin.host else pin.host
    return host if pin.port == PORTS["https"] else f"{host}:{pin.port}"
