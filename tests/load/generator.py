"""A load from a process of its own, on a core of its own: `python -m tests.load.generator < plan > report`.

A plan is JSON: `host`, `port`, `key`, `core`, `seconds`, `connections`, `path`, `body` (with `{n}` where each request
puts a number of its own), `rate` (requests a second, even if earlier ones are not answered yet; 0 for one at a time on
each connection), and `patient` (a refused connection waits for once to twice the seconds of `Retry-After`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections import deque

import httptools
import uvloop

TICK_S = 0.001
SETTLE_S = 0.5
LONGEST_WAIT_S = 30.0


class Report:
    """Counts and times of answers, in milliseconds from the moment a request was written."""

    def __init__(self) -> None:
        self.sent = 0
        self.unsent = 0
        self.broken = 0
        self.without_retry_after = 0
        self.statuses: dict[int, int] = {}
        self.accepted_ms: list[float] = []
        self.refused_ms: list[float] = []
        self.late_ms: list[float] = []

    def note(self, status: int, retry_after: bool, took_ms: float) -> None:
        """Record one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status in {429, 503}:
            self.refused_ms.append(took_ms)
            self.without_retry_after += not retry_after
        else:
            self.accepted_ms.append(took_ms)

    def summary(self, seconds: float) -> dict[str, object]:
        """Return counts, rates and percentiles."""
        return {
            "seconds": round(seconds, 2),
            "sent": self.sent,
            "unsent": self.unsent,
            "broken": self.broken,
            "without_retry_after": self.without_retry_after,
            "statuses": self.statuses,
            "accepted_per_s": round(self.statuses.get(200, 0) / seconds, 1),
            "accepted": _percentiles(self.accepted_ms),
            "refused": _percentiles(self.refused_ms),
            "late": _percentiles(self.late_ms),
        }


def _percentiles(times: list[float]) -> dict[str, float]:
    times.sort()
    if not times:
        return {}
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = {name: times[min(len(times) - 1, int(share * len(times)))] for name, share in at.items()}
    return {name: round(value, 2) for name, value in {**found, "max": times[-1]}.items()} | {"count": len(times)}


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request under way; it calls `idle` when the next may be sent."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = 0.0
        self.busy = False
        self.alive = False
        self._retry_after = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Report that the connection is ready."""
        self._transport = transport
        self.alive = True
        self._load.idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request under way as broken."""
        self.alive = False
        if self.busy:
            self._load.report.broken += 1
            self.busy = False
        self._load.lost()

    def send(self, request: bytes) -> None:
        """Send a request now."""
        self.busy, self._retry_after = True, 0
        self._load.report.sent += 1
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read an answer."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record `Retry-After`; httptools calls this."""
        if name == b"retry-after":
            self._retry_after = int(value)

    def on_message_complete(self) -> None:
        """Record the answer; httptools calls this."""
        took_ms = (time.perf_counter() - self._sent_at) * 1e3
        self._load.report.note(self._parser.get_status_code(), self._retry_after > 0, took_ms)
        self._parser = httptools.HttpResponseParser(self)
        self.busy = False
        self._load.idle(self, after_s=self._retry_after)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


class Load:
    """Sends the requests of a plan and gathers the report."""

    def __init__(self, plan: dict[str, object]) -> None:
        self.report = Report()
        self._plan = plan
        # Of one length, and unlike those of every other load: a cached answer would not be work.
        self._number = random.randrange(10**5, 10**6) * 10**6
        self._free: deque[Connection] = deque()
        self._all: list[Connection] = []
        self._open_loop = bool(plan["rate"])
        self._begun = False
        self._ending = False
        self._missing = 0
        self._chance = random.Random(0)
        self._answered = asyncio.Event()
        body = str(plan["body"])
        head = f"POST {plan['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._head = f"{head}Authorization: Bearer {plan['key']}\r\nContent-Length: ".encode()
        self._before, _, self._after = (part.encode() for part in body.partition("{n}"))

    def idle(self, connection: Connection, *, after_s: float = 0) -> None:
        """Send the next request on a connection, or keep the connection for it."""
        if after_s and self._plan["patient"] and not self._ending:
            asyncio.get_running_loop().call_later(after_s * self._chance.uniform(1, 2), self.idle, connection)
            return
        if not connection.alive:
            return
        if self._open_loop or self._ending or not self._begun:
            self._free.append(connection)
            if self._ending and not any(each.busy for each in self._all):
                self._answered.set()
        else:
            connection.send(self._request())

    def lost(self) -> None:
        """Note that a connection has gone."""
        if not self._ending:
            self._missing += 1

    def _request(self) -> bytes:
        self._number += 1
        body = b"%s%d%s" % (self._before, self._number, self._after)
        return b"%s%d\r\n\r\n%s" % (self._head, len(body), body)

    async def run(self) -> dict[str, object]:
        """Connect, send for the plan's seconds, wait for requests under way, and return the report."""
        count, seconds = int(str(self._plan["connections"])), float(str(self._plan["seconds"]))
        await self._connect(count)
        await asyncio.sleep(SETTLE_S)  # the kernel reports connections before the server has accepted them
        self._begun = True
        began = time.perf_counter()
        while self._free and not self._open_loop:
            self._free.popleft().send(self._request())
        if self._open_loop:
            await self._send_at_rate(float(str(self._plan["rate"])), seconds)
        else:
            await asyncio.sleep(seconds)
        took = time.perf_counter() - began
        self._ending = True
        summary = self.report.summary(took)
        if any(each.busy for each in self._all):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._answered.wait(), LONGEST_WAIT_S)
        summary["never_answered"] = sum(each.busy for each in self._all)
        for each in self._all:
            each.close()
        return summary

    async def _connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(
                lambda: Connection(self), self._plan["host"], self._plan["port"]
            )
            self._all.append(connection)

    async def _send_at_rate(self, rate: float, seconds: float) -> None:
        began = time.perf_counter()
        sent_count = 0
        while (now := time.perf_counter() - began) < seconds:
            due_count = int(now * rate)
            if due_count > sent_count:
                self.report.late_ms.append((now - sent_count / rate) * 1e3)
            for _ in range(due_count - sent_count):
                connection = self._next_free()
                if connection is None:
                    self.report.unsent += 1
                else:
                    connection.send(self._request())
            sent_count = due_count
            if self._missing:
                self._missing -= 1
                await self._connect(1)
            await asyncio.sleep(TICK_S)

    def _next_free(self) -> Connection | None:
        while self._free:
            connection = self._free.popleft()
            if connection.alive:
                return connection
        return None


def main() -> None:
    """Read a plan, run it, and print the report."""
    plan = json.load(sys.stdin)
    if plan.get("core") is not None:
        os.sched_setaffinity(0, {plan["core"]})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(Load(plan).run())))


if __name__ == "__main__":
    main()
