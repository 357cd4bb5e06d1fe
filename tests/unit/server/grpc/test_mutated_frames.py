"""Whatever bytes reach a method, the caller is told what is wrong with them, and nothing of the server breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter

import grpc
import pytest
from tests.unit.server.grpc.conftest import listening, opened_gate
from tests.unit.server.grpc.mutating import message, mutated

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.v1.agents_pb2 import CountMemoriesRequest
from super_advanced_agents.protocol.v1.vector_store_pb2 import CountRequest
from super_advanced_agents.server.grpc.server import method_handlers

FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
FRAMES, CAMPAIGN_FRAMES, OVER_A_SOCKET = 1_500, 100_000, 300


class _EndedError(Exception):
    """What grpc raises when a call is ended with a status."""


class _Context:
    """What grpc hands to a method, as far as ours look at it."""

    def __init__(self):
        self.code = grpc.StatusCode.OK
        self.sent = 0

    def invocation_metadata(self):
        return ()

    def set_trailing_metadata(self, trailing):
        pass

    async def write(self, frame):
        self.sent += 1

    async def abort(self, code, details, trailing):
        self.code = code
        raise _EndedError(details)


def _asked(door):
    """What a frame may be sent to: all but a watch, which has no end."""
    return not door.path.endswith("/Watch")


async def _many(frames):
    for frame in frames:
        yield frame


async def _call(door, draw):
    context = _Context()
    kind, handler = door.method.request, door.method_handler()
    with contextlib.suppress(_EndedError):
        frame = mutated(message(kind, draw).SerializeToString(), draw)
        if handler.request_streaming:
            more = [mutated(message(kind, draw).SerializeToString(), draw) for _ in range(draw.randrange(2))]
            await handler.stream_stream(_many([frame, *more]), context)
        elif handler.response_streaming:
            await handler.unary_stream(frame, context)
        else:
            await handler.unary_unary(frame, context)
    return context.code


async def _campaign(folder, count, seed):
    draw = random.Random(seed)
    codes = Counter()
    async with opened_gate(folder, rate_limit_per_key=0, rate_limit_per_tenant=0, max_collections=8) as services:
        every = [door for door in method_handlers(services, services.runtime.settings) if _asked(door)]
        for n in range(count):
            door = every[n % len(every)]
            if n % 300 == 0:  # what it has deleted is made again
                await gate_ready(services)
            code = await _call(door, draw)
            assert code not in FAULTS, f"{door.path}, frame {n} of seed {seed}"
            codes[code] += 1
        for kind in ("search", "write", "generate"):
            assert services.admission.queue(kind).in_flight == 0
    return codes


async def gate_ready(services):
    """The collection that most frames name, and one record in it."""
    from super_advanced_agents.tenancy.workspace import Workspace

    workspace = Workspace(services.runtime, "default")
    for info in await workspace.acollections():
        if info.name != "fuzz" or info.dim != 4:
            await workspace.adelete_collection(info.name)
    await workspace.acreate_collection("fuzz", dim=4, exist_ok=True)
    await (await workspace.acollection("fuzz")).aadd([1.0, 0.0, 0.0, 0.0], {"text": "a zebra"}, "u1")


async def test_no_mutated_frame_is_a_fault_of_the_server(tmp_path, caplog):
    """Every method, straight at its door; most frames are refused, and some are carried out."""
    with caplog.at_level(logging.ERROR, logger="super_advanced_agents"):
        codes = await _campaign(tmp_path, FRAMES, seed=1)
    assert not caplog.records
    assert codes[grpc.StatusCode.INVALID_ARGUMENT] > FRAMES // 4
    assert codes[grpc.StatusCode.OK] > FRAMES // 20


@pytest.mark.load
async def test_no_frame_of_many_is_a_fault_of_the_server(tmp_path, caplog):
    """The same with a hundred thousand."""
    with caplog.at_level(logging.ERROR, logger="super_advanced_agents"):
        codes = await _campaign(tmp_path, CAMPAIGN_FRAMES, seed=2)
    assert not caplog.records
    assert codes.total() == CAMPAIGN_FRAMES


async def test_a_server_survives_mutated_frames_on_its_socket(tmp_path):
    """Several connections send them at once; afterwards it answers as ever."""
    draw = random.Random(3)
    codes = Counter()
    async with opened_gate(tmp_path, rate_limit_per_key=0, rate_limit_per_tenant=0, max_collections=8) as services:
        await gate_ready(services)
        every = [door.method for door in method_handlers(services, services.runtime.settings) if _asked(door)]
        async with listening(services) as caller:

            async def send(method):
                frames = [mutated(message(method.request, draw).SerializeToString(), draw)]
                call = caller.call(method, frames=frames)
                if method.gives_stream:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        async for _ in call:
                            pass
                codes[await call.code()] += 1

            for start in range(0, OVER_A_SOCKET, 10):
                await asyncio.gather(*(send(every[n % len(every)]) for n in range(start, start + 10)))
            await gate_ready(services)
            records, memories = CountRequest(collection="fuzz"), CountMemoriesRequest(agent="nobody")
            assert (await caller.ask(methods.COUNT, records)).count >= 1
            assert (await caller.ask(methods.COUNT_MEMORIES, memories)).count == 0
    assert not FAULTS & set(codes), codes
    assert codes.total() == OVER_A_SOCKET
