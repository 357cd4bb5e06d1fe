"""Work that ends with its caller, and events on their way."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from starlette.requests import ClientDisconnect

from super_advanced_agents.errors import GenerationError, ModelNotFoundError
from super_advanced_agents.server.http.disconnect import while_connected
from super_advanced_agents.server.http.sse import EventStream, event


class _Client:
    """A client that hangs up when told to."""

    def __init__(self):
        self.gone = asyncio.Event()
        self.received = []
        self.first = asyncio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.received.append(message)
        if message.get("body"):
            self.first.set()

    @property
    def text(self):
        return b"".join(message.get("body", b"") for message in self.received).decode()


async def test_work_is_done_while_the_client_waits():
    """Its result is passed on, and nobody watches any more."""
    assert await while_connected(_Client().receive, asyncio.sleep(0, "done")) == "done"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_errors_of_the_work_pass():
    """As they are."""

    async def fails():
        raise GenerationError("broken")

    with pytest.raises(GenerationError):
        await while_connected(_Client().receive, fails())


async def test_a_client_that_hangs_up_cancels_the_work():
    """The work's own clean-up has run when the route learns of it."""
    client, cleaned = _Client(), []

    async def endless():
        try:
            client.gone.set()
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(ClientDisconnect):
        await while_connected(client.receive, endless())
    assert cleaned == [True]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelling_the_route_cancels_the_work():
    """As a server does that stops."""
    begun, cleaned = asyncio.Event(), []

    async def endless():
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    route = asyncio.create_task(while_connected(_Client().receive, endless()))
    await begun.wait()
    route.cancel()
    with pytest.raises(asyncio.CancelledError):
        await route
    assert cleaned == [True]


async def test_events_arrive_in_order_and_the_stream_ends():
    """Those made ahead come first."""

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


async def test_an_early_error_is_raised_before_anything_is_sent():
    """So that it becomes a status."""

    async def events():
        yield event("sources", {})
        raise ModelNotFoundError("no model")

    with pytest.raises(ModelNotFoundError):
        await EventStream.start(events(), _Client().receive, ahead=2)


async def test_a_late_error_is_told_as_an_event():
    """The status is long gone."""

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


async def test_a_client_that_leaves_a_stream_closes_its_source():
    """The generator's clean-up, which frees the model's slot, has run when the response is over."""
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
    client.gone.set()
    await response
    assert closed == [True]
