"""Servers whose memories and collections are in Milvus, and whose catalogue and keys are in PostgreSQL beside it."""

from __future__ import annotations

import os
import signal
import time
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from pymilvus import MilvusClient


@pytest.fixture
def environment(postgres_schema_url, milvus_url):
    """Return the environment of servers that use one collection and one schema, both dropped at the end."""
    name = f"served_{uuid4().hex}"
    yield {
        "SAA_STORE_URL": f"{milvus_url}/{name}?consistency=strong",
        "SAA_STATE": postgres_schema_url,
        "SAA_RATE_LIMIT_PER_KEY": "0",
        "SAA_GRPC": "false",
    }
    client = MilvusClient(uri=milvus_url.replace("milvus:", "http:"), dedicated=True)
    for each in client.list_collections():
        if each.startswith(name):
            client.drop_collection(each)
    client.close()


@pytest.fixture
def machine(machine, environment, monkeypatch):
    """Return a machine whose servers use them."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return machine


def _found(client, query):
    answer = client.post("/v1/agents/guide/search", json={"query": query, "top_k": 1})
    answer.raise_for_status()
    return [match["uid"] for match in answer.json()["results"]]


def _points(client, vector):
    return client.post("/v1/collections/points/search", json={"query_vector": vector, "top_k": 1})


def _collections_in_milvus(milvus_url):
    client = MilvusClient(uri=milvus_url.replace("milvus:", "http:"), dedicated=True)
    try:
        return client.list_collections()
    finally:
        client.close()


def _collection_of_tenant(milvus_url):
    store = urlsplit(os.environ["SAA_STORE_URL"]).path[1:]
    [name] = [each for each in _collections_in_milvus(milvus_url) if each.startswith(f"{store}_c_")]
    return name


def test_servers_without_a_common_folder_share_keys_agents_and_collections(machine, new_machine, tmp_path, milvus_url):
    """What one acknowledged the other has, also after the first was killed; a dropped collection is gone."""
    keyed = {"Idempotency-Key": "once"}
    memory = {"text": "Ann's cat is called Miso.", "uid": "cat"}
    with machine.server() as one:
        first = one.post("/v1/agents/guide/memories", json=memory, headers=keyed)
        first.raise_for_status()
        one.put("/v1/agents/guide", json={"description": "knows pets"}).raise_for_status()
        one.post("/v1/collections", json={"name": "points", "dim": 3}).raise_for_status()
        refused = one.post("/v1/collections", json={"name": "small", "dim": 3, "storage": "fp16"})
        assert refused.status_code == 422
        assert "no storage 'fp16'" in refused.text
        one.post("/v1/collections/points/records", json={"vectors": [[1, 0, 0]], "uids": ["x"]}).raise_for_status()
        other_machine = new_machine(tmp_path / "other")
        other_machine.key = machine.key
        with other_machine.server() as two:
            assert _found(two, "What is the name of Ann's pet?") == ["cat"]
            assert two.get("/v1/agents/guide").json()["description"] == "knows pets"
            assert two.post("/v1/agents/guide/memories", json=memory, headers=keyed).json() == first.json()
            assert [match["uid"] for match in _points(two, [1, 0, 0]).json()["results"]] == ["x"]
            two.post("/v1/collections/points/records", json={"vectors": [[0, 1, 0]], "uids": ["y"]}).raise_for_status()
            assert [match["uid"] for match in _points(one, [0, 1, 0]).json()["results"]] == ["y"]
            one.process.send_signal(signal.SIGKILL)
            one.process.wait(60)
            assert _found(two, "Miso") == ["cat"]
            name = _collection_of_tenant(milvus_url)
            two.delete("/v1/collections/points").raise_for_status()
            assert _points(two, [0, 1, 0]).status_code == 404
            deadline = time.monotonic() + 30
            while name in _collections_in_milvus(milvus_url) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert name not in _collections_in_milvus(milvus_url)
