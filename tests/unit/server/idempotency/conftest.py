"""Fixtures with stored requests, in a file and in PostgreSQL."""

from __future__ import annotations

import pytest

from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext, active_context
from super_advanced_agents.tenancy.shared_state import SharedState


@pytest.fixture
def file(tmp_path):
    return tmp_path / "server" / "requests.db"


def pytest_generate_tests(metafunc):
    """Run the tests that do not concern a file with requests in PostgreSQL too."""
    if "requests" in metafunc.fixturenames:
        kinds = ["file"] if "file" in metafunc.fixturenames else ["file", "postgres"]
        metafunc.parametrize("requests", kinds, indirect=True)


@pytest.fixture
def requests(request, tmp_path):
    if request.param == "file":
        with Idempotency(tmp_path / "server" / "requests.db") as opened:
            yield opened
        return
    with SharedState(request.getfixturevalue("postgres_schema_url")) as state:
        state.open()
        with Idempotency(state) as opened:
            yield opened


@pytest.fixture(autouse=True)
def context():
    with active_context(RequestContext(principal=ANYBODY)) as active:
        yield active
