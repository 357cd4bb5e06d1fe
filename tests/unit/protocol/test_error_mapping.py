"""Errors cross the wire as problem documents and are raised again."""

from __future__ import annotations

import inspect
from http import HTTPStatus

import grpc
import orjson
import pytest

from super_advanced_agents import errors
from super_advanced_agents.protocol.error_mapping import error_of_problem
from super_advanced_agents.protocol.problems import CODES, STATUSES, grpc_code_of, problem_details, problem_of

EVERY = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)]


def _example_of(cls):
    extra = {"retry_after_s": 2.5} if "retry_after_s" in inspect.signature(cls).parameters else {}
    if issubclass(cls, errors.InvalidInputError):
        extra["field"] = "items[3]"
    return cls("what went wrong", hint="mend it", **extra)


@pytest.mark.parametrize("cls", EVERY)
def test_every_library_error_survives_a_round_trip(cls):
    """Class, message, hint, field and time stay, and gRPC knows the error's code."""
    error = _example_of(cls)
    decoded = error_of_problem(orjson.loads(orjson.dumps(problem_of(error))))
    assert type(decoded) is cls
    assert (str(decoded), vars(decoded)) == (str(error), vars(error))
    assert grpc.StatusCode[grpc_code_of(error)] is not grpc.StatusCode.OK


def test_every_error_has_an_http_status_and_a_grpc_code():
    """The table holds gRPC's names as strings, because it imports no framework."""
    for status in STATUSES.values():
        assert status.http >= 400
        assert status.grpc in grpc.StatusCode.__members__
    assert set(CODES.values()) <= set(grpc.StatusCode.__members__)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.InvalidInputError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.StoreError),
        (413, errors.InvalidInputError),
        (429, errors.RateLimitedError),
        (500, errors.StoreError),
        (503, errors.EngineUnavailableError),
    ],
)
def test_problem_without_an_error_class_maps_by_its_status(status, cls):
    """Proxies and frameworks send such problems."""
    error = error_of_problem({}, status=status, retry_after_s=7.0)
    assert type(error) is cls
    assert str(status) in str(error)
    assert getattr(error, "retry_after_s", 7.0) == 7.0
    details = problem_details(HTTPStatus(status), "no")
    assert type(error_of_problem(details)) is type(error_of_problem(details, status=status)) is cls


@pytest.mark.parametrize(
    "problem",
    [{"error": 5}, {"error": "Exception"}, {"error": "annotations", "detail": [1]}, {"error": "RateLimitedError"},
     {"error": "OverloadedError", "retry_after_s": "soon"}, {"error": "InvalidInputError", "field": {}, "hint": 1},
     {"status": "x"}, {"error": "RateLimitedError", "retry_after_s": -5}],
)  # fmt: skip
def test_malformed_problem_maps_to_a_library_error(problem):
    """A client raises an error of the tree for any document that a server sends."""
    assert isinstance(error_of_problem(problem), errors.SuperAdvancedAgentsError)


def test_problem_of_a_long_message_is_shortened():
    """gRPC's trailing metadata holds 8 KiB."""
    assert len(orjson.dumps(problem_of(errors.StoreError("\u00e4" * 100_000)))) < 4_000
