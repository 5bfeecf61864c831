"""Enrichments in the live path: an answer is part of the event, a missing one gives the policy's fallback, in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from integration.service_process import payment, shop
from parakh.service.backup import verify
from parakh.service.settings import read_service_settings
from parakh.service.startup import Opened, open_service


class Risk:
    """A service outside that answers as it is told to, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: str | None = '{"score": 0.9}'
        self.port = 0

    async def __aenter__(self) -> Risk:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                if self.answer is None:
                    await asyncio.sleep(30)
                body = (self.answer or "").encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def run(
    tmp_path: Path, body: Callable[[Opened, Risk, Path], Awaitable[None]], *, timeout: str = "2s", deadline: str = "3s"
) -> None:
    async def main() -> None:
        async with Risk() as risk:
            folder = shop(tmp_path / "shop")
            (folder / "parakh.toml").write_text(
                f'name = "shop"\ncurrency = "INR"\n[enrichments]\nhosts = ["127.0.0.1:{risk.port}"]\n'
            )
            (folder / "enrichments").mkdir()
            (folder / "enrichments" / "risk.yaml").write_text(
                "enrichment: risk\nfor: payment\n"
                f'url: "http://127.0.0.1:{risk.port}/terminals/{{terminal}}"\n'
                f"timeout: {timeout}\ncolumns: {{score: number}}\n"
            )
            (folder / "rules" / "risk.yaml").write_text(
                "rule: risky\nfor: payment\nwhen: risk.score > 0.8\nthen: challenge\n"
            )
            (folder / "policies" / "payment.yaml").write_text(
                f"policy: payment\nfor: payment\notherwise: allow\nfallback: review\ndeadline: {deadline}\n"
            )
            settings = read_service_settings(tmp_path / "data", environment={})
            async with open_service(folder, settings) as opened:
                await body(opened, risk, folder)

    asyncio.run(main())


async def decide(opened: Opened, number: int) -> dict[str, object]:
    told = await opened.service.decide("payment", json.dumps(payment(number)).encode())
    answer: dict[str, object] = json.loads(told.body)
    return answer


def test_an_answer_decides_and_is_asked_for_once(tmp_path: Path) -> None:
    async def body(opened: Opened, risk: Risk, folder: Path) -> None:
        first = await decide(opened, 1)
        assert first["outcome"] == "challenge"
        risk.answer = '{"score": 0.1}'
        assert await decide(opened, 1) == first  # a retry: neither asked nor decided again
        assert risk.asked == 1
        tries = await asyncio.gather(*(decide(opened, 2) for _ in range(20)))
        assert all(item == tries[0] for item in tries)
        assert tries[0]["outcome"] == "allow"
        assert risk.asked == 2

    run(tmp_path, body)
    assert verify(tmp_path / "data", decisions=True).differing == 0


def test_r16_one_that_hangs_gives_the_fallback_in_time(tmp_path: Path) -> None:
    async def body(opened: Opened, risk: Risk, folder: Path) -> None:
        risk.answer = None
        waits = []
        for number in range(60):
            began = time.perf_counter()
            told = await decide(opened, number)
            waits.append(time.perf_counter() - began)
            assert told["outcome"] == "review"
            assert told["flags"] == ["degraded"]
            assert told["decided_by"] == {"kind": "fallback", "name": "review"}
        assert risk.asked <= 20  # the breaker is open
        waits.sort()
        # The deadline is 50 ms and the question's own limit 30; the rest is for a busy machine.
        assert waits[int(0.95 * len(waits))] < 0.5

    run(tmp_path, body, timeout="30ms", deadline="50ms")
    assert verify(tmp_path / "data", decisions=True).differing == 0


def test_an_answer_of_the_wrong_type_never_passes_as_allow(tmp_path: Path) -> None:
    async def body(opened: Opened, risk: Risk, folder: Path) -> None:
        for number, answer in enumerate(('{"score": "high"}', "[]", '{"score": 1e999}', "nonsense")):
            risk.answer = answer
            told = await decide(opened, number)
            assert (told["outcome"], told["flags"]) == ("review", ["degraded"]), answer

    run(tmp_path, body)


def test_what_was_degraded_stays_so_after_a_restart(tmp_path: Path) -> None:
    told: list[dict[str, object]] = []

    async def first(opened: Opened, risk: Risk, folder: Path) -> None:
        risk.answer = None
        told.append(await decide(opened, 1))

    async def second(opened: Opened, risk: Risk, folder: Path) -> None:
        assert await decide(opened, 1) == told[0]
        assert risk.asked == 0

    run(tmp_path, first, timeout="30ms", deadline="50ms")
    run_again(tmp_path, second)


def run_again(tmp_path: Path, body: Callable[[Opened, Risk, Path], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Risk() as risk:
            settings = read_service_settings(tmp_path / "data", environment={})
            async with open_service(None, settings) as opened:
                await body(opened, risk, tmp_path)

    asyncio.run(main())
