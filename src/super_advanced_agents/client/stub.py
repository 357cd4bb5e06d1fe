"""`DistributedVectorStoreStub`: a distributed store's client over an in-process loopback: real encoding, no socket."""

from __future__ import annotations

import orjson

from super_advanced_agents.client.remote_store import RemoteVectorStore
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.protocol.methods import Method, Q, R
from super_advanced_agents.protocol.problems import problem_of
from super_advanced_agents.protocol.raising import error_of
from super_advanced_agents.protocol.serving import HANDLERS
from super_advanced_agents.stores import VectorStore


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

    async def _unary(self, method: Method[Q, R], request: Q) -> R:
        went_well, reply = await self._served.handle(method.name, method.request, request.SerializeToString())
        if not went_well:
            raise error_of(orjson.loads(reply))
        return method.reply.FromString(reply)


class _Loopback:
    """The serving end: decodes a call, carries it out, encodes the result or the error."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    async def handle(self, name: str, kind: type[Q], frame: bytes) -> tuple[bool, bytes]:
        """Whether it went well, and the reply or the problem document."""
        try:
            reply = await HANDLERS[name](self._store, kind.FromString(frame))
        except SuperAdvancedAgentsError as exc:
            return False, orjson.dumps(problem_of(exc))
        return True, reply.SerializeToString()
