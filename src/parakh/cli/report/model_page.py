"""The page of a model: what it is worth beside its baseline, what it goes by, what it was not tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parakh.cli.report.charts import table
from parakh.cli.report.data import Figure
from parakh.cli.report.document import Section, document
from parakh.cli.report.html import Markup, element
from parakh.cli.report.plots import Series, bars, histogram, lines, over_time
from parakh.learning.fitting.model_words import KIND_NAMES, METRIC_NAMES, parameter_words, told

if TYPE_CHECKING:
    from parakh.learning.fitting.model_card import Carded
    from parakh.learning.fitting.training import Kind, Trained
    from parakh.learning.measures.evaluation import Evaluation, Part

__all__ = ["render"]

_INPUTS = 15
_PARTS = 12
_HEADLINE = ("average_precision", "roc_auc", "recall_at_fpr_1pct", "precision_at_capacity")


def render(trained: Trained, carded: Carded) -> str:
    """The whole page as text. The same training gives the same page, but for the time that scoring takes."""
    card = carded.card
    tested = trained.kind in carded.test and carded.test[trained.kind].frauds > 0
    found: dict[Kind, Evaluation] = carded.test if tested else carded.validation
    rows, scores = (trained.test, trained.chosen.test_scores) if tested else (trained.validated, trained.chosen.scores)
    what = "the test span" if tested else "the folds' tests"
    mine, theirs = found[trained.kind], found[trained.other.kind]
    names = KIND_NAMES[trained.kind], KIND_NAMES[trained.other.kind]
    return document(
        title=f"{card['model']}: {names[0]}",
        subtitle=_subtitle(trained, carded, names, tested),
        figures=[_figure(key, mine, theirs, names[1]) for key in _HEADLINE],
        sections=[
            Section("What to know before relying on it", "", [_limits(card["limits"])]),
            Section(
                "How well it does on what it had not seen",
                f"In brackets: 95 % intervals, {mine.drawn} drawn again. Figures of the folds: learned up to the label "
                f"delay before each, with the labels known when it began, and tested on what came then.",
                [_measures(carded, trained, names)],
            ),
            Section("Ranking", f"Over {what}: {mine.events:,} events, {mine.frauds:,} of them {card['label']}.", [
                _roc(mine, theirs, names), _precision_recall(mine, theirs, names),
            ]),
            Section("Scores as chances", "Where a score says 0.2, one in five should be fraud.", [
                *_reliability(mine, theirs, names),
                histogram(
                    {card["label"]: scores[rows.label], "good": scores[~rows.label]}, title="Scores", x="score",
                ),
            ]),
            Section("What a review costs", "Expected loss per event where all that score above are reviewed.",
                    _loss(mine, theirs, names)),
            Section("What it goes by", _importance_lead(), _importance(card["importance"])),
            Section("Over time", "By week; what is shaded is the 95 % interval.", _weeks(carded, trained)),
            *_segments(mine),
            Section("Folds", "Each learned from what was known when it began.", [_folds(card, names)]),
            *_monotone(card),
            Section("What it learned from", "", [_data(card)]),
        ],
        facts=_facts(card),
    )  # fmt: skip


def _subtitle(trained: Trained, carded: Carded, names: tuple[str, str], tested: bool) -> str:
    against = carded.against_test or carded.against
    where = "on the test span" if carded.against_test is not None else "in validation"
    if against.low > 0:
        verdict = f"ranks better than the {names[1]} {where}, beyond chance"
    elif against.high < 0:
        verdict = f"ranks worse than the {names[1]} {where}"
    else:
        verdict = f"cannot be told from the {names[1]} {where}"
    difference = carded.card["baseline_model"]["difference_test" if carded.against_test else "difference"]
    return (
        f"Scores {trained.samples.event_type} events by how likely they are {trained.samples.label_name}. "
        f"It {verdict}: {told(difference)} in average precision. "
        f"The figures below are those of {'the test span, scored once' if tested else 'the folds'}."
    )


def _figure(key: str, mine: Evaluation, theirs: Evaluation, other: str) -> Figure:
    value, base = mine.metrics[key], theirs.metrics[key]
    note = f"{_value(value.low)} to {_value(value.high)} · {other} {_value(base.value)}"
    label = METRIC_NAMES[key]
    if key.endswith("at_capacity"):
        label = f"{label}, {mine.capacity:g} a day"
    return Figure(label[:1].upper() + label[1:], _value(value.value), note)


def _value(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.3f}"


def _limits(limits: Sequence[str]) -> Markup:
    return element("ul", *(element("li", text) for text in limits))


def _measures(carded: Carded, trained: Trained, names: tuple[str, str]) -> Markup:
    parts = [("folds", carded.validation)] + ([("test span", carded.test)] if carded.test else [])
    header = ["Measure", *(f"{name}, {part}" for part, _ in parts for name in names)]
    rows = []
    for key, label in METRIC_NAMES.items():
        cells = [
            told(found[kind].as_data()["metrics"][key])
            for _, found in parts
            for kind in (trained.kind, trained.other.kind)
        ]
        if any(cell != "-" for cell in cells):
            rows.append((label[:1].upper() + label[1:], *cells))
    return table(header, rows, caption="Measures of both models")


def _both(curve: str, x: str, y: str, mine: Evaluation, theirs: Evaluation, names: tuple[str, str]) -> list[Series]:
    return [
        Series(name, found.curves[curve][x], found.curves[curve][y], dashed=dashed)
        for name, found, dashed in ((names[0], mine, False), (names[1], theirs, True))
        if curve in found.curves
    ]


def _roc(mine: Evaluation, theirs: Evaluation, names: tuple[str, str]) -> Markup:
    series = _both("roc", "false_positive_rate", "recall", mine, theirs, names)
    return lines(series, title="ROC", x="good events stopped", y="frauds caught", identity=True)


def _precision_recall(mine: Evaluation, theirs: Evaluation, names: tuple[str, str]) -> Markup:
    series = _both("precision_recall", "recall", "precision", mine, theirs, names)
    return lines(series, title="Precision and recall", x="frauds caught", y="precision")


def _reliability(mine: Evaluation, theirs: Evaluation, names: tuple[str, str]) -> list[Markup]:
    series = _both("reliability", "score", "fraud", mine, theirs, names)
    return [lines(series, title="Reliability", x="mean score", y="share of fraud", identity=True)] if series else []


def _loss(mine: Evaluation, theirs: Evaluation, names: tuple[str, str]) -> list[Markup]:
    if not np.isfinite(mine.metrics["expected_loss"].value):
        return []
    series = _both("loss", "reviewed_a_day", "loss", mine, theirs, names)
    markers = [(mine.capacity, "capacity")] if mine.days else []
    return [lines(series, title="Loss and review load", x="events reviewed a day", y="loss per event", log_x=True,
                  markers=markers)]  # fmt: skip


def _importance_lead() -> str:
    return (
        "Gain: the share of what splits, or coefficients, tell in training. Shuffled: what average precision loses out "
        "of fold where the input is shuffled, so that it tells nothing."
    )


def _importance(importance: Sequence[dict[str, Any]]) -> list[Markup]:
    first = [item for item in importance if item["gain"] > 0][:_INPUTS]
    shuffled = sorted((item for item in first if item.get("permutation") is not None), key=lambda i: -i["permutation"])
    drawn = [bars([i["input"] for i in first], [i["gain"] for i in first], title="Gain", x="share of gain")]
    if shuffled:
        drawn.append(
            bars([i["input"] for i in shuffled], [i["permutation"] for i in shuffled], title="Shuffled",
                 x="average precision lost")
        )  # fmt: skip
    rest = [item["input"] for item in importance[len(first) :]]
    if rest:
        drawn.append(element("p", f"{len(rest)} more inputs tell less: {', '.join(rest)}.", class_="note"))
    return drawn


def _weeks(carded: Carded, trained: Trained) -> list[Markup]:
    weeks: list[Part] = [*carded.validation[trained.kind].over_time]
    if trained.kind in carded.test:
        weeks += carded.test[trained.kind].over_time
    weeks = sorted((week for week in weeks if week.from_us is not None), key=lambda week: week.from_us or 0)
    if len(weeks) < 2:
        return []
    drawn = []
    for key in ("average_precision", "precision_at_capacity"):
        values = [week.metrics.get(key) for week in weeks]
        held = [(week.from_us or 0, value) for week, value in zip(weeks, values) if value is not None]
        drawn.append(
            over_time(
                [Series(METRIC_NAMES[key], [at for at, _ in held], [value.value for _, value in held],
                        [value.low for _, value in held], [value.high for _, value in held])],
                title=METRIC_NAMES[key][:1].upper() + METRIC_NAMES[key][1:], y=METRIC_NAMES[key],
            )
        )  # fmt: skip
    return drawn


def _segments(found: Evaluation) -> list[Section]:
    sections = []
    for name, parts in found.by_segment.items():
        shown = [part for part in parts if part.events][:_PARTS]
        if len(shown) < 2:
            continue
        values = [part.metrics.get("average_precision") for part in shown]
        rows = [
            (part.name, f"{part.events:,}", f"{part.frauds:,}", *_measured(part.metrics))
            for part in shown
        ]  # fmt: skip
        chart = bars(
            [part.name for part in shown],
            [value.value if value else np.nan for value in values],
            low=[value.low if value else np.nan for value in values],
            high=[value.high if value else np.nan for value in values],
            title=f"Average precision by {name}",
            x="average precision",
        )
        lead = "Beside the share of fraud in a part: where it is higher, average precision is too."
        header = (name, "Events", "Fraud", "Average precision", "ROC AUC", "Recall at 1 % false positives")
        sections.append(Section(f"By {name}", lead, [chart, table(header, rows, caption=f"Measures by {name}")]))
    return sections


def _measured(metrics: Mapping[str, Any]) -> list[str]:
    cells = []
    for key in ("average_precision", "roc_auc", "recall_at_fpr_1pct"):
        item = metrics.get(key)
        cells.append(_value(None if item is None else item.value))
    return cells


def _folds(card: dict[str, Any], names: tuple[str, str]) -> Markup:
    other = card["baseline_model"]["validation"]["folds"]
    rows = [
        (
            f"{mine['from'][:10]} to {mine['to'][:10]}", f"{mine['train_rows']:,}", f"{mine['train_positive']:,}",
            f"{mine['test_rows']:,}", f"{mine['test_positive']:,}",
            *(_value(fold["average_precision"]) for fold in (mine, theirs)),
        )
        for mine, theirs in zip(card["validation"]["folds"], other, strict=True)
    ]  # fmt: skip
    header = ("Tested", "Learned from", "of them fraud", "Rows", "of them fraud", *names)
    return table(header, rows, caption="Average precision of each fold")


def _monotone(card: dict[str, Any]) -> list[Section]:
    if not card["monotone"]:
        return []
    ways = {1: "is never less", -1: "is never more"}
    rows = [element("li", f"More of {name} {ways[way]} {card['label']}.") for name, way in card["monotone"].items()]
    return [Section("Held to one direction", "As people asked when it was trained.", [element("ul", *rows)])]


def _data(card: dict[str, Any]) -> Markup:
    data = card["dataset"]
    rows = [
        (name, f"{part['from'][:10]} to {part['to'][:10]}", f"{part['rows']:,}", f"{part['positive']:,}",
         f"{100 * part['positive'] / part['rows']:.2f} %")
        for name, part in data["parts"].items()
    ]  # fmt: skip
    return table(("Part", "Span", "Rows", "Fraud", "Share"), rows, caption="The parts of the set", numbers=2)


def _facts(card: dict[str, Any]) -> list[tuple[str, str]]:
    data, calibration, search = card["dataset"], card["calibration"], card["search"]
    return [
        ("set made by", f"{data['project']['name']}, version {data['project']['hash'][:12]}"),
        ("labels known by", f"{card['labels_known_by']}, delay {data['span']['label_delay_days']:g} days"),
        ("parameters", parameter_words(card["parameters"])),
        ("search", f"{search['done']} of {search['asked']} trials, seed {card['seed']}"),
        ("calibration", f"sigmoid({calibration['a']:.4g} x raw {calibration['b']:+.4g}), in the file"),
        ("time to score an event", f"{card['latency_us_per_event']:g} us"),
        ("inputs", ", ".join(card["inputs"])),
        ("data, SHA-256", str(data["sha256"])),
        ("model, SHA-256", str(card["sha256"])),
        ("made with", ", ".join(f"{name} {number}" for name, number in card["versions"].items())),
    ]
