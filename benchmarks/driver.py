"""A light HTTP load generator: requests over persistent connections, each response timed."""

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
    """The responses to a load.

    Attributes:
        seconds: the time from the first request to the last response.
        latencies_ms: the latency of each response.
        statuses: the number of responses by status.
    """

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        """The successful responses per second."""
        return sum(n for status, n in self.statuses.items() if status < 300) / self.seconds


def request(path: str, body: object, headers: Mapping[str, str]) -> bytes:
    """Encode one POST of JSON as the bytes of an HTTP request."""
    content = orjson.dumps(body)
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(content)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def drive(host: str, port: int, requests: Iterable[bytes], *, connections: int) -> Load:
    """Send all requests over some connections, one request at a time on each."""
    load, waiting = Load(), iter(requests)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    closed = [loop.create_future() for _ in range(connections)]
    for future in closed:
        await loop.create_connection(lambda future=future: _Connection(waiting, load, future), host, port)
    await asyncio.gather(*closed)
    load.seconds = time.perf_counter() - began
    return load


class _Connection(asyncio.Protocol):
    """Send the next request when the response to the previous one is complete."""

    def __init__(self, waiting: Iterator[bytes], load: Load, done: asyncio.Future[None]) -> None:
        self._waiting = waiting
        self._load = load
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport does not inherit from it
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
