from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Dedupe(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEDUPE_UNSPECIFIED: _ClassVar[Dedupe]
    DEDUPE_EXACT: _ClassVar[Dedupe]
DEDUPE_UNSPECIFIED: Dedupe
DEDUPE_EXACT: Dedupe

class Record(_message.Message):
    __slots__ = ("uid", "vector", "metadata", "namespace", "model_id", "source", "session", "created_at", "updated_at", "expires_at", "priority", "place")
    UID_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    uid: str
    vector: bytes
    metadata: bytes
    namespace: str
    model_id: str
    source: str
    session: str
    created_at: float
    updated_at: float
    expires_at: float
    priority: float
    place: int
    def __init__(self, uid: _Optional[str] = ..., vector: _Optional[bytes] = ..., metadata: _Optional[bytes] = ..., namespace: _Optional[str] = ..., model_id: _Optional[str] = ..., source: _Optional[str] = ..., session: _Optional[str] = ..., created_at: _Optional[float] = ..., updated_at: _Optional[float] = ..., expires_at: _Optional[float] = ..., priority: _Optional[float] = ..., place: _Optional[int] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("uid", "score", "metadata", "explanation", "text", "similarity", "source", "session", "created_at", "updated_at")
    UID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    uid: str
    score: float
    metadata: bytes
    explanation: Explanation
    text: str
    similarity: float
    source: str
    session: str
    created_at: float
    updated_at: float
    def __init__(self, uid: _Optional[str] = ..., score: _Optional[float] = ..., metadata: _Optional[bytes] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ..., text: _Optional[str] = ..., similarity: _Optional[float] = ..., source: _Optional[str] = ..., session: _Optional[str] = ..., created_at: _Optional[float] = ..., updated_at: _Optional[float] = ...) -> None: ...

class Matches(_message.Message):
    __slots__ = ("matches",)
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[Match]
    def __init__(self, matches: _Optional[_Iterable[_Union[Match, _Mapping]]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("signals", "retrieved")
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    RETRIEVED_FIELD_NUMBER: _ClassVar[int]
    signals: _containers.RepeatedCompositeFieldContainer[Signal]
    retrieved: Explanation
    def __init__(self, signals: _Optional[_Iterable[_Union[Signal, _Mapping]]] = ..., retrieved: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("name", "value", "scaled", "weight", "added")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SCALED_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    scaled: float
    weight: float
    added: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., scaled: _Optional[float] = ..., weight: _Optional[float] = ..., added: _Optional[float] = ...) -> None: ...

class Weights(_message.Message):
    __slots__ = ("vector", "keyword", "nearby", "recency", "priority", "half_life_s")
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    KEYWORD_FIELD_NUMBER: _ClassVar[int]
    NEARBY_FIELD_NUMBER: _ClassVar[int]
    RECENCY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_S_FIELD_NUMBER: _ClassVar[int]
    vector: float
    keyword: float
    nearby: float
    recency: float
    priority: float
    half_life_s: float
    def __init__(self, vector: _Optional[float] = ..., keyword: _Optional[float] = ..., nearby: _Optional[float] = ..., recency: _Optional[float] = ..., priority: _Optional[float] = ..., half_life_s: _Optional[float] = ...) -> None: ...
