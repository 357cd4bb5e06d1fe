"""Test the circuit breaker with a fake clock."""

from __future__ import annotations

import pytest

from super_advanced_agents._runtime.remote.circuit_breaker import CircuitBreaker


class Clock:
    """Return the seconds that the test has set."""

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


def _admit_and_fail(breaker, times):
    return [breaker.admit().end(False) for _ in range(times)]


def test_circuit_opens_after_the_set_number_of_failures_in_a_row(breaker):
    """A success in between resets the count, and the failure that opens the circuit returns True."""
    assert _admit_and_fail(breaker, 2) == [False, False]
    breaker.admit().end(True)
    assert _admit_and_fail(breaker, 3) == [False, False, True]
    assert (breaker.state, breaker.ready, breaker.admit(), breaker.retry_after_s) == ("open", False, None, 10)


def test_circuit_admits_one_trial_call_after_the_cool_down(breaker, clock):
    """The success of the trial closes the circuit."""
    _admit_and_fail(breaker, 3)
    clock.now += 10
    trial = breaker.admit()
    assert (breaker.state, breaker.ready, breaker.admit()) == ("half-open", False, None)
    trial.end(True)
    assert (breaker.state, breaker.consecutive_failures, breaker.retry_after_s) == ("closed", 0, 0)


def test_failed_trial_call_opens_the_circuit_for_another_cool_down(breaker, clock):
    """One failure is enough, and the time counts from then."""
    _admit_and_fail(breaker, 3)
    clock.now += 15
    assert breaker.admit().end(False)
    assert (breaker.state, breaker.retry_after_s) == ("open", 10)


def test_cancelled_trial_call_lets_the_next_call_be_the_trial(breaker, clock):
    """A call that ends without a verdict neither closes nor opens the circuit."""
    _admit_and_fail(breaker, 3)
    clock.now += 10
    breaker.admit().end(None)
    assert breaker.state == "half-open"
    breaker.admit().end(True)
    assert breaker.state == "closed"


def test_calls_admitted_before_the_circuit_opened_do_not_change_it(breaker, clock):
    """A late success does not close it, a late failure does not prolong it, and a call ends only once."""
    first, second = breaker.admit(), breaker.admit()
    _admit_and_fail(breaker, 3)
    first.end(True)
    clock.now += 4
    assert not second.end(False)
    assert not second.end(False)
    assert (breaker.state, breaker.retry_after_s) == ("open", 6)
