"""Who may call each route and gRPC method, written by hand and not derived from the rules that the rows check."""

from __future__ import annotations

from super_advanced_agents.protocol.v1 import agents_pb2, jobs_pb2, orchestrators_pb2, vector_store_pb2

PUBLIC, ANY_KEY = "public", "any key"
READ, WRITE, GENERATE, ADMIN, METRICS = "memories:read", "memories:write", "generate", "admin", "metrics"
JOBS = "jobs"
JOBS_AND_READ = f"{JOBS} {READ}"
CHANGE, ANSWER = f"{WRITE} {READ}", f"{GENERATE} {READ}"
"""Both scopes, where the answer tells what is stored."""

SECRET_TEXT = "walruses sing at dawn"
"""A text that the default tenant has stored; no other tenant may ever read it."""

VECTOR = [1.0, 0.0, 0.0, 0.0]
COLLECTION, MEMORIES = "/v1/collections/{collection}", "/v1/agents/{agent}/memories"

ROWS = {
    ("GET", "/openapi.json"): PUBLIC,
    ("HEAD", "/openapi.json"): PUBLIC,
    ("HEAD", "/healthz"): PUBLIC,
    ("HEAD", "/readyz"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("POST", "/search"): READ,
    ("GET", "/metrics"): METRICS,
    ("GET", "/v1/audit"): ADMIN,
    ("GET", "/v1/stats"): READ,
    ("GET", "/v1/agents"): READ,
    ("GET", "/v1/agents/{agent}"): READ,
    ("PUT", "/v1/agents/{agent}"): ADMIN,
    ("DELETE", "/v1/agents/{agent}"): ADMIN,
    ("POST", "/v1/agents/{agent}/search"): READ,
    ("POST", "/v1/agents/{agent}/ask"): ANSWER,
    ("POST", "/v1/agents/{agent}/chat"): ANSWER,
    ("POST", MEMORIES): WRITE,
    ("GET", MEMORIES): READ,
    ("POST", f"{MEMORIES}:scan"): READ,
    ("GET", f"{MEMORIES}:count"): READ,
    ("POST", f"{MEMORIES}:count"): READ,
    ("POST", f"{MEMORIES}:forget"): WRITE,
    ("POST", f"{MEMORIES}:relocate"): CHANGE,
    ("GET", f"{MEMORIES}/{{uid:path}}"): READ,
    ("PATCH", f"{MEMORIES}/{{uid:path}}"): CHANGE,
    ("DELETE", f"{MEMORIES}/{{uid:path}}"): WRITE,
    ("POST", "/v1/collections"): WRITE,
    ("GET", "/v1/collections"): READ,
    ("GET", COLLECTION): READ,
    ("DELETE", COLLECTION): WRITE,
    ("GET", f"{COLLECTION}/stats"): READ,
    ("POST", f"{COLLECTION}/records"): WRITE,
    ("PUT", f"{COLLECTION}/records"): WRITE,
    ("PATCH", f"{COLLECTION}/records"): CHANGE,
    ("POST", f"{COLLECTION}/records:get"): READ,
    ("POST", f"{COLLECTION}/records:delete"): WRITE,
    ("POST", f"{COLLECTION}/records:count"): READ,
    ("POST", f"{COLLECTION}/records:scan"): READ,
    ("GET", f"{COLLECTION}/records"): READ,
    ("GET", f"{COLLECTION}/records/{{uid:path}}"): READ,
    ("DELETE", f"{COLLECTION}/records/{{uid:path}}"): WRITE,
    ("POST", f"{COLLECTION}/search"): READ,
    ("POST", f"{COLLECTION}/search:batch"): READ,
    ("POST", f"{COLLECTION}/search:hybrid"): READ,
    ("POST", f"{COLLECTION}/search:keywords"): READ,
    ("GET", "/v1/orchestrators"): READ,
    ("GET", "/v1/orchestrators/{orchestrator}"): READ,
    ("POST", "/v1/orchestrators/{orchestrator}/route"): ANSWER,
    ("POST", "/v1/orchestrators/{orchestrator}/chain"): ANSWER,
    ("POST", "/v1/orchestrators/{orchestrator}/fallback"): ANSWER,
    ("POST", "/v1/orchestrators/{orchestrator}/parallel"): ANSWER,
    ("POST", "/v1/orchestrators/{orchestrator}/collaborate"): ANSWER,
    ("POST", "/v1/jobs"): JOBS,
    ("GET", "/v1/jobs"): JOBS,
    ("POST", "/v1/jobs:retry"): JOBS,
    ("GET", "/v1/jobs/{job}"): JOBS,
    ("GET", "/v1/jobs/{job}/events"): JOBS,
    ("POST", "/v1/jobs/{job}/cancel"): JOBS,
    ("POST", "/v1/jobs/{job}/retry"): JOBS,
    ("POST", "/v1/uploads"): JOBS,
    ("GET", "/v1/uploads"): JOBS_AND_READ,
    ("POST", "/v1/uploads/{upload}"): JOBS,
    ("DELETE", "/v1/uploads/{upload}"): JOBS,
    ("GET", "/v1/schedules"): JOBS,
    ("PUT", "/v1/schedules/{schedule}"): JOBS,
    ("PATCH", "/v1/schedules/{schedule}"): JOBS,
    ("DELETE", "/v1/schedules/{schedule}"): JOBS,
    ("POST", "/v1/embeddings"): READ,
    ("POST", "/v1/chat/completions"): GENERATE,
    ("GET", "/v1/models"): READ,
    ("POST", "/mcp"): ANY_KEY,
    ("POST", "/mcp/{agent}"): ANY_KEY,
    ("GET", "/v1/models/{model:path}"): READ,
}
"""Method and path of every REST route, and the scope that it requires; `*` is a mount, which takes any method."""

BODIES = {
    "/search": {"query": "what do they do?"},
    "/v1/agents/{agent}/search": {"query": "what do they do?"},
    MEMORIES: {"uid": "planted", "text": "of another tenant"},
    f"{MEMORIES}:scan": {},
    f"{MEMORIES}:count": {},
    f"{MEMORIES}:forget": {"uids": ["planted"]},
    f"{MEMORIES}:relocate": {"memories": [{"uid": "planted", "source": "elsewhere"}]},
    f"{MEMORIES}/{{uid:path}}": {"text": "overwritten"},
    "/v1/collections": {"name": "planted", "dim": 4, "exist_ok": True},
    f"{COLLECTION}/records": {"vectors": [VECTOR], "uids": ["planted"], "metadatas": [{}]},
    f"{COLLECTION}/records:get": {"uids": ["planted"]},
    f"{COLLECTION}/records:delete": {"uids": ["planted"]},
    f"{COLLECTION}/records:count": {},
    f"{COLLECTION}/records:scan": {},
    "/v1/jobs": {"kind": "probe_recall"},
    "/v1/schedules/{schedule}": {"kind": "probe_recall", "cron": "0 7 * * *"},
    f"{COLLECTION}/search": {"query_vector": VECTOR},
    f"{COLLECTION}/search:batch": {"query_vectors": [VECTOR]},
    f"{COLLECTION}/search:hybrid": {"query_vector": VECTOR, "query_text": "dawn"},
    f"{COLLECTION}/search:keywords": {"query_text": "dawn"},
}
"""Bodies with which the requests of another tenant are valid; the other paths get `{}`."""

GRPC_ROWS = {
    "VectorStoreService": {
        READ: "Search SearchStream SearchHybrid SearchKeywords Get Count Scan ScanStream Stats GetCollection"
        " ListCollections",
        WRITE: "Add AddStream Put Delete CreateCollection DeleteCollection",
        CHANGE: "Update",
    },
    "AgentService": {
        READ: "SearchMemories GetMemory ListMemories CountMemories ListAgents GetAgent",
        WRITE: "Remember RememberTurns Forget",
        CHANGE: "UpdateMemory RelocateMemories",
        ANSWER: "Ask AskStream Chat ChatStream",
        ADMIN: "PutAgent DeleteAgent",
    },
    "JobService": {
        JOBS_AND_READ: "ListUploads",
        JOBS: "CreateUpload AddPart DeleteUpload"
        " SubmitJob GetJob ListJobs WatchJob CancelJob RetryJob RetryJobs PutSchedule ListSchedules PauseSchedule"
        " DeleteSchedule",
    },
    "OrchestratorService": {READ: "Supervise ListOrchestrators", ANSWER: "Route Chain Fallback Parallel Collaborate"},
}
"""The methods of each gRPC service, by the scope that they require."""

GRPC_METHODS = {
    f"{service.full_name}/{method.name}": method
    for file in (vector_store_pb2, agents_pb2, orchestrators_pb2, jobs_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
GRPC_EXPECTED = {
    f"super_advanced_agents.v1.{service}/{name}": access
    for service, by_access in GRPC_ROWS.items()
    for access, names in by_access.items()
    for name in names.split()
}
ALLOWED_CALLERS = {
    READ: {"reader", "editor", "asker", "admin"},
    WRITE: {"writer", "editor", "admin"},
    CHANGE: {"editor", "admin"},
    GENERATE: {"generator", "asker", "admin"},
    ANSWER: {"asker", "admin"},
    JOBS: {"operator", "admin"},
    JOBS_AND_READ: {"admin"},
    ADMIN: {"admin"},
    METRICS: {"scraper"},
    ANY_KEY: {"reader", "writer", "editor", "generator", "asker", "operator", "admin", "scraper"},
}
REFUSED_CALLERS = ("none", "wrong", "revoked", "expired")
