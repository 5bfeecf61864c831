"""Examples for the API's document: what the service answered about the card-payments project and simulated events.

The tests hold them to the schemas; where an answer changes its form, they fail.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["ALARMS", "APPLY", "BATCH", "DECISION", "LABEL", "LOGIN", "PAYMENT", "PROBLEMS"]

PAYMENT: Final[dict[str, Any]] = {
    "payment_id": "p000003472",
    "paid_at": "2025-02-10T22:57:17.922Z",
    "customer": "c79e424279e",
    "card": "kc7b728fc0b",
    "terminal": "mdfd4e6a4dd",
    "device": "veb8608997c",
    "channel": "online",
    "category": "marketplace",
    "country": "AE",
    "latitude": 44.4328,
    "longitude": 26.1043,
    "amount": 6191.00,
}
LOGIN: Final[dict[str, Any]] = {
    "login_id": "l000000001",
    "logged_in_at": "2025-01-05T18:52:32.422Z",
    "customer": "cca99e910a1",
    "device": "vf3745cfff0",
    "success": True,
    "method": "biometric",
    "country": "IN",
    "latitude": 12.9177,
    "longitude": 77.6304,
}
LABEL: Final[dict[str, Any]] = {
    "event_type": "payment",
    "event_id": "p000000435",
    "label": "fraud",
    "value": True,
    "known_at": "2025-01-12T13:19:36.239Z",
    "source": "customer",
}
ALARMS: Final[dict[str, Any]] = {
    "alarms": [
        {
            "kind": "missing",
            "subject": "device_age_h",
            "event_type": "payment",
            "since": "2025-03-10T00:00:00Z",
            "value": 0.184,
            "bound": 0.071,
            "text": "device_age_h is missing in 18.4 % of payment events since 2025-03-10; it was 5.9 %, and chance "
            "ends at 7.1 %",
        }
    ]
}
DECISION: Final[dict[str, Any]] = {
    "decision_id": "9b8294e0545ee143cfd88b6abeb7a29f",
    "event_type": "payment",
    "event_id": "p000003472",
    "event_time": "2025-02-10T22:57:17.922000Z",
    "decided_at": "2025-02-10T22:57:18.004113Z",
    "outcome": "block",
    "score": 0.9415211701030847,
    "decided_by": {"kind": "band", "name": "block"},
    "reasons": [
        {"code": "R108", "text": "a risky purchase from a new device far from home", "contribution": None},
        {"code": "device_age_h", "text": "", "contribution": 2.3455036058513503},
        {"code": "home_km", "text": "", "contribution": 2.0884778436901485},
        {"code": "merchant_risk", "text": "", "contribution": 1.5432478666110787},
        {"code": "night", "text": "", "contribution": 1.2556819851143255},
        {"code": "card.spent_1h", "text": "", "contribution": 0.6156981395471354},
    ],
    "rules": {"hit": ["new_device_far_away"], "unknown": [], "shadow": []},
    "shadow_scores": {},
    "flags": [],
    "versions": {
        "project": "b3c360a39ae85322539d6080facb0df678671b6260b5f4ceec293a11f21774fb",
        "models": {"payment_fraud": "af2322d64c679e6ebb652c5c4acf5b42ea334ab1a4353dcedb31698071e6d99d"},
    },
}
BATCH: Final = (
    '{"payment_id":"p1","paid_at":"2025-02-10T22:57:17Z","card":"k1","amount":6191.00}\n'
    '{"payment_id":"p2","paid_at":"2025-02-10T22:57:18Z","card":"k2","amount":12.50}\n'
)
APPLY: Final[dict[str, Any]] = {"version": DECISION["versions"]["project"]}
PROBLEMS: Final[dict[str, tuple[str, str]]] = {
    "unauthorized": ("the request carries no API key", "send `Authorization: Bearer pk_...`, or `X-Api-Key: pk_...`"),
    "rate_limited": ("500 requests a second are allowed", ""),
    "conflict": ("", "an id names one event for ever: send a correction under an id of its own"),
}
