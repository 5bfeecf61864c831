"""How the service is set up: one frozen `ServiceSettings` out of service.toml, the environment and the command line.

A setting is declared once, in `SETTINGS`. It is read, in rising precedence, from its default, from `DATA/service.toml`
(or the file given by `--config`), from a variable of the environment and from an option of the command line; all four
ways read it by the same shape, so that a mistake looks alike wherever it was made. An unknown key is a mistake.

    port = 8321                      PARAKH_PORT=8321
    [limits]
    event = "1MB"                    PARAKH_LIMITS_EVENT=1MB
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from parakh.errors import Problem, ProjectError
from parakh.project.keys import Key, Length, Shape, Size, Text
from parakh.project.lengths import length_text, size_text
from parakh.project.reading import MISSING, Reading
from parakh.project.settings_file import read_tables
from parakh.project.yaml_nodes import Scalar

__all__ = [
    "FILE",
    "SETTINGS",
    "LimitSettings",
    "LogSettings",
    "ServiceSettings",
    "Setting",
    "SnapshotSettings",
    "TlsSettings",
    "WebhookSettings",
    "rate_per_s",
    "read_service_settings",
]

FILE: Final = "service.toml"
PREFIX: Final = "PARAKH_"
ELSEWHERE: Final = frozenset({"PARAKH_DEBUG", "PARAKH_ROUNDS", "PARAKH_DATA", "PARAKH_URL", "PARAKH_API_KEY"})
"""Variables of the same prefix that are not settings of the service."""

_COUNT: Final = Text("^(0|[1-9][0-9]{0,11})$", "a whole number")
_PATH: Final = Text(what="a file")
_RATE_PATTERN: Final = r"^([1-9][0-9]{0,6})/(s|m)$"


def rate_per_s(text: str) -> float | None:
    """A rate in requests a second; None where the text is none.

    >>> rate_per_s("500/s"), rate_per_s("30/m"), rate_per_s("fast")
    (500.0, 0.5, None)
    """
    found = re.fullmatch(_RATE_PATTERN, text)
    return int(found.group(1)) / {"s": 1, "m": 60}[found.group(2)] if found else None


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files of TLS; without a certificate the service speaks plain HTTP. With `client_ca` callers must show one too."""

    certificate: Path | None = None
    key: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What one request may be, and how many there may be at once. Sizes are in bytes."""

    event_bytes: int = 2**20
    batch_bytes: int = 64 * 2**20
    line_bytes: int = 2**20
    bulk_bytes: int = 16 * 2**20
    depth: int = 64
    rate_per_s: float | None = None
    in_flight: int = 2_000


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log: the size of a segment's file, and how long entries are kept (None: the project's horizon)."""

    segment_bytes: int = 64 * 2**20
    keep_us: int | None = None


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """A snapshot of the state is begun after so many entries' events, or after so long, whichever comes first."""

    events: int = 500_000
    every_us: int = 10 * 60_000_000


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Deliveries: time for an answer, tries before the dead letters, and how many run at once."""

    timeout_us: int = 10_000_000
    attempts: int = 12
    in_flight: int = 16


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """All settings of one service. Headers of proxies are never trusted: the peer's address is the caller's."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8321
    tls: TlsSettings = TlsSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    webhooks: WebhookSettings = WebhookSettings()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the service.

        >>> ServiceSettings(Path(".")).is_loopback, ServiceSettings(Path("."), host="0.0.0.0").is_loopback
        (True, False)
        """
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: where it stands in the file, which attribute it fills, and what it takes."""

    table: str
    name: str
    attribute: str
    shape: Shape
    description: str
    least: int = 0
    most: int = 2**40
    secret: bool = False

    @property
    def dotted(self) -> str:
        """Its name among the options of the command line: `limits.event`."""
        return f"{self.table}.{self.name}" if self.table else self.name

    @property
    def variable(self) -> str:
        """Its variable in the environment."""
        return PREFIX + self.dotted.replace(".", "_").upper()


_KB, _MB, _GB = 2**10, 2**20, 2**30
_SECOND, _HOUR, _DAY = 10**6, 3_600 * 10**6, 86_400 * 10**6
SETTINGS: Final = (
    Setting(
        "", "host", "host", Text(r"^[0-9A-Za-z_.:%-]{1,253}$", "an address or a name"), "The address to listen on."
    ),
    Setting("", "port", "port", _COUNT, "The port to listen on; 0 takes one that is free.", most=65_535),
    Setting("tls", "certificate", "certificate", _PATH, "The certificate with its chain, PEM."),
    Setting("tls", "key", "key", _PATH, "The certificate's private key, PEM."),
    Setting(
        "tls",
        "key_password",
        "key_password",
        Text(),
        "The private key's password; from the environment alone.",
        secret=True,
    ),
    Setting("tls", "client_ca", "client_ca", _PATH, "Who signs the certificates that callers must show, PEM."),
    Setting("limits", "event", "event_bytes", Size(), "One event's body.", _KB, 16 * _MB),
    Setting("limits", "batch", "batch_bytes", Size(), "A whole batch, which is streamed.", _KB, 64 * _GB),
    Setting("limits", "line", "line_bytes", Size(), "One line of a batch.", _KB, 16 * _MB),
    Setting("limits", "bulk", "bulk_bytes", Size(), "Labels or events taken in, in one body.", _KB, 256 * _MB),
    Setting("limits", "depth", "depth", _COUNT, "How deep JSON may be nested.", 1, 200),
    Setting(
        "limits",
        "rate",
        "rate_per_s",
        Text(_RATE_PATTERN, "a rate such as 500/s or 30/m"),
        "Requests of a key that has no rate of its own; no limit by default.",
    ),
    Setting("limits", "in_flight", "in_flight", _COUNT, "Requests at once; the next is turned away.", 1, 100_000),
    Setting("log", "segment", "segment_bytes", Size(), "The size of a segment's file.", 2**16, 4 * _GB),
    Setting(
        "log",
        "keep",
        "keep_us",
        Length(),
        "How long events stay in the log and ids are remembered; the project's horizon by default.",
        _HOUR,
        100 * 366 * _DAY,
    ),
    Setting("snapshots", "events", "events", _COUNT, "Events between two snapshots of the state.", 1, 10**10),
    Setting("snapshots", "every", "every_us", Length(), "Time between two snapshots.", _SECOND, 7 * _DAY),
    Setting("webhooks", "timeout", "timeout_us", Length(), "How long a receiver may take.", 1_000, 600 * _SECOND),
    Setting("webhooks", "attempts", "attempts", _COUNT, "Tries before a delivery is a dead letter.", 1, 1_000),
    Setting("webhooks", "in_flight", "in_flight", _COUNT, "Deliveries at once.", 1, 1_000),
)
"""Every setting there is."""

_TABLES: Final = {
    table: tuple(Key(each.name, each.shape, each.description) for each in SETTINGS if each.table == table)
    for table in dict.fromkeys(each.table for each in SETTINGS)
}
_BY_DOTTED: Final = {each.dotted: each for each in SETTINGS}
_BY_VARIABLE: Final = {each.variable: each for each in SETTINGS}


def read_service_settings(
    data: Path,
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, str | None] | None = None,
) -> ServiceSettings:
    """The settings of the service whose data stands in `data`.

    `config` is a file to read instead of `data`/service.toml, which may be missing; `environment` is os.environ unless
    given; `options` are by dotted name ("port", "limits.event"), None where one was left out. Raises ProjectError with
    all mistakes.
    """
    problems: list[Problem] = []
    given: dict[str, Any] = {}
    _from_file(data / FILE if config is None else config, config is not None, given, problems)
    _from_environment(os.environ if environment is None else environment, given, problems)
    for name, text in (options or {}).items():
        if text is not None:
            _from_text(_BY_DOTTED[name], text, f"--{name.replace('.', '-').replace('_', '-')}", given, problems)
    settings = _assemble(data, given)
    _check_together(settings, problems)
    if problems:
        raise ProjectError(tuple(problems))
    return settings


def _from_file(path: Path, wanted: bool, given: dict[str, Any], problems: list[Problem]) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if wanted:
            problems.append(Problem(f"there is no file {path}", hint="leave --config out for the defaults"))
        return
    except OSError as error:
        problems.append(Problem(f"{path} cannot be read: {error.strerror}"))
        return
    tables = read_tables(content, str(path), _TABLES)
    if isinstance(tables, Problem):
        problems.append(tables)
        return
    secrets = tuple(f"`{each.name}`" for each in SETTINGS if each.secret)
    problems += [
        Problem(wrong.message, wrong.place, "", wrong.hint) if wrong.message.startswith(secrets) else wrong
        for wrong in tables.reading.problems
    ]
    for each in SETTINGS:
        values = tables.values.get(each.table)
        if values is None or each.name not in values:
            continue
        if each.secret:
            # The text of the file is not repeated: it is a secret.
            problems.append(
                Problem(f"`{each.dotted}` does not belong into a file", values.place, hint=f"set {each.variable}")
            )
            continue
        value = values.get(each.name)
        wrong = _out_of_range(each, value)
        if wrong:
            problems.append(Problem(f"`{each.dotted}` {wrong}", getattr(value, "place", values.place), _shown(value)))
        else:
            given[each.dotted] = value


def _from_environment(environment: Mapping[str, str], given: dict[str, Any], problems: list[Problem]) -> None:
    tables = tuple(f"{PREFIX}{table.upper()}_" for table in _TABLES if table)
    for variable in sorted(name for name in environment if name.startswith(PREFIX)):
        setting = _BY_VARIABLE.get(variable)
        if setting is not None:
            _from_text(setting, environment[variable], variable, given, problems)
        elif variable not in ELSEWHERE:
            # Other parts of Parakh, and people's own scripts, have variables of this prefix too: only what looks like a
            # setting of the service is a mistake.
            alike = difflib.get_close_matches(variable, _BY_VARIABLE, n=1, cutoff=0.85)
            if alike or variable.startswith(tables):
                hint = f"did you mean {alike[0]}?" if alike else "`parakh serve --help` names them"
                problems.append(Problem(f"unknown variable {variable} in the environment", hint=hint))


def _from_text(setting: Setting, text: str, where: str, given: dict[str, Any], problems: list[Problem]) -> None:
    if setting.secret:
        given[setting.dotted] = text
        return
    reading = Reading(where, text, plain_column=lambda _: True)
    value = reading.read(Scalar(text, "", 1, 1, 0, len(text), 1, 1), setting.shape, where)
    if value is MISSING:
        problems += [Problem(problem.message, None, problem.text, problem.hint) for problem in reading.problems]
        return
    wrong = _out_of_range(setting, value)
    if wrong:
        problems.append(Problem(f"{where} {wrong}", None, text))
    else:
        given[setting.dotted] = value


def _out_of_range(setting: Setting, value: Any) -> str:
    """Why a value is out of its setting's range; "" where it is within."""
    counted = setting.shape == _COUNT
    if not (counted or isinstance(setting.shape, Size | Length)) or setting.least <= int(value) <= setting.most:
        return ""
    say: Callable[[int], str] = str if counted else size_text if isinstance(setting.shape, Size) else length_text
    return f"must be between {say(setting.least)} and {say(setting.most)}"


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, str) else ""


def _assemble(data: Path, given: Mapping[str, Any]) -> ServiceSettings:
    sections: dict[str, dict[str, Any]] = {table: {} for table in _TABLES}
    for each in SETTINGS:
        if each.dotted not in given:
            continue
        value = given[each.dotted]
        if each.shape == _COUNT:
            value = int(value)
        elif each.shape is _PATH:
            value = Path(str(value))
        elif each.attribute == "rate_per_s":
            value = rate_per_s(value)
        elif isinstance(each.shape, Text):
            value = str(value)
        sections[each.table][each.attribute] = value
    return ServiceSettings(
        data,
        tls=TlsSettings(**sections["tls"]),
        limits=LimitSettings(**sections["limits"]),
        log=LogSettings(**sections["log"]),
        snapshots=SnapshotSettings(**sections["snapshots"]),
        webhooks=WebhookSettings(**sections["webhooks"]),
        **sections[""],
    )


def _check_together(settings: ServiceSettings, problems: list[Problem]) -> None:
    tls = settings.tls
    if (tls.certificate is None) != (tls.key is None):
        missing = "key" if tls.key is None else "certificate"
        problems.append(Problem(f"TLS needs a certificate and its key: `tls.{missing}` is missing"))
    elif tls.client_ca is not None and tls.certificate is None:
        problems.append(Problem("`tls.client_ca` asks callers for certificates, but the service has none of its own"))
    for name, path in (("certificate", tls.certificate), ("key", tls.key), ("client_ca", tls.client_ca)):
        if path is not None and not path.is_file():
            problems.append(Problem(f"`tls.{name}`: there is no file {path}"))
    if settings.limits.line_bytes > settings.limits.batch_bytes:
        problems.append(Problem("`limits.line` is larger than `limits.batch`"))
