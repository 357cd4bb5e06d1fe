from super_advanced_agents.protocol.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Wait(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_UNSPECIFIED: _ClassVar[Wait]
    WAIT_FIRST: _ClassVar[Wait]
    WAIT_ALL: _ClassVar[Wait]

class Voting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOTING_UNSPECIFIED: _ClassVar[Voting]
    VOTING_MAJORITY: _ClassVar[Voting]
    VOTING_CRITIC: _ClassVar[Voting]
    VOTING_CONSENSUS: _ClassVar[Voting]
WAIT_UNSPECIFIED: Wait
WAIT_FIRST: Wait
WAIT_ALL: Wait
VOTING_UNSPECIFIED: Voting
VOTING_MAJORITY: Voting
VOTING_CRITIC: Voting
VOTING_CONSENSUS: Voting

class RouteRequest(_message.Message):
    __slots__ = ("orchestrator", "query", "top_k", "timeout_s", "deadline_s", "task", "user_id")
    ORCHESTRATOR_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    orchestrator: str
    query: str
    top_k: int
    timeout_s: float
    deadline_s: float
    task: str
    user_id: str
    def __init__(self, orchestrator: _Optional[str] = ..., query: _Optional[str] = ..., top_k: _Optional[int] = ..., timeout_s: _Optional[float] = ..., deadline_s: _Optional[float] = ..., task: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class ChainRequest(_message.Message):
    __slots__ = ("orchestrator", "query", "top_k", "timeout_s", "deadline_s", "names")
    ORCHESTRATOR_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    orchestrator: str
    query: str
    top_k: int
    timeout_s: float
    deadline_s: float
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, orchestrator: _Optional[str] = ..., query: _Optional[str] = ..., top_k: _Optional[int] = ..., timeout_s: _Optional[float] = ..., deadline_s: _Optional[float] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class FallbackRequest(_message.Message):
    __slots__ = ("orchestrator", "query", "top_k", "timeout_s", "deadline_s", "primary", "backups")
    ORCHESTRATOR_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_FIELD_NUMBER: _ClassVar[int]
    BACKUPS_FIELD_NUMBER: _ClassVar[int]
    orchestrator: str
    query: str
    top_k: int
    timeout_s: float
    deadline_s: float
    primary: str
    backups: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, orchestrator: _Optional[str] = ..., query: _Optional[str] = ..., top_k: _Optional[int] = ..., timeout_s: _Optional[float] = ..., deadline_s: _Optional[float] = ..., primary: _Optional[str] = ..., backups: _Optional[_Iterable[str]] = ...) -> None: ...

class ParallelRequest(_message.Message):
    __slots__ = ("orchestrator", "query", "top_k", "timeout_s", "deadline_s", "names", "wait", "quorum")
    ORCHESTRATOR_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    orchestrator: str
    query: str
    top_k: int
    timeout_s: float
    deadline_s: float
    names: _containers.RepeatedScalarFieldContainer[str]
    wait: Wait
    quorum: int
    def __init__(self, orchestrator: _Optional[str] = ..., query: _Optional[str] = ..., top_k: _Optional[int] = ..., timeout_s: _Optional[float] = ..., deadline_s: _Optional[float] = ..., names: _Optional[_Iterable[str]] = ..., wait: _Optional[_Union[Wait, str]] = ..., quorum: _Optional[int] = ...) -> None: ...

class CollaborateRequest(_message.Message):
    __slots__ = ("orchestrator", "query", "top_k", "timeout_s", "deadline_s", "names", "voting", "critic", "max_rounds")
    ORCHESTRATOR_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    VOTING_FIELD_NUMBER: _ClassVar[int]
    CRITIC_FIELD_NUMBER: _ClassVar[int]
    MAX_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    orchestrator: str
    query: str
    top_k: int
    timeout_s: float
    deadline_s: float
    names: _containers.RepeatedScalarFieldContainer[str]
    voting: Voting
    critic: str
    max_rounds: int
    def __init__(self, orchestrator: _Optional[str] = ..., query: _Optional[str] = ..., top_k: _Optional[int] = ..., timeout_s: _Optional[float] = ..., deadline_s: _Optional[float] = ..., names: _Optional[_Iterable[str]] = ..., voting: _Optional[_Union[Voting, str]] = ..., critic: _Optional[str] = ..., max_rounds: _Optional[int] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("agent", "status", "text", "sources", "latency_s", "error", "round")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_S_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    agent: str
    status: str
    text: str
    sources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    latency_s: float
    error: str
    round: int
    def __init__(self, agent: _Optional[str] = ..., status: _Optional[str] = ..., text: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ..., latency_s: _Optional[float] = ..., error: _Optional[str] = ..., round: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("text", "agent", "agents", "sources", "steps", "reason", "agreement", "rounds", "latency_s")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_S_FIELD_NUMBER: _ClassVar[int]
    text: str
    agent: str
    agents: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    reason: str
    agreement: float
    rounds: int
    latency_s: float
    def __init__(self, text: _Optional[str] = ..., agent: _Optional[str] = ..., agents: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., reason: _Optional[str] = ..., agreement: _Optional[float] = ..., rounds: _Optional[int] = ..., latency_s: _Optional[float] = ...) -> None: ...

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
    agents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., agents: _Optional[_Iterable[str]] = ...) -> None: ...

class ListOrchestratorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListOrchestratorsResponse(_message.Message):
    __slots__ = ("orchestrators",)
    ORCHESTRATORS_FIELD_NUMBER: _ClassVar[int]
    orchestrators: _containers.RepeatedCompositeFieldContainer[Orchestrator]
    def __init__(self, orchestrators: _Optional[_Iterable[_Union[Orchestrator, _Mapping]]] = ...) -> None: ...
