"""A server whose memories, collections, keys and catalogue are in PostgreSQL, and the commands beside it."""

from __future__ import annotations

import signal
import time

import pytest


@pytest.fixture
def environment(postgres_schema_url):
    """Return the environment of commands and servers that use one empty schema."""
    return {"SAA_STORE_URL": postgres_schema_url, "SAA_RATE_LIMIT_PER_KEY": "0", "SAA_GRPC": "false"}


@pytest.fixture
def machine(machine, environment, monkeypatch):
    """Return a machine whose commands use the database, too."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return machine


def _add(client, text, uid):
    client.post("/v1/agents/guide/memories", json={"text": text, "uid": uid}).raise_for_status()


def _found(client, query):
    answer = client.post("/v1/agents/guide/search", json={"query": query, "top_k": 1})
    answer.raise_for_status()
    return [match["uid"] for match in answer.json()["results"]]


def test_memories_collections_and_keys_outlive_a_killed_server_without_a_data_folder(machine, tmp_path):
    """A second server on another machine, which never saw the first one's folder, knows all of it."""
    with machine.server() as client:
        _add(client, "Ann's cat is called Miso.", "cat")
        assert _found(client, "What is the name of Ann's pet?") == ["cat"]
        client.post("/v1/collections", json={"name": "points", "dim": 3}).raise_for_status()
        client.post("/v1/collections/points/records", json={"vectors": [[1, 0, 0]], "uids": ["x"]}).raise_for_status()
        client.process.send_signal(signal.SIGKILL)
        client.process.wait(60)
    machine.data_dir = tmp_path / "another machine"
    with machine.server() as client:
        assert _found(client, "Miso") == ["cat"]
        found = client.post("/v1/collections/points/search", json={"query_vector": [1, 0, 0]})
        assert [match["uid"] for match in found.json()["results"]] == ["x"]


def test_server_leaves_a_receipt_of_what_expired(machine):
    """The write that finds it deletes it; the entry is there when the server has stopped."""
    with machine.server() as client:
        items = [{"text": f"The tide turns at {n}.", "expires_in_s": 1} for n in range(3)]
        client.post("/v1/agents/guide/memories", json={"memories": items}).raise_for_status()
        deadline = time.monotonic() + 30
        while client.get("/v1/agents/guide/memories:count").json()["count"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        _add(client, "The boat is in Porto.", "boat")
    entries = machine.json("audit", "tail")["entries"]
    assert [entry["items"] for entry in entries if entry["operation"] == "expire"] == [3]


def test_commands_and_servers_share_the_database(machine):
    """No folder is locked, so a command works beside a running server, and both see each other's writes."""
    with machine.server() as client:
        _add(client, "The boat is in Porto.", "boat")
        machine.saa("add", "The bicycle is in Faro.", "--agent", "guide", "--uid", "bicycle")
        assert _found(client, "bicycle") == ["bicycle"]
        listed = machine.json("list", "--agent", "guide")
        assert {memory["uid"] for memory in listed["memories"]} == {"boat", "bicycle"}


def test_two_servers_over_one_database_answer_alike(machine, new_machine, tmp_path):
    """What one acknowledged is found by the other at once, also where its results are cached."""
    with machine.server() as one:
        other_machine = new_machine(tmp_path / "other")
        other_machine.key = machine.key
        with other_machine.server() as other:
            for n in range(5):
                _add(one, f"Fact number {n} tells of the lighthouse.", f"fact{n}")
                assert _found(other, f"Fact number {n} tells of the lighthouse.") == [f"fact{n}"]
            assert one.delete("/v1/agents/guide/memories/fact3").status_code in {200, 204}
            assert _found(other, "Fact number 3 tells of the lighthouse.") != ["fact3"]
