"""Two tenants of one real server do not feel each other: the order of completion, not time, is asserted."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import httpx2
import pytest

CALLS = 16
TEXTS = 64


@pytest.fixture
def tenants(machine):
    """Yield a function that opens a client of a running server for one tenant."""
    with machine.server() as client:
        while client.get("/readyz").status_code != 200:
            pass
        scopes = [part for scope in ("memories:read", "memories:write", "generate") for part in ("--scope", scope)]

        @contextmanager
        def client_of(tenant):
            key = machine.json("keys", "create", "--tenant", tenant, *scopes)["key"]
            headers = {"Authorization": f"Bearer {key}"}
            with httpx2.Client(base_url=client.base_url, headers=headers, timeout=120) as opened:
                yield opened

        yield client_of


def _texts(call):
    return {
        "memories": [{"text": f"the note {i} of the call {call} is about the harbour of Genoa"} for i in range(TEXTS)]
    }


def test_searches_of_a_tenant_are_answered_before_the_bulk_writes_of_another(tenants):
    """Five searches, one after the other, end while most of the writes that came before them still wait."""
    answered = threading.Event()

    def write(call):
        status = hostile.post("/v1/agents/default/memories", json=_texts(call)).status_code
        answered.set()
        return status

    with tenants("acme") as hostile, tenants("globex") as quiet, ThreadPoolExecutor(CALLS) as pool:
        quiet.post("/v1/agents/default/memories", json={"text": "Genoa has a harbour"}).raise_for_status()
        writes = [pool.submit(write, call) for call in range(CALLS)]
        assert answered.wait(120)
        for number in range(5):
            found = quiet.post("/search", json={"query": f"harbour {number}"})
            assert [match["text"] for match in found.json()["results"]] == ["Genoa has a harbour"]
        done_before = sum(each.done() for each in writes)
        assert {each.result() for each in as_completed(writes)} == {200}
    assert done_before <= CALLS // 2
