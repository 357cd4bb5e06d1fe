"""Test what every gRPC call passes: credentials, rate limits, permits, idempotency keys and deadlines."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from tests.unit.server.grpc.conftest import connected_caller, opened_services

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.protocol.packing import pack_vectors
from super_advanced_agents.protocol.v1 import agents_pb2, vector_store_pb2
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.server.grpc.health import HEALTH
from super_advanced_agents.server.grpc.reflection import REFLECTION
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


def _create_keys(folder):
    table = KeyTable(Settings.load(data_dir=folder).server_dir)
    created = [
        table.create(tenant=tenant, scopes=[scope])
        for tenant, scope in (("default", "admin"), ("default", "memories:read"), ("globex", "admin"))
    ]
    table.close()
    return created


async def test_grpc_credential_decides_the_tenant_and_the_allowed_methods(tmp_path):
    """Missing and wrong credentials are refused, a reader may not write, and tenants are separate."""
    admin, reader, other = await asyncio.to_thread(_create_keys, tmp_path)
    async with opened_services(tmp_path, auth=True) as services, connected_caller(services) as caller:
        for metadata in ((), (("authorization", "Bearer nonsense"),), (("x-api-key", "saa_x"),)):
            code, problem, _ = await caller.refusal(methods.LIST_COLLECTIONS, LIST, metadata=metadata)
            assert (code, problem["error"]) == (grpc.StatusCode.UNAUTHENTICATED, "AuthenticationError")
        # The request is not decoded before the caller is authenticated.
        code, _, _ = await caller.refusal(methods.ADD, frames=[b"\xff"])
        assert code == grpc.StatusCode.UNAUTHENTICATED
        await caller.invoke(methods.CREATE_COLLECTION, COLLECTION, metadata=_bearer(admin))
        code, problem, _ = await caller.refusal(methods.CREATE_COLLECTION, COLLECTION, metadata=_bearer(reader))
        assert (code, problem["error"]) == (grpc.StatusCode.PERMISSION_DENIED, "PermissionDeniedError")
        listed = await caller.invoke(methods.LIST_COLLECTIONS, LIST, metadata=(("x-api-key", reader.key),))
        assert [each.name for each in listed.collections] == ["notes"]
        assert not (await caller.invoke(methods.LIST_COLLECTIONS, LIST, metadata=_bearer(other))).collections
        twice = (*_bearer(admin), *_bearer(admin))
        code, _, _ = await caller.refusal(methods.LIST_COLLECTIONS, LIST, metadata=twice)
        assert code == grpc.StatusCode.UNAUTHENTICATED
        rerank = agents_pb2.SearchMemoriesRequest(query="x", rerank=True)
        code, _, _ = await caller.refusal(methods.SEARCH_MEMORIES, rerank, metadata=_bearer(reader))
        assert code == grpc.StatusCode.PERMISSION_DENIED


async def test_grpc_rate_limit_is_sent_in_the_trailing_metadata_and_enforced(tmp_path):
    """A refused call gets the time after which to retry."""
    async with opened_services(tmp_path, rate_limit_per_key=4) as services, connected_caller(services) as caller:
        call = caller.call(methods.CREATE_COLLECTION, COLLECTION)
        await call
        trailing = dict(await call.trailing_metadata())
        assert (trailing["ratelimit-limit"], trailing["ratelimit-remaining"]) == ("4", "3")
        await caller.invoke(methods.LIST_COLLECTIONS, LIST)
        code, problem, trailing = await caller.refusal(methods.ADD, ADD)  # one, and one for each of its three records
        assert (code, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RateLimitedError")
        assert problem["retry_after_s"] > 0
        assert int(trailing["retry-after"]) >= 1
        assert trailing["ratelimit-limit"] == "4"


async def test_grpc_call_without_a_free_permit_is_refused_at_once(tmp_path):
    """It learns when to try again, and takes no permit."""
    async with opened_services(tmp_path, writes_in_flight=1) as services, connected_caller(services) as caller:
        await caller.invoke(methods.CREATE_COLLECTION, COLLECTION)
        async with services.admission.enter("write", "default"):
            code, problem, trailing = await caller.refusal(methods.ADD, ADD)
            assert (code, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OverloadedError")
            assert "retry-after" in trailing
        assert len((await caller.invoke(methods.ADD, ADD)).uids) == 3
        assert services.admission.pool("write").in_flight == 0


async def test_grpc_write_with_an_idempotency_key_is_carried_out_once(caller):
    """A repetition gets the stored reply; another request with that key or a stream is refused."""
    await caller.invoke(methods.CREATE_COLLECTION, COLLECTION)
    key = (("idempotency-key", "k1"),)
    first = await caller.invoke(methods.ADD, ADD, metadata=key)
    call = caller.call(methods.ADD, ADD, metadata=key)
    assert list((await call).uids) == list(first.uids)
    assert dict(await call.trailing_metadata())["idempotency-replayed"] == "true"
    assert (await caller.invoke(methods.COUNT, vector_store_pb2.CountRequest(collection="notes"))).count == 3
    code, problem, _ = await caller.refusal(methods.CREATE_COLLECTION, COLLECTION, metadata=key)
    assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "Idempotency-Key")
    code, problem, _ = await caller.refusal(methods.ADD_STREAM, ADD, metadata=key)
    assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "Idempotency-Key")
    for _ in range(2):  # a refusal is stored like a success
        missing = vector_store_pb2.AddRequest(collection="nobody")
        code, problem, _ = await caller.refusal(methods.ADD, missing, metadata=(("idempotency-key", "k2"),))
        assert (code, problem["error"]) == (grpc.StatusCode.NOT_FOUND, "CollectionNotFoundError")


async def test_grpc_call_beyond_request_timeout_ends_with_deadline_exceeded(tmp_path):
    """The server's own deadline holds wherever a call waits."""
    async with opened_services(tmp_path, request_timeout_s=0.05) as services, connected_caller(services) as caller:
        idle = caller.channel.stream_stream(methods.ADD_STREAM.path)(timeout=30)
        assert await idle.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert services.admission.pool("write").in_flight == 0


def _busy_slots(runtime):
    """Return how many slots of llama.cpp generate.

    It is the engine that counts them; the generator's own count would not show that llama.cpp goes on.
    """
    return runtime.generator._engine.busy_slots()


async def _wait_until(condition):
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition was not met within ten seconds")


async def test_cancelled_or_expired_grpc_call_frees_its_permit_and_generation_slot(caller, services):
    """The language model stops generating for a caller that has gone."""
    runtime = services.runtime
    await caller.invoke(
        methods.REMEMBER, agents_pb2.RememberRequest(memories=[agents_pb2.Memory(text="The Louvre is a museum")])
    )
    question = agents_pb2.AskRequest(question="Tell a long story about museums.", answer_tokens=4_096)
    for ending in ("cancel", "deadline"):
        stream = caller.call(methods.ASK_STREAM, question, timeout=60 if ending == "cancel" else 1.0)
        if ending == "cancel":
            assert (await stream.read()).WhichOneof("event") == "sources"
            assert (await stream.read()).WhichOneof("event") == "text"
            assert _busy_slots(runtime) == 1
            stream.cancel()
        else:
            assert await stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await _wait_until(lambda: services.admission.pool("generate").in_flight == 0)
        await _wait_until(lambda: _busy_slots(runtime) == 0)


async def test_grpc_health_follows_the_readiness_of_the_server(caller, services):
    """A watch gets each change, and ends when the server begins to stop."""
    serving, not_serving = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
    watch = caller.call(WATCH, HealthCheckRequest())
    assert (await watch.read()).status == not_serving
    services.runtime.embedding = Stage.READY
    assert (await watch.read()).status == serving
    for service in ("", methods.VECTOR_STORE, methods.AGENT, methods.ORCHESTRATOR, methods.JOB):
        assert (await caller.invoke(CHECK, HealthCheckRequest(service=service))).status == serving
    code, _, _ = await caller.refusal(CHECK, HealthCheckRequest(service="nonsense"))
    assert code == grpc.StatusCode.NOT_FOUND
    services.draining = True
    assert (await watch.read()).status == not_serving
    assert await watch.read() is grpc.aio.EOF


async def test_grpc_reflection_lists_the_services_and_their_messages(caller):
    """Tools without a copy of proto/ use it."""
    [listed] = await caller.invoke(REFLECT, ServerReflectionRequest(list_services=""))
    names = {service.name for service in listed.list_services_response.service}
    assert names == {methods.VECTOR_STORE, methods.AGENT, methods.ORCHESTRATOR, methods.JOB, HEALTH, REFLECTION}
    [found] = await caller.invoke(REFLECT, ServerReflectionRequest(file_containing_symbol=methods.AGENT))
    assert b"RememberTurns" in found.file_descriptor_response.file_descriptor_proto[0]


async def test_unknown_grpc_method_is_answered_unimplemented(caller):
    """grpc itself answers such a call."""
    with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
        await caller.channel.unary_unary(f"/{methods.AGENT}/Nonsense")(b"")
