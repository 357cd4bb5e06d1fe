"""Test work that ends when its client disconnects, and streams of events."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from starlette.requests import ClientDisconnect

from super_advanced_agents.errors import GenerationError, ModelNotFoundError
from super_advanced_agents.server.http.streaming.disconnect import while_connected
from super_advanced_agents.server.http.streaming.sse import EventStream, event


class _Client:
    """Stand for a client that disconnects when the test says so."""

    def __init__(self):
        self.disconnected = asyncio.Event()
        self.received = []
        self.first = asyncio.Event()

    async def receive(self):
        await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.received.append(message)
        if message.get("body"):
            self.first.set()

    @property
    def text(self):
        return b"".join(message.get("body", b"") for message in self.received).decode()


async def test_while_connected_returns_the_result_and_leaves_no_task():
    """Nothing watches the connection after that."""
    assert await while_connected(_Client().receive, asyncio.sleep(0, "done")) == "done"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_while_connected_raises_the_error_of_its_work():
    """The error is not wrapped."""

    async def fails():
        raise GenerationError("broken")

    with pytest.raises(GenerationError):
        await while_connected(_Client().receive, fails())


async def test_disconnect_of_the_client_cancels_the_work():
    """The work has cleaned up when the route gets the error."""
    client, cleaned = _Client(), []

    async def endless():
        try:
            client.disconnected.set()
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(ClientDisconnect):
        await while_connected(client.receive, endless())
    assert cleaned == [True]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelling_the_route_cancels_the_work():
    """A server that stops cancels its routes."""
    started, cleaned = asyncio.Event(), []

    async def endless():
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    route = asyncio.create_task(while_connected(_Client().receive, endless()))
    await started.wait()
    route.cancel()
    with pytest.raises(asyncio.CancelledError):
        await route
    assert cleaned == [True]


async def test_event_stream_sends_events_in_order_and_ends():
    """Events that were made ahead come first."""

    async def events():
        for n in range(4):
            yield event("text", {"n": n})

    client = _Client()
    stream = await EventStream.start(events(), client.receive, ahead=2)
    await stream({}, client.receive, client.send)
    assert [block.split("\n")[1] for block in client.text.split("\n\n")[:-1]] == [
        f'data: {{"n":{n}}}' for n in range(4)
    ]
    assert client.received[-1]["more_body"] is False
    assert (b"content-type", b"text/event-stream; charset=utf-8") in client.received[0]["headers"]


async def test_event_stream_raises_an_early_error_before_it_sends_anything():
    """The error can then become a status."""

    async def events():
        yield event("sources", {})
        raise ModelNotFoundError("no model")

    with pytest.raises(ModelNotFoundError):
        await EventStream.start(events(), _Client().receive, ahead=2)


async def test_event_stream_sends_a_late_error_as_an_event():
    """The status was sent before."""

    async def events():
        yield event("sources", {})
        yield event("text", {})
        raise GenerationError("broke off")

    client = _Client()
    stream = await EventStream.start(events(), client.receive, ahead=2)
    await stream({}, client.receive, client.send)
    name, data = client.text.split("\n\n")[2].split("\n")
    assert name == "event: error"
    assert orjson.loads(data.removeprefix("data: "))["error"] == "GenerationError"


async def test_disconnect_of_the_client_closes_the_source_of_an_event_stream():
    """The generator, which frees the model's slot, has cleaned up when the response ends."""
    closed = []
    client = _Client()

    async def events():
        try:
            yield event("text", {})
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    stream = await EventStream.start(events(), client.receive, ahead=1)
    response = asyncio.create_task(stream({}, client.receive, client.send))
    await client.first.wait()
    client.disconnected.set()
    await response
    assert closed == [True]
