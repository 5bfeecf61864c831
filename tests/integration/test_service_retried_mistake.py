"""A request that provokes a mistake of ours while deciding: it ends the process, but not again and again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from integration.service_process import ServiceProcess, payment, shop
from parakh.service import startup
from parakh.service.assembly import Service
from parakh.service.desk import Desk, Item, Lines, Taken
from parakh.service.mistakes import Mistakes
from parakh.service.settings import ServiceSettings
from parakh.service.startup import open_service

ONES = [json.dumps(payment(number)).encode() for number in range(6)]
BAD = 3


async def singles(service: Service) -> list[dict[str, Any]]:
    """All events at once, one request each."""
    told = await asyncio.gather(*(service.decide("payment", body) for body in ONES))
    return [json.loads(one.body) for one in told]


async def batch(service: Service) -> list[dict[str, Any]]:
    """All events as lines of one request."""

    async def chunks() -> Any:
        yield b"\n".join(ONES)

    parts = [part async for part in service.decide_lines("payment", chunks())]
    return [json.loads(line) for line in b"".join(parts).splitlines()]


@pytest.mark.parametrize("asked", [singles, batch])
def test_the_good_ones_are_decided_after_the_start_and_the_bad_one_is_refused(
    asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, ended = Desk.take, []
    sizes: list[int] = []

    def planted(self: Desk, events: Sequence[Item] | Lines, arrived_us: int) -> Taken:
        sizes.append(len(events))
        items = Lines(0, events.bodies).apart() if isinstance(events, Lines) else events
        bodies = [item.body for item in items]
        if any(b'"p3"' in body for body in bodies):
            batch = self._batch(items, bodies, arrived_us)
            self.engine.take(batch, arrived_us=arrived_us)  # the engine has it, the log not
            raise RuntimeError("a mistake of ours")
        return take(self, events, arrived_us)

    monkeypatch.setattr(Desk, "take", planted)
    monkeypatch.setattr(startup, "_stop_mistaken", lambda loop, error: ended.append(error))
    folder, settings = shop(tmp_path / "shop"), ServiceSettings(data=tmp_path / "data")

    def start() -> tuple[list[dict[str, Any]], str]:
        async def main() -> tuple[list[dict[str, Any]], str]:
            async with open_service(folder, settings) as opened:
                sizes.clear()  # what the start itself decides on, to be warm
                return await asked(opened.service), opened.service.metrics().decode()

        ended.clear()
        return asyncio.run(main())

    told, _ = start()
    assert [one.get("code") for one in told] == ["internal"] * 6
    assert (sizes, len(ended)) == ([6], 1)

    told, _ = start()  # each alone, until the bad one ends it again
    assert (sizes, len(ended)) == ([1] * (BAD + 1), 1)
    assert told[BAD]["code"] == "internal"

    told, metrics = start()
    assert ended == []
    assert [one.get("outcome") for one in told] == ["allow"] * BAD + [None] + ["allow"] * (5 - BAD)
    assert told[BAD]["code"] == "internal"
    assert "upgrade" in told[BAD]["hint"]
    assert told[BAD].get("line") == (BAD + 1 if asked is batch else None)
    assert sizes == [BAD, 1, 1], "those that were decided are not suspected, the others are decided alone"
    assert 'parakh_events_total{event_type="payment",status="refused"} 1.0' in metrics

    again, _ = start()
    assert ended == []
    assert again == told

    monkeypatch.setattr(Desk, "take", take)
    monkeypatch.setattr(Mistakes.__init__, "__kwdefaults__", {"version": "9.9"})
    mended, _ = start()
    assert [one.get("outcome") for one in mended] == ["allow"] * 6
    assert not (tmp_path / "data" / "mistakes.json").exists()


PLANTED = """
from parakh.service.desk import Desk, Lines
take = Desk.take
def planted(self, events, arrived_us):
    bodies = events.bodies.bodies if isinstance(events, Lines) else b"".join(item.body for item in events)
    if b'"p3"' in bodies:
        raise RuntimeError("a mistake of ours")
    return take(self, events, arrived_us)
Desk.take = planted
"""


def test_a_process_that_ends_by_it_starts_and_goes_on(tmp_path: Path) -> None:
    """With real exits and starts: it ends twice and no more, whatever callers send again."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "sitecustomize.py").write_text(PLANTED)
    with ServiceProcess(
        shop(tmp_path / "shop"), tmp_path / "data", environment={"PYTHONPATH": str(tmp_path / "planted")}
    ) as service:
        lines = b"\n".join(ONES)
        for _ in range(2):
            told = service.post("/v1/decisions/payment:batch", lines).content.splitlines()
            assert [json.loads(line)["code"] for line in told] == ["internal"] * 6
            assert service.wait_ended() == 70
            service.start()
        told = service.post("/v1/decisions/payment:batch", lines).content.splitlines()
        assert [json.loads(line).get("outcome") for line in told] == ["allow"] * BAD + [None] + ["allow"] * (5 - BAD)
        alone = service.decide(payment(BAD))
        assert (alone.status_code, alone.json()["code"]) == (500, "internal")
        assert 'parakh_refused_total{reason="internal"} 1.0' in service.get("/metrics").text
        assert '"event":"event_refused"' in service.said()
