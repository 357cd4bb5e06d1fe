"""The names and meanings of all metrics, which `docs/observability.md` lists.

A name without its prefix is that of the instrument in the code; Prometheus shows counters with `_total` behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PREFIX = "saa_"

HISTOGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "request_seconds": "Seconds from a request's arrival to the end of its answer.",
        "permit_wait_seconds": "Seconds for which requests waited for a permit that was not free at once.",
        "queue_wait_seconds": "Seconds for which items waited in a queue until their batch began.",
        "batch_seconds": "Seconds that a batch of a queue took.",
        "batch_items": "Items that ran together in one batch of a queue.",
        "store_commit_seconds": "Seconds of a transaction, flushed to the disk, of any embedded store.",
        "store_seal_seconds": "Seconds for building one segment of a vector index.",
        "job_seconds": "Seconds of one attempt of a background job.",
        "model_load_seconds": "Seconds for loading a model.",
        "event_loop_lag_seconds": "Seconds by which the event loop ran late, measured four times a second.",
    }
)
"""Distributions, with their sum and count."""

COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        "permits_refused": "Requests that were refused because too many of their kind were running.",
        "queue_refused": "Items that a full queue did not take.",
        "rate_limited": "Requests that were refused because a key's or tenant's allowance was used up.",
        "connections_refused": "Connections that were refused because too many were open.",
        "tenant_requests": "Requests of the tenants that SAA_METRICS_TENANTS lists.",
        "embedded_texts": "Texts that the embedding model computed.",
        "embedding_batches": "Batches that the embedding model ran.",
        "embedding_cache_hits": "Texts whose vectors were in the cache.",
        "embedding_cache_misses": "Texts whose vectors were not in the cache.",
        "generations": "Requests to the language model.",
        "prompt_tokens": "Tokens of the prompts that the language model in the process read.",
        "generated_tokens": "Tokens (pieces of text) that the language model generated.",
        "result_cache_lookups": "Searches by what the cache of search results did for them.",
        "store_commits": "Transactions of the shared store.",
        "store_changes": "Records of the shared store by what was done with them.",
        "recall_probe_neighbours": "True nearest neighbours in probes of recall, by whether the index found them.",
        "store_records_expired": "Expired records that the stores of the process deleted.",
        "store_searches": "Searches of the shared store that were no cached results.",
        "audit_entries_dropped": "Entries of the audit log that could not be written.",
        "log_lines_dropped": "Log lines that nobody read in time.",
    }
)
"""Counts since the start of the process."""

GAUGES: Mapping[str, str] = MappingProxyType(
    {
        "build_info": "The version of this package and of Python; always 1.",
        "ready": "1 while a server is ready, as /readyz says, or a worker's heartbeats reach the database of jobs.",
        "draining": "1 while the process is being stopped.",
        "storage_lost": "1 while a file of a database is lost.",
        "certificate_expires_timestamp_seconds": "When the certificate of the server expires, in seconds since 1970.",
        "permits": "Requests of a kind that may run at once.",
        "permits_in_use": "Requests of a kind that run now.",
        "permits_waiting": "Requests of a kind that wait for a permit now.",
        "jobs": "Background jobs by state, of all tenants.",
        "streams_open": "gRPC streams of messages that are open.",
        "request_room_bytes": "Bytes of large requests that are arriving or worked on.",
        "answers_being_sent_bytes": "Bytes of long answers that clients have not read yet.",
        "queue_depth": "Items that wait in a queue now.",
        "model_ready": "1 while a model is loaded.",
        "embedding_cache_entries": "Vectors in the cache of embeddings.",
        "embedding_cache_bytes": "Bytes of the vectors in the cache of embeddings.",
        "generations_active": "Answers that the language model generates now.",
        "result_cache_entries": "Searches in the cache of search results.",
        "collections_open": "Collections whose stores are open.",
        "store_up": "1 if the shared store answered the question for its statistics in time.",
        "store_records": "Records in the shared store.",
        "store_rows": "Rows in the index of the shared store, expired ones included.",
        "store_segments": "Segments of the vector index of the shared store.",
        "store_tail_rows": "Rows of the shared store that are in no segment yet.",
        "store_bytes": "Bytes of the shared store's database.",
        "store_log_bytes": "Bytes of the write-ahead log of the shared store's database.",
        "store_namespaces": "Namespaces of all tenants in the shared store.",
    }
)
"""Values of now."""
