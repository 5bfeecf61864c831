"""The entry to simulation: scenarios by name, and one run of a scenario into a folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from parakh.errors import ParakhError

__all__ = ["SCENARIOS", "Progress", "Scenario", "ScenarioError", "Summary", "simulate"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is."""

MAX_EVENTS = 100_000_000
_MARK = "scenario.json"


class ScenarioError(ParakhError):
    """A simulation that cannot be run as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run wrote; `frauds` counts judged events (payments and transfers) by kind of fraud."""

    scenario: str
    seed: int
    folder: Path
    customers: int
    first_event: str
    last_event: str
    events: Mapping[str, int]
    frauds: Mapping[str, int]
    judged: int
    labels: int
    currency: str
    amount_minor: int
    fraud_amount_minor: int
    files: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.events.values())

    @property
    def fraud_total(self) -> int:
        return sum(self.frauds.values())

    def __str__(self) -> str:
        types = ", ".join(f"{count:,} {name}" for name, count in self.events.items())
        frauds = ", ".join(f"{count:,} {name}" for name, count in self.frauds.items())
        share = 100 * self.fraud_total / self.judged if self.judged else 0.0
        return (
            f"{self.total:,} events of {self.customers:,} customers, {self.first_event} to {self.last_event}: {types}\n"
            f"{self.fraud_total:,} frauds ({share:.2f} % of payments and transfers): {frauds}; {self.labels:,} labels\n"
            f"written to {self.folder}"
        )


class Scenario(Protocol):
    """A world that can be run: the same seed gives the same bytes."""

    def __call__(self, *, events: int, seed: int, out: Path, progress: Progress | None) -> Summary: ...


SCENARIOS: Mapping[str, str] = {
    "fintech": "a small fintech: customers, cards, devices, logins, payees, payments and transfers, and five frauds",
}
"""What can be simulated, by name; the module `parakh.simulation.NAME` has its `run`."""


def simulate(scenario: str, *, events: int, seed: int, out: Path, progress: Progress | None = None) -> Summary:
    """Run a scenario and write its streams, labels and truth into the folder `out`.

    `events` counts the events of all types together, and exactly so many are written. The same scenario, events and
    seed give the same bytes (with one version of NumPy). Raises ScenarioError for a name that is not in SCENARIOS, a
    number that cannot be simulated, a folder that cannot be written, or one whose files are not of a simulation.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     simulate("fintech", events=2_000, seed=7, out=Path(folder)).total
    2000
    """
    if scenario not in SCENARIOS:
        raise ScenarioError(f"there is no scenario {scenario!r}; there is {', '.join(SCENARIOS)}")
    if not 1 <= events <= MAX_EVENTS:
        raise ScenarioError(f"events must be between 1 and {MAX_EVENTS:,}, not {events:,}")
    if seed < 0:
        raise ScenarioError(f"a seed is 0 or more, not {seed}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        _claim(out)
        run: Scenario = importlib.import_module(f"parakh.simulation.{scenario}").run
        return run(events=events, seed=seed, out=out, progress=progress)
    except OSError as error:
        raise ScenarioError(f"cannot write to {out}: {error.strerror or error}") from error


def _claim(out: Path) -> None:
    """Refuse to write over files that no simulation wrote; the mark stands from the start, as runs may be stopped."""
    mark = out / _MARK
    if not mark.exists():
        strange = sorted(path.name for path in out.iterdir() if path.suffix == ".ndjson" or path.name == "README.md")
        if strange:
            raise ScenarioError(
                f"{out} has files that no simulation wrote ({', '.join(strange[:3])}), and they might be overwritten; "
                "name another folder"
            )
        mark.touch()
