"""What operators see of a running server: metrics, ids of requests and lines of the log."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import contextmanager

import grpc
import httpx2
import orjson
import pytest

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.methods import ERROR_METADATA

_MEMORIES = "/v1/agents/guide/memories"
_LOGGED = {"SAA_LOG_FORMAT": "json", "SAA_METRICS_PORT": "0"}


class _Watched:
    """A running server, its key and the lines of its log."""

    def __init__(self, process, startup_info, log):
        self.process, self.startup_info, self._log = process, startup_info, log
        self.rest = httpx2.Client(
            base_url=startup_info["url"],
            headers={"Authorization": f"Bearer {startup_info['admin_key']}"},
            timeout=120,
        )

    def lines(self, event):
        """Return the lines of an event; the server must have ended."""
        records = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [record for record in records if record["event"] == event]

    def metrics(self):
        """Return the metrics by name and labels."""
        answer = httpx2.get(self.startup_info["metrics"], timeout=60).raise_for_status()
        assert answer.headers["content-type"].startswith("text/plain")
        pairs = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in pairs}


@contextmanager
def _watched(machine, folder, **environment):
    log = folder / "log"
    with log.open("w") as stderr:
        process = machine.start("serve", "--port", 0, "--json", environment=_LOGGED | environment, stderr=stderr)
    try:
        startup_info = json.loads(process.stdout.readline())
        machine.key = startup_info["admin_key"]
        watched = _Watched(process, startup_info, log)
        with watched.rest:
            yield watched
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def test_metrics_count_requests_of_both_protocols_and_name_no_data(machine, tmp_path):
    """Texts, questions, keys and tenants are in none of them."""
    with _watched(machine, tmp_path) as server:
        server.rest.post(_MEMORIES, json={"text": "walruses sing"}).raise_for_status()
        server.rest.post("/v1/agents/guide/search", json={"query": "singing walruses"}).raise_for_status()
        assert server.rest.post("/search", json={}).status_code == 422
        address = server.startup_info["grpc"].removeprefix("grpc://")
        with grpc.insecure_channel(address) as channel:
            count = methods.COUNT_MEMORIES
            call = channel.unary_unary(
                count.path,
                request_serializer=count.request.SerializeToString,
                response_deserializer=count.reply.FromString,
            )
            call(count.request(agent="guide"), metadata=[("x-api-key", machine.key)])
        probe = {"kind": "probe_recall", "arguments": {"agent": "guide"}}
        job = server.rest.post("/v1/jobs", json=probe).raise_for_status().json()["id"]
        while not server.rest.get(f"/v1/jobs/{job}").json()["result"]:
            time.sleep(0.05)
        found = server.metrics()
        text = httpx2.get(server.startup_info["metrics"], timeout=60).text

    def requests(operation, protocol, outcome):
        return found[f'saa_request_seconds_count{{operation="{operation}",outcome="{outcome}",protocol="{protocol}"}}']

    assert requests("remember", "rest", "ok") == 1
    assert requests("searchMemories", "rest", "ok") == 1
    assert requests("search", "rest", "invalid") == 1
    assert requests("countMemories", "grpc", "ok") == 1
    assert found["saa_store_records"] == 1
    assert found['saa_batch_items_sum{queue="store searcher"}'] == 2, "the search and that of the probe"
    assert found["saa_store_commit_seconds_count"] >= 1
    assert found['saa_store_changes_total{change="added"}'] == 1
    assert found['saa_recall_probe_neighbours_total{outcome="found"}'] == 1
    assert found['saa_recall_probe_neighbours_total{outcome="missed"}'] == 0
    assert found['saa_job_seconds_count{kind="probe_recall",outcome="succeeded"}'] == 1
    assert found['saa_jobs{state="succeeded"}'] == 1
    for secret in ("walrus", "guide", machine.key.split("_")[2], 'tenant="'):
        assert secret not in text


def test_metrics_beside_rest_need_a_key_with_their_own_scope(machine, tmp_path):
    """They are of all tenants, so an administrator of one may not read them."""
    machine.saa("keys", "create", "--scope", "admin")
    scraper = machine.saa("keys", "create", "--scope", "metrics").strip()
    with machine.server() as client:
        assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {scraper}"})
        assert answer.status_code == 200
        assert "saa_build_info" in answer.text
        assert client.get("/v1/agents", headers={"Authorization": f"Bearer {scraper}"}).status_code == 403


def test_port_of_metrics_answers_no_page_of_another_site(machine, tmp_path):
    """On loopback it needs no key, so the name that the caller uses is checked."""
    with _watched(machine, tmp_path) as server:
        url = server.startup_info["metrics"]
        assert httpx2.get(url, headers={"Host": "evil.example"}, timeout=60).status_code == 421
        assert httpx2.get(url, headers={"Origin": "https://evil.example"}, timeout=60).status_code == 403
        assert httpx2.get(url.replace("/metrics", "/v1/agents"), timeout=60).status_code == 404


@pytest.mark.parametrize("options", [{"SAA_AUTH": "0"}, {}], ids=["no authentication", "no key"])
def test_port_of_metrics_beyond_loopback_needs_authentication(machine, options):
    """The server says so and does not start."""
    environment = {"SAA_METRICS_PORT": "0", "SAA_METRICS_HOST": "0.0.0.0", **options}
    with machine.start("serve", "--port", 0, environment={**os.environ, **environment}) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "0.0.0.0" in errors


def test_id_of_a_request_comes_back_and_is_in_its_errors_and_lines(machine, tmp_path):
    """An id that is not valid is replaced by a new one."""
    with _watched(machine, tmp_path) as server:
        answer = server.rest.post("/search", json={}, headers={"X-Request-Id": "mine-1"})
        assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("mine-1", "mine-1")
        answer = server.rest.get("/v1/agents", headers={"X-Request-Id": "not valid"})
        made = answer.headers["x-request-id"]
        assert made != "not valid"
        assert server.rest.get("/nothing").json()["request_id"]
        assert "mine-2" in server.rest.get("/v1/models/none", headers={"X-Request-Id": "mine-2"}).headers.values()
    lines = {line["request_id"]: line for line in server.lines("server.request")}
    assert (lines["mine-1"]["operation"], lines["mine-1"]["outcome"]) == ("search", "invalid")
    assert lines[made]["operation"] == "listAgents"
    assert lines[made]["key_id"] == machine.key.split("_")[1]
    assert lines[made]["response_bytes"] > 0


def test_id_of_a_grpc_call_comes_back_and_is_in_its_errors(machine, tmp_path):
    """It is in the trailing metadata, with the problem document where the call failed."""
    method = methods.GET_COLLECTION
    with _watched(machine, tmp_path) as server:
        address = server.startup_info["grpc"].removeprefix("grpc://")
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.reply.FromString,
            )
            metadata = [("x-api-key", machine.key), ("x-request-id", "mine-3")]
            with pytest.raises(grpc.RpcError) as raised:
                call(method.request(name="none"), metadata=metadata)
        trailing = dict(raised.value.trailing_metadata())
        assert trailing["x-request-id"] == "mine-3"
        assert orjson.loads(trailing[ERROR_METADATA])["request_id"] == "mine-3"
    [line] = [line for line in server.lines("server.request") if line["request_id"] == "mine-3"]
    assert (line["protocol"], line["outcome"], line["operation"]) == ("grpc", "not_found", "getCollection")


def test_no_line_of_the_log_holds_what_requests_say(machine, tmp_path):
    """Not even at DEBUG, which a signal turns on while the server runs."""
    words = ("texttt", "queryyy", "extraaa", "uiddd", "namespaceee")
    with _watched(machine, tmp_path, SAA_SLOW_REQUEST_S="0.000001") as server:
        server.process.send_signal(signal.SIGUSR1)
        body = {"uid": "uiddd", "text": "texttt", "extra": {"a": "extraaa"}}
        server.rest.post("/v1/agents/namespaceee/memories", json=body).raise_for_status()
        server.rest.post("/v1/agents/namespaceee/search", json={"query": "queryyy"}).raise_for_status()
        server.rest.get("/v1/agents/namespaceee/memories/uiddd?textttt=1")
    assert server.lines("server.log_level")[0]["level"] == "DEBUG"
    slow = [line for line in server.lines("server.slow_request") if line["operation"] == "searchMemories"]
    assert {"embed_ms", "search_ms", "other_ms"} <= slow[0].keys()
    log = (tmp_path / "log").read_text()
    assert not [word for word in (*words, machine.key.split("_")[2]) if word in log]
