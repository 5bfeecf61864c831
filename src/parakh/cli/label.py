"""`parakh label`: what events turned out to be - said of one, sent from a file, checked, and looked up."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, clean, dim, green, red, yellow
from parakh.cli.loading import load_project
from parakh.cli.options import data_folder
from parakh.cli.progress import Bar
from parakh.cli.remote import connect, server_option
from parakh.cli.words import plural, thousands
from parakh.errors import InputError

if TYPE_CHECKING:
    from parakh.cli.label_files import LabelLine
    from parakh.client import Client
    from parakh.project.project import Project

__all__ = ["command"]

_BATCH = 1_000
_TIMEOUT_S = 20.0
_STATES = {"holds": green, "overruled": yellow, "too late": red}
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")


class _Saying(click.ParamType):  # type: ignore[type-arg]
    """A label and its value: fraud=true, loss=12.5, kind=stolen; none withdraws it."""

    name = "label=value"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, Any]:
        label, equals, text = str(value).partition("=")
        if not label or not equals or not text:
            self.fail(
                f"{value!r} names no label with a value; write fraud=true, or --withdraw fraud", parameter, context
            )
        return label, {"true": True, "false": False}.get(text, text)


@click.group(
    short_help="Say what events turned out to be; look up what was said.",
    epilog="\b\nExamples\n  parakh label event payment p123 fraud=true --source analyst\n"
    "  parakh label send chargebacks.csv\n"
    "  parakh label check shop labels.ndjson\n  parakh label show shop payment p123",
)
def command() -> None:
    """Labels: verdicts about events, each with who says so and since when it is known.

    Several sources may speak about one event. The one that ranks highest in `[labels] sources` of parakh.toml holds,
    then what was said last; a label that was withdrawn leaves the event without.
    """


@command.command(
    short_help="Say what one event turned out to be.",
    epilog="\b\nExamples\n  parakh label event payment p123 fraud=true --source chargeback --known-at 2026-03-01\n"
    "  parakh label event payment p123 --withdraw fraud --source customer\n"
    "  parakh label event payment p123 fraud=true --to labels.ndjson --project shop",
)
@click.argument("event_type", metavar="TYPE")
@click.argument("event_id", metavar="ID")
@click.argument("saying", metavar="[LABEL=VALUE]", type=_Saying(), required=False)
@click.option("--withdraw", metavar="LABEL", help="Take back what was said, instead of LABEL=VALUE.")
@click.option("--source", metavar="NAME", help="Who says so, as the project ranks its sources.")
@click.option("--known-at", metavar="TIME", help="Since when it is known, as 2025-01-31; now, unless said.")
@click.option("--to", metavar="FILE", help="Append it to a file of labels instead of sending it; needs --project.")
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="PROJECT",
    help="What --to checks by.",
)
@server_option
def event(
    event_type: str,
    event_id: str,
    saying: tuple[str, Any] | None,
    withdraw: str | None,
    source: str | None,
    known_at: str | None,
    to: str | None,
    project: Path | None,
    server: str,
) -> int:
    """Say what the event of TYPE and ID turned out to be: to a running server, or with --to in a file for replays."""
    if (saying is None) == (withdraw is None):
        raise click.UsageError("say either LABEL=VALUE, as in fraud=true, or --withdraw LABEL")
    if (to is None) != (project is None):
        raise click.UsageError("--to and --project go together: a line is checked before it is appended")
    label, value = saying if saying is not None else (str(withdraw), None)
    said = {"event_type": event_type, "event_id": event_id, "label": label, "value": value}
    said |= {name: text for name, text in (("known_at", known_at), ("source", source)) if text is not None}
    if to is not None and project is not None:
        said.setdefault("known_at", datetime.now(UTC).isoformat().replace("+00:00", "Z"))
        _append(load_project(project), said, Path(to))
    else:
        with connect(server) as client:
            taken = client.label_many([json.dumps(said).encode()])
        if taken.refused:
            problem = taken.refused[0]
            field = f" ({clean(problem.field)})" if problem.field else ""
            raise InputError(f"the label is refused: {problem.detail or _reason(problem.code)}{field}")
    what = f"{label} withdrawn" if value is None else f"{label} = {json.dumps(value)}"
    Console.stdout().print(f"{green('noted')}  {clean(event_type)} {bold(clean(event_id))}: {clean(what)}")
    return 0


def _append(project: Project, said: dict[str, Any], path: Path) -> None:
    """Append a label to a file, where the project takes it."""
    from parakh.cli.label_files import read_checked
    from parakh.events.readers import lines_of
    from parakh.events.sources import Source

    line = json.dumps(said, ensure_ascii=False) + "\n"
    _, refused = read_checked(project, Source(iter([lines_of("label", line.encode())]), "label", None))
    if refused:
        field = f" ({refused[0]['field']})" if refused[0].get("field") else ""
        raise InputError(f"the label is refused: {_reason(refused[0]['reason'])}{field}")
    try:
        whole = not path.exists() or path.stat().st_size == 0 or path.read_bytes()[-1:] == b"\n"
        with path.open("a", encoding="utf-8") as file:
            file.write(line if whole else f"\n{line}")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _reason(code: str) -> str:
    """A reason in words, by its code."""
    from parakh.events.reasons import Reason

    if code == Reason.MISSING_TIME.code:
        return "the label does not say when it became known (known_at)"
    return next((reason.text for reason in Reason if reason.code == code), code)


@command.command(
    short_help="Send a file of labels.",
    epilog="\b\nExamples\n  parakh label send chargebacks.csv\n"
    "  parakh label send labels.parquet --refused bad.ndjson\n"
    "  parakh label send labels.ndjson --skip 42000     # go on where it was interrupted",
)
@click.argument("file", metavar="FILE")
@click.option(
    "--skip", type=click.IntRange(min=0), default=0, show_default=True, help="So many labels were sent before."
)
@click.option(
    "--refused", metavar="FILE", help="Where refused labels go, with reasons; FILE.refused.ndjson, unless said."
)
@server_option
@_json
def send(file: str, skip: int, refused: str | None, server: str, as_json: bool) -> int:
    """Send the labels of FILE (NDJSON, CSV, Parquet) to a running server, in their order.

    Columns are event_type, event_id (or entity and key, for all events of a key so far), label, value - none withdraws
    - and, where they are known, known_at and source. What is refused is written down with its reason, and the exit code
    is 1. Where sending breaks off it is said how to go on; labels that are sent twice count twice.
    """
    from parakh.cli.label_files import label_lines, open_labels

    errors = Console.stderr()
    source = open_labels(file)
    lines = itertools.islice(label_lines(source), skip, None)
    done = skip
    accepted = 0
    refusals: Counter[tuple[str, str]] = Counter()
    where = Path(refused or f"{'stdin' if file == '-' else file}.refused.ndjson")
    try:
        with connect(server, timeout_s=_TIMEOUT_S) as client, Bar(errors, "sending") as bar:
            for batch in _batches(lines):
                taken, refused_lines = _sent(client, batch)
                done, accepted = done + len(batch), accepted + taken
                _write(where, refused_lines, append=skip > 0 or bool(refusals))
                refusals.update((item["code"], item.get("field", "")) for item in refused_lines)
                share = source.read_bytes / source.total_bytes if source.total_bytes else None
                bar.to(share, f"{thousands(done)} labels")
    except BaseException:
        if done > skip:
            errors.print(f"{yellow('broken off')} after {plural(done, 'label')}; to go on: --skip {done}")
        raise
    _show_sent(accepted, refusals, where, as_json)
    return 1 if refusals else 0


def _batches(lines: Iterator[LabelLine]) -> Iterator[list[LabelLine]]:
    while batch := list(itertools.islice(lines, _BATCH)):
        yield batch


def _sent(client: Client, batch: list[LabelLine]) -> tuple[int, list[dict[str, Any]]]:
    """How many labels were accepted, and the others with their lines and reasons."""
    taken = client.label_many([line.body for line in batch])
    refused = []
    for problem in taken.refused:
        line = batch[(problem.line or 1) - 1]
        said = {"line": line.line, "code": problem.code, "field": problem.field, "reason": _reason(problem.code)}
        raw = line.body.decode("utf-8", "backslashreplace")
        refused.append({**{name: value for name, value in said.items() if value}, "label": raw})
    return taken.accepted, refused


def _write(path: Path, refused: list[dict[str, Any]], *, append: bool) -> None:
    if not refused:
        return
    try:
        with path.open("ab" if append else "wb") as file:
            for item in refused:
                file.write(json.dumps(item, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    except OSError as error:
        raise InputError(f"cannot write the refused labels to {path}: {error.strerror}") from None


def _show_sent(accepted: int, refusals: Counter[tuple[str, str]], where: Path, as_json: bool) -> None:
    console = Console.stdout()
    total = refusals.total()
    if as_json:
        reasons = [{"code": code, "field": field, "labels": count} for (code, field), count in refusals.most_common()]
        said = {"accepted": accepted, "refused": total, "reasons": reasons}
        console.print(json.dumps(said | ({"file": str(where)} if total else {}), indent=2))
        return
    console.print(f"{green('accepted')} {plural(accepted, 'label')}")
    if total:
        console.print(f"{red('refused')}  {plural(total, 'label')}: {clean(str(where))}", "")
        _show_reasons(refusals, console)


def _show_reasons(refusals: Counter[tuple[str, str]], console: Console) -> None:
    rows = [
        [thousands(count), code, clean(field), dim(_reason(code))] for (code, field), count in refusals.most_common()
    ]
    console.table(rows, header=["labels", "code", "field", ""], align="><<<")


@command.command(
    short_help="Check files of labels against a project.",
    epilog="\b\nExample\n  parakh label check shop labels.ndjson chargebacks.csv",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@_json
def check(project: Path, files: tuple[str, ...], as_json: bool) -> int:
    """See which labels of files PROJECT would take, what they say, and about how many events sources differ.

    Exit code 1 where some are refused.
    """
    from parakh.cli.label_files import counted, read_checked

    loaded = load_project(project)
    rows, refused = read_checked(loaded, files)
    found = counted(loaded, rows)
    refusals = Counter((item["reason"], item.get("field", "")) for item in refused)
    console = Console.stdout()
    if as_json:
        reasons = [{"code": code, "field": field, "labels": count} for (code, field), count in refusals.most_common()]
        console.print(
            json.dumps({"labels": rows.count, **found, "refused": len(refused), "reasons": reasons}, indent=2)
        )
        return 1 if refused else 0
    console.print(f"{green('taken')}  {plural(rows.count, 'label')} of {plural(found['events'], 'event')}", "")
    table = [[name, *(thousands(item[kind]) for kind in ("labels", "withdrawn"))] for name, item in found["by"].items()]
    console.table(table, header=["", "labels", "withdrawn"], align="<>>")
    if found["differing"]:
        console.print("", f"more than one thing was said about {plural(found['differing'], 'event')}")
    if found["future"]:
        console.print("", f"{yellow('warning')} {plural(found['future'], 'label')} with a known_at in the future")
    if refused:
        console.print("", f"{red('refused')} {plural(len(refused), 'label')}", "")
        _show_reasons(refusals, console)
    return 1 if refused else 0


@command.command(
    short_help="Everything that was said of an event, and what holds.",
    epilog="\b\nExamples\n  parakh label show shop payment p123\n"
    "  parakh label show /var/lib/parakh payment p123 --json",
)
@data_folder(exists=True)
@click.argument("event_type", metavar="TYPE")
@click.argument("event_id", metavar="ID")
@_json
def show(data: Path, event_type: str, event_id: str, as_json: bool) -> int:
    """List what was said of an event, from the log in DATA, which may be served meanwhile, and say what holds."""
    from parakh.expressions.values import iso_time
    from parakh.learning.said import said_of

    verdicts = said_of(data, event_type, event_id)
    console = Console.stdout()
    if as_json:
        times = ("known_at_us", "arrived_us")
        said = [
            {
                name.removesuffix("_us"): iso_time(value) if name in times else value
                for name, value in asdict(item).items()
            }
            for item in verdicts
        ]
        console.print(json.dumps(said, indent=2))
        return 0
    if not verdicts:
        console.print(f"nothing was said of {clean(event_type)} {bold(clean(event_id))}")
        return 0
    rows = [
        [
            clean(item.label),
            "withdrawn" if item.value is None else clean(json.dumps(item.value)),
            clean(item.source or "-"),
            iso_time(item.known_at_us),
            iso_time(item.arrived_us),
            _STATES.get(item.state, dim)(item.state) + (dim(f", of {clean(item.about)}") if item.about else ""),
        ]
        for item in verdicts
    ]
    console.table(rows, header=["label", "value", "source", "known at", "arrived", ""])
    console.print("", dim("the highest-ranked source holds, then what was said last; a withdrawal leaves nothing"))
    return 0
