from super_advanced_agents.protocol.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SearchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_MODE_UNSPECIFIED: _ClassVar[SearchMode]
    SEARCH_MODE_HYBRID: _ClassVar[SearchMode]
    SEARCH_MODE_VECTOR: _ClassVar[SearchMode]
    SEARCH_MODE_KEYWORD: _ClassVar[SearchMode]
SEARCH_MODE_UNSPECIFIED: SearchMode
SEARCH_MODE_HYBRID: SearchMode
SEARCH_MODE_VECTOR: SearchMode
SEARCH_MODE_KEYWORD: SearchMode

class Memory(_message.Message):
    __slots__ = ("text", "memory_type", "uid", "extra", "expires_in_s", "source", "session", "priority")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    text: str
    memory_type: str
    uid: str
    extra: bytes
    expires_in_s: float
    source: str
    session: str
    priority: float
    def __init__(self, text: _Optional[str] = ..., memory_type: _Optional[str] = ..., uid: _Optional[str] = ..., extra: _Optional[bytes] = ..., expires_in_s: _Optional[float] = ..., source: _Optional[str] = ..., session: _Optional[str] = ..., priority: _Optional[float] = ...) -> None: ...

class RememberRequest(_message.Message):
    __slots__ = ("agent", "memories", "dedupe", "write_id")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    memories: _containers.RepeatedCompositeFieldContainer[Memory]
    dedupe: _common_pb2.Dedupe
    write_id: str
    def __init__(self, agent: _Optional[str] = ..., memories: _Optional[_Iterable[_Union[Memory, _Mapping]]] = ..., dedupe: _Optional[_Union[_common_pb2.Dedupe, str]] = ..., write_id: _Optional[str] = ...) -> None: ...

class RememberResponse(_message.Message):
    __slots__ = ("uids",)
    UIDS_FIELD_NUMBER: _ClassVar[int]
    uids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, uids: _Optional[_Iterable[str]] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("speaker", "text", "uid", "said_at", "said_at_s", "extra")
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SAID_AT_FIELD_NUMBER: _ClassVar[int]
    SAID_AT_S_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    speaker: str
    text: str
    uid: str
    said_at: str
    said_at_s: float
    extra: bytes
    def __init__(self, speaker: _Optional[str] = ..., text: _Optional[str] = ..., uid: _Optional[str] = ..., said_at: _Optional[str] = ..., said_at_s: _Optional[float] = ..., extra: _Optional[bytes] = ...) -> None: ...

class RememberTurnsRequest(_message.Message):
    __slots__ = ("agent", "turns", "session", "write_id")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    session: str
    write_id: str
    def __init__(self, agent: _Optional[str] = ..., turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., session: _Optional[str] = ..., write_id: _Optional[str] = ...) -> None: ...

class UpdateMemoryRequest(_message.Message):
    __slots__ = ("agent", "uid", "text", "memory_type", "extra", "source", "expires_in_s", "priority", "clear", "write_id")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    uid: str
    text: str
    memory_type: str
    extra: bytes
    source: str
    expires_in_s: float
    priority: float
    clear: _containers.RepeatedScalarFieldContainer[str]
    write_id: str
    def __init__(self, agent: _Optional[str] = ..., uid: _Optional[str] = ..., text: _Optional[str] = ..., memory_type: _Optional[str] = ..., extra: _Optional[bytes] = ..., source: _Optional[str] = ..., expires_in_s: _Optional[float] = ..., priority: _Optional[float] = ..., clear: _Optional[_Iterable[str]] = ..., write_id: _Optional[str] = ...) -> None: ...

class UpdateMemoryResponse(_message.Message):
    __slots__ = ("updated",)
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    updated: bool
    def __init__(self, updated: _Optional[bool] = ...) -> None: ...

class Relocation(_message.Message):
    __slots__ = ("uid", "source", "session", "extra", "created_at")
    UID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    uid: str
    source: str
    session: str
    extra: bytes
    created_at: float
    def __init__(self, uid: _Optional[str] = ..., source: _Optional[str] = ..., session: _Optional[str] = ..., extra: _Optional[bytes] = ..., created_at: _Optional[float] = ...) -> None: ...

class RelocateMemoriesRequest(_message.Message):
    __slots__ = ("agent", "memories", "order", "write_id")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    memories: _containers.RepeatedCompositeFieldContainer[Relocation]
    order: _containers.RepeatedScalarFieldContainer[str]
    write_id: str
    def __init__(self, agent: _Optional[str] = ..., memories: _Optional[_Iterable[_Union[Relocation, _Mapping]]] = ..., order: _Optional[_Iterable[str]] = ..., write_id: _Optional[str] = ...) -> None: ...

class RelocateMemoriesResponse(_message.Message):
    __slots__ = ("relocated",)
    RELOCATED_FIELD_NUMBER: _ClassVar[int]
    relocated: int
    def __init__(self, relocated: _Optional[int] = ...) -> None: ...

class SearchMemoriesRequest(_message.Message):
    __slots__ = ("agent", "query", "top_k", "mode", "where", "memory_type", "weights", "explain", "rerank", "min_similarity")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TYPE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    agent: str
    query: str
    top_k: int
    mode: SearchMode
    where: bytes
    memory_type: str
    weights: _common_pb2.Weights
    explain: bool
    rerank: bool
    min_similarity: float
    def __init__(self, agent: _Optional[str] = ..., query: _Optional[str] = ..., top_k: _Optional[int] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., where: _Optional[bytes] = ..., memory_type: _Optional[str] = ..., weights: _Optional[_Union[_common_pb2.Weights, _Mapping]] = ..., explain: _Optional[bool] = ..., rerank: _Optional[bool] = ..., min_similarity: _Optional[float] = ...) -> None: ...

class SearchMemoriesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ...) -> None: ...

class GetMemoryRequest(_message.Message):
    __slots__ = ("agent", "uid")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    uid: str
    def __init__(self, agent: _Optional[str] = ..., uid: _Optional[str] = ...) -> None: ...

class GetMemoryResponse(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: _common_pb2.Record
    def __init__(self, memory: _Optional[_Union[_common_pb2.Record, _Mapping]] = ...) -> None: ...

class ListMemoriesRequest(_message.Message):
    __slots__ = ("agent", "where", "after", "limit", "with_vectors")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    agent: str
    where: bytes
    after: str
    limit: int
    with_vectors: bool
    def __init__(self, agent: _Optional[str] = ..., where: _Optional[bytes] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., with_vectors: _Optional[bool] = ...) -> None: ...

class ListMemoriesResponse(_message.Message):
    __slots__ = ("memories",)
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[_common_pb2.Record]
    def __init__(self, memories: _Optional[_Iterable[_Union[_common_pb2.Record, _Mapping]]] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("agent", "uids", "by_uids", "where", "write_id")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    BY_UIDS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    uids: _containers.RepeatedScalarFieldContainer[str]
    by_uids: bool
    where: bytes
    write_id: str
    def __init__(self, agent: _Optional[str] = ..., uids: _Optional[_Iterable[str]] = ..., by_uids: _Optional[bool] = ..., where: _Optional[bytes] = ..., write_id: _Optional[str] = ...) -> None: ...

class ForgetResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class CountMemoriesRequest(_message.Message):
    __slots__ = ("agent", "where")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    agent: str
    where: bytes
    def __init__(self, agent: _Optional[str] = ..., where: _Optional[bytes] = ...) -> None: ...

class CountMemoriesResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("agent", "question", "top_k", "mode", "where", "memory_type", "weights", "rerank", "answer_tokens", "instructions", "history", "llm", "min_similarity")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TYPE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    agent: str
    question: str
    top_k: int
    mode: SearchMode
    where: bytes
    memory_type: str
    weights: _common_pb2.Weights
    rerank: bool
    answer_tokens: int
    instructions: str
    history: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    llm: bool
    min_similarity: float
    def __init__(self, agent: _Optional[str] = ..., question: _Optional[str] = ..., top_k: _Optional[int] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., where: _Optional[bytes] = ..., memory_type: _Optional[str] = ..., weights: _Optional[_Union[_common_pb2.Weights, _Mapping]] = ..., rerank: _Optional[bool] = ..., answer_tokens: _Optional[int] = ..., instructions: _Optional[str] = ..., history: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., llm: _Optional[bool] = ..., min_similarity: _Optional[float] = ...) -> None: ...

class ChatRequest(_message.Message):
    __slots__ = ("agent", "message", "session", "remember", "instructions", "where", "top_k", "answer_tokens")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REMEMBER_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    agent: str
    message: str
    session: str
    remember: bool
    instructions: str
    where: bytes
    top_k: int
    answer_tokens: int
    def __init__(self, agent: _Optional[str] = ..., message: _Optional[str] = ..., session: _Optional[str] = ..., remember: _Optional[bool] = ..., instructions: _Optional[str] = ..., where: _Optional[bytes] = ..., top_k: _Optional[int] = ..., answer_tokens: _Optional[int] = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ("role", "content")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("text", "sources", "grounded", "unsupported", "quoted")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    GROUNDED_FIELD_NUMBER: _ClassVar[int]
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    QUOTED_FIELD_NUMBER: _ClassVar[int]
    text: str
    sources: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    grounded: bool
    unsupported: _containers.RepeatedScalarFieldContainer[str]
    quoted: bool
    def __init__(self, text: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ..., grounded: _Optional[bool] = ..., unsupported: _Optional[_Iterable[str]] = ..., quoted: _Optional[bool] = ...) -> None: ...

class AskEvent(_message.Message):
    __slots__ = ("sources", "text", "done", "grounded", "unsupported", "quoted")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    GROUNDED_FIELD_NUMBER: _ClassVar[int]
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    QUOTED_FIELD_NUMBER: _ClassVar[int]
    sources: _common_pb2.Matches
    text: str
    done: str
    grounded: bool
    unsupported: _containers.RepeatedScalarFieldContainer[str]
    quoted: bool
    def __init__(self, sources: _Optional[_Union[_common_pb2.Matches, _Mapping]] = ..., text: _Optional[str] = ..., done: _Optional[str] = ..., grounded: _Optional[bool] = ..., unsupported: _Optional[_Iterable[str]] = ..., quoted: _Optional[bool] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("name", "description", "namespace", "answer_tokens", "context_chars", "rerank", "declared", "updated_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_CHARS_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    namespace: str
    answer_tokens: int
    context_chars: int
    rerank: bool
    declared: bool
    updated_at: float
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., namespace: _Optional[str] = ..., answer_tokens: _Optional[int] = ..., context_chars: _Optional[int] = ..., rerank: _Optional[bool] = ..., declared: _Optional[bool] = ..., updated_at: _Optional[float] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ...) -> None: ...

class GetAgentRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PutAgentRequest(_message.Message):
    __slots__ = ("name", "description", "namespace", "answer_tokens", "context_chars", "rerank")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_CHARS_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    namespace: str
    answer_tokens: int
    context_chars: int
    rerank: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., namespace: _Optional[str] = ..., answer_tokens: _Optional[int] = ..., context_chars: _Optional[int] = ..., rerank: _Optional[bool] = ...) -> None: ...

class DeleteAgentRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteAgentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
