"""Options that several verbs share: which events, which labels, and when labels in the events' own files are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

__all__ = [
    "LENGTH_OF_TIME",
    "MOMENT",
    "budget_option",
    "data_folder",
    "event_options",
    "known_by_option",
    "page_option",
    "past_options",
    "span_options",
    "trials_option",
]

_Command = TypeVar("_Command", bound=Callable[..., object])


class _LengthOfTime(click.ParamType):  # type: ignore[type-arg]
    """A length of time as projects write it: 30s, 10m, 1h, 7d; microseconds."""

    name = "length"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        from parakh.project.lengths import length_us

        microseconds = 0 if value == "0" else length_us(str(value))
        if microseconds is None:
            self.fail(f"{value!r} is not a length of time; write 30s, 10m, 1h, 7d, or 0", parameter, context)
        return microseconds


class _Moment(click.ParamType):  # type: ignore[type-arg]
    """A time in ISO 8601, UTC unless it names an offset; microseconds."""

    name = "time"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        from parakh.expressions.values import timestamp_us

        microseconds = timestamp_us(str(value))
        if microseconds is None:
            self.fail(f"{value!r} is not a time; write 2025-01-31 or 2025-01-31T18:30:00Z", parameter, context)
        return microseconds


LENGTH_OF_TIME = _LengthOfTime()
MOMENT = _Moment()

known_by_option = click.option(
    "--known-by",
    type=MOMENT,
    metavar="TIME",
    help="The cut-off, as 2025-01-31: nothing that came later counts. The time of the last event, unless said.",
)
page_option = click.option(
    "--out",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page (HTML); none, unless said.",
)
trials_option = click.option(
    "--trials",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="So many sets of parameters are tried; 16, unless said.",
)
budget_option = click.option(
    "--budget",
    type=LENGTH_OF_TIME,
    metavar="LENGTH",
    help="End the search for parameters after so long, as 90s, and say so; after all trials, unless said.",
)


def span_options(command: _Command) -> _Command:
    """Add --from and --to to a command, as `from_us` and `to_us`."""
    before = click.option(
        "--to",
        "to_us",
        type=MOMENT,
        metavar="TIME",
        help="Events before this time, as 2025-01-31; up to the last, unless said.",
    )
    since = click.option(
        "--from",
        "from_us",
        type=MOMENT,
        metavar="TIME",
        help="Events from this time on, as 2025-01-31; from the first, unless said. Windows see what was before.",
    )
    return since(before(command))


def data_folder(*, exists: bool) -> Callable[[_Command], _Command]:
    """Add DATA to a command: the folder of a service's data. A project's folder stands for the .parakh in it, as in
    `parakh serve`.
    """

    def found(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
        return _data_of(context, parameter, value, exists=exists)

    return click.argument("data", type=click.Path(exists=exists, file_okay=False, path_type=Path), callback=found)


def _data_of(context: click.Context, parameter: click.Parameter, value: Path, *, exists: bool) -> Path:
    folder = value / ".parakh" if (value / "parakh.toml").is_file() else value
    if exists and not folder.is_dir():
        raise click.BadParameter(
            f"{value} is a project that was not served yet: there is no {folder}", context, parameter
        )
    return folder


def event_options(*, required: bool = True) -> Callable[[_Command], _Command]:
    """Add --events, --labels and --label-delay to a command."""
    options = (
        click.option(
            "--label-delay",
            type=LENGTH_OF_TIME,
            metavar="LENGTH",
            help="When a label in an events file becomes known: so long after its event, as 7d, the default.",
        ),
        click.option(
            "--labels", metavar="FILE", help="A file of labels: event_type, event_id, label, value, known_at, source."
        ),
        click.option(
            "--events",
            "-e",
            required=required,
            multiple=True,
            metavar="[TYPE=]FILE",
            help="Events: NDJSON, CSV (also .gz), Parquet, a folder of them, or - for NDJSON on stdin. Repeatable.",
        ),
    )

    def add(command: _Command) -> _Command:
        for option in options:
            command = option(command)
        return command

    return add


def past_options() -> Callable[[_Command], _Command]:
    """Add --events, --labels, --label-delay and --data to a command: see `parakh.cli.loading.given_past`."""

    def found(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
        return None if value is None else _data_of(context, parameter, value, exists=True)

    of_service = click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        callback=found,
        metavar="DIR",
        help="Events and labels from the log of a service (which may run) or a backup, instead of files.",
    )
    return lambda command: event_options(required=False)(of_service(command))
