"""Test problem documents: their statuses, members and headers."""

from __future__ import annotations

import pytest

from super_advanced_agents import errors
from super_advanced_agents.protocol.problems import STATUSES, problem_of, retry_after, status_of


def _every_error():
    found = [errors.SuperAdvancedAgentsError]
    for cls in found:
        found += cls.__subclasses__()
    return {cls for cls in found if cls.__module__ == errors.__name__}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInputError("x"), 422),
        (errors.FilterError("x"), 422),
        (errors.DimensionMismatchError("x"), 422),
        (errors.ModelNotFoundError("x"), 503),
        (errors.OverloadedError("x", retry_after_s=1), 429),
        (errors.StoreFullError("x"), 507),
        (errors.StoreLockedError("x"), 503),
        (errors.ResourceClosedError("x"), 503),
        (errors.AgentNotFoundError("x"), 404),
        (errors.ConfigurationError("x"), 500),
        (errors.ModelMismatchError("x"), 409),
        (errors.CorruptStoreError("x"), 500),
    ],
)
def test_error_has_the_status_of_its_class_or_its_nearest_ancestor(error, status):
    """The table of statuses decides, and subclasses follow their parent."""
    assert status_of(error) == status


def test_only_three_error_classes_inherit_their_status():
    """They are subclasses of invalid input and of store errors."""
    inheriting = _every_error() - set(STATUSES)
    assert inheriting == {errors.DimensionMismatchError, errors.FilterError, errors.CorruptStoreError}


def test_problem_has_the_members_from_which_a_client_raises_the_error():
    """They are the class, the message, the field, the hint and whether to retry."""
    problem = problem_of(errors.FilterError("where is odd", field="where", hint="mend it"))
    assert problem == {
        "type": "urn:super-advanced-agents:problem:filter",
        "title": "Filter",
        "status": 422,
        "detail": "where is odd",
        "error": "FilterError",
        "retryable": False,
        "field": "where",
        "hint": "mend it",
    }


def test_retry_after_is_in_whole_seconds_and_never_zero():
    """RFC 9110 knows no fractions; the problem keeps them."""
    error = errors.OverloadedError("full", retry_after_s=0.2)
    assert retry_after(error) == {"Retry-After": "1"}
    assert problem_of(error)["retry_after_s"] == 0.2
    assert problem_of(error)["retryable"] is True
    assert retry_after(errors.StoreError("x")) == {}
