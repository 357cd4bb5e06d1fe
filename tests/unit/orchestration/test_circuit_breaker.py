"""The circuit breaker, with a clock that the test turns."""

from __future__ import annotations

import pytest

from super_advanced_agents.orchestration.circuit_breaker import CircuitBreaker


class Clock:
    """Seconds that go by when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(failures=3, cool_down_s=10, clock=clock)


def _fail(breaker, times):
    return [breaker.admit().end(False) for _ in range(times)]


def test_it_opens_after_so_many_failures_in_a_row(breaker):
    """A success in between begins the count anew; the failure that opens it says so."""
    assert _fail(breaker, 2) == [False, False]
    breaker.admit().end(True)
    assert _fail(breaker, 3) == [False, False, True]
    assert (breaker.state, breaker.ready, breaker.admit(), breaker.retry_after_s) == ("open", False, None, 10)


def test_after_the_cool_down_one_call_at_a_time_is_let_through(breaker, clock):
    """Its success closes the circuit for everybody."""
    _fail(breaker, 3)
    clock.now += 10
    trial = breaker.admit()
    assert (breaker.state, breaker.ready, breaker.admit()) == ("half-open", False, None)
    trial.end(True)
    assert (breaker.state, breaker.consecutive_failures, breaker.retry_after_s) == ("closed", 0, 0)


def test_a_failed_trial_opens_it_for_another_cool_down(breaker, clock):
    """At once, whatever the count; the time runs from then."""
    _fail(breaker, 3)
    clock.now += 15
    assert breaker.admit().end(False)
    assert (breaker.state, breaker.retry_after_s) == ("open", 10)


def test_a_trial_without_a_verdict_lets_the_next_one_try(breaker, clock):
    """A cancelled call says nothing, and does not block the way."""
    _fail(breaker, 3)
    clock.now += 10
    breaker.admit().end(None)
    assert breaker.state == "half-open"
    breaker.admit().end(True)
    assert breaker.state == "closed"


def test_calls_from_before_it_opened_decide_nothing(breaker, clock):
    """A late success does not close it, a late failure does not prolong it; a pass ends once."""
    late, later = breaker.admit(), breaker.admit()
    _fail(breaker, 3)
    late.end(True)
    clock.now += 4
    assert not later.end(False)
    assert not later.end(False)
    assert (breaker.state, breaker.retry_after_s) == ("open", 6)
