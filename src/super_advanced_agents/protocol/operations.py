"""The one table of operations: what is asked and answered, where it is served, and what a call of it needs.

Routes, gRPC handlers, clients, access rules, admission, rate limits and the documentation read it; nothing is derived
from the shape of a name. An operation of the table that nobody serves, or a route without one, fails a test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol import requests as asked
from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.stores import requests as store
from super_advanced_agents.tenancy.context import Access

PATH_PARAMETER = re.compile(r"{(\w+)(?::path)?}")
"""A parameter in the path of an operation."""


class PermitKind(StrEnum):
    """What a call keeps busy; each kind has permits of its own, so that none crowds out another."""

    SEARCH = "search"
    WRITE = "write"
    GENERATE = "generate"


class Retry(Enum):
    """How a client may send a call again that nobody answered."""

    AS_IT_IS = "a read, or a write whose records carry uids made at the client"
    WITH_KEY = "a write that would answer otherwise the second time: with an idempotency key"


class Cost(Enum):
    """What a call costs beyond the one unit that every call costs."""

    NOTHING = "no more"
    RECORDS = "one for each record, memory, turn or text it brings"
    QUERIES = "one for each query vector after the first"
    TEXT = "one where a text is to be embedded"
    TOKENS = "one for each token that the answer may have"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a server.

    Attributes:
        name: its stable name, the `operationId` in the OpenAPI document.
        request: the class of its request; None where the shapes are another protocol's.
        reply: the member of the JSON answer, and the field of the message, that hold the result; the result itself
            when empty.
        rpc: the gRPC method that serves it, or None.
        target: the field of the message that names the agent, collection or orchestrator; the first parameter of the
            path names it over REST. Empty for operations of the tenant.
        verb: the HTTP method; `*` for a mount, which takes any.
        path: as Starlette writes it.
        access: the scope a credential must have; None when any valid one will do.
        public: no credential is needed.
        permit: what kind of permit it runs under; None where it runs without.
        cost: what it costs beyond one unit.
        retry: how a client may send it again.
        keyed: whether an `Idempotency-Key` makes it the same write when it is sent again.
        hot: whether it is called so often that it is served without the framework's way to a route.
        status: the HTTP status of its answer; 204 where there is nothing to tell.
        bounded: whether the work on it has a deadline; what lasts as long as its caller likes has none.
    """

    name: str
    verb: str
    path: str
    request: type[Any] | None = None
    reply: str = ""
    rpc: Method[Any, Any] | None = None
    target: str = ""
    access: Access | None = None
    public: bool = False
    permit: PermitKind | None = PermitKind.SEARCH
    cost: Cost = Cost.NOTHING
    retry: Retry = Retry.AS_IT_IS
    keyed: bool = False
    hot: bool = False
    status: int = 200
    bounded: bool = True

    @property
    def path_parameters(self) -> list[str]:
        """The names of the parameters in its path, in order."""
        return PATH_PARAMETER.findall(self.path)


_READ, _WRITE, _GENERATE, _ADMIN = Access.READ, Access.WRITE, Access.GENERATE, Access.ADMIN
_WRITES: Mapping[str, Any] = MappingProxyType({"access": _WRITE, "permit": PermitKind.WRITE, "keyed": True})
_ADMINS: Mapping[str, Any] = MappingProxyType({"access": _ADMIN, "permit": PermitKind.WRITE, "keyed": True})
_GENERATES: Mapping[str, Any] = MappingProxyType({"access": _GENERATE, "permit": PermitKind.GENERATE})
_AGENT, _COLLECTION, _ORCHESTRATOR = "/v1/agents/{agent}", "/v1/collections/{collection}", "/v1/orchestrators"
_RECORDS, _MEMORIES = f"{_COLLECTION}/records", f"{_AGENT}/memories"
_ONE_RECORD, _ONE_MEMORY = f"{_RECORDS}/{{uid:path}}", f"{_MEMORIES}/{{uid:path}}"
_ASKED = f"{_ORCHESTRATOR}/{{orchestrator}}"


def _store(name: str, verb: str, path: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=path, target="collection", **others)


def _agent(name: str, verb: str, path: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=path, target="agent", **others)


def _orchestrator(name: str, verb: str, path: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=path, target="orchestrator", **others)


# -- the process ------------------------------------------------------------------------------------------------------

HEALTH = Operation(name="health", verb="GET", path="/healthz", public=True, permit=None)
READINESS = Operation(name="readiness", verb="GET", path="/readyz", public=True, permit=None)
DOCUMENT = Operation(name="openapi", verb="GET", path="/openapi.json", public=True)
DOCUMENT_HEAD = Operation(name="openapiHead", verb="HEAD", path="/openapi.json", public=True)
TENANT_STATS = Operation(name="stats", verb="GET", path="/v1/stats", access=_READ)

# -- records of a collection ------------------------------------------------------------------------------------------

ADD = _store(
    "addRecords",
    "POST",
    _RECORDS,
    request=store.AddRequest,
    reply="uids",
    rpc=methods.ADD,
    cost=Cost.RECORDS,
    **_WRITES,
)
PUT = _store(
    "putRecords",
    "PUT",
    _RECORDS,
    request=store.PutRequest,
    reply="stored",
    rpc=methods.PUT,
    cost=Cost.RECORDS,
    **_WRITES,
)
UPDATE = _store(
    "updateRecord", "PATCH", _RECORDS, request=store.UpdateRequest, reply="updated", rpc=methods.UPDATE,
    retry=Retry.WITH_KEY, **_WRITES,
)  # fmt: skip
DELETE = _store(
    "deleteRecords", "POST", f"{_RECORDS}:delete", request=store.DeleteRequest, reply="deleted", rpc=methods.DELETE,
    retry=Retry.WITH_KEY, **_WRITES,
)  # fmt: skip
GET = _store(
    "getRecords", "POST", f"{_RECORDS}:get", request=store.GetRequest, reply="records", rpc=methods.GET, access=_READ
)
COUNT = _store(
    "countRecords", "POST", f"{_RECORDS}:count", request=store.CountRequest, reply="count", rpc=methods.COUNT,
    access=_READ,
)  # fmt: skip
SCAN = _store(
    "scanRecords", "POST", f"{_RECORDS}:scan", request=store.ScanRequest, reply="records", rpc=methods.SCAN,
    access=_READ,
)  # fmt: skip
SEARCH_BATCH = _store(
    "searchCollectionBatch", "POST", f"{_COLLECTION}/search:batch", request=store.SearchRequest, reply="results",
    rpc=methods.SEARCH, cost=Cost.QUERIES, access=_READ,
)  # fmt: skip
SEARCH = _store(
    "searchCollection", "POST", f"{_COLLECTION}/search", request=store.SearchRequest, reply="results", access=_READ,
    hot=True,
)  # fmt: skip
SEARCH_HYBRID = _store(
    "searchCollectionHybrid", "POST", f"{_COLLECTION}/search:hybrid", request=store.HybridSearchRequest,
    reply="results", rpc=methods.SEARCH_HYBRID, access=_READ, hot=True,
)  # fmt: skip
SEARCH_KEYWORDS = _store(
    "searchCollectionKeywords", "POST", f"{_COLLECTION}/search:keywords", request=store.KeywordSearchRequest,
    reply="results", rpc=methods.SEARCH_KEYWORDS, access=_READ, hot=True,
)  # fmt: skip
STATS = _store(
    "collectionStats", "GET", f"{_COLLECTION}/stats", request=store.StatsRequest, rpc=methods.STATS, access=_READ
)
LIST_RECORDS = _store("listRecords", "GET", _RECORDS, request=store.ScanRequest, reply="records", access=_READ)
GET_RECORD = _store("getRecord", "GET", _ONE_RECORD, request=store.GetRequest, access=_READ)
DELETE_RECORD = _store("deleteRecord", "DELETE", _ONE_RECORD, request=store.DeleteRequest, status=204, **_WRITES)

# -- collections ------------------------------------------------------------------------------------------------------

CREATE_COLLECTION = Operation(
    name="createCollection", verb="POST", path="/v1/collections", request=asked.CreateCollectionRequest,
    rpc=methods.CREATE_COLLECTION, retry=Retry.WITH_KEY, status=201, **_WRITES,
)  # fmt: skip
LIST_COLLECTIONS = Operation(
    name="listCollections", verb="GET", path="/v1/collections", request=asked.ListCollectionsRequest,
    reply="collections", rpc=methods.LIST_COLLECTIONS, access=_READ,
)  # fmt: skip
GET_COLLECTION = Operation(
    name="getCollection", verb="GET", path=_COLLECTION, request=asked.GetCollectionRequest,
    rpc=methods.GET_COLLECTION, target="name", access=_READ,
)  # fmt: skip
DELETE_COLLECTION = Operation(
    name="deleteCollection", verb="DELETE", path=_COLLECTION, request=asked.DeleteCollectionRequest,
    rpc=methods.DELETE_COLLECTION, target="name", retry=Retry.WITH_KEY, status=204, **_WRITES,
)  # fmt: skip

# -- memories of an agent ---------------------------------------------------------------------------------------------

DEFAULT_SEARCH = Operation(
    name="search", verb="POST", path="/search", request=asked.SearchMemoriesRequest, reply="results", access=_READ,
    hot=True,
)  # fmt: skip
REMEMBER = _agent(
    "remember", "POST", _MEMORIES, request=asked.RememberRequest, reply="uids", rpc=methods.REMEMBER,
    cost=Cost.RECORDS, **_WRITES,
)  # fmt: skip
REMEMBER_TURNS = _agent(
    "rememberTurns", "", "", request=asked.RememberTurnsRequest, reply="uids", rpc=methods.REMEMBER_TURNS,
    cost=Cost.RECORDS, **_WRITES,
)  # fmt: skip  # over REST, `remember` takes conversations too
UPDATE_MEMORY = _agent(
    "updateMemory", "PATCH", _ONE_MEMORY, request=asked.UpdateMemoryRequest, reply="updated",
    rpc=methods.UPDATE_MEMORY, cost=Cost.TEXT, retry=Retry.WITH_KEY, **_WRITES,
)  # fmt: skip
SEARCH_MEMORIES = _agent(
    "searchMemories", "POST", f"{_AGENT}/search", request=asked.SearchMemoriesRequest, reply="results",
    rpc=methods.SEARCH_MEMORIES, access=_READ, hot=True,
)  # fmt: skip
GET_MEMORY = _agent(
    "recall", "GET", _ONE_MEMORY, request=asked.GetMemoryRequest, reply="memory", rpc=methods.GET_MEMORY, access=_READ
)
SCAN_MEMORIES = _agent(
    "scanMemories", "POST", f"{_MEMORIES}:scan", request=asked.ListMemoriesRequest, reply="memories",
    rpc=methods.LIST_MEMORIES, access=_READ,
)  # fmt: skip
LIST_MEMORIES = _agent(
    "listMemories", "GET", _MEMORIES, request=asked.ListMemoriesRequest, reply="memories", access=_READ
)
FORGET = _agent(
    "forgetMemories", "POST", f"{_MEMORIES}:forget", request=asked.ForgetRequest, reply="deleted", rpc=methods.FORGET,
    retry=Retry.WITH_KEY, **_WRITES,
)  # fmt: skip
FORGET_ONE = _agent("forget", "DELETE", _ONE_MEMORY, request=asked.ForgetRequest, status=204, **_WRITES)
COUNT_MEMORIES = _agent(
    "countMemories", "POST", f"{_MEMORIES}:count", request=asked.CountMemoriesRequest, reply="count",
    rpc=methods.COUNT_MEMORIES, access=_READ,
)  # fmt: skip
COUNT_ALL_MEMORIES = _agent(
    "countAllMemories", "GET", f"{_MEMORIES}:count", request=asked.CountMemoriesRequest, reply="count", access=_READ
)
ASK = _agent("ask", "POST", f"{_AGENT}/ask", request=asked.AskRequest, rpc=methods.ASK, cost=Cost.TOKENS, **_GENERATES)

# -- agents -----------------------------------------------------------------------------------------------------------

LIST_AGENTS = Operation(
    name="listAgents", verb="GET", path="/v1/agents", request=asked.ListAgentsRequest, reply="agents",
    rpc=methods.LIST_AGENTS, access=_READ,
)  # fmt: skip
GET_AGENT = Operation(
    name="getAgent", verb="GET", path=_AGENT, request=asked.GetAgentRequest, rpc=methods.GET_AGENT, target="name",
    access=_READ,
)  # fmt: skip
PUT_AGENT = Operation(
    name="putAgent", verb="PUT", path=_AGENT, request=asked.PutAgentRequest, rpc=methods.PUT_AGENT, target="name",
    **_ADMINS,
)  # fmt: skip
DELETE_AGENT = Operation(
    name="deleteAgent", verb="DELETE", path=_AGENT, request=asked.DeleteAgentRequest, rpc=methods.DELETE_AGENT,
    target="name", retry=Retry.WITH_KEY, status=204, **_ADMINS,
)  # fmt: skip

# -- orchestrators ----------------------------------------------------------------------------------------------------

ROUTE = _orchestrator("route", "POST", f"{_ASKED}/route", request=asked.RouteRequest, rpc=methods.ROUTE, **_GENERATES)
CHAIN = _orchestrator("chain", "POST", f"{_ASKED}/chain", request=asked.ChainRequest, rpc=methods.CHAIN, **_GENERATES)
FALLBACK = _orchestrator(
    "fallback", "POST", f"{_ASKED}/fallback", request=asked.FallbackRequest, rpc=methods.FALLBACK, **_GENERATES
)
PARALLEL = _orchestrator(
    "parallel", "POST", f"{_ASKED}/parallel", request=asked.ParallelRequest, rpc=methods.PARALLEL, **_GENERATES
)
COLLABORATE = _orchestrator(
    "collaborate", "POST", f"{_ASKED}/collaborate", request=asked.CollaborateRequest, rpc=methods.COLLABORATE,
    **_GENERATES,
)  # fmt: skip
SUPERVISE = _orchestrator(
    "supervise", "GET", _ASKED, request=asked.SuperviseRequest, rpc=methods.SUPERVISE, access=_READ
)
LIST_ORCHESTRATORS = Operation(
    name="listOrchestrators", verb="GET", path=_ORCHESTRATOR, request=asked.ListOrchestratorsRequest,
    reply="orchestrators", rpc=methods.LIST_ORCHESTRATORS, access=_READ,
)  # fmt: skip

# -- streams of gRPC, which have no route -----------------------------------------------------------------------------

ADD_STREAM = _store("addStream", "", "", request=store.AddRequest, reply="uids", rpc=methods.ADD_STREAM,
                    cost=Cost.RECORDS, **{**_WRITES, "keyed": False})  # fmt: skip
SEARCH_STREAM = _store("searchStream", "", "", request=store.SearchRequest, reply="results",
                       rpc=methods.SEARCH_STREAM, cost=Cost.QUERIES, access=_READ)  # fmt: skip
SCAN_STREAM = _store("scanStream", "", "", request=store.ScanRequest, reply="records", rpc=methods.SCAN_STREAM,
                     access=_READ)  # fmt: skip
ASK_STREAM = _agent("askStream", "", "", request=asked.AskRequest, rpc=methods.ASK_STREAM, cost=Cost.TOKENS,
                    **_GENERATES)  # fmt: skip

# -- other protocols' shapes ------------------------------------------------------------------------------------------

EMBEDDINGS = Operation(name="embeddings", verb="POST", path="/v1/embeddings", access=_READ, cost=Cost.RECORDS)
CHAT = Operation(name="chat", verb="POST", path="/v1/chat/completions", cost=Cost.TOKENS, **_GENERATES)
MODELS = Operation(name="models", verb="GET", path="/v1/models", access=_READ)
MODEL = Operation(name="model", verb="GET", path="/v1/models/{model:path}", access=_READ)
MCP = Operation(name="mcp", verb="POST", path="/mcp", bounded=False)
MCP_AGENT = Operation(name="mcpAgent", verb="POST", path="/mcp/{agent}", bounded=False)

OPERATIONS: tuple[Operation, ...] = tuple(value for value in list(vars().values()) if isinstance(value, Operation))
"""All of them, in the order in which they stand here."""

BY_ROUTE: Mapping[tuple[str, str], Operation] = MappingProxyType(
    {(op.verb, op.path): op for op in OPERATIONS if op.path}
)
BY_RPC: Mapping[str, Operation] = MappingProxyType({op.rpc.path: op for op in OPERATIONS if op.rpc is not None})
