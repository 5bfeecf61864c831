"""`parakh tune`: which score thresholds a policy's bands should have, and what they would do."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, bold, clean, dim, green, outcome, red, yellow
from parakh.cli.history import Asked, history_options
from parakh.cli.loading import await_kernels, load_project, warm_kernels
from parakh.cli.options import MOMENT, page_option
from parakh.cli.words import day, plural, thousands

if TYPE_CHECKING:
    from parakh.decisions.definition import Policy
    from parakh.learning.promotion.tuning import Measured, Tuning
    from parakh.project.project import Project

__all__ = ["command", "policy_edit"]

_WORDS = ("block", "review", "challenge")


class _Capacity(click.ParamType):  # type: ignore[type-arg]
    """Reviews a day: 120, 120/day, or none for no limit."""

    name = "capacity"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]+\.?[0-9]*)(/d|/day)?", str(value).strip())
        if str(value).strip() == "none":
            return float("inf")
        if not found:
            self.fail(f"{value!r} is not a capacity; write 120/day, or none for no limit", parameter, context)
        return float(found[1])


class _Limit(click.ParamType):  # type: ignore[type-arg]
    """A share from 0 to 1, written 0.5% or 0.005; none for no limit."""

    name = "share"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)(%?)", str(value).strip())
        share = float(found[1]) / (100 if found[2] else 1) if found else 1.0 if value == "none" else 2.0
        if share > 1:
            self.fail(f"{value!r} is not a share; write 0.5% or 0.005, or none for no limit", parameter, context)
        return share


class _Bands(click.ParamType):  # type: ignore[type-arg]
    """Outcomes, with commas between."""

    name = "bands"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, ...]:
        words = tuple(word.strip() for word in str(value).split(","))
        if not set(words) <= set(_WORDS):
            self.fail(f"{value!r} are not bands; write some of {','.join(_WORDS)}", parameter, context)
        return words


@click.command(
    short_help="Score thresholds that lose least under what people can review.",
    epilog="\b\nExamples\n  parakh tune shop --events payment.ndjson --labels labels.ndjson\n"
    "  parakh tune shop --events payment.ndjson --labels labels.ndjson --review-capacity 50/day \\\n"
    "      --friction-limit 0.5% --out tuning.html\n"
    "  parakh tune shop --data /var/lib/parakh --model payment_fraud --write\n\n"
    "What a loss costs, and the limits where they are not said, stand in learning.toml in the project.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@history_options
@click.option("--model", metavar="NAME", help="The model whose score the bands read; the policy's own, unless said.")
@click.option(
    "--bands",
    type=_Bands(),
    metavar="WORDS",
    help="The bands to use, as block,review; those of the policy, unless said.",
)
@click.option(
    "--review-capacity",
    type=_Capacity(),
    metavar="N/day",
    help="The most events to review a day, as a mean: 50/day. That of learning.toml, or 100, unless said.",
)
@click.option(
    "--friction-limit",
    type=_Limit(),
    metavar="SHARE",
    help="The most good events to stop, as 0.5%; that of learning.toml, or 2%, unless said.",
)
@click.option(
    "--test-from",
    type=MOMENT,
    metavar="TIME",
    help="Measure on events from this time on, as 2025-01-31; on the last third, unless said.",
)
@click.option(
    "--labels-of-stopped", is_flag=True, help="Labels are known of stopped events too: look past the holdout."
)
@click.option("--write", is_flag=True, help="Write what is proposed into the policy's file.")
@page_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    asked: Asked,
    project: Path,
    model: str | None,
    bands: tuple[str, ...] | None,
    review_capacity: float | None,
    friction_limit: float | None,
    test_from: int | None,
    labels_of_stopped: bool,
    write: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Choose the score thresholds of PROJECT's bands that lose least, given what its rules decide anyway.

    They are chosen on the earlier part of the events and measured on the later one. Where they lose less than the bands
    of now beyond noise, or those of now exceed a limit, the change of the policy's file is proposed.
    """
    errors, console = Console.stderr(), Console.stdout()
    loaded = load_project(project)
    asked.expect_page(out)
    settings = asked.settings(project)
    past = asked.past(loaded, settings)
    warming = warm_kernels(errors)
    from parakh.decisions.definition import Policy
    from parakh.learning.promotion.tuning import Limits, tune
    from parakh.rules.definition import Outcome

    await_kernels(warming, errors)
    history = asked.history(loaded, past, settings, errors)
    policy = loaded.definitions.policy(history.event_type) or Policy(event_type=history.event_type)
    if model is None and policy.score is None and len(history.scores) == 1:
        model = next(iter(history.scores))
    found = tune(
        history,
        policy,
        costs=settings.costs,
        limits=Limits(
            reviews_per_day=settings.review_capacity if review_capacity is None else review_capacity,
            friction=settings.friction_limit if friction_limit is None else friction_limit,
        ),
        score=model,
        bands=None if bands is None else tuple(Outcome[word.upper()] for word in bands),
        test_from_us=test_from,
        zone=loaded.definitions.settings.time_zone,
        labels_of_stopped=labels_of_stopped,
    )
    file, before, after = policy_edit(loaded, policy, found)
    if out is not None:
        from parakh.cli.report.document import write_page
        from parakh.cli.report.tuning_page import render

        text = render(
            found,
            project=loaded.definitions.settings.name,
            past=past.described(),
            diff="".join(_diff(file, before, after)) if found.proposes else "",
        )
        write_page(out, text)
    written = write and found.proposes
    if written:
        from parakh.project.edit import proposed
        from parakh.project.writing import editing, write_together

        proposed(loaded, {file: after})
        with editing(project):
            _expect_unchanged(project, file, before)
            write_together(project, {file: after})
    if as_json:
        said = {**found.as_data(), "file": file, "diff": "".join(_diff(file, before, after)), "written": written}
        console.print(json.dumps(said, indent=2))
        return 0
    show(found, console)
    if found.proposes:
        console.print("")
        for line in _diff(file, before, after):
            colour = green if line.startswith("+") else red if line.startswith("-") else dim
            console.print(colour(clean(line.rstrip("\n"))))
        done = f"{green('wrote')} {bold(clean(str(project / file)))}"
        again = f"{dim('not written: --write does; then')} parakh diff {dim('and')} parakh apply"
        console.print("", done if written else again)
    if out is not None:
        console.print("", f"{green('wrote')} {bold(clean(str(out)))}")
    return 0


def _expect_unchanged(project: Path, file: str, before: bytes) -> None:
    """Raise InputError where the file is not as it was when the replay began, minutes ago: its edits would be lost."""
    from parakh.errors import InputError

    path = project / file
    if (path.read_bytes() if path.exists() else b"") != before:
        raise InputError(
            f"{clean(file)} was changed while thresholds were chosen: nothing is written to it (hint: run this again)"
        )


def policy_edit(project: Project, policy: Policy, found: Tuning) -> tuple[str, bytes, bytes]:
    """The policy's file, what it holds, and what it would hold with the bands that were chosen."""
    from parakh.learning.promotion.tuning import bands_with
    from parakh.project.edit import defined_in, set_key

    bands = {band.outcome.word: str(band.when) for band in bands_with(policy.bands, found.chosen)}
    file = defined_in(project, "policy", policy.name) if policy.name else None
    if file is None:
        file, name = f"policies/{found.event_type}.yaml", found.event_type
        before = project.contents().get(file, b"")
        apart = b"" if not before else b"---\n" if before.endswith(b"\n") else b"\n---\n"
        after = before + apart + f"policy: {name}\nfor: {name}\n".encode()
    else:
        name, before = policy.name, project.contents()[file]
        after = before
    if policy.score != found.score:
        after = set_key(after, file, "policy", name, "score", found.score, after="for")
    return file, before, set_key(after, file, "policy", name, "bands", bands or None, after="score")


def show(found: Tuning, console: Console) -> None:
    """Print the bands of now and those that were chosen, what they do, and what follows."""
    console.say(
        f"{bold(clean(found.score))} of {found.event_type}: "
        f"chosen on {day(found.first_us)} to {day(found.test_from_us)} ({plural(found.frauds_earlier, 'fraud')}), "
        f"measured from then to {day(found.last_us)} ({plural(found.frauds_later, 'fraud')})"
    )
    limits = found.limits
    capacity = "no limit" if limits.reviews_per_day == float("inf") else f"{limits.reviews_per_day:g} a day"
    friction = "no limit" if limits.friction >= 1 else f"{limits.friction:.2%} of the good"
    console.print(dim(f"limits: reviews {capacity}, friction {friction}"), "")
    console.table(
        [
            [outcome(word), _from(getattr(found.now, word)), _from(getattr(found.chosen, word))]
            for word in _WORDS
            if getattr(found.now, word) is not None or getattr(found.chosen, word) is not None
        ],
        header=["from score", "now", "chosen"],
        align="<>>",
    )
    console.print("")
    now, chosen = found.now_later, found.chosen_later
    console.table(
        [
            *(
                [name, told(now), told(chosen), told(found.now_earlier), told(found.chosen_earlier)]
                for name, told in (
                    (f"loss, {found.currency}", lambda m: thousands(round(m.loss))),
                    ("reviews a day", lambda m: f"{m.reviews_per_day:.1f}"),
                    ("most in a day", lambda m: thousands(m.most_reviews)),
                    ("good events stopped", lambda m: f"{m.friction:.2%}"),
                    ("frauds stopped", lambda m: thousands(round(m.frauds_stopped))),
                    ("fraud stopped, of its amount", _caught),
                )
            )
        ],
        header=["measured later", "now", "chosen", "earlier: now", "chosen"],
        align="<>>>>",
    )
    low, high = found.saved_interval.low, found.saved_interval.high
    console.print(
        "",
        f"saved on the later part: {bold(thousands(round(found.saved)))} {found.currency} "
        + dim(f"(95 % interval {thousands(round(low))} to {thousands(round(high))})"),
    )
    if found.held_out:
        console.print(dim(f"{plural(found.held_out, 'held-out event')} speak for all that was stopped"))
    verdict = green("proposed") if found.proposes else yellow("nothing is proposed")
    console.say(f"{verdict}: {found.why}")


def _from(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:.10g}"


def _caught(measured: Measured) -> str:
    return f"{measured.fraud_amount_stopped / measured.fraud_amount:.1%}" if measured.fraud_amount else "none"


def _diff(file: str, before: bytes, after: bytes) -> list[str]:
    old, new = (text.decode("utf-8-sig").splitlines(keepends=True) for text in (before, after))
    return list(difflib.unified_diff(old, new, file, file))
