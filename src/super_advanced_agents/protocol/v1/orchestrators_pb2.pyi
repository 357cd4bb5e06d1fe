from super_advanced_agents.protocol.v1 import common_pb2 as _common_pb2
from super_advanced_agents.protocol.v1 import agents_pb2 as _agents_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Work(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORK_UNSPECIFIED: _ClassVar[Work]
    WORK_SEARCH: _ClassVar[Work]
    WORK_ASK: _ClassVar[Work]

class Wait(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_UNSPECIFIED: _ClassVar[Wait]
    WAIT_FIRST: _ClassVar[Wait]
    WAIT_ALL: _ClassVar[Wait]
    WAIT_QUORUM: _ClassVar[Wait]

class Voting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOTING_UNSPECIFIED: _ClassVar[Voting]
    VOTING_MAJORITY: _ClassVar[Voting]
    VOTING_CRITIC: _ClassVar[Voting]
    VOTING_CONSENSUS: _ClassVar[Voting]
WORK_UNSPECIFIED: Work
WORK_SEARCH: Work
WORK_ASK: Work
WAIT_UNSPECIFIED: Wait
WAIT_FIRST: Wait
WAIT_ALL: Wait
WAIT_QUORUM: Wait
VOTING_UNSPECIFIED: Voting
VOTING_MAJORITY: Voting
VOTING_CRITIC: Voting
VOTING_CONSENSUS: Voting

class Query(_message.Message):
    __slots__ = ("orchestrator", "query", "work", "top_k", "timeout_s")
    ORCHESTRATOR_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    orchestrator: str
    query: str
    work: Work
    top_k: int
    timeout_s: float
    def __init__(self, orchestrator: _Optional[str] = ..., query: _Optional[str] = ..., work: _Optional[_Union[Work, str]] = ..., top_k: _Optional[int] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class RouteRequest(_message.Message):
    __slots__ = ("query", "task", "user_id")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    query: Query
    task: str
    user_id: str
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., task: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class ChainRequest(_message.Message):
    __slots__ = ("query", "agents")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    query: Query
    agents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., agents: _Optional[_Iterable[str]] = ...) -> None: ...

class FallbackRequest(_message.Message):
    __slots__ = ("query", "primary", "backup")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_FIELD_NUMBER: _ClassVar[int]
    BACKUP_FIELD_NUMBER: _ClassVar[int]
    query: Query
    primary: str
    backup: str
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., primary: _Optional[str] = ..., backup: _Optional[str] = ...) -> None: ...

class ParallelRequest(_message.Message):
    __slots__ = ("query", "agents", "wait", "quorum")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    query: Query
    agents: _containers.RepeatedScalarFieldContainer[str]
    wait: Wait
    quorum: int
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., agents: _Optional[_Iterable[str]] = ..., wait: _Optional[_Union[Wait, str]] = ..., quorum: _Optional[int] = ...) -> None: ...

class CollaborateRequest(_message.Message):
    __slots__ = ("query", "agents", "voting", "rounds")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    VOTING_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    query: Query
    agents: _containers.RepeatedScalarFieldContainer[str]
    voting: Voting
    rounds: int
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., agents: _Optional[_Iterable[str]] = ..., voting: _Optional[_Union[Voting, str]] = ..., rounds: _Optional[int] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("agent", "text", "matches", "latency_s", "problem")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_S_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    agent: str
    text: str
    matches: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    latency_s: float
    problem: bytes
    def __init__(self, agent: _Optional[str] = ..., text: _Optional[str] = ..., matches: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ..., latency_s: _Optional[float] = ..., problem: _Optional[bytes] = ...) -> None: ...

class OrchestratorResponse(_message.Message):
    __slots__ = ("agent", "text", "matches", "contributions", "details")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    agent: str
    text: str
    matches: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    details: bytes
    def __init__(self, agent: _Optional[str] = ..., text: _Optional[str] = ..., matches: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ..., details: _Optional[bytes] = ...) -> None: ...

class SuperviseRequest(_message.Message):
    __slots__ = ("orchestrator",)
    ORCHESTRATOR_FIELD_NUMBER: _ClassVar[int]
    orchestrator: str
    def __init__(self, orchestrator: _Optional[str] = ...) -> None: ...

class SuperviseResponse(_message.Message):
    __slots__ = ("report",)
    REPORT_FIELD_NUMBER: _ClassVar[int]
    report: bytes
    def __init__(self, report: _Optional[bytes] = ...) -> None: ...

class Orchestrator(_message.Message):
    __slots__ = ("name", "agents")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    agents: _containers.RepeatedCompositeFieldContainer[_agents_pb2.Agent]
    def __init__(self, name: _Optional[str] = ..., agents: _Optional[_Iterable[_Union[_agents_pb2.Agent, _Mapping]]] = ...) -> None: ...

class ListOrchestratorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListOrchestratorsResponse(_message.Message):
    __slots__ = ("orchestrators",)
    ORCHESTRATORS_FIELD_NUMBER: _ClassVar[int]
    orchestrators: _containers.RepeatedCompositeFieldContainer[Orchestrator]
    def __init__(self, orchestrators: _Optional[_Iterable[_Union[Orchestrator, _Mapping]]] = ...) -> None: ...
