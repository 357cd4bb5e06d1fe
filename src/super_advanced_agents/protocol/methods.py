"""The methods of the gRPC services, and the classes of their requests and replies.

Servers register them and clients call them. A test compares this table with the descriptors generated from proto/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import jobs_pb2 as jobs
from super_advanced_agents.protocol.v1 import orchestrators_pb2 as orchestrators
from super_advanced_agents.protocol.v1 import vector_store_pb2 as stores

PACKAGE = "super_advanced_agents.v1"
VECTOR_STORE = f"{PACKAGE}.VectorStoreService"
AGENT = f"{PACKAGE}.AgentService"
ORCHESTRATOR = f"{PACKAGE}.OrchestratorService"
JOB = f"{PACKAGE}.JobService"

ERROR_METADATA = "saa-error-bin"
"""The key of the trailing metadata that holds the problem document (JSON) of a failed call."""

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, R]):
    """One method of a gRPC service, with the classes of its requests and replies.

    Attributes:
        service: the full name of the service.
        name: the method's name in the service.
        request: the class of the request, or of each request of a stream.
        reply: the class of the reply, or of each reply of a stream.
        takes_stream: whether the client sends a stream of requests.
        gives_stream: whether the server sends a stream of replies.
    """

    service: str
    name: str
    request: type[Q]
    reply: type[R]
    takes_stream: bool = False
    gives_stream: bool = False

    @property
    def path(self) -> str:
        """The `:path` of the method in HTTP/2: `/service/name`."""
        return f"/{self.service}/{self.name}"


ADD = Method(VECTOR_STORE, "Add", stores.AddRequest, stores.AddResponse)
ADD_STREAM = Method(VECTOR_STORE, "AddStream", stores.AddRequest, stores.AddResponse, True, True)
PUT = Method(VECTOR_STORE, "Put", stores.PutRequest, stores.PutResponse)
UPDATE = Method(VECTOR_STORE, "Update", stores.UpdateRequest, stores.UpdateResponse)
SEARCH = Method(VECTOR_STORE, "Search", stores.SearchRequest, stores.SearchResponse)
SEARCH_STREAM = Method(VECTOR_STORE, "SearchStream", stores.SearchRequest, stores.SearchResponse, True, True)
SEARCH_HYBRID = Method(VECTOR_STORE, "SearchHybrid", stores.SearchHybridRequest, stores.SearchHybridResponse)
SEARCH_KEYWORDS = Method(VECTOR_STORE, "SearchKeywords", stores.SearchKeywordsRequest, stores.SearchKeywordsResponse)
GET = Method(VECTOR_STORE, "Get", stores.GetRequest, stores.GetResponse)
DELETE = Method(VECTOR_STORE, "Delete", stores.DeleteRequest, stores.DeleteResponse)
COUNT = Method(VECTOR_STORE, "Count", stores.CountRequest, stores.CountResponse)
SCAN = Method(VECTOR_STORE, "Scan", stores.ScanRequest, stores.ScanResponse)
SCAN_STREAM = Method(VECTOR_STORE, "ScanStream", stores.ScanRequest, stores.ScanResponse, False, True)
STATS = Method(VECTOR_STORE, "Stats", stores.StatsRequest, stores.StatsResponse)
CREATE_COLLECTION = Method(VECTOR_STORE, "CreateCollection", stores.CreateCollectionRequest, stores.Collection)
GET_COLLECTION = Method(VECTOR_STORE, "GetCollection", stores.GetCollectionRequest, stores.Collection)
LIST_COLLECTIONS = Method(
    VECTOR_STORE, "ListCollections", stores.ListCollectionsRequest, stores.ListCollectionsResponse
)
DELETE_COLLECTION = Method(
    VECTOR_STORE, "DeleteCollection", stores.DeleteCollectionRequest, stores.DeleteCollectionResponse
)

REMEMBER = Method(AGENT, "Remember", agents.RememberRequest, agents.RememberResponse)
REMEMBER_TURNS = Method(AGENT, "RememberTurns", agents.RememberTurnsRequest, agents.RememberResponse)
RELOCATE_MEMORIES = Method(AGENT, "RelocateMemories", agents.RelocateMemoriesRequest, agents.RelocateMemoriesResponse)
UPDATE_MEMORY = Method(AGENT, "UpdateMemory", agents.UpdateMemoryRequest, agents.UpdateMemoryResponse)
SEARCH_MEMORIES = Method(AGENT, "SearchMemories", agents.SearchMemoriesRequest, agents.SearchMemoriesResponse)
GET_MEMORY = Method(AGENT, "GetMemory", agents.GetMemoryRequest, agents.GetMemoryResponse)
LIST_MEMORIES = Method(AGENT, "ListMemories", agents.ListMemoriesRequest, agents.ListMemoriesResponse)
FORGET = Method(AGENT, "Forget", agents.ForgetRequest, agents.ForgetResponse)
COUNT_MEMORIES = Method(AGENT, "CountMemories", agents.CountMemoriesRequest, agents.CountMemoriesResponse)
ASK = Method(AGENT, "Ask", agents.AskRequest, agents.Answer)
ASK_STREAM = Method(AGENT, "AskStream", agents.AskRequest, agents.AskEvent, False, True)
CHAT = Method(AGENT, "Chat", agents.ChatRequest, agents.Answer)
CHAT_STREAM = Method(AGENT, "ChatStream", agents.ChatRequest, agents.AskEvent, False, True)
LIST_AGENTS = Method(AGENT, "ListAgents", agents.ListAgentsRequest, agents.ListAgentsResponse)
GET_AGENT = Method(AGENT, "GetAgent", agents.GetAgentRequest, agents.Agent)
PUT_AGENT = Method(AGENT, "PutAgent", agents.PutAgentRequest, agents.Agent)
DELETE_AGENT = Method(AGENT, "DeleteAgent", agents.DeleteAgentRequest, agents.DeleteAgentResponse)

ROUTE = Method(ORCHESTRATOR, "Route", orchestrators.RouteRequest, orchestrators.Outcome)
CHAIN = Method(ORCHESTRATOR, "Chain", orchestrators.ChainRequest, orchestrators.Outcome)
FALLBACK = Method(ORCHESTRATOR, "Fallback", orchestrators.FallbackRequest, orchestrators.Outcome)
PARALLEL = Method(ORCHESTRATOR, "Parallel", orchestrators.ParallelRequest, orchestrators.Outcome)
COLLABORATE = Method(ORCHESTRATOR, "Collaborate", orchestrators.CollaborateRequest, orchestrators.Outcome)
SUPERVISE = Method(ORCHESTRATOR, "Supervise", orchestrators.SuperviseRequest, orchestrators.SuperviseResponse)
LIST_ORCHESTRATORS = Method(
    ORCHESTRATOR,
    "ListOrchestrators",
    orchestrators.ListOrchestratorsRequest,
    orchestrators.ListOrchestratorsResponse,
)

SUBMIT_JOB = Method(JOB, "SubmitJob", jobs.SubmitJobRequest, jobs.Job)
GET_JOB = Method(JOB, "GetJob", jobs.GetJobRequest, jobs.Job)
LIST_JOBS = Method(JOB, "ListJobs", jobs.ListJobsRequest, jobs.ListJobsResponse)
WATCH_JOB = Method(JOB, "WatchJob", jobs.GetJobRequest, jobs.Job, False, True)
CANCEL_JOB = Method(JOB, "CancelJob", jobs.CancelJobRequest, jobs.Job)
RETRY_JOB = Method(JOB, "RetryJob", jobs.RetryJobRequest, jobs.Job)
RETRY_JOBS = Method(JOB, "RetryJobs", jobs.RetryJobsRequest, jobs.RetryJobsResponse)
CREATE_UPLOAD = Method(JOB, "CreateUpload", jobs.CreateUploadRequest, jobs.Upload)
ADD_PART = Method(JOB, "AddPart", jobs.AddPartRequest, jobs.Upload)
LIST_UPLOADS = Method(JOB, "ListUploads", jobs.ListUploadsRequest, jobs.ListUploadsResponse)
DELETE_UPLOAD = Method(JOB, "DeleteUpload", jobs.DeleteUploadRequest, jobs.DeleteUploadResponse)
PUT_SCHEDULE = Method(JOB, "PutSchedule", jobs.PutScheduleRequest, jobs.Schedule)
LIST_SCHEDULES = Method(JOB, "ListSchedules", jobs.ListSchedulesRequest, jobs.ListSchedulesResponse)
PAUSE_SCHEDULE = Method(JOB, "PauseSchedule", jobs.PauseScheduleRequest, jobs.Schedule)
DELETE_SCHEDULE = Method(JOB, "DeleteSchedule", jobs.DeleteScheduleRequest, jobs.DeleteScheduleResponse)
