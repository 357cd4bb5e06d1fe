"""The table of a server's operations: requests, routes, gRPC methods, access and costs.

Routes, gRPC handlers, clients, access rules, admission, rate limits and the documentation read it; no property is
derived from the form of a name. Tests fail for an operation without a route or handler, and for a route without an
operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from super_advanced_agents.protocol import job_requests, methods, requests
from super_advanced_agents.protocol.operation import PATH_PARAMETER, Cost, Operation, PermitKind, Retry
from super_advanced_agents.stores import requests as store
from super_advanced_agents.tenancy.context import Access

__all__ = ["BY_ROUTE", "BY_RPC", "OPERATIONS", "PATH_PARAMETER", "Cost", "Operation", "PermitKind", "Retry"]

_READ, _WRITE, _GENERATE, _ADMIN = (Access.READ,), (Access.WRITE,), (Access.GENERATE,), (Access.ADMIN,)
_CHANGE = (Access.WRITE, Access.READ)
"""The scopes of a change of what is stored: its answer tells what was there before."""
_ANSWER = (Access.GENERATE, Access.READ)
"""The scopes of an answer from memories, which may quote them."""
_WRITES: Mapping[str, Any] = MappingProxyType({"access": _WRITE, "permit": PermitKind.WRITE, "keyed": True})
_ADMINS: Mapping[str, Any] = MappingProxyType({"access": _ADMIN, "permit": PermitKind.WRITE, "keyed": True})
_GENERATES: Mapping[str, Any] = MappingProxyType({"access": _ANSWER, "permit": PermitKind.GENERATE})
_JOB_ACCESS = (Access.JOBS,)
_SUBMITS: Mapping[str, Any] = MappingProxyType({"access": _JOB_ACCESS, "permit": PermitKind.WRITE, "keyed": True})
_JOBS, _ONE_JOB, _SCHEDULES, _UPLOADS = "/v1/jobs", "/v1/jobs/{job}", "/v1/schedules", "/v1/uploads"
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


def _job(name: str, verb: str, path: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=path, target="id", **others)


def _schedule(name: str, verb: str, **others: Any) -> Operation:
    return Operation(name=name, verb=verb, path=f"{_SCHEDULES}/{{schedule}}", target="name", **others)


# -- the process ------------------------------------------------------------------------------------------------------

HEALTH = Operation(name="health", verb="GET", path="/healthz", public=True, permit=None)
HEALTH_HEAD = Operation(name="healthHead", verb="HEAD", path="/healthz", public=True, permit=None)
READINESS = Operation(name="readiness", verb="GET", path="/readyz", public=True, permit=None)
READINESS_HEAD = Operation(name="readinessHead", verb="HEAD", path="/readyz", public=True, permit=None)
DOCUMENT = Operation(name="openapi", verb="GET", path="/openapi.json", public=True)
DOCUMENT_HEAD = Operation(name="openapiHead", verb="HEAD", path="/openapi.json", public=True)
METRICS = Operation(name="metrics", verb="GET", path="/metrics", access=(Access.METRICS,), permit=None)
AUDIT = Operation(name="listAuditEntries", verb="GET", path="/v1/audit", access=(Access.ADMIN,))
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
    retry=Retry.WITH_KEY, **_ADMINS,
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

# -- background jobs --------------------------------------------------------------------------------------------------

SUBMIT_JOB = Operation(
    name="submitJob", verb="POST", path=_JOBS, request=job_requests.SubmitJobRequest, rpc=methods.SUBMIT_JOB,
    retry=Retry.WITH_KEY, status=202, **_SUBMITS,
)  # fmt: skip
LIST_JOBS = Operation(
    name="listJobs", verb="GET", path=_JOBS, request=job_requests.ListJobsRequest, reply="jobs", rpc=methods.LIST_JOBS,
    access=_JOB_ACCESS,
)  # fmt: skip
RETRY_JOBS = Operation(
    name="retryJobs", verb="POST", path=f"{_JOBS}:retry", request=job_requests.RetryJobsRequest, reply="retried",
    rpc=methods.RETRY_JOBS, retry=Retry.WITH_KEY, **_SUBMITS,
)  # fmt: skip
GET_JOB = _job("getJob", "GET", _ONE_JOB, request=job_requests.GetJobRequest, rpc=methods.GET_JOB, access=_JOB_ACCESS)
WATCH_JOB = _job(
    "watchJob", "GET", f"{_ONE_JOB}/events", request=job_requests.GetJobRequest, rpc=methods.WATCH_JOB,
    access=_JOB_ACCESS, permit=None, bounded=False,
)  # fmt: skip
CANCEL_JOB = _job(
    "cancelJob", "POST", f"{_ONE_JOB}/cancel", request=job_requests.CancelJobRequest, rpc=methods.CANCEL_JOB,
    retry=Retry.WITH_KEY, **_SUBMITS,
)  # fmt: skip
RETRY_JOB = _job(
    "retryJob", "POST", f"{_ONE_JOB}/retry", request=job_requests.RetryJobRequest, rpc=methods.RETRY_JOB,
    retry=Retry.WITH_KEY, **_SUBMITS,
)  # fmt: skip
CREATE_UPLOAD = Operation(
    name="createUpload", verb="POST", path=_UPLOADS, request=job_requests.CreateUploadRequest,
    rpc=methods.CREATE_UPLOAD, retry=Retry.WITH_KEY, status=201, **_SUBMITS,
)  # fmt: skip
ADD_PART = Operation(
    name="addPart", verb="POST", path=f"{_UPLOADS}/{{upload}}", request=job_requests.AddPartRequest,
    rpc=methods.ADD_PART, target="id", **_SUBMITS,
)  # fmt: skip
LIST_UPLOADS = Operation(
    name="listUploads", verb="GET", path=_UPLOADS, request=job_requests.ListUploadsRequest, reply="uploads",
    rpc=methods.LIST_UPLOADS, access=(Access.JOBS, Access.READ),
)  # fmt: skip
DELETE_UPLOAD = Operation(
    name="deleteUpload", verb="DELETE", path=f"{_UPLOADS}/{{upload}}", request=job_requests.DeleteUploadRequest,
    rpc=methods.DELETE_UPLOAD, target="id", retry=Retry.WITH_KEY, status=204, **_SUBMITS,
)  # fmt: skip
LIST_SCHEDULES = Operation(
    name="listSchedules", verb="GET", path=_SCHEDULES, request=job_requests.ListSchedulesRequest, reply="schedules",
    rpc=methods.LIST_SCHEDULES, access=_JOB_ACCESS,
)  # fmt: skip
PUT_SCHEDULE = _schedule(
    "putSchedule", "PUT", request=job_requests.PutScheduleRequest, rpc=methods.PUT_SCHEDULE, retry=Retry.WITH_KEY,
    **_SUBMITS,
)  # fmt: skip
PAUSE_SCHEDULE = _schedule(
    "pauseSchedule", "PATCH", request=job_requests.PauseScheduleRequest, rpc=methods.PAUSE_SCHEDULE,
    retry=Retry.WITH_KEY, **_SUBMITS,
)  # fmt: skip
DELETE_SCHEDULE = _schedule(
    "deleteSchedule", "DELETE", request=job_requests.DeleteScheduleRequest, rpc=methods.DELETE_SCHEDULE,
    retry=Retry.WITH_KEY, status=204, **_SUBMITS,
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
CHAT = Operation(name="chat", verb="POST", path="/v1/chat/completions", cost=Cost.TOKENS, keyed=True, shows_memory=True,
                 **{**_GENERATES, "access": _GENERATE})  # fmt: skip  # with memories, `_ANSWER`; to store, `_WRITE` too
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
