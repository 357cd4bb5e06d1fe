"""`DistributedVectorStoreStub`, a stub of the remote store that calls a store in process."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import orjson

from super_advanced_agents.client.stores.remote_store import RemoteVectorStore
from super_advanced_agents.client.transports.base import RemoteCall
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.codec import count_records, decode, encode
from super_advanced_agents.protocol.error_mapping import error_of_problem
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.protocol.replies import decode_reply, encode_reply
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.options import Metric

R = TypeVar("R")


class DistributedVectorStoreStub(RemoteVectorStore):
    """Call a vector store in this process through the wire encoding of a remote store.

    It is for tests, and for code that will use a server's store later: a request that works here can be sent over a
    network. Closing the stub leaves the store open.

    Args:
        store: the store that answers.
    """

    def __init__(self, store: VectorStore) -> None:
        super().__init__("loopback")
        self._dim = store.dim
        self._loopback = _Loopback(store)

    @property
    def dim(self) -> int:
        """The dimension of the vectors in the wrapped store."""
        return self._dim

    async def _acall(self, call: RemoteCall[R]) -> R:
        assert call.operation.rpc is not None
        message = encode(call.request, call.operation.rpc.request, collection=call.target)
        succeeded, reply = await self._loopback.handle(call.operation, message.SerializeToString())
        if not succeeded:
            raise error_of_problem(orjson.loads(reply))
        answer = call.operation.rpc.reply.FromString(reply)
        return cast("R", decode_reply(answer, call.operation.reply, call.result_type))

    async def _ametric(self) -> Metric:
        return cast("Metric", (await self.astats()).get("metric", "cosine"))


class _Loopback:
    # the server's side of the stub

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    async def handle(self, operation: Operation, frame: bytes) -> tuple[bool, bytes]:
        # returns True and the encoded reply, or False and a problem document
        assert operation.rpc is not None
        assert operation.request is not None
        kind, message = operation.request, operation.rpc.request.FromString(frame)
        try:
            request: Any = await self._store.abuild_request(
                lambda bounds: decode(message, kind, bounds=bounds), count_records(message)
            )
            result = await self._store.aexecute(request)
        except SuperAdvancedAgentsError as exc:
            return False, orjson.dumps(problem_of(exc))
        return True, encode_reply(result, operation.rpc.reply, operation.reply).SerializeToString()
