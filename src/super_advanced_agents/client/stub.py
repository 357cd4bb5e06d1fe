"""`DistributedVectorStoreStub`: a distributed store's client over an in-process loopback: real encoding, no socket."""

from __future__ import annotations

from typing import Any, cast

import orjson

from super_advanced_agents.client.remote_store import RemoteVectorStore
from super_advanced_agents.client.transport import RemoteCall
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.codec import decode, decode_reply, encode, encode_reply, size_of
from super_advanced_agents.protocol.error_mapping import error_of
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.options import Metric


class DistributedVectorStoreStub(RemoteVectorStore):
    """A client of `store` that encodes every call and decodes every answer as if a network lay between.

    For tests, and for code that is to run against a served store later: whatever works here needs nothing in process.
    Closing the stub leaves the store open.
    """

    def __init__(self, store: VectorStore) -> None:
        super().__init__("loopback")
        self._dim = store.dim
        self._served = _Loopback(store)

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._dim

    async def _acall(self, call: RemoteCall) -> object:
        assert call.operation.rpc is not None
        message = encode(call.request, call.operation.rpc.request, collection=call.target)
        went_well, reply = await self._served.handle(call.operation, message.SerializeToString())
        if not went_well:
            raise error_of(orjson.loads(reply))
        return decode_reply(call.operation.rpc.reply.FromString(reply), call.operation.reply, call.result_type)

    async def _ametric(self) -> Metric:
        return cast("Metric", (await self.astats()).get("metric", "cosine"))


class _Loopback:
    """The serving end: decodes a call, has the store answer it, encodes the result or the error."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    async def handle(self, operation: Operation, frame: bytes) -> tuple[bool, bytes]:
        """Return whether it went well, and the reply or the problem document."""
        assert operation.rpc is not None
        assert operation.request is not None
        kind, message = operation.request, operation.rpc.request.FromString(frame)
        try:
            request: Any = await self._store.amake(
                lambda bounds: decode(message, kind, bounds=bounds), size_of(message)
            )
            result = await self._store.aexecute(request)
        except SuperAdvancedAgentsError as exc:
            return False, orjson.dumps(problem_of(exc))
        return True, encode_reply(result, operation.rpc.reply, operation.reply).SerializeToString()
