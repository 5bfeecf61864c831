"""`parakh dataset`: a training set from past events and labels, with the features exactly as live."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from parakh.cli.console import Console, bold, clean, dim, green, yellow
from parakh.cli.loading import await_kernels, given_past, load_project, warm_kernels
from parakh.cli.options import LENGTH_OF_TIME, MOMENT, known_by_option, past_options, span_options
from parakh.cli.progress import Bar
from parakh.cli.replay import show_progress
from parakh.cli.words import plural, thousands

__all__ = ["command"]

_WEEK_US = 7 * 86_400_000_000


class _Share(click.ParamType):  # type: ignore[type-arg]
    """A share above 0 and up to 1, written 10% or 0.1."""

    name = "share"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)(%?)", str(value).strip())
        share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
        if not 0 < share <= 1:
            self.fail(f"{value!r} is not a share; write 10% or 0.1, at most 100%", parameter, context)
        return share


@click.command(
    short_help="A training set from past events, with features exactly as live.",
    epilog="\b\nExamples\n  parakh dataset shop --events payment.ndjson --labels labels.ndjson --out training\n"
    "  parakh dataset shop --events payment=2025.csv.gz --events login=logins.parquet --for payment \\\n"
    "      --labels labels.ndjson --test-from 2025-06-01 --sample 10% --out training\n"
    "  parakh dataset shop --data /var/lib/parakh --known-by 2025-06-01 --out training\n\n"
    "Written are data.parquet, card.json and card.md; the same input gives the same bytes.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@past_options()
@click.option(
    "--for", "event_type", metavar="TYPE", help="Of which event type; the one that has the label, unless said."
)
@click.option(
    "--label", metavar="NAME", default="fraud", show_default=True, help="The label to learn: one that is true or false."
)
@click.option(
    "--out",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new folder, or one of a set before.",
)
@span_options
@known_by_option
@click.option(
    "--test-from",
    type=MOMENT,
    metavar="TIME",
    help="Events from this time on, as 2025-01-31, are for testing; none, unless said.",
)
@click.option(
    "--gap",
    type=LENGTH_OF_TIME,
    metavar="LENGTH",
    help="So long before the test nothing is for training; 7d, unless said.",
)
@click.option(
    "--sample",
    type=_Share(),
    metavar="SHARE",
    default="100%",
    help="Of events that are not positive keep this share, as 10%; all, unless said.",
)
@click.option("--seed", type=click.IntRange(0, 2**63), default=0, show_default=True, help="Which events a sample has.")
@click.option(
    "--labels-of-stopped", is_flag=True, help="Labels are known of stopped events too: look past the holdout."
)
@click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")
def command(
    project: Path,
    events: tuple[str, ...],
    labels: str | None,
    label_delay: int | None,
    data: Path | None,
    event_type: str | None,
    label: str,
    out: Path,
    from_us: int | None,
    to_us: int | None,
    known_by: int | None,
    test_from: int | None,
    gap: int | None,
    sample: float,
    seed: int,
    labels_of_stopped: bool,
    as_json: bool,
) -> int:
    """Replay past events and write, for each of one type, every value that a model may read and its label.

    A row holds what was known when its event came; a label is as it was known by the cut-off. An event younger than
    --label-delay (7d) by then is immature and has no label; a matured one of which nothing is known counts as good.
    """
    errors = Console.stderr()
    loaded = load_project(project)
    delay = _WEEK_US if label_delay is None else label_delay
    quarantine = Path(f"{out}.quarantine.ndjson")
    past = given_past(loaded, events, labels, label_delay, data, quarantine=quarantine)
    if gap is not None and test_from is None:
        raise click.BadParameter("there is a gap only before a test: say --test-from too", param_hint="--gap")
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise click.BadParameter("nothing lies between --from and --to", param_hint="--to")
    warming = warm_kernels(errors)
    from parakh.learning.card import FILES, expect_room, write_dataset
    from parakh.learning.dataset import Choice, make_dataset, target_of
    from parakh.learning.past import Files

    target = target_of(loaded.definitions, past.event_types, event_type, label)
    if isinstance(past, Files) and labels is None:
        if not any(item.name == label and item.source is not None for item in target.labels):
            raise click.BadParameter(
                f"nothing says what became of the events: name a file of labels, or say under `labels` of event "
                f"{target.name} in which column {label} stands (`from:`)",
                param_hint="--labels",
            )
        past = replace(past, label_delay_us=delay)
    expect_room(out)
    inputs = [source.path for source in past.sources] if isinstance(past, Files) else []
    for name in inputs + ([labels] if labels else []):
        if any((out / file).exists() and Path(name).exists() and Path(name).samefile(out / file) for file in FILES):
            raise click.BadParameter(f"{name} is an input: it would be overwritten", param_hint="--out")
    await_kernels(warming, errors)
    choice = Choice(
        event_type=target.name,
        label=label,
        from_us=from_us,
        to_us=to_us,
        known_by_us=known_by,
        test_from_us=test_from,
        gap_us=_WEEK_US if gap is None else gap,
        label_delay_us=delay,
        sample=sample,
        seed=seed,
        labels_of_stopped=labels_of_stopped,
    )
    with Bar(errors, "replaying") as bar:
        dataset = make_dataset(loaded, past, choice, on_progress=lambda progress: show_progress(bar, progress))
    card = write_dataset(dataset, loaded, out)
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(card, indent=2))
    else:
        _show(card, out, console)
    quarantined = sum(dataset.replayed.quarantined.values())
    if quarantined:
        where = clean(str(quarantine)) if data is None else "as this project takes events, not as the service did"
        errors.print(f"{yellow('quarantined')} {plural(quarantined, 'event')}: {where}")
    return 0


def _show(card: dict[str, Any], out: Path, console: Console) -> None:
    counts = card["counts"]
    kinds = ("rows", "positive", "negative", "immature")
    console.print(
        f"{bold(thousands(counts['rows']))} of {plural(counts['events'], card['event_type'])}, "
        f"{card['label']} as known by {card['span']['known_by']}",
        "",
    )
    console.table(
        [[name, *(thousands(part[kind]) for kind in kinds)] for name, part in counts["rows_by_split"].items()],
        header=["", *kinds],
        align="<>>>>",
    )
    console.print("")
    if counts["unlabelled"]:
        console.print(dim(f"{thousands(counts['unlabelled'])} of which nothing was known count as good"))
    if card["holdout"] is not None:
        held_out, stopped = card["holdout"]["held_out"], card["holdout"]["stopped"]
        console.print(dim(f"{plural(held_out, 'held-out event')} for {thousands(stopped)} that were stopped: left out"))
    if counts["after_cut_off"]:
        console.print(dim(f"{thousands(counts['after_cut_off'])} came after the cut-off"))
    if card["left_out"]:
        console.print(dim(f"left out, as personal: {clean(', '.join(card['left_out']))}"))
    for text in card["warnings"]:
        console.say(f"{yellow('warning')} {text}")
    inputs = sum(item["role"] != "set" for item in card["columns"])
    console.print(
        f"{green('wrote')} {bold(clean(str(out)))}: {plural(inputs, 'input')}, data.parquet, card.md, card.json"
    )
