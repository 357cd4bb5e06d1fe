"""Random requests from the OpenAPI document never make the server fail, and are answered as it says."""

from __future__ import annotations

from collections import Counter

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.integration.conftest import Machine

UNLIMITED = {"SAA_RATE_LIMIT_PER_KEY": "0", "SAA_RATE_LIMIT_PER_TENANT": "0"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FEW = 150
MANY = 2_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Yield the URL of a server with one memory in it, and the headers of the administrator."""
    with Machine(tmp_path_factory.mktemp("fuzzed") / "data").server(environment=UNLIMITED) as client:
        client.post("/v1/agents/default/memories", json={"text": "The Louvre is a museum"}).raise_for_status()
        client.close()
        yield str(client.base_url).rstrip("/"), {"Authorization": client.headers["Authorization"]}


def _fuzz(server, cases, *, skip=()):
    """Make `cases` requests, spread over all operations, and return how often each status was the answer."""
    url, headers = server
    answered, failures = Counter(), []
    with requests.Session() as session:
        session.headers.update(headers)
        schema = schemathesis.openapi.from_dict(session.get(f"{url}/openapi.json", timeout=60).json())
        schema.config.update(base_url=url)
        operations = [each.ok() for each in schema.get_all_operations()]
        chosen = [each for each in operations if each.definition.raw.get("x-access") not in skip]

        def run(operation, examples):
            @settings(
                max_examples=examples,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def send(case):
                for credential in ("Authorization", "X-API-Key"):  # they are random, too
                    case.headers.pop(credential, None)
                response = case.call(session=session, headers=headers, timeout=60)
                answered[response.status_code] += 1
                try:
                    case.validate_response(response, checks=CHECKS)
                except BaseExceptionGroup as found:
                    failures.extend(f"{operation.label}: {each}" for each in found.exceptions)
                except AssertionError as found:
                    failures.append(f"{operation.label}: {found}")

            send()

        for operation in chosen:
            run(operation, max(1, cases // len(chosen)))
        assert session.get(f"{url}/healthz", timeout=60).status_code == 200
    assert not failures, "\n\n".join([f"{len(failures)} failures", *failures[:5]])
    return answered


def test_random_requests_are_answered_as_the_openapi_document_says(server):
    """Operations that use the language model are skipped, because they are slow."""
    answered = _fuzz(server, FEW, skip=("generate",))
    assert answered.total() >= FEW * 2 // 3
    assert answered[200] > answered.total() // 20
    assert not answered[401]


@pytest.mark.load
def test_many_random_requests_are_answered_as_the_openapi_document_says(server):
    """All operations take part."""
    answered = _fuzz(server, MANY)
    assert answered.total() >= MANY * 2 // 3
    assert not answered[401]
