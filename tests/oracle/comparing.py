"""Where a computed answer is not the oracle's, in words."""

from __future__ import annotations

from typing import Any

from oracle.windows import Answer, agrees

__all__ = ["EVENT_STATUSES", "different"]

EVENT_STATUSES = ("accepted", "duplicate", "conflict", "quarantined")


def different(right: Answer, made: dict[str, Any]) -> list[str]:
    """What is wrong with one answer: `made` has status, late, overflow and features. Labels are not compared."""
    if right.status not in EVENT_STATUSES or made["status"] == "label":
        return []
    if right.status != made["status"]:
        return [f"status is {made['status']}, expected {right.status}"]
    if right.status != "accepted":
        return []
    found = [f"{name} is {made[name]}" for name in ("late", "overflow") if getattr(right, name) != made[name]]
    if right.features.keys() != made["features"].keys():
        return [*found, f"features are {sorted(made['features'])}, expected {sorted(right.features)}"]
    return found + [
        f"{name} is {made['features'][name]!r}, expected {value!r}"
        for name, value in right.features.items()
        if not agrees(value, made["features"][name])
    ]
