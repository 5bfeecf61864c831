"""What the service writes on stderr: one line an event, JSON or text, in which no value of anybody's event can stand.

A line is an event's name and fields out of a closed list, each of a kind that says what its value may look like. A
field that is not on the list, or a value that is not of its kind, is withheld. Messages are never printed, neither
those of exceptions nor those of other libraries, since nobody knows what was formatted into them: an exception is
its type and the places in the code it came through, a foreign message the place that wrote it (uvicorn's few are
known by their templates). What only goes wrong with a certain event is found by its position in the log.

    log = get_log("snapshots")
    log.info("snapshot_written", position=position, seconds=seconds)
    log.failed("snapshot_failed", error)
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from numbers import Integral, Real
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, TextIO

__all__ = ["FIELDS", "Log", "configure", "get_log"]

_PACKAGE: Final = PurePath(__file__).parents[1]
_MOST_A_SECOND: Final = 50
_OWN_PLACES: Final = 6
_LAST_PLACES: Final = 2
"""Lines of one event in a second that are printed; places of a traceback in our own code, and the last of all."""

_LOWER: Final = re.compile(r"[a-z/][a-z0-9_.{}:/-]{0,79}")
_MIXED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")
_HEX: Final = re.compile(r"[0-9a-f]{8,64}")
_LARGEST: Final = 10**9
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
_WITHHELD: Final = "[withheld]"


def _number(value: object) -> object:
    """A count, a time, a size; a number as long as that of a card, an account or a phone is none of them."""
    if isinstance(value, Real) and abs(float(value)) < _LARGEST:
        return int(value) if isinstance(value, Integral) else float(value)
    return _WITHHELD


def _offset(value: object) -> object:
    """A place in the log or in a file, or a size in bytes: a whole number of any length."""
    return int(value) if isinstance(value, Integral) else _WITHHELD


def _word(value: object) -> object:
    """A name of the code's or the project's: no blanks, no @, and no runs of digits such as identifiers have."""
    if not isinstance(value, str):
        return _WITHHELD
    lower = _LOWER.fullmatch(value) and not re.search("[0-9]{5}", value)
    mixed = _MIXED.fullmatch(value) and not re.search("[0-9]{3}", value)
    return value if lower or mixed else _WITHHELD


def _hash(value: object) -> object:
    """Hexadecimal digits with a letter among them: a sum or a key's id, which the number of a card is not."""
    if isinstance(value, str) and _HEX.fullmatch(value) and not value.isdecimal():
        return value
    return _WITHHELD


def _error(value: object) -> object:
    return _word(type(value).__name__) if isinstance(value, BaseException) else _word(value)


def _address(value: object) -> object:
    try:
        return str(ipaddress.ip_address(str(value).partition("%")[0]))
    except ValueError:
        return _word(value)


def _path(value: object) -> object:
    return str(value) if isinstance(value, PurePath) else _WITHHELD


FIELDS: Final[Mapping[str, Callable[[object], object]]] = (
    dict.fromkeys(
        (
            "accepted", "attempt", "attempts", "count", "duplicates", "entries", "errno", "events", "group", "keys",
            "labels", "line", "pid", "port", "records", "refused", "seconds", "segments", "signal", "status", "version",
        ),
        _number,
    )
    | dict.fromkeys(("bytes", "lag", "limit", "position", "size"), _offset)
    | dict.fromkeys(
        (
            "action", "breaker", "code", "enrichment", "event_type", "field", "kind", "logger", "method", "model",
            "name", "outcome", "project", "reason", "route", "rule", "scope", "setting", "stage", "state", "webhook",
        ),
        _word,
    )
    | {"hash": _hash, "decision_id": _hash, "key_id": _hash, "trace_id": _hash}
    | {"error": _error, "cause": _error}
    | {"address": _address}
    | {"data": _path, "file": _path}
)  # fmt: skip
"""The fields a line may have, by the kind of their values. `address` is one that is listened on, never a caller's."""

_UVICORN: Final = {
    "Started server process [%d]": ("process_started", ("pid",)),
    "Finished server process [%d]": ("process_finished", ("pid",)),
    "Waiting for application startup.": ("starting", ()),
    "Application startup complete.": ("started", ()),
    "Application startup failed. Exiting.": ("start_failed", ()),
    "Application shutdown complete.": ("stopped", ()),
    "Waiting for application shutdown.": ("stopping", ()),
    "Waiting for connections to close. (CTRL+C to force quit)": ("closing_connections", ()),
    "Waiting for background tasks to complete. (CTRL+C to force quit)": ("finishing_tasks", ()),
    "Shutting down": ("shutting_down", ()),
    "Exception in ASGI application\n": ("request_failed", ()),
    "Invalid HTTP request received.": ("bad_http", ()),
    "Exceeded concurrency limit.": ("too_many_connections", ()),
}
"""What uvicorn says: the template, the event's name and the names of its arguments."""

_EMBEDDED_LOG: Final = frozenset(
    {
        "the end of the log was torn; it was never acknowledged, and is put aside",
        "the log cannot be written",
        "the disk is full; nothing is acknowledged until there is room",
        "there is room on the disk again",
    }
)
"""What the log in `parakh.streams` says, which stands below the service and so cannot use a `Log`."""


class Log:
    """Writes events of one part of the service. An event is named by a literal of the code that logs it; another text,
    into which a value could have been formatted, is replaced by `unnamed`.

    >>> get_log("desk").name
    'parakh.desk'
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    @property
    def name(self) -> str:
        """The name of the logger that it writes to."""
        return self._logger.name

    def debug(self, event: str, /, **fields: object) -> None:
        """What only helps while a mistake is looked for."""
        self._write(logging.DEBUG, event, None, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """What happened as it should."""
        self._write(logging.INFO, event, None, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """What an operator should know of, though the service goes on."""
        self._write(logging.WARNING, event, None, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """What went wrong."""
        self._write(logging.ERROR, event, None, fields)

    def failed(self, event: str, error: BaseException, /, **fields: object) -> None:
        """What went wrong because of an exception, which is told by its type and its places in the code."""
        self._write(logging.ERROR, event, error, fields)

    def _write(self, level: int, event: str, error: BaseException | None, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            told = (type(error), error, error.__traceback__) if error is not None else None
            # Whoever logs stands two frames up. What is among the constants of its code is no value of anybody's event.
            literal = event in sys._getframe(2).f_code.co_consts
            name = event if literal else "unnamed"
            self._logger.log(level, name, exc_info=told, extra={"parakh_fields": _Fields(fields)}, stacklevel=3)


class _Fields(dict[str, object]):
    """The fields of a record that a `Log` wrote, whose message therefore is the event's name."""


def get_log(part: str) -> Log:
    """The log of a part of the service."""
    return Log(logging.getLogger(f"parakh.{part}"))


def configure(
    as_json: bool | None = None, *, stream: TextIO | None = None, level: int = logging.INFO, access: bool = False
) -> None:
    """Send all of the process's logging through the formatter, to `stream` (stderr).

    JSON unless the stream is a terminal, where `as_json` does not say. uvicorn is to be started with `log_config=None`.
    With `access` each request is a line (method and status alone); the path of a request names entities, so it is not
    printed. Exceptions that end a thread, and warnings, come here too instead of being printed with their values.
    """
    stream = stream if stream is not None else sys.stderr
    terminal = stream.isatty()
    as_json = not terminal if as_json is None else as_json
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json() if as_json else _Text(coloured=terminal and "NO_COLOR" not in os.environ))
    handler.addFilter(_Bound())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = not access
    for name in ("httpx", "httpcore", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What logging itself prints where a record cannot be written has the record's arguments in it.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)
    sys.unraisablehook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("parakh").critical(
            "uncaught", exc_info=(kind, error, trace), extra={"parakh_fields": _Fields()}, stacklevel=2
        )


def told(record: logging.LogRecord) -> dict[str, Any]:
    """What of a record may be printed, in the order of printing."""
    event, fields = _event_of(record)
    line: dict[str, Any] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level if (level := record.levelname.lower()) in _LEVELS else "info",
        "event": event,
    }
    withheld = 0
    for name, value in fields.items():
        kind = FIELDS.get(name)
        if kind is None:
            withheld += 1
        elif value is not None:
            line[name] = kind(value)
    if withheld:
        line["withheld"] = withheld
    if record.exc_info and record.exc_info[1] is not None:
        line |= _exception(record.exc_info[1])
    suppressed = getattr(record, "parakh_suppressed", 0)
    if suppressed:
        line["suppressed"] = suppressed
    return line


def _event_of(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    fields = getattr(record, "parakh_fields", None)
    template = record.msg
    if isinstance(fields, _Fields):
        return str(template), fields
    if record.name == "parakh.log" and isinstance(template, str) and template in _EMBEDDED_LOG:
        return template, {name: vars(record)[name] for name in ("position", "bytes", "error") if name in vars(record)}
    arguments = record.args if isinstance(record.args, tuple) else ()
    if record.name == "uvicorn.access" and len(arguments) == 5:
        return "request", {"method": arguments[1] if arguments[1] in _METHODS else "other", "status": arguments[4]}
    if record.name.startswith("uvicorn") and isinstance(template, str):
        if template in _UVICORN:
            event, names = _UVICORN[template]
            return event, dict(zip(names, arguments, strict=False))
        if template.startswith("Uvicorn running on %s://%s:%d") and len(arguments) == 3:
            return "listening", {"kind": arguments[0], "address": arguments[1], "port": arguments[2]}
    return "message", {"logger": record.name, "file": PurePath(record.filename), "line": record.lineno}


def _exception(error: BaseException) -> dict[str, Any]:
    """An exception without what it says: its type, its cause's, and the places it came through, outermost first."""
    told: dict[str, Any] = {"error": _error(error)}
    if isinstance(error, OSError) and isinstance(error.errno, int):
        told["errno"] = error.errno
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        told["cause"] = _error(cause)
    places: list[str] = []
    own: list[int] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if PurePath(code.co_filename).is_relative_to(_PACKAGE):
            own.append(len(places))
        places.append(f"{PurePath(code.co_filename).name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    if places:
        # A library's own frames can be many; where Parakh called it is what helps.
        shown = {*own[-_OWN_PLACES:], *range(len(places))[-_LAST_PLACES:]}
        told["at"] = [places[index] for index in sorted(shown)]
    return told


class _Json(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(told(record), separators=(",", ":"))


class _Text(logging.Formatter):
    """A record for a person at a terminal: the time of day, the level's colour, the event, its fields."""

    COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        line = told(record)
        stamp, level, event = line.pop("ts")[11:23], line.pop("level"), line.pop("event")
        places = line.pop("at", ())
        shown = f"{level:<8}"
        if self._coloured:
            shown = f"\x1b[{self.COLOURS.get(level, '0')}m{shown}\x1b[0m"
        fields = " ".join(f"{name}={_short(value)}" for name, value in line.items())
        return "\n    ".join((f"{stamp} {shown} {event} {fields}".rstrip(), *(f"at {place}" for place in places)))


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class _Bound(logging.Filter):
    """Lets no more than a number of lines of one kind through in a second, and says how many it kept back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._second = 0
        self._counts: dict[tuple[str, int, str], int] = {}
        self._lost = 0

    def filter(self, record: logging.LogRecord) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._counts = second, {}
        key = (record.name, record.lineno, record.levelname)
        seen = self._counts[key] = self._counts.get(key, 0) + 1
        if seen > _MOST_A_SECOND:
            self._lost += 1
            return False
        if self._lost:
            record.parakh_suppressed, self._lost = self._lost, 0
        return True
