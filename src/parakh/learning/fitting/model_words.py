"""The card of a model for people: the facts of card.json as Markdown, and the names that figures go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["KIND_NAMES", "METRIC_NAMES", "card_page", "parameter_words", "told"]

METRIC_NAMES = {
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "precision_at_capacity": "precision at capacity",
    "recall_at_capacity": "recall at capacity",
    "card_precision": "card precision",
    "recall_at_fpr_1pct": "recall at 1 % false positives",
    "expected_loss": "expected loss per event",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
KIND_NAMES = {"lightgbm": "boosted trees", "logistic": "logistic regression"}


def told(measured: dict[str, Any] | None) -> str:
    """A measured value with its interval, `-` where it is not known.

    >>> told({"value": 0.71234, "low": 0.69, "high": 0.7312})
    '0.712 (0.690 to 0.731)'
    """
    if not measured or measured.get("value") is None:
        return "-"
    value = _number(measured["value"])
    if measured.get("low") is None or measured.get("high") is None:
        return value
    return f"{value} ({_number(measured['low'])} to {_number(measured['high'])})"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def parameter_words(parameters: dict[str, Any]) -> str:
    """Parameters in a line."""
    shown = {key: value for key, value in parameters.items() if key not in ("seed", "monotone")}
    return ", ".join(
        f"{key.replace('_', ' ')} {f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in shown.items()
    )


def card_page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    other = card["baseline_model"]
    kinds = (KIND_NAMES[card["kind"]], KIND_NAMES[other["kind"]])
    data = card["dataset"]
    parts = [
        f"# {card['model']}: {kinds[0]} for {card['label']} of {card['event_type']}",
        _facts(card, data),
        "## How well it does on what it had not seen",
        _validated(card, data),
        _metrics(card["validation"]["metrics"], other["validation"]["metrics"], kinds),
        _difference(other["difference"], kinds),
    ]
    if card["test"] is not None:
        span = data["parts"].get("test", {})
        parts += [
            "## On the test span, scored once at the end",
            f"{span.get('rows', 0):,} rows, {span.get('positive', 0):,} positive, "
            f"{span.get('from', '')[:10]} to {span.get('to', '')[:10]}.",
            _metrics(card["test"], other["test"], kinds),
        ]
    parts += ["## Limits", "\n".join(f"- {text}" for text in card["limits"]), "## Folds", _folds(card, other, kinds)]
    parts += [
        "## What it goes by",
        "Gain is the share of what splits or coefficients tell in training; shuffled is what average precision loses "
        "out of fold where the input is shuffled.",
        _table(
            ("input", "gain", "shuffled"),
            [
                (f"`{item['input']}`", f"{100 * item['gain']:.1f} %", _number(item["permutation"]))
                for item in card["importance"]
                if item.get("permutation") is not None
            ],
        ),
    ]
    if card["monotone"]:
        ways = {1: "never less", -1: "never more"}
        lines = [f"- `{name}`: more of it is {ways[way]} {card['label']}" for name, way in card["monotone"].items()]
        parts += ["## Held to one direction", "\n".join(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(card: dict[str, Any], data: dict[str, Any]) -> str:
    train = data["parts"]["train"]
    search = card["search"]
    calibration = card["calibration"]
    rows = [
        ("learned from", f"{train['rows']:,} rows, {train['positive']:,} positive, "
                         f"{train['from'][:10]} to {train['to'][:10]}"),
        ("labels known by", card["labels_known_by"]),
        ("label delay", f"{data['span']['label_delay_days']:g} days"),
        ("inputs", f"{len(card['inputs'])}"),
        ("parameters", parameter_words(card["parameters"])),
        ("search", f"{search['done']} of {search['asked']} trials, seed {card['seed']}"),
        ("calibration", f"probability = sigmoid({calibration['a']:.4g} x raw {calibration['b']:+.4g}), in the file"),
        ("time to score an event", f"{card['latency_us_per_event']:g} us"),
        ("project", f"{data['project']['name']}, version {data['project']['hash'][:12]}"),
        ("data, SHA-256", f"`{data['sha256']}`"),
        ("model, SHA-256", f"`{card['sha256']}`"),
        ("made with", ", ".join(f"{name} {number}" for name, number in card["versions"].items())),
    ]  # fmt: skip
    return _table(("what", ""), rows)


def _validated(card: dict[str, Any], data: dict[str, Any]) -> str:
    folds = card["validation"]["folds"]
    return (
        f"{len(folds)} folds by time: learned up to {data['span']['label_delay_days']:g} days before each, with the "
        f"labels known when it began, and tested on what came then, {folds[0]['from'][:10]} to "
        f"{folds[-1]['to'][:10]}. "
        f"In brackets: 95 % intervals."
    )


def _metrics(metrics: dict[str, Any], other: dict[str, Any], kinds: tuple[str, str]) -> str:
    mine, theirs = metrics["metrics"], other["metrics"]
    rows = [
        (name, told(mine.get(key)), told(theirs.get(key)))
        for key, name in METRIC_NAMES.items()
        if (mine.get(key) or {}).get("value") is not None
    ]
    return _table(("measure", *kinds), rows)


def _difference(found: dict[str, Any] | None, kinds: tuple[str, str]) -> str:
    if found is None or found.get("value") is None:
        return ""
    return (
        f"The {kinds[0]} differ from the {kinds[1]} by {told(found)} in average precision; in "
        f"{100 * (found['not_better'] or 0):.0f} % of the draws they were not better."
    )


def _folds(card: dict[str, Any], other: dict[str, Any], kinds: tuple[str, str]) -> str:
    rows = [
        (
            f"{mine['from'][:10]} to {mine['to'][:10]}",
            f"{mine['train_rows']:,} ({mine['train_positive']:,})",
            f"{mine['test_rows']:,} ({mine['test_positive']:,})",
            *(_fold_value(fold["average_precision"]) for fold in (mine, theirs)),
        )
        for mine, theirs in zip(card["validation"]["folds"], other["validation"]["folds"], strict=True)
    ]
    return _table(("tested", "learned from (positive)", "rows (positive)", *kinds), rows)


def _fold_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
