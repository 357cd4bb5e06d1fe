"""A load from another core: requests over kept connections, as light as Python can be, each answer timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import httptools
import orjson


@dataclass(slots=True)
class Load:
    """What came back.

    Attributes:
        seconds: from the first request to the last answer.
        latencies_ms: of each answer.
        statuses: how many answers had each status.
    """

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        """Good answers each second."""
        return sum(n for status, n in self.statuses.items() if status < 300) / self.seconds


def request(path: str, body: object, headers: Mapping[str, str]) -> bytes:
    """One POST of JSON, ready to be sent."""
    content = orjson.dumps(body)
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(content)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def drive(host: str, port: int, requests: Iterable[bytes], *, connections: int) -> Load:
    """Send all requests, one at a time on each of so many connections."""
    load, waiting = Load(), iter(requests)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    done = [loop.create_future() for _ in range(connections)]
    for each in done:
        await loop.create_connection(lambda each=each: _Connection(waiting, load, each), host, port)
    await asyncio.gather(*done)
    load.seconds = time.perf_counter() - began
    return load


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the one before is whole."""

    def __init__(self, waiting: Iterator[bytes], load: Load, done: asyncio.Future[None]) -> None:
        self._waiting = waiting
        self._load = load
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._next()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._load.latencies_ms.append((time.perf_counter() - self._sent) * 1e3)
        status = self._parser.get_status_code()
        self._load.statuses[status] = self._load.statuses.get(status, 0) + 1
        self._parser = httptools.HttpResponseParser(self)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("the server hung up"))

    def _next(self) -> None:
        request = next(self._waiting, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)
