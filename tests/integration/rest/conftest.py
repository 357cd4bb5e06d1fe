"""Fixtures with one server for all tests of this folder; each test uses its own agent."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="package")
def shared_machine(new_machine, tmp_path_factory):
    """Return the machine of the server."""
    return new_machine(tmp_path_factory.mktemp("served") / "data")


@pytest.fixture(scope="package")
def served(shared_machine):
    """Yield the URL of the server."""
    with shared_machine.server() as client:
        yield client.base_url


def add(rest, agent, *memories):
    """Store memories of an agent, and return their uids."""
    answer = rest.post(f"/v1/agents/{agent}/memories", json={"memories": list(memories)})
    assert answer.status_code == 200, answer.text
    return answer.json()["uids"]
