"""Test that damaged frames are refused as mistakes of the caller and break nothing in the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter

import grpc
import pytest
from tests.unit.server.grpc.conftest import connected_caller, opened_services
from tests.unit.server.grpc.mutating import mutated, random_message

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.v1.agents_pb2 import CountMemoriesRequest
from super_advanced_agents.protocol.v1.vector_store_pb2 import CountRequest
from super_advanced_agents.server.grpc.server import method_handlers

FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
FRAMES, CAMPAIGN_FRAMES, OVER_A_SOCKET = 1_500, 100_000, 300


class _AbortedError(Exception):
    """Stand for the exception that grpc raises when a call is aborted."""


class _Context:
    """Stand for grpc's context of a call, as far as the server uses it."""

    def __init__(self, frames):
        self.code = grpc.StatusCode.OK
        self.sent = 0
        self._frames = list(frames)
        self._callbacks = []

    def invocation_metadata(self):
        return ()

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def add_done_callback(self, callback):
        self._callbacks.append(callback)

    def end(self):
        for callback in self._callbacks:
            callback(self)

    def set_trailing_metadata(self, trailing):
        pass

    async def read(self):
        return self._frames.pop(0) if self._frames else grpc.aio.EOF

    async def write(self, frame):
        self.sent += 1

    async def abort(self, code, details, trailing):
        # Members of an orchestrator that do not answer are no fault of the server: any text is the name of an agent.
        self.code = None if "requested answers were given" in details else code
        raise _AbortedError(details)


def _ends_by_itself(handler):
    """Return whether a call of this method ends; the watch of the health service does not."""
    return not handler.path.endswith("/Watch")


async def _call(handler, draw):
    kind, grpc_handler = handler.method.request, handler.method_handler()
    count = 1 + (draw.randrange(2) if handler.method.takes_stream else 0)
    context = _Context([mutated(random_message(kind, draw).SerializeToString(), draw) for _ in range(count)])
    with contextlib.suppress(_AbortedError):
        await (grpc_handler.stream_stream or grpc_handler.stream_unary)(None, context)
    context.end()
    return context.code


async def _campaign(folder, count, seed):
    draw = random.Random(seed)
    codes = Counter()
    async with opened_services(folder, rate_limit_per_key=0, rate_limit_per_tenant=0, max_collections=8) as services:
        handlers = [
            handler for handler in method_handlers(services, services.runtime.settings) if _ends_by_itself(handler)
        ]
        for n in range(count):
            handler = handlers[n % len(handlers)]
            if n % 300 == 0:  # a frame may have deleted the collection
                await prepare_collection(services)
            code = await _call(handler, draw)
            assert code not in FAULTS, f"{handler.path}, frame {n} of seed {seed}"
            codes[code] += 1
        for kind in ("search", "write", "generate"):
            assert services.admission.pool(kind).in_flight == 0
    return codes


async def prepare_collection(services):
    """Create the collection that most frames name, with one record in it."""
    from super_advanced_agents.tenancy.workspace import Workspace

    workspace = Workspace(services.runtime, "default")
    for info in await workspace.acollections():
        if info.name != "fuzz" or info.dim != 4:
            await workspace.adelete_collection(info.name)
    await workspace.acreate_collection("fuzz", dim=4, exist_ok=True)
    await (await workspace.acollection("fuzz")).aadd([1.0, 0.0, 0.0, 0.0], {"text": "a zebra"}, "u1")


async def test_mutated_frames_cause_no_server_error_in_any_method(tmp_path, caplog):
    """Frames go straight to the handlers; most are refused, and some are carried out."""
    with caplog.at_level(logging.ERROR, logger="super_advanced_agents"):
        codes = await _campaign(tmp_path, FRAMES, seed=1)
    assert not caplog.records
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > FRAMES // 4
    assert codes[grpc.StatusCode.OK] > FRAMES // 20


@pytest.mark.load
async def test_a_hundred_thousand_mutated_frames_cause_no_server_error(tmp_path, caplog):
    """The longer campaign has another seed."""
    with caplog.at_level(logging.ERROR, logger="super_advanced_agents"):
        codes = await _campaign(tmp_path, CAMPAIGN_FRAMES, seed=2)
    assert not caplog.records
    assert codes.total() == CAMPAIGN_FRAMES


async def test_server_answers_as_before_after_mutated_frames_on_its_socket(tmp_path):
    """Ten calls at a time send them."""
    draw = random.Random(3)
    codes = Counter()
    async with opened_services(tmp_path, rate_limit_per_key=0, rate_limit_per_tenant=0, max_collections=8) as services:
        await prepare_collection(services)
        handlers = [
            handler.method
            for handler in method_handlers(services, services.runtime.settings)
            if _ends_by_itself(handler)
        ]
        async with connected_caller(services) as caller:

            async def send(method):
                frames = [mutated(random_message(method.request, draw).SerializeToString(), draw)]
                call = caller.call(method, frames=frames)
                if method.gives_stream:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        async for _ in call:
                            pass
                codes[await call.code()] += 1

            for start in range(0, OVER_A_SOCKET, 10):
                await asyncio.gather(*(send(handlers[n % len(handlers)]) for n in range(start, start + 10)))
            await prepare_collection(services)
            records, memories = CountRequest(collection="fuzz"), CountMemoriesRequest(agent="nobody")
            assert (await caller.invoke(methods.COUNT, records)).count >= 1
            assert (await caller.invoke(methods.COUNT_MEMORIES, memories)).count == 0
    assert not FAULTS & set(codes), codes
    assert codes.total() == OVER_A_SOCKET
