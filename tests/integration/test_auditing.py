"""The audit log of real servers and commands: who did what, in a chain that can be checked."""

from __future__ import annotations

import grpc
import httpx2
import pytest

from super_advanced_agents.protocol import methods

_MEMORIES = "/v1/agents/guide/memories"


def _operations(entries):
    return [(entry["operation"], entry["protocol"], entry["outcome"]) for entry in entries]


def test_changes_of_all_protocols_and_commands_are_in_one_chain(machine):
    """Each entry says who, from where, about what and how it ended, and none holds a text or a uid."""
    machine.saa("keys", "create", "--scope", "admin")
    reader = machine.saa("keys", "create", "--scope", "memories:read").strip()
    machine.key = machine.saa("keys", "create", "--scope", "admin").strip()
    with machine.server() as client:
        client.post(_MEMORIES, json={"memories": [{"text": "texttt", "uid": "uiddd"}, {"text": "more"}]})
        client.post("/v1/agents/guide/search", json={"query": "queryyy"}).raise_for_status()
        client.get(_MEMORIES).raise_for_status()
        client.post(_MEMORIES, json={"text": "x"}, headers={"Authorization": f"Bearer {reader}"})
        address = client.startup_info["grpc"].removeprefix("grpc://")
        with grpc.insecure_channel(address) as channel:
            forget = methods.FORGET
            call = channel.unary_unary(
                forget.path,
                request_serializer=forget.request.SerializeToString,
                response_deserializer=forget.reply.FromString,
            )
            metadata = [("x-api-key", machine.key), ("x-request-id", "erase-1")]
            call(forget.request(agent="guide", uids=["uiddd"], by_uids=True), metadata=metadata)
        tool = {"name": "remember", "arguments": {"text": "texttt by mcp"}}
        answer = client.post(
            "/mcp/guide",
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool},
            headers={"Accept": "application/json, text/event-stream"},
        )
        assert answer.status_code == 200, answer.text
        page = client.get("/v1/audit?limit=3").raise_for_status().json()
        assert page["next"] == page["entries"][-1]["hash"]
        assert not any("seq" in entry for entry in page["entries"])  # it counts the entries of all tenants
        client.delete(f"/v1/agents/{'a' * 60_000}/memories/x")
        older = client.get(f"/v1/audit?before={page['next']}").raise_for_status().json()
        assert client.get("/v1/audit", headers={"Authorization": f"Bearer {reader}"}).status_code == 403
        assert client.get("/v1/audit?until=1").status_code == 422
    entries = machine.json("audit", "tail", "-n", 100)["entries"]
    assert _operations(entries) == [
        ("createKey", "command", "ok"),
        ("createKey", "command", "ok"),
        ("createKey", "command", "ok"),
        ("remember", "rest", "ok"),
        ("listMemories", "rest", "ok"),
        ("remember", "rest", "forbidden"),
        ("forgetMemories", "grpc", "ok"),
        ("remember", "mcp", "ok"),
        ("listAuditEntries", "rest", "ok"),
        ("forget", "rest", "invalid"),
        ("listAuditEntries", "rest", "ok"),
        ("listAuditEntries", "rest", "forbidden"),
        ("listAuditEntries", "rest", "invalid"),
    ]
    assert len(entries[9]["target"]) == 256
    assert _operations([*page["entries"], *older["entries"]][:5]) == _operations(entries[3:8][::-1])
    stored, forgot = entries[3], entries[6]
    assert (stored["items"], stored["target"], stored["from"]) == (2, "guide", "127.0.0.1")
    assert (forgot["items"], forgot["request_id"], forgot["key_id"]) == (1, "erase-1", machine.key.split("_")[1])
    assert entries[5]["key_id"] == reader.split("_")[1]
    log = b"".join(path.read_bytes() for path in (machine.data_dir / "audit").glob("audit-*"))
    assert not [word for word in (b"texttt", b"uiddd", b"queryyy") if word in log]
    assert machine.json("audit", "verify")["faults"] == []


def test_verify_names_the_file_of_an_edited_entry(machine):
    """The command fails, so that a scheduled check is noticed."""
    machine.saa("keys", "create", "--scope", "admin")
    file = machine.data_dir / "audit" / "audit-000001.jsonl"
    file.write_bytes(file.read_bytes().replace(b"createKey", b"createkey"))
    assert "audit-000001.jsonl: line 1" in machine.json("audit", "verify", code=1)["faults"][0]


@pytest.mark.parametrize("closed", [False, True], ids=["fails open", "fails closed"])
def test_server_whose_audit_log_cannot_be_written(machine, closed):
    """Failing closed it changes nothing and goes on reading; failing open it goes on with both."""
    machine.data_dir.mkdir()
    (machine.data_dir / "audit").write_text("a file where the folder should be")
    with machine.server(environment={"SAA_AUDIT_FAILS_CLOSED": str(int(closed))}) as client:
        first = client.post(_MEMORIES, json={"text": "texttt"})
        second = client.post(_MEMORIES, json={"text": "texttt"})
        assert client.post("/v1/agents/guide/search", json={"query": "texttt"}).status_code == 200
        assert [first.status_code, second.status_code] == ([503, 503] if closed else [200, 200])
        count = client.get(f"{_MEMORIES}:count").json()["count"]
        assert count == (1 if closed else 2)  # the first was done before the failure was known


def test_audit_log_of_one_tenant_shows_nothing_of_another(machine):
    """An administrator of another tenant sees its own entries only."""
    machine.key = machine.saa("keys", "create", "--scope", "admin").strip()
    other = machine.saa("keys", "create", "--scope", "admin", "--tenant", "globex").strip()
    with machine.server() as client:
        client.post(_MEMORIES, json={"text": "texttt"}).raise_for_status()
        headers = {"Authorization": f"Bearer {other}"}
        found = (
            httpx2.get(client.base_url.join("/v1/audit"), headers=headers, timeout=60)
            .raise_for_status()
            .json()["entries"]
        )
    assert {entry["tenant"] for entry in found} == {"globex"}


def test_keys_that_a_start_makes_or_stores_are_in_the_audit_log_once(machine):
    """The first admin key, and one of a setting; a further start with the same makes none."""
    given = machine.saa("keys", "generate").strip()
    for environment in ({}, {"SAA_METRICS_KEY": given}, {"SAA_METRICS_KEY": given}):
        with machine.server(environment):
            pass
    made = [each for each in machine.json("audit", "tail")["entries"] if each["operation"] == "createKey"]
    assert [each["target"] for each in made] == [machine.key.split("_")[1], given.split("_")[1]]
