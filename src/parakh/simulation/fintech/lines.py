"""What the fintech's files hold: the fields of each event type's line, of a label's and of the truth's, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.simulation import streams
from parakh.simulation.fintech.frauds import KINDS
from parakh.simulation.fintech.habits import CHANNELS, REASONS, TRANSFER_CHANNELS
from parakh.simulation.fintech.population import Population, tokens
from parakh.simulation.fintech.verdicts import SOURCES
from parakh.simulation.fintech.world import CATEGORIES, CITIES
from parakh.simulation.streams import Field, Integers

__all__ = ["JUDGED", "TYPES", "event_fields", "identity", "label_fields", "truth_fields"]

TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
JUDGED = ("payment", "transfer")
"""The types that verdicts and truth are about."""

PREFIXES = {
    "customer_opened": "o",
    "login": "l",
    "password_change": "w",
    "payee_added": "y",
    "payment": "p",
    "decline": "d",
    "transfer": "t",
}
TYPE_SHIFT = 40


def identity(name: str, number: npt.NDArray[Any]) -> Integers:
    """One number for an event of any type: its type above its number within the type."""
    return (TYPES.index(name) << TYPE_SHIFT) + number.astype(np.int64)


def event_fields(population: Population, seed: int) -> dict[str, tuple[Field, ...]]:
    """What each event type's line holds."""
    home = [city.name for city in CITIES]
    country = streams.code([city.country for city in CITIES])
    customer = streams.code(tokens("c", len(population), seed))
    card = streams.code(tokens("k", len(population), seed))
    account = streams.code(tokens("a", len(population) + population.external_accounts, seed))
    device = streams.code(tokens("v", population.devices.count, seed))
    terminal = streams.code(tokens("m", len(population.terminals), seed))
    category = streams.code([CATEGORIES[index].name for index in population.terminals.category.tolist()])
    place = (
        Field("country", "country", country),
        *(Field(axis, axis, streams.decimals(4)) for axis in ("latitude", "longitude")),
    )

    def head(name: str, identity: str, time: str) -> tuple[Field, ...]:
        return (Field(identity, "id", streams.numbered(PREFIXES[name])), Field(time, "time", streams.timestamp))

    who = Field("customer", "customer", customer)
    where = Field("device", "device", device)
    amount = Field("amount", "amount", streams.money)
    sides = (Field("payer", "payer", account), Field("payee", "payee", account))
    at = (Field("card", "customer", card), Field("terminal", "terminal", terminal), where)
    return {
        "customer_opened": (
            *head("customer_opened", "opening_id", "opened_at"),
            who,
            Field("account", "customer", account),
            Field("card", "customer", card),
            Field("city", "country", streams.code(home)),
            *place,
            Field("birth_year", "birth_year", streams.integer),
            Field("kyc_level", "kyc_level", streams.integer),
        ),
        "login": (
            *head("login", "login_id", "logged_in_at"),
            who,
            where,
            Field("success", "success", streams.flag),
            Field("method", "method", streams.code(("biometric", "password"))),
            *place,
        ),
        "password_change": (*head("password_change", "change_id", "changed_at"), who, where),
        "payee_added": (*head("payee_added", "addition_id", "added_at"), who, *sides, where),
        "payment": (
            *head("payment", "payment_id", "paid_at"),
            who,
            *at,
            Field("channel", "channel", streams.code(CHANNELS)),
            Field("category", "terminal", category),
            *place,
            amount,
        ),
        "decline": (
            *head("decline", "decline_id", "declined_at"),
            *at,
            Field("reason", "reason", streams.code(REASONS)),
            amount,
        ),
        "transfer": (
            *head("transfer", "transfer_id", "sent_at"),
            who,
            *sides,
            where,
            Field("channel", "channel", streams.code(TRANSFER_CHANNELS)),
            amount,
        ),
    }


def label_fields() -> tuple[Field, ...]:
    """A verdict's line: on which event, what, known when, and from whom."""
    return (
        Field("event_type", "event", _types),
        Field("event_id", "event", _ids),
        Field("label", "label", streams.code(("fraud",))),
        Field("value", "value", streams.flag),
        Field("known_at", "known", streams.timestamp),
        Field("source", "source", streams.code(SOURCES)),
    )


def truth_fields(campaigns: Sequence[str]) -> tuple[Field, ...]:
    """The truth's line: fraud or not, of which kind, and which campaign of it."""
    return (
        Field("event_type", "event", _types),
        Field("event_id", "event", _ids),
        Field("fraud", "is_fraud", streams.flag),
        Field("kind", "fraud", streams.code(KINDS)),
        Field("campaign", "campaign", streams.code(campaigns)),
    )


def _types(column: npt.NDArray[Any]) -> Sequence[str]:
    return streams.code(TYPES)(column.astype(np.int64) >> TYPE_SHIFT)


def _ids(column: npt.NDArray[Any]) -> Sequence[str]:
    prefixes = list(PREFIXES.values())
    return [f'"{prefixes[word >> TYPE_SHIFT]}{word & (2**TYPE_SHIFT - 1):09d}"' for word in column.tolist()]
