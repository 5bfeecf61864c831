"""A local HTTP server that does what a script says, a step a request: answers, stalls, or breaks off in the middle."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Step:
    """What is done with one request: wait, answer, and send only `share` of the answer before the connection breaks."""

    status: int = 200
    body: object = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    share: float = 1.0
    drip_s: float = 0.0
    """Pause after each byte of the body."""

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Script = list[Step] | Callable[[Asked], Step]


@dataclass
class Scripted:
    """The running server: its address, and what it was asked. A list's last step is repeated."""

    url: str
    script: Script
    asked: list[Asked] = field(default_factory=list)

    def step(self, asked: Asked) -> Step:
        self.asked.append(asked)
        if callable(self.script):
            return self.script(asked)
        return self.script[min(len(self.asked), len(self.script)) - 1]


@contextmanager
def serving(script: Script) -> Iterator[Scripted]:
    """Serve a script on a free port, in a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    scripted = Scripted("", script)

    async def start() -> asyncio.Server:
        return await asyncio.start_server(lambda reader, writer: _connection(scripted, reader, writer), "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:

        async def stop() -> None:
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _connection(scripted: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            step = scripted.step(Asked(method, path, headers, body))
            await asyncio.sleep(step.after_s)
            if not await _answer(step, writer):
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _answer(step: Step, writer: asyncio.StreamWriter) -> bool:
    """Send a step's answer; false where the connection is to be broken."""
    lines = [f"HTTP/1.1 {step.status} Told", f"content-length: {len(step.content)}"]
    lines += [f"{name}: {value}" for name, value in step.headers.items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    if step.drip_s:
        writer.write(head)
        for byte in step.content:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(step.drip_s)
        return True
    whole = head + step.content
    writer.write(whole[: int(len(whole) * step.share)])
    await writer.drain()
    return step.share >= 1.0
