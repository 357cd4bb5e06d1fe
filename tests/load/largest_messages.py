"""The largest legal messages of the operations that gRPC alone has."""

from __future__ import annotations

import json

import numpy as np
from tests.load.largest import COUNT, DIM, TEXT, VALUES, WIDE_DIM

from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import vector_store_pb2 as stores


def _packed(count, dim):
    return np.random.default_rng(2).random((count, dim), dtype="<f4").tobytes()


def largest_messages():
    """Return the messages that are sent with each operation, by its name."""
    where = json.dumps({"a": {"$nin": VALUES}}).encode()
    metadatas = [json.dumps({f"field{j}": j for j in range(100)}).encode()] * COUNT
    ask = {"agent": "default", "top_k": 100, "instructions": "x" * 8_000, "where": where}
    return {
        "addStream": [
            stores.AddRequest(collection="wide", dim=WIDE_DIM, vectors=_packed(COUNT, WIDE_DIM), metadatas=metadatas)
        ]
        * 4,
        "searchStream": [
            stores.SearchRequest(collection="c", dim=DIM, query_vectors=_packed(100, DIM), top_k=50, where=where)
        ]
        * 4,
        "scanStream": [stores.ScanRequest(collection="c", limit=COUNT)],
        "askStream": [agents.AskRequest(question="one word", **ask)],
        "agentChatStream": [agents.ChatRequest(message="one word", **ask)],
        "rememberTurns": [
            agents.RememberTurnsRequest(
                agent="default",
                turns=[
                    agents.Turn(speaker="a" * 100, text=TEXT[:2_000], extra=json.dumps({"n": n}).encode())
                    for n in range(COUNT)
                ],
            )
        ],
    }
