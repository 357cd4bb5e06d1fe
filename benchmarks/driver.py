"""A light HTTP load generator: requests over persistent connections, each response timed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

    def record(self, since: float, status: int) -> None:
        """Note a response that arrived now, to a request since whose time its latency counts."""
        self.latencies_ms.append((time.perf_counter() - since) * 1e3)
        self.statuses[status] = self.statuses.get(status, 0) + 1


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


async def offer(host: str, ports: Sequence[int], requests: Sequence[bytes], *, per_s: float, connections: int) -> Load:
    """Send requests at random times, at a mean rate that does not depend on the responses.

    Latencies count from the time at which a request was due, also where it had to wait for a connection.

    Args:
        host: the host of all ports.
        ports: the ports.
        requests: the requests.
        per_s: the requests per second, on average.
        connections: the connections to each port.
    """
    load, loop = Load(), asyncio.get_running_loop()
    lines = [_Line() for _ in ports]
    for line, port in zip(lines, ports, strict=True):
        line.transports = [
            (await loop.create_connection(lambda line=line: _OpenConnection(load, line), host, port))[0]
            for _ in range(connections)
        ]
    gaps, at = random.Random(1), time.perf_counter()  # the same times in each run
    began = at
    for number, request in enumerate(requests):
        at += gaps.expovariate(per_s)
        if (wait_s := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        lines[number % len(lines)].send(request, at)
    while sum(load.statuses.values()) < len(requests):
        if any(line.lost for line in lines):
            raise ConnectionResetError("the server hung up")
        await asyncio.sleep(0.01)
    load.seconds = time.perf_counter() - began
    for line in lines:
        for transport in line.transports:
            transport.close()
    return load


class _Line:
    """Hold the connections to one port, and the requests that wait for one."""

    def __init__(self) -> None:
        self.transports: list[asyncio.BaseTransport] = []
        self.idle: deque[_OpenConnection] = deque()
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.lost = False

    def send(self, request: bytes, due: float) -> None:
        if self.idle:
            self.idle.popleft().send(request, due)
        else:
            self.waiting.append((request, due))


class _OpenConnection(asyncio.Protocol):
    """Send one request at a time, and become idle between them."""

    def __init__(self, load: Load, line: _Line) -> None:
        self._load, self._line = load, line
        self._parser = httptools.HttpResponseParser(self)
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport does not inherit from it
        self._line.idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._load.record(self._due, self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)
        if self._line.waiting:
            self.send(*self._line.waiting.popleft())
        else:
            self._line.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.lost = True


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
        self._load.record(self._sent, self._parser.get_status_code())
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
