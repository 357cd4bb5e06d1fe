"""Examples of shapes that bring none of their own, by the shape's name in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_UID = "0199b3a0-3f9c-7c7e-8a51-5d1c2b3a4f5e"
_COLLECTION = {
    "name": "products",
    "dim": 3,
    "metric": "cosine",
    "index": "auto",
    "storage": "fp32",
    "created_at": 1767225600.0,
}
_METADATA = {"text": "red shoes", "price": 50}
_RECORD = {
    "uid": _UID,
    "vector": [0.1, 0.2, 0.3],
    "metadata": _METADATA,
    "namespace": "default",
    "model_id": None,
    "source": None,
    "session": None,
    "created_at": 1767225600.0,
    "updated_at": 1767225600.0,
    "expires_at": None,
    "priority": None,
    "place": None,
}
_MATCH = {"uid": _UID, "score": 0.97, "metadata": _METADATA}
_MODEL = {"id": "default", "object": "model", "created": 1767225600, "owned_by": "super-advanced-agents"}

EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "ChosenIn": {"where": {"price": {"$lt": 100}}},
        "CollectionIn": {"name": "products", "dim": 3},
        "CollectionOut": _COLLECTION,
        "Collections": {"collections": [_COLLECTION]},
        "Counted": {"count": 3},
        "DeleteIn": {"where": {"price": {"$lt": 100}}, "namespace": "default"},
        "Deleted": {"deleted": 3},
        "HybridIn": {"query_vector": [0.1, 0.2, 0.3], "query_text": "red shoes", "top_k": 3},
        "KeywordsIn": {"query_text": "red shoes", "top_k": 3},
        "ManyMatches": {"results": [[_MATCH]]},
        "Matches": {"results": [_MATCH]},
        "NamesIn": {"uids": [_UID], "namespace": "default"},
        "RecordOut": _RECORD,
        "RecordPage": {"records": [_RECORD], "next": None},
        "Records": {"records": [_RECORD]},
        "RecordsIn": {"vectors": [[0.1, 0.2, 0.3]], "metadatas": [_METADATA]},
        "ScanIn": {"where": {"price": {"$lt": 100}}, "limit": 50},
        "SearchBatchIn": {"query_vectors": [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], "top_k": 3},
        "SearchIn": {"query_vector": [0.1, 0.2, 0.3], "top_k": 3, "where": {"price": {"$lt": 100}}},
        "Stored": {"stored": 1},
        "StoredUids": {"uids": [_UID]},
        "UpdateIn": {"uid": _UID, "changes": {"price": 40}},
        "Updated": {"updated": True},
        "WholeRecordsIn": {"records": [_RECORD]},
        "EmbeddingsIn": {"model": "all-MiniLM-L6-v2", "input": ["The Louvre is a museum"]},
        "EmbeddingsOut": {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}],
            "model": "all-MiniLM-L6-v2",
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        },
        "ChatIn": {"model": "default", "messages": [{"role": "user", "content": "Where is the Louvre?"}]},
        "ChatOut": {
            "id": "chatcmpl-0199b3a03f9c7c7e8a515d1c2b3a4f5e",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "default",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "In Paris."}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 61, "completion_tokens": 4, "total_tokens": 65},
        },
        "ModelOut": _MODEL,
        "ModelsOut": {"object": "list", "data": [_MODEL]},
    }
)
"""Shape -> a value of it."""

ANSWERS: Mapping[str, Any] = MappingProxyType(
    {
        "collectionStats": {"engine": "faiss", "dim": 3, "metric": "cosine", "index": "auto", "records": 3},
    }
)
"""Operation -> an answer whose shape is open."""
