"""Servers are stopped while requests come in and streams are open."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter

import pytest
from tests.load.model import language_model

RATE = 100
STREAMS = 4


class _Steady:
    """Sends requests at a constant rate, half on kept-alive connections and half on new ones."""

    def __init__(self, served):
        self._served = served
        self._idle_connections = []
        self._under_way = set()
        self.outcome = Counter()
        self.failures = []
        self.streams_begun = asyncio.Event()

    def _request(self, method, path, body=None):
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        lines += ["Content-Type: application/json", f"Authorization: Bearer {self._served.key}", "", ""]
        return "\r\n".join(lines).encode() + content

    async def run(self):
        """Send until a connection is refused; then wait for the answers to all that was sent."""
        number = 0
        while not self.outcome["not listening"]:
            number += 1
            task = asyncio.create_task(self._one(number))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(1 / RATE)
        await asyncio.gather(*self._under_way)

    async def _one(self, number):
        reader = writer = None
        if number % 2 and self._idle_connections:
            reader, writer = self._idle_connections.pop()
        if reader is None or reader.at_eof():
            try:
                reader, writer = await asyncio.open_connection(self._served.host, self._served.port)
            except OSError:
                self.outcome["not listening"] += 1
                return
        body = {"text": f"text {number}"} if number % 5 == 0 else {"query": f"question {number}"}
        path = "/v1/agents/a/memories" if number % 5 == 0 else "/v1/agents/a/search"
        writer.write(self._request("POST", path, body))
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self.outcome[int(head.split()[1])] += 1
        except (OSError, asyncio.IncompleteReadError) as exc:
            self.outcome["failed"] += 1
            self.failures.append(repr(exc))
            return
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle_connections.append((reader, writer))

    async def stream(self):
        """Read one streamed answer and count whether it ended properly."""
        reader, writer = await asyncio.open_connection(self._served.host, self._served.port)
        writer.write(self._request("POST", "/v1/agents/a/ask", {"question": "talk", "stream": True}))
        await reader.readuntil(b"event: text")
        self.outcome["streams begun"] += 1
        if self.outcome["streams begun"] == STREAMS:
            self.streams_begun.set()
        answer = await reader.read()
        writer.close()
        self.outcome["streams ended" if b"event: done" in answer else "streams broken"] += 1

    def close(self):
        """Close the remaining connections."""
        for _, writer in self._idle_connections:
            writer.close()


async def _stop(serving, name, *, before_s, linger_s):
    with (
        language_model(pause_s=0.05, words=60) as url,
        serving(name, generation_base_url=url, generation_model="m", linger_s=linger_s) as served,
    ):
        with served.client() as client:
            client.post("/v1/agents/a/memories", json={"text": "The Louvre"}).raise_for_status()
        load = _Steady(served)
        steady = asyncio.create_task(load.run())
        streams = [asyncio.create_task(load.stream()) for _ in range(STREAMS)]
        await asyncio.sleep(before_s)
        await load.streams_begun.wait()
        while load.outcome[200] <= RATE * before_s / 4:  # noqa: ASYNC110 - a slow machine takes longer
            await asyncio.sleep(1 / RATE)
        served.process.send_signal(signal.SIGTERM)
        await asyncio.gather(steady, *streams)
        load.close()
        assert await asyncio.to_thread(served.process.wait, 60) == 0
    print(name, dict(load.outcome), load.failures[:3])
    assert load.outcome["streams ended"] == STREAMS
    assert load.outcome["failed"] == 0
    answers = {status for status in load.outcome if isinstance(status, int)}
    assert answers <= {200, 429}


async def test_stopping_server_answers_every_request_it_has_received(serving):
    """Requests at 100 a second and open streams end well; then nothing listens."""
    await _stop(serving, "data", before_s=1.0, linger_s=0.5)


@pytest.mark.load
@pytest.mark.timeout(600)
async def test_ten_stopping_servers_answer_every_request_they_have_received(serving):
    """They linger as long as the default settings say."""
    for n in range(10):
        await _stop(serving, f"data{n}", before_s=2.0, linger_s=3.0)
