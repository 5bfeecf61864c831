"""`parakh train`: models from a training set, validated as life has it, with a card that says what they are worth."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, clean, dim, green, yellow
from parakh.cli.options import budget_option, trials_option
from parakh.cli.progress import Bar
from parakh.cli.signing import signed_by
from parakh.cli.words import plural, thousands

if TYPE_CHECKING:
    from parakh.learning.fitting.model_card import Carded
    from parakh.learning.fitting.training import Kind, Trained

__all__ = ["command"]

_SHOWN = ("average_precision", "roc_auc", "recall_at_fpr_1pct", "precision_at_capacity", "calibration_error")
_INPUTS = 8


class _OneWay(click.ParamType):  # type: ignore[type-arg]
    """An input and the way that its effect may go: amount=+1."""

    name = "input"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, int]:
        name, _, way = str(value).rpartition("=")
        if not name or way not in ("+1", "1", "-1"):
            self.fail(f"{value!r} is not an input and a way; write amount=+1 or card.idle=-1", parameter, context)
        return name, int(way)


@click.command(
    short_help="Models from a training set, each with a card.",
    epilog="\b\nExamples\n  parakh train training --out model\n"
    "  parakh train training --project shop --model payment_fraud\n"
    "  parakh train training --kind logistic --monotone amount=+1 --exclude card.idle --out model\n\n"
    "The same set and the same seed give the same model, byte for byte.",
)
@click.argument("training_set", metavar="SET", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="PROJECT",
    help="Add the model to this project's registry, as a candidate.",
)
@click.option("--model", metavar="NAME", help="The model's name; EVENT_LABEL, as payment_fraud, unless said.")
@click.option(
    "--kind",
    type=click.Choice(["lightgbm", "logistic", "both"]),
    default="both",
    show_default=True,
    help="What is written; both: whichever is better in validation. Both are always trained and compared.",
)
@trials_option
@budget_option
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of search and trees.")
@click.option(
    "--monotone",
    type=_OneWay(),
    multiple=True,
    metavar="INPUT=+1",
    help="More of an input is never less fraud; -1: never more. Repeat.",
)
@click.option("--exclude", multiple=True, metavar="INPUT", help="An input that is not to be learned from. Repeat.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new folder, or one of a model; without a project.",
)
@click.option("--by", metavar="WHO", help="Who adds it to the registry; git's user.email or $USER, unless said.")
@click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")
def command(
    training_set: Path,
    project: Path | None,
    model: str | None,
    kind: str,
    trials: int | None,
    budget: int | None,
    seed: int,
    monotone: tuple[tuple[str, int], ...],
    exclude: tuple[str, ...],
    out: Path | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Train boosted trees and a logistic regression on a set that `parakh dataset` wrote.

    Both are validated by folds in time - learn from what was known, be tested on what came after - and calibrated; the
    better one is written, with card.json, card.md and card.html.
    """
    if project is not None and out is not None:
        raise click.UsageError("a project has its own place for a model: say --project or --out, not both")
    if project is None and out is None:
        raise click.UsageError("say where the model goes: --project PROJECT, or --out DIR without one")
    errors = Console.stderr()
    from parakh.cli.report.model_page import render
    from parakh.learning.fitting.model_card import expect_room, make_card, write_model
    from parakh.learning.fitting.samples import read_samples
    from parakh.learning.fitting.training import TRIALS, Choice, train
    from parakh.learning.promotion.versions import expect_name
    from parakh.learning.settings import LearningSettings, read_learning

    settings, zone, signed = LearningSettings(), "UTC", ""
    if out is not None:
        expect_room(out)
    samples = read_samples(training_set, exclude=exclude)
    name = model or f"{samples.event_type}_{samples.label_name}"
    expect_name(name)
    if project is not None:
        from parakh.cli.loading import load_project
        from parakh.learning.promotion.registry import Registry

        signed = signed_by(project, by)
        loaded = load_project(project)
        zone = loaded.definitions.settings.time_zone
        settings = read_learning(project)
        registry = Registry.open(project, name)
        registry.expect_scores(samples.event_type)
        if loaded.hash != samples.card["project"]["hash"]:
            errors.say(f"{yellow('warning')} the set was made by another version of the project: inputs may differ")
    wanted: Kind | None = None if kind == "both" else "lightgbm" if kind == "lightgbm" else "logistic"
    choice = Choice(
        kind=wanted,
        trials=trials or TRIALS,
        budget_s=None if budget is None else budget / 1e6,
        seed=seed,
        monotone=dict(monotone),
    )
    with Bar(errors, "training") as bar:
        trained = train(samples, choice, on_progress=lambda share, words: bar.to(0.9 * share, words))
        bar.to(0.92, "evaluating")
        carded = make_card(trained, model=name, costs=settings.costs, capacity=settings.review_capacity, zone=zone)
    if project is not None:
        number = registry.claim()
        out = registry.folder(number)
    assert out is not None
    write_model(trained, carded, out)
    from parakh.cli.report.document import write_page

    write_page(out / "card.html", render(trained, carded))
    if project is not None:
        registry.add(number, by=signed, at_us=time.time_ns() // 1_000)
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(carded.card, indent=1))
        return 0
    _show(trained, carded, console)
    where = clean(str(out))
    console.print(f"{green('wrote')} {bold(where)}: {carded.card['file']}, card.html, card.md, card.json")
    if project is not None:
        console.print(f"{name} has a candidate, version {number}")
        console.print(dim(f"next: parakh promote {clean(str(project))} {name} {number} --shadow"))
    return 0


def _show(trained: Trained, carded: Carded, console: Console) -> None:
    from parakh.learning.fitting.model_words import KIND_NAMES, METRIC_NAMES, told

    card = carded.card
    other = card["baseline_model"]
    train = card["dataset"]["parts"]["train"]
    console.print(
        f"{bold(KIND_NAMES[card['kind']])} for {card['label']} of {card['event_type']}: "
        f"{plural(len(card['inputs']), 'input')}, {thousands(train['rows'])} rows, "
        f"{thousands(train['positive'])} positive",
        "",
    )
    pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("validation", card["validation"]["metrics"], other["validation"]["metrics"])
    ]
    if card["test"] is not None and card["test"]["frauds"]:
        pairs.append(("test", card["test"], other["test"]))
    for part, mine, theirs in pairs:
        rows = [
            [METRIC_NAMES[key], told(mine["metrics"][key]), told(theirs["metrics"][key])]
            for key in _SHOWN
            if mine["metrics"][key]["value"] is not None
        ]
        console.table(rows, header=[part, KIND_NAMES[card["kind"]], KIND_NAMES[other["kind"]]], align="<>>")
        console.print("")
    told_most = [item for item in card["importance"] if item["gain"] > 0][:_INPUTS]
    console.table(
        [[clean(item["input"]), f"{100 * item['gain']:.1f} %"] for item in told_most],
        header=["goes by", "gain"],
        align="<>",
    )
    console.print("")
    for text in card["limits"]:
        console.say(dim(f"· {clean(text)}"), hanging="  ")
    console.print("")
