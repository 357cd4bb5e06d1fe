"""Examples of the OpenAPI document's models, and descriptions of their fields, by name."""

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
_MATCH = {
    "uid": _UID,
    "text": "red shoes",
    "score": 0.97,
    "similarity": 0.97,
    "metadata": {"price": 50},
    "source": None,
    "session": None,
    "created_at": 1767225600.0,
    "updated_at": 1767225600.0,
}
_MUSEUM_MATCH = {
    **_MATCH,
    "text": "The Louvre is a museum",
    "score": 0.61,
    "similarity": 0.55,
    "metadata": {"type": "fact", "city": "Paris"},
}
_MEMORY = {
    "uid": _UID,
    "text": "The Louvre is a museum",
    "metadata": {"text": "The Louvre is a museum", "type": "fact"},
    "source": "museums.md",
    "session": "trip",
    "model_id": "all-MiniLM-L6-v2@int8",
    "created_at": 1767225600.0,
    "updated_at": 1767225600.0,
    "expires_at": 1798761600.0,
    "priority": 0.5,
}
_AGENT = {
    "name": "travel",
    "description": "knows trains, hotels and museums",
    "namespace": "travel",
    "answer_tokens": 300,
    "context_chars": 4000,
    "rerank": False,
    "declared": False,
    "updated_at": 1767225600.0,
}
_STEP = {
    "agent": "travel",
    "status": "answered",
    "text": "The Louvre is in Paris.",
    "sources": [],
    "latency_s": 0.8,
    "error": None,
    "round": 1,
}
_ORCHESTRATOR = {"name": "default", "agents": ["travel"]}
_HEALTH = {"health": "healthy", "circuit": "closed", "calls": 3, "answered": 3, "latency_p50_s": 0.8}
_MODEL = {"id": "default", "object": "model", "created": 1767225600, "owned_by": "super-advanced-agents"}

EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "AgentOut": _AGENT,
        "AgentSettings": {"description": "knows trains, hotels and museums", "answer_tokens": 300},
        "Agents": {"agents": [_AGENT]},
        "AnswerOut": {
            "text": "The Louvre is in Paris.",
            "sources": [_MUSEUM_MATCH],
            "grounded": True,
            "unsupported": [],
            "quoted": False,
        },
        "AskRequest": {"question": "Where is the Louvre?", "top_k": 3},
        "ChainIn": {"query": "Where is the Louvre?", "names": ["travel", "editor"]},
        "ChatRequest": {"message": "And when was it built?", "session": "trip"},
        "ChosenMemories": {"where": {"city": "Paris"}},
        "CollaborateIn": {"query": "Where is the Louvre?", "names": ["travel", "general"], "voting": "consensus"},
        "FallbackIn": {"query": "Where is the Louvre?", "primary": "travel", "backup": ["general"]},
        "ForgetIn": {"where": {"city": "Paris"}},
        "Health": {"status": "ok"},
        "MemoriesIn": {"memories": [{"text": "The Louvre is a museum"}, {"text": "Cats sleep all day"}]},
        "MemoryChanges": {"extra": {"country": "France"}, "priority": 0.9},
        "MemoryIn": {"text": "The Louvre is a museum"},
        "MemoryOut": _MEMORY,
        "OneMemoryIn": {
            "text": "The Louvre is a museum",
            "memory_type": "fact",
            "extra": {"city": "Paris"},
            "priority": 0.5,
        },
        "OrchestratorOut": _ORCHESTRATOR,
        "OrchestratorsOut": {"orchestrators": [_ORCHESTRATOR]},
        "OutcomeOut": {
            "text": "The Louvre is in Paris.",
            "agent": "travel",
            "agents": ["travel"],
            "sources": [],
            "steps": [_STEP],
            "reason": "similarity",
            "agreement": None,
            "rounds": 1,
            "latency_s": 0.8,
        },
        "Page": {"memories": [_MEMORY], "next": _UID},
        "ParallelIn": {"query": "Where is the Louvre?", "names": ["travel", "general"], "wait": "first"},
        "Readiness": {
            "ready": True,
            "store": "open",
            "embedding_model": "ready",
            "language_model": "ready",
            "reason": None,
            "degraded": [],
        },
        "RouteIn": {"query": "Where is the Louvre?", "task": "travel"},
        "ScanMemories": {"where": {"city": "Paris"}, "limit": 50},
        "SearchRequest": {"query": "art gallery", "top_k": 3, "where": {"city": "Paris"}, "explain": True},
        "Stats": {
            "agents": 1,
            "collections": 2,
            "embedding_model": "all-MiniLM-L6-v2@int8",
            "store": {"engine": "faiss", "dim": 384, "metric": "cosine", "index": "auto"},
        },
        "StepOut": _STEP,
        "Supervision": {"healthy": 1, "recovering": 0, "sick": 0, "agents": {"travel": _HEALTH}},
        "TurnIn": {"speaker": "Ann", "text": "Where shall we go?"},
        "TurnsIn": {"turns": [{"speaker": "Ann", "text": "Where shall we go?"}], "session": "trip"},
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
"""Model -> an example."""

ANSWERS: Mapping[str, Any] = MappingProxyType(
    {
        "collectionStats": {"engine": "faiss", "dim": 3, "metric": "cosine", "index": "auto", "records": 3},
    }
)
"""Operation -> an example of its response, where that has no model."""

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "after": "the last uid of the page before",
        "agreement": "the fraction of the answers that agree with `text`; null where none were compared",
        "answer_tokens": "the maximum length of an answer, in tokens",
        "backup": "the name of one agent, or several names in order",
        "changes": "a merge patch of the metadata (RFC 7396)",
        "critic": "the name of the agent that chooses the answer; the server's language model when null",
        "deadline_s": "the limit for the whole request, in seconds",
        "declared": "true for settings of the server's configuration file, which the API cannot change",
        "dedupe": "with `exact`, a duplicate of a stored record is not stored again",
        "dim": "the length of every vector",
        "exist_ok": "accept an existing collection of this name that has the same settings",
        "grounded": "false if names or numbers of the answer stand in no source",
        "expires_in_s": "a lifetime in seconds; null keeps it forever",
        "explain": "add the signals of each score to the results",
        "extra": "further metadata; in an update, a merge patch (RFC 7396)",
        "history": "the messages before the question, oldest first, at most 100 and 64 KiB",
        "instructions": "further instructions to the language model, at most 8 KiB",
        "llm": "false for an answer that quotes the best memories, without the language model",
        "limit": "the size of the page, 1 to 1,000",
        "max_rounds": "the maximum number of rounds of a consensus, 1 to 10",
        "memory_type": "a label, stored as `type` in the metadata",
        "min_similarity": "leave out what is less similar to the query than this cosine, -1 to 1; null for no limit",
        "namespace": "the namespace; when null, adds and updates use `default`, other requests cover all namespaces",
        "order": "uids of turns: those of one session share out the positions that they have there, in this order",
        "priority": "the importance, for searches whose `weights` count it",
        "question": "a question in natural language",
        "quoted": "true if no language model wrote the text: it quotes the best memories",
        "query": "a question or a topic in natural language",
        "reason": "the reason why this answer was chosen",
        "rerank": "let the language model re-rank the best matches (needs the scope `generate`)",
        "session": "the conversation that the turn belongs to",
        "steps": "every agent that was asked, failures included",
        "stream": "answer with server-sent events: `sources`, `text` (repeated), then `done` or `error`",
        "task": "the task of the question; agents registered for other tasks are not asked",
        "timeout_s": "the limit for one agent, in seconds; the configured one when null",
        "top_k": "the number of results, 1 to 1,000",
        "unsupported": "the names and numbers of the answer that stand in no source",
        "user_id": "the user who asks; agents registered for other users are not asked",
        "wait": "`first`, `all`, or the number of answers to wait for",
        "weights": "the weights of the signals in a hybrid search",
        "where": "a filter over the metadata; `$source`, `$session`, `$type`, `$created_at` ... are the record's own",
        "with_vectors": "add each memory's vector, as base64 of little-endian float32",
        "write_id": "identifies the write; a repetition with this id changes nothing and gets the reply of the first",
    }
)
"""Member -> its description, in every model that has it."""
