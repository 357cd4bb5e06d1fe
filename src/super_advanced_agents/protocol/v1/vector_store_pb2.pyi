from super_advanced_agents.protocol.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AddRequest(_message.Message):
    __slots__ = ("collection", "namespace", "model_id", "dim", "vectors", "metadatas", "uids", "sources", "sessions", "expires_in_s", "priorities", "dedupe", "write_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    METADATAS_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    PRIORITIES_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    model_id: str
    dim: int
    vectors: bytes
    metadatas: _containers.RepeatedScalarFieldContainer[bytes]
    uids: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.RepeatedScalarFieldContainer[str]
    sessions: _containers.RepeatedScalarFieldContainer[str]
    expires_in_s: _containers.RepeatedScalarFieldContainer[float]
    priorities: _containers.RepeatedScalarFieldContainer[float]
    dedupe: _common_pb2.Dedupe
    write_id: str
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., model_id: _Optional[str] = ..., dim: _Optional[int] = ..., vectors: _Optional[bytes] = ..., metadatas: _Optional[_Iterable[bytes]] = ..., uids: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[str]] = ..., sessions: _Optional[_Iterable[str]] = ..., expires_in_s: _Optional[_Iterable[float]] = ..., priorities: _Optional[_Iterable[float]] = ..., dedupe: _Optional[_Union[_common_pb2.Dedupe, str]] = ..., write_id: _Optional[str] = ...) -> None: ...

class AddResponse(_message.Message):
    __slots__ = ("uids",)
    UIDS_FIELD_NUMBER: _ClassVar[int]
    uids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, uids: _Optional[_Iterable[str]] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("collection", "records", "write_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records: _containers.RepeatedCompositeFieldContainer[_common_pb2.Record]
    write_id: str
    def __init__(self, collection: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_common_pb2.Record, _Mapping]]] = ..., write_id: _Optional[str] = ...) -> None: ...

class PutResponse(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: int
    def __init__(self, stored: _Optional[int] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("collection", "namespace", "uid", "changes", "vector", "model_id", "source", "expires_in_s", "priority", "clear", "write_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    uid: str
    changes: bytes
    vector: bytes
    model_id: str
    source: str
    expires_in_s: float
    priority: float
    clear: _containers.RepeatedScalarFieldContainer[str]
    write_id: str
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., uid: _Optional[str] = ..., changes: _Optional[bytes] = ..., vector: _Optional[bytes] = ..., model_id: _Optional[str] = ..., source: _Optional[str] = ..., expires_in_s: _Optional[float] = ..., priority: _Optional[float] = ..., clear: _Optional[_Iterable[str]] = ..., write_id: _Optional[str] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("updated",)
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    updated: bool
    def __init__(self, updated: _Optional[bool] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "namespace", "model_id", "dim", "query_vectors", "top_k", "where", "return_scores", "min_similarity")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    QUERY_VECTORS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    RETURN_SCORES_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    model_id: str
    dim: int
    query_vectors: bytes
    top_k: int
    where: bytes
    return_scores: bool
    min_similarity: float
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., model_id: _Optional[str] = ..., dim: _Optional[int] = ..., query_vectors: _Optional[bytes] = ..., top_k: _Optional[int] = ..., where: _Optional[bytes] = ..., return_scores: _Optional[bool] = ..., min_similarity: _Optional[float] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Matches]
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Matches, _Mapping]]] = ...) -> None: ...

class SearchHybridRequest(_message.Message):
    __slots__ = ("collection", "namespace", "model_id", "query_vector", "query_text", "top_k", "where", "weights", "explain", "min_similarity")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_VECTOR_FIELD_NUMBER: _ClassVar[int]
    QUERY_TEXT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    model_id: str
    query_vector: bytes
    query_text: str
    top_k: int
    where: bytes
    weights: _common_pb2.Weights
    explain: bool
    min_similarity: float
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., model_id: _Optional[str] = ..., query_vector: _Optional[bytes] = ..., query_text: _Optional[str] = ..., top_k: _Optional[int] = ..., where: _Optional[bytes] = ..., weights: _Optional[_Union[_common_pb2.Weights, _Mapping]] = ..., explain: _Optional[bool] = ..., min_similarity: _Optional[float] = ...) -> None: ...

class SearchHybridResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ...) -> None: ...

class SearchKeywordsRequest(_message.Message):
    __slots__ = ("collection", "namespace", "query_text", "top_k", "where", "query_vector", "model_id", "min_similarity")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUERY_TEXT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    QUERY_VECTOR_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    query_text: str
    top_k: int
    where: bytes
    query_vector: bytes
    model_id: str
    min_similarity: float
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., query_text: _Optional[str] = ..., top_k: _Optional[int] = ..., where: _Optional[bytes] = ..., query_vector: _Optional[bytes] = ..., model_id: _Optional[str] = ..., min_similarity: _Optional[float] = ...) -> None: ...

class SearchKeywordsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_common_pb2.Match]
    def __init__(self, results: _Optional[_Iterable[_Union[_common_pb2.Match, _Mapping]]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("collection", "namespace", "uids")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    uids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., uids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_common_pb2.Record]
    def __init__(self, records: _Optional[_Iterable[_Union[_common_pb2.Record, _Mapping]]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "namespace", "uids", "by_uids", "where", "write_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    UIDS_FIELD_NUMBER: _ClassVar[int]
    BY_UIDS_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    WRITE_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    uids: _containers.RepeatedScalarFieldContainer[str]
    by_uids: bool
    where: bytes
    write_id: str
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., uids: _Optional[_Iterable[str]] = ..., by_uids: _Optional[bool] = ..., where: _Optional[bytes] = ..., write_id: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("collection", "namespace", "where")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    where: bytes
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., where: _Optional[bytes] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("collection", "namespace", "where", "after", "limit")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    namespace: str
    where: bytes
    after: str
    limit: int
    def __init__(self, collection: _Optional[str] = ..., namespace: _Optional[str] = ..., where: _Optional[bytes] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_common_pb2.Record]
    def __init__(self, records: _Optional[_Iterable[_Union[_common_pb2.Record, _Mapping]]] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: bytes
    def __init__(self, stats: _Optional[bytes] = ...) -> None: ...

class Collection(_message.Message):
    __slots__ = ("name", "dim", "metric", "index", "storage", "created_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    dim: int
    metric: str
    index: str
    storage: str
    created_at: float
    def __init__(self, name: _Optional[str] = ..., dim: _Optional[int] = ..., metric: _Optional[str] = ..., index: _Optional[str] = ..., storage: _Optional[str] = ..., created_at: _Optional[float] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("name", "dim", "metric", "index", "storage", "exist_ok")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FIELD_NUMBER: _ClassVar[int]
    EXIST_OK_FIELD_NUMBER: _ClassVar[int]
    name: str
    dim: int
    metric: str
    index: str
    storage: str
    exist_ok: bool
    def __init__(self, name: _Optional[str] = ..., dim: _Optional[int] = ..., metric: _Optional[str] = ..., index: _Optional[str] = ..., storage: _Optional[str] = ..., exist_ok: _Optional[bool] = ...) -> None: ...

class GetCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections",)
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ...) -> None: ...

class DeleteCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteCollectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
