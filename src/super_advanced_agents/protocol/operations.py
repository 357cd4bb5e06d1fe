"""The table of a server's operations: requests, routes, gRPC methods, access and costs.

Routes, gRPC handlers, clients, access rules, admission, rate limits and the documentation read it; no property is
derived from the form of a name. Tests fail for an operation without a route or handler, and for a route without an
operation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any

from super_advanced_agents.protocol import methods, requests
from super_advanced_agents.protocol.methods import Method
from super_advanced_agents.stores import requests as store
from super_advanced_agents.tenancy.context import Access

PATH_PARAMETER = re.compile(r"{(\w+)(?::path)?}")
"""The pattern of a parameter in an operation's path."""


class PermitKind(StrEnum):
    """The kinds of calls whose concurrency a server limits, each kind separately.

    A call holds a permit of its kind while the server works on it, so that searches do not wait for the generation of
    texts.
    """

    SEARCH = "search"
    WRITE = "write"
    GENERATE = "generate"


class Retry(Enum):
    """The ways in which a client can safely repeat a call: unchanged or with an idempotency key."""

    AS_IT_IS = "a read, or a write that carries a write_id"
    WITH_KEY = "a write whose second result would differ: with an idempotency key"


class Cost(Enum):
    """The rules for the rate-limit units that a call costs beyond the one unit of every call."""

    NOTHING = "none"
    RECORDS = "one for each record, memory, turn or text in the request"
    QUERIES = "one for each query vector after the first"
    TEXT = "one where a text is embedded"
    TOKENS = "one for each token that the answer may have"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a server: its REST route, gRPC method, access rule and cost.

    Attributes:
        name: the stable name, which is the `operationId` in the OpenAPI document.
        request: the class of the request; None where another protocol defines the shapes.
        reply: the member of the JSON response, and the field of the message, that hold the result; when empty the
            response is the result itself.
        rpc: the gRPC method that serves it, or None.
        target: the field of the message that names the agent, collection or orchestrator; over REST the first
            parameter of the path names it. Empty for operations of the tenant.
        verb: the HTTP method; `*` for a mount, which takes any.
        path: the path in Starlette's syntax.
        access: the scopes that the credential must have, all of them; empty when any valid credential is enough.
        public: whether no credential is needed.
        permit: the kind of permit that the call holds while it runs; None where it needs none.
        cost: the units that it takes from the rate limit, beyond the first.
        retry: the way in which a client may repeat it.
        keyed: whether an `Idempotency-Key` makes a repeated call the same write.
        shows_memory: whether the REST response of a keyed call shows a stored text. It is not kept then, so that what
            is forgotten is not left in it: a repeated call finds its write done, and shows what is there by then.
        hot: whether it is frequent enough to be served without the framework's routing.
        status: the HTTP status of a successful response; 204 where the response is empty.
        bounded: whether the server's request deadline applies; it does not to sessions that the client ends.
    """

    name: str
    verb: str
    path: str
    request: type[Any] | None = None
    reply: str = ""
    rpc: Method[Any, Any] | None = None
    target: str = ""
    access: tuple[Access, ...] = ()
    public: bool = False
    permit: PermitKind | None = PermitKind.SEARCH
    cost: Cost = Cost.NOTHING
    retry: Retry = Retry.AS_IT_IS
    keyed: bool = False
    shows_memory: bool = False
    hot: bool = False
    status: int = 200
    bounded: bool = True

    @property
    def path_parameters(self) -> list[str]:
        """The names of the parameters in the REST path, in order."""
        return PATH_PARAMETER.findall(self.path)


_READ, _WRITE, _GENERATE, _ADMIN = (Access.READ,), (Access.WRITE,), (Access.GENERATE,), (Access.ADMIN,)
_CHANGE = (Access.WRITE, Access.READ)
"""The scopes of a change of what is stored: its answer tells what was there before."""
_ANSWER = (Access.GENERATE, Access.READ)
"""The scopes of an answer from memories, which may quote them."""
_WRITES: Mapping[str, Any] = MappingProxyType({"access": _WRITE, "permit": PermitKind.WRITE, "keyed": True})
_ADMINS: Mapping[str, Any] = MappingProxyType({"access": _ADMIN, "permit": PermitKind.WRITE, "keyed": True})
_GENERATES: Mapping[str, Any] = MappingProxyType({"access": _ANSWER, "permit": PermitKind.GENERATE})
_AGENT, _COLLECTION, _ORCHESTRATOR = "/v1/agents/{agent}", "/v1/collections/{collection}", "/v1/orchestrators"
_RECORDS, _MEMORIES = f"{_COLLECTION}/records", f"{_AGENT}/memories"
_ONE_RECORD, _ONE_MEMORY = f"{_RECORDS}/{{uid:path}}", f"{_MEMORIES}/{{uid:path}}"
_ONE_ORCHESTRATOR = f"{_ORCHESTRATOR}/{{orchestrator}}"


def _store(name: str, verb: str, path: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=path, target="collection", **others)


def _agent(name: str, verb: str, path: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=path, target="agent", **others)


def _orchestrator(name: str, verb: str, path: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=path, target="orchestrator", **others)


# -- the process ------------------------------------------------------------------------------------------------------

HEALTH = Operation(name="health", verb="GET", path="/healthz", public=True, permit=None)
HEALTH_HEAD = Operation(name="healthHead", verb="HEAD", path="/healthz", public=True, permit=None)
READINESS = Operation(name="readiness", verb="GET", path="/readyz", public=True, permit=None)
READINESS_HEAD = Operation(name="readinessHead", verb="HEAD", path="/readyz", public=True, permit=None)
DOCUMENT = Operation(name="openapi", verb="GET", path="/openapi.json", public=True)
DOCUMENT_HEAD = Operation(name="openapiHead", verb="HEAD", path="/openapi.json", public=True)
METRICS = Operation(name="metrics", verb="GET", path="/metrics", access=(Access.METRICS,), permit=None)
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
    **{**_WRITES, "access": _CHANGE},
)  # fmt: skip
DELETE = _store(
    "deleteRecords", "POST", f"{_RECORDS}:delete", request=store.DeleteRequest, reply="deleted", rpc=methods.DELETE,
    **_WRITES,
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
    name="createCollection", verb="POST", path="/v1/collections", request=requests.CreateCollectionRequest,
    rpc=methods.CREATE_COLLECTION, retry=Retry.WITH_KEY, status=201, **_WRITES,
)  # fmt: skip
LIST_COLLECTIONS = Operation(
    name="listCollections", verb="GET", path="/v1/collections", request=requests.ListCollectionsRequest,
    reply="collections", rpc=methods.LIST_COLLECTIONS, access=_READ,
)  # fmt: skip
GET_COLLECTION = Operation(
    name="getCollection", verb="GET", path=_COLLECTION, request=requests.GetCollectionRequest,
    rpc=methods.GET_COLLECTION, target="name", access=_READ,
)  # fmt: skip
DELETE_COLLECTION = Operation(
    name="deleteCollection", verb="DELETE", path=_COLLECTION, request=requests.DeleteCollectionRequest,
    rpc=methods.DELETE_COLLECTION, target="name", retry=Retry.WITH_KEY, status=204, **_WRITES,
)  # fmt: skip

# -- memories of an agent ---------------------------------------------------------------------------------------------

DEFAULT_SEARCH = Operation(
    name="search", verb="POST", path="/search", request=requests.SearchMemoriesRequest, reply="results", access=_READ,
    hot=True,
)  # fmt: skip
REMEMBER = _agent(
    "remember", "POST", _MEMORIES, request=requests.RememberRequest, reply="uids", rpc=methods.REMEMBER,
    cost=Cost.RECORDS, **_WRITES,
)  # fmt: skip
REMEMBER_TURNS = _agent(
    "rememberTurns", "", "", request=requests.RememberTurnsRequest, reply="uids", rpc=methods.REMEMBER_TURNS,
    cost=Cost.RECORDS, **_WRITES,
)  # fmt: skip  # over REST, `remember` takes conversations too
UPDATE_MEMORY = _agent(
    "updateMemory", "PATCH", _ONE_MEMORY, request=requests.UpdateMemoryRequest, reply="updated",
    rpc=methods.UPDATE_MEMORY, cost=Cost.TEXT, shows_memory=True, **{**_WRITES, "access": _CHANGE},
)  # fmt: skip
RELOCATE_MEMORIES = _agent(
    "relocateMemories", "POST", f"{_MEMORIES}:relocate", request=requests.RelocateMemoriesRequest, reply="relocated",
    rpc=methods.RELOCATE_MEMORIES, cost=Cost.RECORDS, **{**_WRITES, "access": _CHANGE},
)  # fmt: skip
SEARCH_MEMORIES = _agent(
    "searchMemories", "POST", f"{_AGENT}/search", request=requests.SearchMemoriesRequest, reply="results",
    rpc=methods.SEARCH_MEMORIES, access=_READ, hot=True,
)  # fmt: skip
GET_MEMORY = _agent(
    "recall",
    "GET",
    _ONE_MEMORY,
    request=requests.GetMemoryRequest,
    reply="memory",
    rpc=methods.GET_MEMORY,
    access=_READ,
)
SCAN_MEMORIES = _agent(
    "scanMemories", "POST", f"{_MEMORIES}:scan", request=requests.ListMemoriesRequest, reply="memories",
    rpc=methods.LIST_MEMORIES, access=_READ,
)  # fmt: skip
LIST_MEMORIES = _agent(
    "listMemories", "GET", _MEMORIES, request=requests.ListMemoriesRequest, reply="memories", access=_READ
)
FORGET = _agent(
    "forgetMemories", "POST", f"{_MEMORIES}:forget", request=requests.ForgetRequest, reply="deleted",
    rpc=methods.FORGET, **_WRITES,
)  # fmt: skip
FORGET_ONE = _agent("forget", "DELETE", _ONE_MEMORY, request=requests.ForgetRequest, status=204, **_WRITES)
COUNT_MEMORIES = _agent(
    "countMemories", "POST", f"{_MEMORIES}:count", request=requests.CountMemoriesRequest, reply="count",
    rpc=methods.COUNT_MEMORIES, access=_READ,
)  # fmt: skip
COUNT_ALL_MEMORIES = _agent(
    "countAllMemories", "GET", f"{_MEMORIES}:count", request=requests.CountMemoriesRequest, reply="count", access=_READ
)
ASK = _agent(
    "ask", "POST", f"{_AGENT}/ask", request=requests.AskRequest, rpc=methods.ASK, cost=Cost.TOKENS, **_GENERATES
)
AGENT_CHAT = _agent(
    "agentChat", "POST", f"{_AGENT}/chat", request=requests.ChatRequest, rpc=methods.CHAT, cost=Cost.TOKENS,
    retry=Retry.WITH_KEY, keyed=True, shows_memory=True, **_GENERATES,
)  # fmt: skip  # and `memories:write` where it remembers

# -- agents -----------------------------------------------------------------------------------------------------------

LIST_AGENTS = Operation(
    name="listAgents", verb="GET", path="/v1/agents", request=requests.ListAgentsRequest, reply="agents",
    rpc=methods.LIST_AGENTS, access=_READ,
)  # fmt: skip
GET_AGENT = Operation(
    name="getAgent", verb="GET", path=_AGENT, request=requests.GetAgentRequest, rpc=methods.GET_AGENT, target="name",
    access=_READ,
)  # fmt: skip
PUT_AGENT = Operation(
    name="putAgent", verb="PUT", path=_AGENT, request=requests.PutAgentRequest, rpc=methods.PUT_AGENT, target="name",
    **_ADMINS,
)  # fmt: skip
DELETE_AGENT = Operation(
    name="deleteAgent", verb="DELETE", path=_AGENT, request=requests.DeleteAgentRequest, rpc=methods.DELETE_AGENT,
    target="name", retry=Retry.WITH_KEY, status=204, **_ADMINS,
)  # fmt: skip

# -- orchestrators ----------------------------------------------------------------------------------------------------

ROUTE = _orchestrator(
    "route", "POST", f"{_ONE_ORCHESTRATOR}/route", request=requests.RouteRequest, rpc=methods.ROUTE, **_GENERATES
)
CHAIN = _orchestrator(
    "chain", "POST", f"{_ONE_ORCHESTRATOR}/chain", request=requests.ChainRequest, rpc=methods.CHAIN, **_GENERATES
)
FALLBACK = _orchestrator(
    "fallback",
    "POST",
    f"{_ONE_ORCHESTRATOR}/fallback",
    request=requests.FallbackRequest,
    rpc=methods.FALLBACK,
    **_GENERATES,
)
PARALLEL = _orchestrator(
    "parallel",
    "POST",
    f"{_ONE_ORCHESTRATOR}/parallel",
    request=requests.ParallelRequest,
    rpc=methods.PARALLEL,
    **_GENERATES,
)
COLLABORATE = _orchestrator(
    "collaborate", "POST", f"{_ONE_ORCHESTRATOR}/collaborate", request=requests.CollaborateRequest,
    rpc=methods.COLLABORATE, **_GENERATES,
)  # fmt: skip
SUPERVISE = _orchestrator(
    "supervise", "GET", _ONE_ORCHESTRATOR, request=requests.SuperviseRequest, rpc=methods.SUPERVISE, access=_READ
)
LIST_ORCHESTRATORS = Operation(
    name="listOrchestrators", verb="GET", path=_ORCHESTRATOR, request=requests.ListOrchestratorsRequest,
    reply="orchestrators", rpc=methods.LIST_ORCHESTRATORS, access=_READ,
)  # fmt: skip

# -- streams of gRPC, which have no route -----------------------------------------------------------------------------

ADD_STREAM = _store("addStream", "", "", request=store.AddRequest, reply="uids", rpc=methods.ADD_STREAM,
                    cost=Cost.RECORDS, **{**_WRITES, "keyed": False})  # fmt: skip
SEARCH_STREAM = _store("searchStream", "", "", request=store.SearchRequest, reply="results",
                       rpc=methods.SEARCH_STREAM, cost=Cost.QUERIES, access=_READ)  # fmt: skip
SCAN_STREAM = _store("scanStream", "", "", request=store.ScanRequest, reply="records", rpc=methods.SCAN_STREAM,
                     access=_READ)  # fmt: skip
ASK_STREAM = _agent("askStream", "", "", request=requests.AskRequest, rpc=methods.ASK_STREAM, cost=Cost.TOKENS,
                    **_GENERATES)  # fmt: skip
AGENT_CHAT_STREAM = _agent("agentChatStream", "", "", request=requests.ChatRequest, rpc=methods.CHAT_STREAM,
                           cost=Cost.TOKENS, **_GENERATES)  # fmt: skip

# -- other protocols' shapes ------------------------------------------------------------------------------------------

EMBEDDINGS = Operation(name="embeddings", verb="POST", path="/v1/embeddings", access=_READ, cost=Cost.RECORDS)
CHAT = Operation(name="chat", verb="POST", path="/v1/chat/completions", cost=Cost.TOKENS,
                 **{**_GENERATES, "access": _GENERATE})  # fmt: skip  # with an agent's memories, `_ANSWER`
MODELS = Operation(name="models", verb="GET", path="/v1/models", access=_READ)
MODEL = Operation(name="model", verb="GET", path="/v1/models/{model:path}", access=_READ)
# The tools of MCP take the permits of the operations that they carry out.
MCP = Operation(name="mcp", verb="POST", path="/mcp", permit=None, bounded=False)
MCP_AGENT = Operation(name="mcpAgent", verb="POST", path="/mcp/{agent}", permit=None, bounded=False)

OPERATIONS: tuple[Operation, ...] = tuple(value for value in list(vars().values()) if isinstance(value, Operation))
"""Every operation of this module, in the order of definition."""

BY_ROUTE: Mapping[tuple[str, str], Operation] = MappingProxyType(
    {(op.verb, op.path): op for op in OPERATIONS if op.path}
)
BY_RPC: Mapping[str, Operation] = MappingProxyType({op.rpc.path: op for op in OPERATIONS if op.rpc is not None})
