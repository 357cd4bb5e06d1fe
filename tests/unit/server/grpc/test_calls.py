"""What every call passes: credentials, allowances, permits, keys of writes, deadlines; and what it is told."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from tests.unit.server.grpc.conftest import listening, opened_gate

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.protocol.packing import pack_vectors
from super_advanced_agents.protocol.v1 import agents_pb2, vector_store_pb2
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.server.grpc.health import HEALTH, REFLECTION
from super_advanced_agents.tenancy.runtime import Stage
from super_advanced_agents.tenancy.settings import Settings

COLLECTION = vector_store_pb2.CreateCollectionRequest(name="notes", dim=4)
LIST = vector_store_pb2.ListCollectionsRequest()
ADD = vector_store_pb2.AddRequest(collection="notes", dim=4, vectors=pack_vectors(np.eye(3, 4, dtype=np.float32)))
CHECK = Method(HEALTH, "Check", HealthCheckRequest, HealthCheckResponse)
WATCH = Method(HEALTH, "Watch", HealthCheckRequest, HealthCheckResponse, False, True)
REFLECT = Method(REFLECTION, "ServerReflectionInfo", ServerReflectionRequest, ServerReflectionResponse, True, True)


def _bearer(key):
    return (("authorization", f"Bearer {key.key}"),)


def _made_keys(folder):
    table = KeyTable(Settings.load(data_dir=folder).server_dir)
    made = [
        table.create(tenant=tenant, scopes=[scope])
        for tenant, scope in (("default", "admin"), ("default", "memories:read"), ("globex", "admin"))
    ]
    table.close()
    return made


async def test_a_credential_decides_whose_and_what(tmp_path):
    """None and a wrong one are refused, a reader may not write, and a tenant sees its own alone."""
    admin, reader, other = await asyncio.to_thread(_made_keys, tmp_path)
    async with opened_gate(tmp_path, auth=True) as services, listening(services) as caller:
        for metadata in ((), (("authorization", "Bearer nonsense"),), (("x-api-key", "saa_x"),)):
            code, problem, _ = await caller.refusal(methods.LIST_COLLECTIONS, LIST, metadata=metadata)
            assert (code, problem["error"]) == (grpc.StatusCode.UNAUTHENTICATED, "AuthenticationError")
        # What it sent is not looked at before it is known who it is.
        code, _, _ = await caller.refusal(methods.ADD, frames=[b"\xff"])
        assert code == grpc.StatusCode.UNAUTHENTICATED
        await caller.ask(methods.CREATE_COLLECTION, COLLECTION, metadata=_bearer(admin))
        code, problem, _ = await caller.refusal(methods.CREATE_COLLECTION, COLLECTION, metadata=_bearer(reader))
        assert (code, problem["error"]) == (grpc.StatusCode.PERMISSION_DENIED, "PermissionDeniedError")
        seen = await caller.ask(methods.LIST_COLLECTIONS, LIST, metadata=(("x-api-key", reader.key),))
        assert [each.name for each in seen.collections] == ["notes"]
        assert not (await caller.ask(methods.LIST_COLLECTIONS, LIST, metadata=_bearer(other))).collections
        twice = (*_bearer(admin), *_bearer(admin))
        code, _, _ = await caller.refusal(methods.LIST_COLLECTIONS, LIST, metadata=twice)
        assert code == grpc.StatusCode.UNAUTHENTICATED
        rerank = agents_pb2.SearchMemoriesRequest(query="x", rerank=True)
        code, _, _ = await caller.refusal(methods.SEARCH_MEMORIES, rerank, metadata=_bearer(reader))
        assert code == grpc.StatusCode.PERMISSION_DENIED


async def test_an_allowance_is_told_and_runs_out(tmp_path):
    """In the trailing metadata of every call; then it is refused until a time that is told."""
    async with opened_gate(tmp_path, rate_limit_per_key=4) as services, listening(services) as caller:
        call = caller.call(methods.CREATE_COLLECTION, COLLECTION)
        await call
        told = dict(await call.trailing_metadata())
        assert (told["ratelimit-limit"], told["ratelimit-remaining"]) == ("4", "3")
        await caller.ask(methods.LIST_COLLECTIONS, LIST)
        code, problem, trailing = await caller.refusal(methods.ADD, ADD)  # one, and one for each of its three records
        assert (code, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RateLimitedError")
        assert problem["retry_after_s"] > 0
        assert int(trailing["retry-after"]) >= 1
        assert trailing["ratelimit-limit"] == "4"


async def test_what_finds_no_place_is_refused_at_once(tmp_path):
    """A stream holds its place until it ends; then there is room again."""
    async with opened_gate(tmp_path, writes_in_flight=1) as services, listening(services) as caller:
        await caller.ask(methods.CREATE_COLLECTION, COLLECTION)
        holding = caller.channel.stream_stream(methods.ADD_STREAM.path)(timeout=30)
        await holding.write(ADD.SerializeToString())
        await holding.read()
        code, problem, trailing = await caller.refusal(methods.ADD, ADD)
        assert (code, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OverloadedError")
        assert "retry-after" in trailing
        await holding.done_writing()
        assert await holding.code() == grpc.StatusCode.OK
        assert len((await caller.ask(methods.ADD, ADD)).uids) == 3


async def test_a_write_with_a_key_is_done_once(caller):
    """Asked again it has the same answer; another one by that key is refused, and so is a stream."""
    await caller.ask(methods.CREATE_COLLECTION, COLLECTION)
    key = (("idempotency-key", "k1"),)
    first = await caller.ask(methods.ADD, ADD, metadata=key)
    call = caller.call(methods.ADD, ADD, metadata=key)
    assert list((await call).uids) == list(first.uids)
    assert dict(await call.trailing_metadata())["idempotency-replayed"] == "true"
    assert (await caller.ask(methods.COUNT, vector_store_pb2.CountRequest(collection="notes"))).count == 3
    code, problem, _ = await caller.refusal(methods.CREATE_COLLECTION, COLLECTION, metadata=key)
    assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "Idempotency-Key")
    code, problem, _ = await caller.refusal(methods.ADD_STREAM, ADD, metadata=key)
    assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "Idempotency-Key")
    for _ in range(2):  # a refusal is an answer too
        missing = vector_store_pb2.AddRequest(collection="nobody")
        code, problem, _ = await caller.refusal(methods.ADD, missing, metadata=(("idempotency-key", "k2"),))
        assert (code, problem["error"]) == (grpc.StatusCode.NOT_FOUND, "CollectionNotFoundError")


async def test_what_takes_too_long_is_ended(tmp_path):
    """By the server's own deadline, wherever the call waits."""
    async with opened_gate(tmp_path, request_timeout_s=0.05) as services, listening(services) as caller:
        idle = caller.channel.stream_stream(methods.ADD_STREAM.path)(timeout=30)
        assert await idle.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert services.admission.queue("write").in_flight == 0


async def _eventually(true):
    for _ in range(1_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it was not so within ten seconds")


async def test_a_call_that_is_cancelled_leaves_nothing_at_work(caller, services):
    """Down to the language model's slot; so does one whose deadline passes, and one that only waits."""
    runtime = services.runtime
    await caller.ask(
        methods.REMEMBER, agents_pb2.RememberRequest(memories=[agents_pb2.Memory(text="The Louvre is a museum")])
    )
    question = agents_pb2.AskRequest(question="Tell a long story about museums.", answer_tokens=4_096)
    for end in ("cancel", "deadline"):
        stream = caller.call(methods.ASK_STREAM, question, timeout=60 if end == "cancel" else 1.0)
        if end == "cancel":
            assert (await stream.read()).WhichOneof("event") == "sources"
            assert (await stream.read()).WhichOneof("event") == "text"
            assert runtime.generator._engine.busy_slots() == 1
            stream.cancel()
        else:
            assert await stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await _eventually(lambda: services.admission.queue("generate").in_flight == 0)
        await _eventually(lambda: runtime.generator._engine.busy_slots() == 0)


async def test_health_follows_readiness(caller, services):
    """Of the server and of each service; a watch is told of changes, and ends when the server is being stopped."""
    serving, not_serving = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
    watch = caller.call(WATCH, HealthCheckRequest())
    assert (await watch.read()).status == not_serving
    services.runtime.embedding = Stage.READY
    assert (await watch.read()).status == serving
    for service in ("", methods.VECTOR_STORE, methods.AGENT, methods.ORCHESTRATOR):
        assert (await caller.ask(CHECK, HealthCheckRequest(service=service))).status == serving
    code, _, _ = await caller.refusal(CHECK, HealthCheckRequest(service="nonsense"))
    assert code == grpc.StatusCode.NOT_FOUND
    services.draining = True
    assert (await watch.read()).status == not_serving
    assert await watch.read() is grpc.aio.EOF


async def test_reflection_tells_the_services_and_their_messages(caller):
    """To tools that have no copy of proto/."""
    [listed] = await caller.ask(REFLECT, ServerReflectionRequest(list_services=""))
    names = {service.name for service in listed.list_services_response.service}
    assert names == {methods.VECTOR_STORE, methods.AGENT, methods.ORCHESTRATOR, HEALTH, REFLECTION}
    [found] = await caller.ask(REFLECT, ServerReflectionRequest(file_containing_symbol=methods.AGENT))
    assert b"RememberTurns" in found.file_descriptor_response.file_descriptor_proto[0]


async def test_a_method_that_does_not_exist_is_told_so(caller):
    """By grpc itself."""
    with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
        await caller.channel.unary_unary(f"/{methods.AGENT}/Nonsense")(b"")
