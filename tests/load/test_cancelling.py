"""Callers hang up at any moment, and other callers must not notice."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from functools import reduce
from operator import or_

import pytest
from tests.load.model import language_model

SETTLE_S = 2.0
REPORTS = 10
SEED = 20_240
WARM = 50
SPARE = 8
"""Threads and files by which pools of a fixed size may differ from one moment to the next."""


class _Caller:
    """Sends requests by hand, over connections of its own."""

    def __init__(self, served):
        self._served = served

    def request(self, method, path, body=None):
        """Return the bytes of a request."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        lines += ["Content-Type: application/json", f"Authorization: Bearer {self._served.key}", "", ""]
        return "\r\n".join(lines).encode() + content

    async def connect(self):
        """Return a new connection."""
        return await asyncio.open_connection(self._served.host, self._served.port)

    async def hang_up(self, request, after_s):
        """Send a request and hang up after some seconds, answered or not."""
        reader, writer = await self.connect()
        writer.write(request)
        reading = asyncio.create_task(reader.read())
        await asyncio.wait({reading}, timeout=after_s)
        reading.cancel()
        writer.transport.abort()
        await asyncio.gather(reading, return_exceptions=True)

    async def send(self, connection, request):
        """Send on a kept-alive connection, and return the status and the JSON of the answer."""
        reader, writer = connection
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), json.loads(await reader.readexactly(length))


def _random_call(chance, number):
    agent = "/v1/agents/left"
    return chance.choice(
        [
            ("POST", f"{agent}/search", {"query": f"question {number}"}),
            ("POST", f"{agent}/memories", {"text": f"text {number}"}),
            ("GET", f"{agent}/memories", None),
            ("POST", f"{agent}/ask", {"question": f"talk {number}", "stream": True}),
            ("POST", f"{agent}/ask", {"question": f"talk {number}"}),
        ]
    )


async def _cancel(served, count, side_by_side=16):
    caller, chance, numbers = _Caller(served), random.Random(SEED), iter(range(count))

    async def worker():
        for number in numbers:
            await caller.hang_up(caller.request(*_random_call(chance, number)), chance.random() ** 2 * 0.2)

    await asyncio.gather(*(worker() for _ in range(side_by_side)))


async def _tagged(served, count, side_by_side=16):
    """Make calls whose answers differ, and count those that are right, another caller's, or refused."""
    caller, chance, numbers, outcome = _Caller(served), random.Random(SEED), iter(range(count)), Counter()
    agent, tags = "/v1/agents/tagged", 200
    connection = await caller.connect()
    memories = [{"text": f"tag{n:04} of many", "uid": f"u{n:04}"} for n in range(tags)]
    status, _ = await caller.send(connection, caller.request("POST", f"{agent}/memories", {"memories": memories}))
    assert status == 200
    connection[1].close()

    async def worker():
        connection = await caller.connect()
        for number in numbers:
            n = number % tags
            call, is_right = chance.choice(
                [
                    (
                        ("GET", f"{agent}/memories/u{n:04}"),
                        lambda answer, n=n: [answer["text"]] == [f"tag{n:04} of many"],
                    ),
                    (
                        ("POST", f"{agent}/search", {"query": f"tag{n:04}", "mode": "keyword", "top_k": 1}),
                        lambda answer, n=n: [each["uid"] for each in answer["results"]] == [f"u{n:04}"],
                    ),
                    (
                        ("POST", f"{agent}/memories", {"text": f"new {number}", "uid": f"new{number}"}),
                        lambda answer, number=number: answer["uids"] == [f"new{number}"],
                    ),
                ]
            )
            status, answer = await caller.send(connection, caller.request(*call))
            outcome["refused" if status == 429 else "right" if status == 200 and is_right(answer) else "foreign"] += 1
        connection[1].close()

    await asyncio.gather(*(worker() for _ in range(side_by_side)))
    return outcome


async def _check_nothing_is_left(serving, *, cancelled, tagged):
    """Run cancelled and tagged calls at once, and check that the server holds what it held before."""
    in_thread = asyncio.to_thread
    with (
        language_model(pause_s=0.02, words=200) as url,
        serving(generation_base_url=url, generation_model="m", generation_slots=4) as served,
    ):
        with served.client() as client:
            client.post("/v1/agents/left/memories", json={"text": "The Louvre"}).raise_for_status()
            client.post("/v1/agents/left/ask", json={"question": "one word"}).raise_for_status()
        await asyncio.gather(_cancel(served, WARM), _tagged(served, WARM))  # starts the threads of the pools
        await asyncio.sleep(SETTLE_S)
        reports = [await in_thread(served.resources) for _ in range(REPORTS)]
        # Some tasks come and go all the time, and pools let threads and sockets go.
        before = {**reports[-1], "sockets": max(report["sockets"] for report in reports)}
        tasks = reduce(or_, (Counter(report["tasks"]) for report in reports))
        _, outcome = await asyncio.gather(_cancel(served, cancelled), _tagged(served, tagged))
        await asyncio.sleep(SETTLE_S)
        for _ in range(REPORTS):  # what is left for good is in each of them
            after = await in_thread(served.resources)
            if after["permits"] == 0 and Counter(after["tasks"]) <= tasks and after["sockets"] <= before["sockets"]:
                break
            await asyncio.sleep(SETTLE_S)
        print(json.dumps({"before": before, "after": after, "outcome": outcome}))
        assert after["permits"] == 0
        assert Counter(after["tasks"]) <= tasks
        assert set(after["threads"]) <= set(before["threads"])
        assert len(after["threads"]) <= len(before["threads"]) + SPARE
        assert after["sockets"] <= before["sockets"]
        assert outcome["foreign"] == 0
        assert outcome["right"] > tagged // 2
        with served.client() as client:  # every slot is free
            reply = client.post("/v1/agents/left/ask", json={"question": "one word"})
            assert reply.json()["text"] == "word"
    return outcome


async def test_callers_that_hang_up_leave_no_task_thread_socket_or_permit(serving):
    """A few hundred of them run beside as many callers whose answers are checked."""
    await _check_nothing_is_left(serving, cancelled=150, tagged=300)


@pytest.mark.load
@pytest.mark.timeout(1200)
async def test_thousands_of_callers_that_hang_up_leave_no_task_thread_or_permit(serving):
    """5,000 calls are cancelled at random moments, and none of 10,000 answers is another caller's."""
    await _check_nothing_is_left(serving, cancelled=5_000, tagged=10_000)
