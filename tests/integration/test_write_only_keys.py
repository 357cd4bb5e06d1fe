"""A key without `memories:read` stores and deletes, and learns nothing of what is stored."""

from __future__ import annotations

import json

import grpc
import pytest

from super_advanced_agents import DistributedVectorStore
from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import vector_store_pb2 as stores

_SECRET = "The salary of Ann is 1234."
_MEMORIES, _RECORDS = "/v1/agents/default/memories", "/v1/collections/c/records"


@pytest.fixture(scope="module")
def server(shared_machine):
    """Yield a function that sends a REST request with a key of some scopes, and the gRPC address.

    A memory and a record are stored, both with the uid `u1`.
    """
    with shared_machine.server({"SAA_GRPC_PORT": "0"}) as client:
        keys = {"admin": shared_machine.key}
        for name, scope in (("writer", "memories:write"), ("generator", "generate"), ("worker", "jobs")):
            keys[name] = shared_machine.json("keys", "create", "--tenant", "default", "--scope", scope)["key"]

        def send(caller, method, path, body=None, headers=None):
            request = client.build_request(method, path, json=body, headers=headers)
            request.headers["authorization"] = f"Bearer {keys[caller]}"
            return client.send(request)

        memory = {"uid": "u1", "text": _SECRET, "extra": {"iban": "DE00"}}
        send("admin", "POST", _MEMORIES, memory).raise_for_status()
        send("admin", "POST", "/v1/collections", {"name": "c", "dim": 2}).raise_for_status()
        record = {"vectors": [[1, 2]], "uids": ["u1"], "metadatas": [{"text": _SECRET}]}
        send("admin", "POST", _RECORDS, record).raise_for_status()
        with DistributedVectorStore(client.startup_info["grpc"], "c", api_key=keys["admin"], dim=2) as kept_open:
            kept_open.count()
            send.keys, send.grpc = keys, client.startup_info["grpc"]
            yield send


@pytest.mark.parametrize("caller", ["writer", "generator"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", f"{_MEMORIES}/u1", {}),
        ("PATCH", f"{_MEMORIES}/u1", {"priority": 1}),
        ("PATCH", f"{_MEMORIES}/missing", {"priority": 1}),
        ("POST", f"{_MEMORIES}:relocate", {"memories": [{"uid": "u1"}]}),
        ("PATCH", _RECORDS, {"uid": "u1", "changes": {}}),
        ("POST", _MEMORIES, {"text": _SECRET, "extra": {"iban": "DE00"}, "dedupe": "exact"}),
        ("POST", _RECORDS, {"vectors": [[1, 2]], "metadatas": [{"text": _SECRET}], "dedupe": "exact"}),
        ("POST", f"{_MEMORIES}:forget", {"where": {"iban": "DE00"}}),
        ("POST", f"{_MEMORIES}:forget", {"uids": ["u1"], "where": {"iban": "DE00"}}),
        ("POST", f"{_RECORDS}:delete", {"where": {"text": _SECRET}}),
        ("POST", "/v1/agents/default/ask", {"question": "What is the salary of Ann?"}),
        ("POST", "/v1/chat/completions", {"model": "default", "messages": [{"role": "user", "content": "Ann?"}]}),
        ("POST", "/v1/orchestrators/default/route", {"query": "What is the salary of Ann?"}),
        ("GET", f"{_MEMORIES}/u1", None),
    ],
)
def test_request_whose_answer_tells_what_is_stored_is_refused(server, caller, method, path, body):
    """The refusal is the same for what exists and for what does not, and nothing changes."""
    answer = server(caller, method, path, body)
    assert answer.status_code == 403
    assert "1234" not in answer.text
    assert "u1" not in answer.text
    assert server("admin", "GET", f"{_MEMORIES}/u1").json()["priority"] is None


def test_deletion_is_answered_alike_whether_the_uid_exists_or_not(server):
    """The answer holds the number of uids in the request."""
    server("admin", "POST", _MEMORIES, {"uid": "gone", "text": "soon deleted"}).raise_for_status()
    server("admin", "POST", _RECORDS, {"vectors": [[1, 2]], "uids": ["gone"]}).raise_for_status()
    for path in (f"{_MEMORIES}:forget", f"{_RECORDS}:delete"):
        answers = [server("writer", "POST", path, {"uids": uids}) for uids in (["gone"], ["missing"])]
        assert [answer.json() for answer in answers] == [{"deleted": 1}] * 2
    assert server("admin", "GET", f"{_MEMORIES}/gone").status_code == 404
    for path in (f"{_MEMORIES}/missing", f"{_RECORDS}/missing"):
        assert server("writer", "DELETE", path).status_code == 204
        assert server("admin", "DELETE", path).status_code == 404


def test_new_memory_gets_its_uid_and_replaces_one_of_the_same_uid_alike(server):
    """A write-only key is good for feeding a store."""
    answers = [server("writer", "POST", _MEMORIES, {"uid": "fed", "text": f"version {n}"}) for n in range(2)]
    assert [answer.json() for answer in answers] == [{"uids": ["fed"]}] * 2
    assert server("admin", "GET", f"{_MEMORIES}/fed").json()["text"] == "version 1"


def test_mcp_tools_of_a_write_only_key_tell_no_stored_uid(server):
    """`remember` looks for the same text only for callers that may read, and `forget` counts the uids it was given."""

    def call(tool, **arguments):
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        [data] = [
            line[6:] for line in server("writer", "POST", "/mcp", request).text.splitlines() if line[:5] == "data:"
        ]
        return json.loads(data)["result"]["structuredContent"]

    assert call("remember", text=_SECRET, extra={"iban": "DE00"})["uid"] != "u1"
    assert call("forget", uids=["missing"])["forgotten"] == 1


def test_grpc_refuses_the_same_requests(server):
    """One rule holds for both protocols, MCP and gRPC alike."""
    metadata = [("authorization", f"Bearer {server.keys['writer']}")]
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:

        def call(method, request):
            service = "VectorStoreService" if isinstance(request, stores.UpdateRequest) else "AgentService"
            return channel.unary_unary(f"/super_advanced_agents.v1.{service}/{method}")(
                request.SerializeToString(), metadata=metadata, timeout=60
            )

        forget = agents.ForgetRequest(agent="default", uids=["missing"], by_uids=True)
        assert agents.ForgetResponse.FromString(call("Forget", forget)).deleted == 1
        for method, request in (
            ("Forget", agents.ForgetRequest(agent="default", where=b"{}")),
            ("UpdateMemory", agents.UpdateMemoryRequest(agent="default", uid="u1")),
            ("Update", stores.UpdateRequest(collection="c", uid="u1")),
            ("Ask", agents.AskRequest(agent="default", question="Ann?")),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                call(method, request)
            assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_jobs_and_schedules_come_without_what_others_asked_and_were_answered(server):
    """Over REST, as events and by MCP; a key that may read sees all of it."""
    job = {"kind": "ask_agent", "queue": "nobody", "arguments": {"question": _SECRET}}
    path = "/v1/jobs/" + server("admin", "POST", "/v1/jobs", job).raise_for_status().json()["id"]
    schedule = {"kind": "ask_agent", "cron": "0 0 1 1 *", "arguments": {"question": _SECRET}}
    server("admin", "PUT", "/v1/schedules/s", schedule).raise_for_status()
    assert server("admin", "GET", path).json()["arguments"] == job["arguments"]
    tool = {"name": "job_status", "arguments": {"id": path.removeprefix("/v1/jobs/")}}
    answers = [
        server("worker", *request)
        for request in (
            ("GET", path),
            ("GET", "/v1/jobs"),
            ("GET", "/v1/schedules"),
            ("PATCH", "/v1/schedules/s", {"paused": True}),
            ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool}),
            ("POST", f"{path}/cancel"),
            ("GET", f"{path}/events"),  # the job has ended by now
        )
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert not [answer.text for answer in answers if "1234" in answer.text]


def test_error_of_a_job_comes_without_its_text(server):
    """It quotes arguments; the kind of the error is enough to see what failed."""
    job = {"kind": "import_files", "arguments": {"path": "salary-of-ann.txt"}}
    path = "/v1/jobs/" + server("admin", "POST", "/v1/jobs", job).raise_for_status().json()["id"]
    assert "salary-of-ann" in server("admin", "GET", f"{path}/events").text  # they end with the job
    assert "salary-of-ann" in server("admin", "GET", path).json()["error"]
    assert server("worker", "GET", path).json()["error"] == "InvalidInputError"
    for other in (f"{path}/events", "/v1/jobs"):
        answer = server("worker", "GET", other)
        assert answer.status_code == 200
        assert "salary-of-ann" not in answer.text


def test_reply_kept_for_a_key_that_may_read_is_not_for_one_that_may_not(server):
    """Both send the same request with the same `Idempotency-Key`."""
    request = {"uids": ["missing"]}
    headers = {"Idempotency-Key": "twice"}
    reader = server("admin", "POST", f"{_MEMORIES}:forget", request, headers)
    assert reader.json() == {"deleted": 0}
    writer = server("writer", "POST", f"{_MEMORIES}:forget", request, headers)
    assert writer.status_code == 422
    assert server("admin", "POST", f"{_MEMORIES}:forget", request, headers).json() == {"deleted": 0}
