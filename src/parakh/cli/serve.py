"""`parakh serve`: the live service of a project, decisions over HTTP from one process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from parakh.cli.console import Console, bold, clean, dim, green, yellow
from parakh.cli.loading import await_kernels, load_project, warm_kernels
from parakh.cli.progress import Bar
from parakh.cli.words import thousands

__all__ = ["command"]


@click.command(
    short_help="Decide on events over HTTP, live.",
    epilog="\b\nExamples\n  parakh serve shop\n  parakh serve shop --data /var/lib/parakh --port 8321\n"
    "  curl -s localhost:8321/v1/decisions/payment -d @payment.json\n\n"
    "Without API keys only this machine may ask; `parakh key create` makes one. docs/operating.md says the rest.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Log and state; PROJECT/.parakh unless said."
)
@click.option("--host", metavar="ADDRESS", help="Where to listen (127.0.0.1).")
@click.option("--port", metavar="PORT", help="The port (8321); 0 takes a free one.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings; DATA/service.toml unless said."
)
@click.option("--tls-cert", metavar="FILE", help="A certificate (PEM): the service speaks HTTPS then.")
@click.option("--tls-key", metavar="FILE", help="Its key.")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="Lines of JSON, or for people (a terminal's).")
def command(
    project: Path,
    data: Path | None,
    host: str | None,
    port: str | None,
    config: Path | None,
    tls_cert: str | None,
    tls_key: str | None,
    log_format: str | None,
) -> int:
    """Serve a project: every decision is on disk before it is answered, a retry gets the first answer, and a crash
    loses nothing.

    Ends at Ctrl-C or SIGTERM.
    """
    errors = Console.stderr()
    load_project(project)
    warming = warm_kernels(errors)
    import uvloop

    from parakh.service.access import Access
    from parakh.service.logs import configure
    from parakh.service.server import serve
    from parakh.service.settings import read_service_settings
    from parakh.service.startup import Opened

    os.umask(0o077)  # log, keys and state are for whoever runs the service alone
    folder = data or project / ".parakh"
    options = {"host": host, "port": port, "tls.certificate": tls_cert, "tls.key": tls_key}
    settings = read_service_settings(folder, config=config, options=options)
    configure(None if log_format is None else log_format == "json")
    await_kernels(warming, errors)
    began = time.monotonic()
    scheme = "https" if settings.tls.certificate else "http"

    def ready(opened: Opened, access: Access, port: int) -> None:
        engine, version = opened.service.desk.engine, opened.service.changes.version
        where = f"{scheme}://{settings.host}:{port}"
        held = f"{thousands(engine.counts.accepted)} events in the log, {time.monotonic() - began:.1f} s"
        errors.print(
            f"{green('ready')}  {bold(where)}  {clean(version.name)} {version.hash[:12]}  {dim(held)}",
            dim(f"       {where}/docs tells every address; log and state are in {clean(str(folder))}"),
        )
        if access.open:
            errors.print(yellow("       no API key is made: everybody on this machine may ask, and nobody else"))

    with Bar(errors, "reading the log") as bar:

        def progress(position: int) -> None:
            bar.to(None, f"{thousands(position >> 20)} MB")

        uvloop.run(serve(project, settings, on_progress=progress, on_ready=ready))
    return 0
