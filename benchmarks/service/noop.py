"""The server that does nothing: uvicorn as the service runs it, a body read, a constant answered.

It says what HTTP alone costs on a machine; the service is measured against it in the same run. The answer has the size
of a decision: 600 bytes of JSON.

    python -m benchmarks.service.noop --port 8400
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

__all__ = ["ANSWER", "app", "config"]

_SAYS = b'{"event_type":"payment","outcome":"allow","filler":"%s"}'
ANSWER = _SAYS % (b"x" * (600 - len(_SAYS) + 2))
_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))],
}
_BODY = {"type": "http.response.body", "body": ANSWER}
_THRESHOLDS = (50_000, 50, 1_000)  # the service's own


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Any request, read to its end, is answered with 200 and the same bytes."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    await send(_HEAD)
    await send(_BODY)


def config(port: int) -> uvicorn.Config:
    """One process on uvloop and httptools, with no log of requests."""
    return uvicorn.Config(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", backlog=2048, ws="none", lifespan="off",
        access_log=False, log_level="warning", server_header=False, date_header=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a constant answer.")
    parser.add_argument("--port", type=int, required=True)
    server = uvicorn.Server(config(parser.parse_args().port))
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    server.run()


if __name__ == "__main__":
    main()
