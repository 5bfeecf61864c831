"""The Python client of the service: decisions over HTTP, with time-outs, retries under one id and typed results.

    with Client("https://decisions.internal", api_key="...") as client:
        decision = client.decide("payment", {"payment_id": "p1", ...}, timeout=0.2, fallback="review")

What stands where: `encoding` events to bytes; `exchange` what is sent and received; `retrying` when to try again;
`calls` every verb as a plan, written once; `blocking` and `awaiting` carry plans out; `results` and `errors` what comes
of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parakh.client.awaiting import AsyncClient
    from parakh.client.blocking import Client
    from parakh.client.errors import (
        ClientError,
        Conflict,
        Forbidden,
        Invalid,
        NotDecided,
        NotFound,
        NotSent,
        Overloaded,
        ProjectRefused,
        Refused,
        ServerFailed,
        TimedOut,
        Unauthorized,
        Unexpected,
        Unreachable,
    )
    from parakh.client.results import (
        Building,
        Change,
        Checked,
        Decision,
        EntityView,
        GivenUp,
        Health,
        ProjectState,
        Reason,
        Refusal,
        Taken,
        TakenIn,
        Version,
    )

__all__ = [
    "AsyncClient",
    "Building",
    "Change",
    "Checked",
    "Client",
    "ClientError",
    "Conflict",
    "Decision",
    "EntityView",
    "Forbidden",
    "GivenUp",
    "Health",
    "Invalid",
    "NotDecided",
    "NotFound",
    "NotSent",
    "Overloaded",
    "ProjectRefused",
    "ProjectState",
    "Reason",
    "Refusal",
    "Refused",
    "ServerFailed",
    "Taken",
    "TakenIn",
    "TimedOut",
    "Unauthorized",
    "Unexpected",
    "Unreachable",
    "Version",
]

# An HTTP library takes a tenth of a second to import: whoever only names the package does not wait for it.
_DRIVERS = {"AsyncClient": "awaiting", "Client": "blocking"}
_ERRORS = {
    "ClientError", "Conflict", "Forbidden", "Invalid", "NotDecided", "NotFound", "NotSent", "Overloaded",
    "ProjectRefused", "Refused", "ServerFailed", "TimedOut", "Unauthorized", "Unexpected", "Unreachable",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'parakh.client' has no attribute {name!r}")
    module = _DRIVERS.get(name) or ("errors" if name in _ERRORS else "results")
    return getattr(importlib.import_module(f"parakh.client.{module}"), name)
