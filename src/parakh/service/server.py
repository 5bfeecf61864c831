"""The server: uvicorn round the service, one process, stopped by a signal as gently as a crash would allow."""

from __future__ import annotations

import gc
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvicorn

from parakh.errors import ParakhError
from parakh.service.access import Access
from parakh.service.app import create_app
from parakh.service.connections import spare_files
from parakh.service.hot import HotConnection, HotRoute
from parakh.service.limits import Limits
from parakh.service.recovery import Progress
from parakh.service.settings import ServiceSettings
from parakh.service.startup import Opened, open_service
from parakh.service.traces import Traces
from parakh.service.webhook_routes import SCOPES, router

__all__ = ["serve"]

_CONNECTIONS_WAITING = 2048
_GONE_S = 10
_SWITCH_S = 0.0001


async def serve(
    folder: Path | None,
    settings: ServiceSettings,
    *,
    on_progress: Progress | None = None,
    on_ready: Callable[[Opened, Access, int], object],
) -> None:
    """Serve until a signal says stop. Raises ParakhError where the service cannot begin.

    Without API keys only this machine may ask. `on_ready` is called with the port that it listens on.
    """
    access = Access(settings.data, may_be_open=settings.is_loopback)
    try:
        if access.open and not settings.is_loopback:
            raise ParakhError(
                f"without API keys the service listens on this machine alone, not on {settings.host}: make a key first "
                f"(parakh key create {settings.data} --name ... --scope decide)"
            )
        spare_files()
        listening = _listen(settings)
        try:
            async with open_service(folder, settings, on_progress=on_progress) as opened:
                service = opened.service
                limits = Limits(settings.limits)
                app = create_app(
                    service,
                    access,
                    limits,
                    settings,
                    routers=[(router(opened.outbox), SCOPES)],
                    telemetry=service.telemetry,
                )
                traces = Traces()
                server = uvicorn.Server(_config(HotRoute(app, service, access, limits, traces), settings))
                _wait_for_nothing_long()
                # Only now: who asks before it is ready is refused at once, and need not wait for an answer.
                listening.listen(_CONNECTIONS_WAITING)
                on_ready(opened, access, listening.getsockname()[1])
                await server.serve(sockets=[listening])
                traces.close()
        finally:
            listening.close()
    finally:
        access.close()


def _listen(settings: ServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise ParakhError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; another process may have the port "
            "(--port 0 takes a free one)"
        ) from None
    return listening


def _config(app: HotRoute, settings: ServiceSettings) -> uvicorn.Config:
    tls = settings.tls
    return uvicorn.Config(
        app,
        http=partial(HotConnection, app),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_CONNECTIONS_WAITING,
        timeout_graceful_shutdown=_GONE_S,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
        ssl_keyfile_password=tls.key_password,
        ssl_ca_certs=str(tls.client_ca) if tls.client_ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls.client_ca else ssl.CERT_NONE,
    )


def _wait_for_nothing_long() -> None:
    """Neither for a collection that walks what stays anyway, nor for another thread's turn."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    # The log's writer, when its sync is done, waits for the interpreter no longer than this.
    sys.setswitchinterval(_SWITCH_S)
