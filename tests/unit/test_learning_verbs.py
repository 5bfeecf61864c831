"""The options of the verbs that learn: each says what it is, how it is written, and what holds where it is not said."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import click
import pytest

VERBS = ("anomalies", "backtest", "dataset", "drift", "label", "learn", "models", "promote", "suggest", "train", "tune")
WRITTEN = {"TIME": "2025-01-31", "LENGTH": r"\b\d+[smhd]\b", "SHARE": r"\d%", "N/day": "50/day"}
"""By metavar: what a help text shows of how it is written."""


def commands(name: str) -> Iterator[click.Command]:
    command = importlib.import_module(f"parakh.cli.{name}").command
    yield from command.commands.values() if isinstance(command, click.Group) else (command,)


@pytest.mark.parametrize("name", VERBS)
def test_every_option_says_how_it_is_written_and_what_holds_unless_it_is_said(name: str) -> None:
    for command in commands(name):
        assert command.epilog is not None
        assert f"parakh {name}" in command.epilog
        for option in command.params:
            if not isinstance(option, click.Option) or option.is_flag:
                continue
            where, text = f"{command.name} {option.opts[0]}", option.help or ""
            assert text.endswith("."), where
            written = WRITTEN.get(str(option.metavar))
            if written is not None:
                assert re.search(written, text), where
                assert option.show_default or "unless said" in text or "the default" in text, where
