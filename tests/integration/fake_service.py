"""A service that decides without engine, log or disk, for the tests of what stands in front of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from parakh.events.reasons import Reason
from parakh.service import examples
from parakh.service.alarms import AlarmError, read_alarms
from parakh.service.answers import NDJSON, REPLAYED, Answer, accepted_answer
from parakh.service.ledger.filters import LedgerFilter
from parakh.service.limits import Refusal
from parakh.service.problems import Problem, problem, refusal

ID_FIELDS = {"payment": "payment_id", "login": "login_id"}
HASH = examples.DECISION["versions"]["project"]


class FakeService:
    """Keeps what it was given in dicts; `breaks` makes every call fail as a mistake of ours would."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[str, str], Any] = {}
        self.answers: dict[tuple[str, str], bytes] = {}
        self.breaks = False
        self.is_ready = True
        self.applied: list[Any] = []
        self.chunks: list[int] = []

    def _maybe_break(self) -> None:
        if self.breaks:
            raise RuntimeError("card 4111111111111111 is to blame")

    async def decide(self, event_type: str, body: bytes, *, features: bool = False) -> Answer | Problem:
        self._maybe_break()
        if event_type not in ID_FIELDS:
            return problem("unknown_event_type", hint="event types are login, payment")
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            return refusal(Reason.BAD_JSON)
        if not isinstance(event, dict):
            return refusal(Reason.NOT_AN_OBJECT)
        if any(name.startswith("~") for name in event):
            return problem("reserved_key")
        event_id = event.get(ID_FIELDS[event_type])
        if not isinstance(event_id, str):
            return refusal(Reason.MISSING_ID, field=ID_FIELDS[event_type])
        place = event_type, event_id
        if place in self.bodies:
            if self.bodies[place] != event:
                return refusal(Reason.CONFLICT)
            return Answer(200, self.answers[place], (REPLAYED,))
        said = examples.DECISION | {"event_type": event_type, "event_id": event_id}
        if features:
            said = said | {"features": {"card.payments_1h": 2}}
        self.bodies[place], self.answers[place] = event, json.dumps(said).encode()
        return Answer(200, self.answers[place])

    async def decide_lines(
        self, event_type: str, chunks: AsyncIterator[bytes], features: bool = False
    ) -> AsyncIterator[bytes]:
        self._maybe_break()
        if event_type not in ID_FIELDS:
            raise Refusal(problem("unknown_event_type"))
        rest, number = b"", 0
        async for chunk in chunks:
            self.chunks.append(len(chunk))
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(bytes.strip, lines):
                number += 1
                yield await self._line(event_type, line, number)
        if rest.strip():
            yield await self._line(event_type, rest, number + 1)

    async def _line(self, event_type: str, line: bytes, number: int) -> bytes:
        told = await self.decide(event_type, line)
        if isinstance(told, Problem):
            return json.dumps(json.loads(told.body) | {"line": number}).encode() + b"\n"
        return told.body + b"\n"

    async def take_in(self, event_type: str, body: bytes) -> Answer | Problem:
        lines = [line for line in body.splitlines() if line.strip()]
        told = [await self.decide(event_type, line) for line in lines or [body]]
        if len(told) == 1:
            if isinstance(told[0], Problem):
                return told[0]
            return Answer(200, accepted_answer(event_type, json.loads(told[0].body)["event_id"]))
        return Answer(200, b"".join(item.body + b"\n" for item in told), content_type=NDJSON)

    async def labels(self, body: bytes) -> Answer | Problem:
        self._maybe_break()
        refused = []
        lines = [line for line in body.splitlines() if line.strip()]
        for number, line in enumerate(lines, 1):
            try:
                good = "label" in json.loads(line)
            except (ValueError, TypeError, RecursionError):
                good = False
            if not good:
                refused.append({"line": number, "code": "bad_json"})
        said = {"accepted": len(lines) - len(refused), "refused": refused}
        return Answer(207 if refused else 200, json.dumps(said).encode())

    async def alarms(self, body: bytes, who: str) -> Answer | Problem:
        self._maybe_break()
        try:
            taken = read_alarms(body)
        except AlarmError as error:
            return problem("invalid_request", error.message, field=error.field)
        return Answer(200, json.dumps({"accepted": len(taken)}).encode())

    async def decision(self, decision_id: str) -> Answer | Problem:
        self._maybe_break()
        return self._known(decision_id == examples.DECISION["decision_id"], json.dumps(examples.DECISION).encode())

    async def decision_of(self, event_type: str, event_id: str) -> Answer | Problem:
        self._maybe_break()
        return self._known((event_type, event_id) in self.answers, self.answers.get((event_type, event_id), b""))

    def _known(self, known: bool, body: bytes) -> Answer | Problem:
        return Answer(200, body) if known else problem("not_found")

    async def decisions(self, filter: Mapping[str, str]) -> Answer | Problem:
        self._maybe_break()
        asked = LedgerFilter.of(filter)
        return Answer(200, json.dumps({"items": [examples.DECISION][: asked.limit], "next_cursor": None}).encode())

    async def entity(self, entity: str, key: str) -> Answer | Problem:
        self._maybe_break()
        said = {"entity": entity, "as_of": examples.DECISION["decided_at"], "features": {}, "events": []}
        return self._known(entity == "card" and bool(key), json.dumps(said).encode())

    async def project(self) -> Answer | Problem:
        self._maybe_break()
        return Answer(200, self._state())

    def _state(self) -> bytes:
        return json.dumps({"hash": HASH, "state": "live", "progress": 1.0, "previous": None}).encode()

    async def check_project(self, files: Mapping[str, bytes] | None) -> Answer | Problem:
        self._maybe_break()
        if files is not None and "parakh.toml" not in files:
            return problem("project_invalid", problems=[{"message": "there is no parakh.toml"}])
        said = {"valid": True, "hash": HASH, "history": "kept", "live": HASH, "changes": []}
        return Answer(200, json.dumps(said).encode())

    async def apply_project(self, files: Mapping[str, bytes] | None, version: str | None, who: str) -> Answer | Problem:
        self._maybe_break()
        if version is not None and not HASH.startswith(version or "?"):
            return problem("not_found", "no such version")
        self.applied.append((files, version, who))
        return Answer(200, self._state())

    async def versions(self) -> Answer | Problem:
        self._maybe_break()
        return Answer(200, json.dumps({"versions": [{"hash": HASH, "live": True}]}).encode())

    def health(self) -> Answer | Problem:
        return Answer(200, b'{"status":"alive"}')

    def ready(self) -> Answer | Problem:
        return Answer(200, b'{"status":"ready"}') if self.is_ready else problem("not_ready", retry_after_s=1)

    def metrics(self) -> bytes:
        self._maybe_break()
        return b"# HELP parakh_up 1\n"
