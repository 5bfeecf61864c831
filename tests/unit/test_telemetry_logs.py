"""Nothing of anybody's event stands in a log line, whichever way it was given to the log (S6, S20)."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import SimpleNamespace

import numpy as np
import pytest

from parakh.service import logs
from parakh.service.logs import FIELDS, configure, get_log

CANARIES = (
    "4111111111111111", "4111 1111 1111 1111", "2345 6789 0124", "234567890124", "ABCDE1234F", "HDFC0001234",
    "asha.rao@example.com", "asha@okbank", "+919876543210", "9876543210", "Asha Rao", "1985-03-07", "203.0.113.77",
    "MG Road 12, Pune", "pk_live_AbC123xYz456",
)  # fmt: skip
NUMBERS = (4111111111111111, 234567890124, 9876543210, 4111111111111111.0)
SERVICE = Path(logs.__file__).parent


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; the process's own logging is as before afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    named = {name: logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx")}
    kept = {
        name: (logger.handlers[:], logger.propagate, logger.disabled, logger.level) for name, logger in named.items()
    }
    yield io.StringIO()
    logging.captureWarnings(False)
    root.handlers[:], root.level, logging.raiseExceptions = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for name, logger in named.items():
        logger.handlers[:], logger.propagate, logger.disabled, logger.level = kept[name]


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _everything(canary: object) -> None:
    """A canary given to the log in every form there is."""
    log = get_log("test")
    error = ValueError(f"no card {canary}")
    error.add_note(str(canary))
    for write in (log.debug, log.info, log.warning, log.error):
        write(str(canary))
        write("event", value=canary, **{str(canary): canary})
        write("event", **{name: canary for name in FIELDS if name not in ("position", "bytes", "size", "lag", "limit")})
        write("event", **{name: [canary] for name in FIELDS})
        write("event", **{name: {"card": canary} for name in FIELDS})
    log.failed("event", error, name=canary)
    log.failed(str(canary), error)
    try:
        try:
            raise KeyError(canary)
        except KeyError as cause:
            raise OSError(28, str(canary), str(canary)) from cause
    except OSError as raised:
        log.failed("event", raised, error=raised)
        logging.getLogger("parakh.test").exception("event %s", canary)
    for name in ("parakh.test", "parakh.log", "uvicorn.error", "uvicorn.access", "asyncio", "httpx", "anything"):
        logger = logging.getLogger(name)
        logger.error(canary)
        logger.error("%s", canary)
        logger.error("%(card)s", {"card": canary})
        logger.error("%d %d", canary)  # cannot be formatted
        logger.error(f"a {canary}", exc_info=error, stack_info=True, extra={"card": canary, "parakh_fields": canary})
        logger.error("event", extra={"parakh_fields": {"name": canary, "card": canary}})
        logger.error("the log cannot be written", extra={"error": canary, "file": canary, "card": canary})
        logger.error(error)
    logging.getLogger("uvicorn.access").error('%s - "%s %s HTTP/%s" %d', canary, canary, canary, canary, canary)
    logging.getLogger("uvicorn.error").info("Uvicorn running on %s://%s:%d (Press CTRL+C to quit)", *[canary] * 3)
    logging.getLogger("uvicorn.error").info("Started server process [%d]", canary)
    warnings.warn(f"a {canary}", stacklevel=1)
    logging.error(canary)
    sys.excepthook(ValueError, ValueError(canary), None)

    def fails() -> None:
        raise ValueError(canary)

    thread = threading.Thread(target=fails, name=str(canary))
    thread.start()
    thread.join()
    sys.unraisablehook(SimpleNamespace(exc_type=ValueError, exc_value=error, exc_traceback=None, object=canary))

    async def forgotten() -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": str(canary), "exception": error, "future": canary})

    asyncio.run(forgotten())


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("canary", [*CANARIES, *NUMBERS, *map(np.int64, NUMBERS[:3])], ids=str)
def test_no_canary_is_printed_whichever_way_it_is_logged(
    stream: io.StringIO, capfd: pytest.CaptureFixture[str], canary: object, as_json: bool
) -> None:
    configure(as_json, stream=stream, level=logging.DEBUG, access=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _everything(canary)
    printed = capfd.readouterr()
    everything = stream.getvalue() + printed.out + printed.err
    assert len(stream.getvalue().splitlines()) > 60
    # An address is what the service listens on: it may be an address, and only there.
    everything = re.sub(r'("address":"|address=)203\.0\.113\.77', "", everything)
    for form in {str(canary), str(canary).replace(" ", ""), str(canary).split(".")[0], repr(canary)}:
        assert form not in everything, next(line for line in everything.splitlines() if form in line)


def test_a_line_has_its_time_level_event_and_fields(stream: io.StringIO) -> None:
    configure(True, stream=stream)
    get_log("snapshots").info(
        "snapshot_written", position=np.int64(4111111111111111), seconds=0.25, hash="0123456789abcdef", state=None
    )
    (line,) = _lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("ts")))
    assert line == {
        "level": "info",
        "event": "snapshot_written",
        "position": 4111111111111111,
        "seconds": 0.25,
        "hash": "0123456789abcdef",
    }


def test_the_kinds_of_fields_let_through_what_they_are_for(stream: io.StringIO) -> None:
    configure(True, stream=stream)
    given = {
        "route": "/v1/decisions/{event_type}", "event_type": "payment_v2", "code": "bad_json", "method": "GET",
        "error": "ConnectionRefusedError", "address": "127.0.0.1", "data": PurePath("/var/lib/parakh"), "status": 200,
        "decision_id": "00ff" * 8, "rule": "card_tried", "logger": "uvicorn.error", "count": 12,
    }  # fmt: skip
    get_log("test").info("event", **given, card="x")
    (line,) = _lines(stream)
    assert {name: line[name] for name in given} == {**given, "data": "/var/lib/parakh"}
    assert line["withheld"] == 1


def test_an_exception_is_its_type_its_cause_and_its_places(stream: io.StringIO) -> None:
    configure(True, stream=stream)

    def decide() -> None:
        try:
            int("4111111111111111x")
        except ValueError as error:
            raise OSError(28, "no space for 4111111111111111") from error

    try:
        decide()
    except OSError as error:
        get_log("desk").failed("decide_failed", error)
    (line,) = _lines(stream)
    assert line["error"] == "OSError"
    assert line["errno"] == 28
    assert line["cause"] == "ValueError"
    places = line["at"]
    assert isinstance(places, list)
    assert [re.sub(r":\d+ ", ":", place) for place in places] == [
        "test_telemetry_logs.py:test_an_exception_is_its_type_its_cause_and_its_places",
        "test_telemetry_logs.py:decide",
    ]


def test_places_in_our_own_code_are_kept_however_deep_a_library_goes(stream: io.StringIO) -> None:
    from parakh.service.telemetry import Telemetry

    configure(True, stream=stream)

    def deep(left: int) -> float:
        if left:
            return deep(left - 1)
        raise KeyError("4111111111111111")

    telemetry = Telemetry()
    telemetry.watch("parakh_ids", lambda: deep(30))
    telemetry.exposition()
    (line,) = _lines(stream)
    places = line["at"]
    assert isinstance(places, list)
    assert [re.sub(r":\d+ ", ":", place) for place in places] == [
        "telemetry.py:_gauges",
        "test_telemetry_logs.py:deep",
        "test_telemetry_logs.py:deep",
    ]


def test_an_event_is_named_by_a_literal_or_not_at_all(stream: io.StringIO) -> None:
    configure(True, stream=stream)
    log, card = get_log("test"), CANARIES[0]
    log.info("the master key was made beside the data")
    log.info(f"the card {card} was seen")
    log.info(card)
    log.info("first" if stream.getvalue() else "second")
    assert [line["event"] for line in _lines(stream)] == [
        "the master key was made beside the data",
        "unnamed",
        "unnamed",
        "first",
    ]


def test_uvicorn_is_understood_by_its_templates(stream: io.StringIO) -> None:
    configure(True, stream=stream)
    logger = logging.getLogger("uvicorn.error")
    logger.info("Started server process [%d]", 77)
    logger.info("Uvicorn running on %s://%s:%d (Press CTRL+C to quit)", "http", "127.0.0.1", 8321)
    logger.warning("Something new 4111111111111111")
    started, listening, new = _lines(stream)
    assert (started["event"], started["pid"]) == ("process_started", 77)
    assert [listening[name] for name in ("event", "kind", "address", "port")] == [
        "listening",
        "http",
        "127.0.0.1",
        8321,
    ]
    assert (new["event"], new["logger"], new["file"]) == ("message", "uvicorn.error", "test_telemetry_logs.py")


def test_the_templates_are_those_of_the_uvicorn_that_is_installed() -> None:
    import uvicorn

    text = "".join(path.read_text(encoding="utf-8") for path in Path(uvicorn.__file__).parent.rglob("*.py"))
    missing = [template for template in logs._UVICORN if template.rstrip("\n") not in text]
    assert not missing


def test_the_embedded_log_is_understood_by_exactly_what_it_says(stream: io.StringIO) -> None:
    tree = ast.parse((SERVICE.parent / "streams" / "log.py").read_text(encoding="utf-8"))
    said = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "_logger"
    ]
    assert {text.value for text in said if isinstance(text, ast.Constant)} == logs._EMBEDDED_LOG
    assert all(isinstance(text, ast.Constant) for text in said)
    configure(True, stream=stream)
    logger = logging.getLogger("parakh.log")
    logger.error("the disk is full; nothing is acknowledged until there is room")
    logger.error("the log cannot be written", extra={"error": "OSError"})
    full, failed = _lines(stream)
    assert full["event"] == "the disk is full; nothing is acknowledged until there is room"
    assert (failed["event"], failed["error"]) == ("the log cannot be written", "OSError")


def test_the_access_log_is_off_until_asked_for_and_never_has_the_path(stream: io.StringIO) -> None:
    record = ('%s - "%s %s HTTP/%s" %d', "203.0.113.77:1234", "GET", "/v1/entities/card/4111111111111111", "1.1", 200)
    configure(True, stream=stream)
    logging.getLogger("uvicorn.access").info(*record)
    assert not _lines(stream)
    configure(True, stream=stream, access=True)
    logging.getLogger("uvicorn.access").info(*record)
    (line,) = _lines(stream)
    assert {"event": "request", "method": "GET", "status": 200}.items() <= line.items()
    assert "/v1" not in stream.getvalue()


def test_a_terminal_is_answered_in_text_and_colours(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    configure(stream=stream)
    get_log("test").warning("queue_full", count=12, seconds=0.123456789)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} \x1b\[33mwarning \x1b\[0m queue_full count=12 seconds=0.123457\n", stream.getvalue()
    )
    monkeypatch.setenv("NO_COLOR", "1")
    configure(stream=stream)
    get_log("test").warning("queue_full")
    assert stream.getvalue().count("\x1b") == 2


def test_a_flood_of_one_line_is_bounded_and_said(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(True, stream=stream)
    (bound,) = logging.getLogger().handlers[0].filters
    now = [10.0]
    monkeypatch.setattr(bound, "_clock", lambda: now[0])
    for second in (10.0, 11.0):
        now[0] = second
        for _ in range(1000):
            get_log("test").info("flood")
        get_log("test").info("another_line")
    lines = _lines(stream)
    assert [line["event"] for line in lines].count("flood") == 100
    assert [line["suppressed"] for line in lines if "suppressed" in line] == [950, 950]


def test_events_are_named_by_literals_in_the_code() -> None:
    """Another is printed as `unnamed`, and a field that is not on the list is withheld: of use to nobody."""
    wrong = []
    for path in sorted(SERVICE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            writes = node.func.attr in {"debug", "info", "warning", "error", "failed", "critical", "exception"}
            if name.strip("_").lower() not in {"log", "logs", "logger"} or not writes:
                continue
            event = node.args[0] if node.args else None
            if not (isinstance(event, ast.Constant) and isinstance(event.value, str)):
                wrong.append(f"{path.name}:{node.lineno}: an event is named by a literal")
            for keyword in node.keywords:
                if keyword.arg is not None and keyword.arg not in FIELDS:
                    wrong.append(f"{path.name}:{node.lineno}: {keyword.arg} is not among the fields of logs.FIELDS")
    assert not wrong, "\n".join(wrong)
