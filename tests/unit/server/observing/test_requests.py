"""Test ids of requests, and what is logged and counted at their end."""

from __future__ import annotations

import logging

import pytest

from super_advanced_agents.protocol.operations import DEFAULT_SEARCH
from super_advanced_agents.server.observing.requests import (
    ObservedRequest,
    RequestObserver,
    new_request_id,
    outcome_of,
)
from super_advanced_agents.telemetry import counter, histogram, stage
from super_advanced_agents.tenancy.context import Access, Principal

CALLER = Principal(tenant="acme", scopes=frozenset({Access.READ}), key_id="k1")


@pytest.mark.parametrize("sent", ["a", "4bf92f3577b34da6", "a/b:c+d=e@f.g_h-i", "x" * 128])
def test_valid_id_of_the_caller_is_kept(sent):
    """Ids of other systems, such as UUIDs and trace ids, are valid."""
    assert new_request_id(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 129, "a b", "a\nb", "-a", "ä", 'a"b', "a\u202eb"])
def test_other_id_is_replaced_by_a_new_one(sent):
    """Nothing that could forge a line of a log, or is long, is taken over."""
    made = new_request_id(sent)
    assert made != sent
    assert new_request_id(made) == made


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"),
        (204, "ok"),
        (422, "invalid"),
        (413, "invalid"),
        (429, "refused"),
        (499, "cancelled"),
        (500, "failed"),
    ],
)
def test_outcome_follows_from_the_status(status, outcome):
    """Statuses without an outcome of their own are those of their class."""
    assert outcome_of(status) == outcome


def _observe(observer, *, status=200, slow=False):
    observed = ObservedRequest(protocol="rest", request_id="r1", operation=DEFAULT_SEARCH, principal=CALLER)
    if slow:
        observed.began -= 5
    with observer.observe(observed, {}):
        with stage("embed"):
            pass
        observed.status = status


def test_request_is_one_line_with_its_outcome_and_sizes(caplog):
    """The line has the id of the key and no name of a tenant."""
    caplog.set_level(logging.INFO, logger="super_advanced_agents")
    _observe(RequestObserver(), status=422)
    [record] = caplog.records
    assert record.name == "super_advanced_agents.access"
    assert (record.operation, record.outcome, record.status, record.key_id) == ("search", "invalid", 422, "k1")
    assert "acme" not in str(vars(record))


def test_slow_request_is_told_with_its_stages(caplog):
    """The line says where the time went; requests that are not slow have none."""
    caplog.set_level(logging.WARNING, logger="super_advanced_agents")
    observer = RequestObserver(slow_s=2)
    _observe(observer)
    assert not caplog.records
    _observe(observer, slow=True)
    [record] = caplog.records
    assert record.getMessage() == "server.slow_request"
    assert record.embed_ms < record.other_ms


def test_request_that_ends_without_an_answer_is_cancelled_or_failed():
    """An error of the server is told apart from a caller who has left."""
    seconds = {
        outcome: histogram("request_seconds", operation="search", protocol="rest", outcome=outcome)
        for outcome in ("cancelled", "failed")
    }
    before = {outcome: each.counted().buckets[-1] for outcome, each in seconds.items()}
    for error in (RuntimeError, KeyboardInterrupt):
        observed = ObservedRequest(protocol="rest", request_id="r1", operation=DEFAULT_SEARCH)
        with pytest.raises(error), RequestObserver(access_log=False).observe(observed, {}):
            raise error
    assert {outcome: each.counted().buckets[-1] - before[outcome] for outcome, each in seconds.items()} == {
        "cancelled": 1,
        "failed": 1,
    }


def test_tenants_are_counted_only_where_the_operator_lists_them():
    """Others leave no trace of their names."""
    _observe(RequestObserver(access_log=False, tenants=("globex",)))
    assert counter("tenant_requests", tenant="acme", outcome="ok").value == 0
    _observe(RequestObserver(access_log=False, tenants=("acme",)))
    assert counter("tenant_requests", tenant="acme", outcome="ok").value == 1
