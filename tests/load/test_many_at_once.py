"""Many requests that are ready together do not stop the event loop, however much each has to list or to read."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.load.conftest import ROOT
from tests.load.probing import probing, send

from super_advanced_agents.protocol.operations import OPERATIONS

AT_ONCE, COUNT = 40, 1_000
WORST_S = 0.1
MEMORIES = "/v1/agents/default/memories"

LISTINGS = {
    "listAuditEntries": "/v1/audit?limit=1000",
    "stats": "/v1/stats",
    "listCollections": "/v1/collections",
    "listRecords": "/v1/collections/c0/records?limit=1000",
    "listMemories": f"{MEMORIES}?limit=1000",
    "listAgents": "/v1/agents",
    "listOrchestrators": "/v1/orchestrators",
    "listJobs": "/v1/jobs?limit=1000",
    "listUploads": "/v1/uploads",
    "listSchedules": "/v1/schedules",
    "models": "/v1/models",
}
"""The paths of all operations that answer with a list of what a tenant has, and of others that go through it."""

RELOCATIONS = {
    "places": {"memories": [{"uid": f"m{n}", "extra": {"lines": [n, n]}} for n in range(COUNT)]},
    "order": {"order": [f"m{n}" for n in range(COUNT)]},
}


def _fill(served):
    def put(method, path, body):
        status, answer = send(served, method, path, json.dumps(body))
        assert status < 300, (path, answer)

    def put_each(n):
        put("POST", "/v1/collections", {"name": f"c{n}", "dim": 2})
        put("PUT", f"/v1/agents/agent{n}", {"description": "d" * 1_000})
        put("POST", "/v1/jobs", {"kind": "ask_agent", "queue": "none", "arguments": {"question": "q" * 3_000}})
        put("POST", "/v1/uploads", {"name": "n" * 256})

    with ThreadPoolExecutor(16) as threads:  # which share commits
        list(threads.map(put_each, range(COUNT)))
    for n in range(100):
        arguments = {"question": "q" * 15_000}
        put("PUT", f"/v1/schedules/s{n}", {"kind": "ask_agent", "cron": "0 0 29 2 *", "arguments": arguments})
    metadata = {f"field{n}": n for n in range(500)}
    memories = [{"text": f"memory {n}", "uid": f"m{n}", "extra": metadata} for n in range(COUNT)]
    put("POST", MEMORIES, {"memories": memories})
    put("POST", "/v1/collections/c0/records", {"vectors": [[1, 0]] * COUNT, "metadatas": [metadata] * COUNT})


def _burst(served, method, path, body=None):
    # Returns the statuses of the answers, and the longest time of /healthz meanwhile.
    plan = {"host": served.host, "port": served.port, "key": served.key, "count": AT_ONCE}
    plan |= {"method": method, "path": path, "body": None if body is None else json.dumps(body)}
    command = [sys.executable, "-m", "tests.load.burst"]
    with probing(served) as took:
        done = subprocess.run(command, input=json.dumps(plan), capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout), max(took)


def test_every_operation_that_lists_is_in_the_table():
    """Whoever adds one says how it is asked for."""
    listing = {each.name for each in OPERATIONS if each.verb == "GET" and each.name.startswith("list")}
    assert listing <= set(LISTINGS)


@pytest.mark.load
@pytest.mark.timeout(600)
def test_healthz_answers_within_100_ms_beside_forty_listings_or_relocations_at_once(serving):
    """Each lists or moves as much as one tenant may have."""
    worst, statuses = {}, {}
    with serving() as served:
        _fill(served)
        for name, path in LISTINGS.items():
            statuses[name], worst[name] = _burst(served, "GET", path)
        for name, body in RELOCATIONS.items():
            statuses[name], worst[name] = _burst(served, "POST", f"{MEMORIES}:relocate", body)
    print(json.dumps({name: round(took * 1e3) for name, took in worst.items()}))
    assert all(set(each) <= {"200", "429"} and "200" in each for each in statuses.values()), statuses
    assert {name: round(took * 1e3) for name, took in worst.items() if took >= WORST_S} == {}
