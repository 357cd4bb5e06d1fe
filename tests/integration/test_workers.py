"""Run `saa serve --workers` over PostgreSQL: several processes on one port, which replace each other."""

from __future__ import annotations

import json
import os
import signal

import httpx2
import pytest
from tests.crash.replicas.embedding_server import DIM, embedding_server
from tests.ports import free_port

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def environment(postgres_schema_url):
    """Return the settings of a server over PostgreSQL."""
    with embedding_server() as embeddings:
        yield {
            "SAA_STORE": postgres_schema_url,
            "SAA_EMBEDDING_BASE_URL": embeddings,
            "SAA_EMBEDDING_MODEL": "fake",
            "SAA_EMBEDDING_DIM": str(DIM),
            "SAA_GENERATION_BASE_URL": embeddings,
        }


def test_workers_serve_one_port_and_one_that_dies_is_replaced(machine, environment):
    """They are one service, and end together."""
    port = free_port()
    process = machine.start(
        "serve", "--workers", 2, "--port", port, "--no-grpc", "--json", environment=environment, stderr=None
    )
    try:
        started = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert len({each["pid"] for each in started}) == 2
        [key] = [each["admin_key"] for each in started if "admin_key" in each]
        headers = {"Authorization": f"Bearer {key}"}

        def remember(text):
            # A connection of its own, so that either worker may get it.
            url = f"http://127.0.0.1:{port}/v1/agents/team/memories"
            return httpx2.post(url, json={"text": text}, headers=headers, timeout=30)

        assert [remember(f"text {number}").status_code for number in range(8)] == [200] * 8
        os.kill(started[0]["pid"], signal.SIGKILL)
        replacement = json.loads(process.stdout.readline())
        assert replacement["pid"] not in {each["pid"] for each in started}
        assert [remember(f"more {number}").status_code for number in range(8)] == [200] * 8
        count = httpx2.get(f"http://127.0.0.1:{port}/v1/agents/team/memories:count", headers=headers, timeout=30)
        assert count.json()["count"] == 16
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def test_workers_refuse_a_port_that_the_system_would_choose(machine, environment):
    """Each of them would get another one."""
    machine_environment = {**os.environ, **environment}
    with machine.start("serve", "--workers", 2, "--port", 0, environment=machine_environment) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "need ports of their own choice" in errors
