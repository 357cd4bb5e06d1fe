"""Test that work in a thread ends with its time budget, or when its caller has left."""

from __future__ import annotations

import itertools
from collections import deque

import pytest

from super_advanced_agents._runtime.concurrency.budget import (
    Budget,
    check_budget,
    seconds_left,
    spending,
    time_limited,
    unlimited,
)
from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents.errors import DeadlineExceededError

SPENT_S = 1e-9


def test_work_without_a_budget_or_a_limit_never_ends_early() -> None:
    """`check_budget` does nothing there."""
    check_budget()
    with Budget.of_call() as budget, spending([budget]):
        check_budget()


def test_long_loop_ends_when_the_time_of_its_budget_is_over() -> None:
    """`yield_gil` checks the budget at each pause, and the error says what to do."""
    budget = Budget(0.05)
    endless = yield_gil(itertools.repeat(0), every=10)
    with pytest.raises(DeadlineExceededError, match=r"0\.05 s of work.*ask for fewer"), budget, spending([budget]):
        deque(endless, maxlen=0)


def test_work_ends_once_its_caller_has_left() -> None:
    """Work that is still queued then does not begin."""
    with Budget() as budget:
        pass
    with pytest.raises(DeadlineExceededError, match="nobody waits"), spending([budget]):
        raise AssertionError("the work began")


def test_work_for_several_callers_goes_on_while_one_of_them_has_time() -> None:
    """It ends with the last of them."""
    spent, patient = Budget(SPENT_S), Budget(60)
    with patient:
        with spending([spent, patient]):
            check_budget()
        with pytest.raises(DeadlineExceededError), spending([spent]):
            pass
    with pytest.raises(DeadlineExceededError), spending([spent, patient]):
        pass


def test_budget_covers_pieces_of_work_one_after_the_other() -> None:
    """The second piece gets the time that the first one left."""
    budget = Budget(0.02)

    def work_again_and_again() -> None:
        while True:
            with spending([budget]):
                sum(range(1_000))

    with budget, pytest.raises(DeadlineExceededError):
        work_again_and_again()


def test_shared_work_runs_without_the_budget_of_the_caller_that_began_it() -> None:
    """Inside `unlimited` nothing is checked, and the budget counts again after it."""
    budget = Budget(60)
    with budget, spending([budget]):
        with unlimited():
            budget.__exit__(None, None, None)
            check_budget()
        with pytest.raises(DeadlineExceededError):
            check_budget()


def test_time_limit_of_a_context_is_that_of_its_calls_and_ends_with_it() -> None:
    """The innermost limit counts."""
    with time_limited(60):
        with time_limited(SPENT_S), Budget.of_call() as spent, pytest.raises(DeadlineExceededError), spending([spent]):
            pass
        with Budget.of_call() as left, spending([left]):
            check_budget()


def test_seconds_left_are_those_of_the_caller_that_has_the_most() -> None:
    """A call without a limit, and work without a budget, have no end."""
    assert seconds_left() is None
    with Budget(5.0) as one, Budget(60.0) as other, Budget() as endless:
        with spending([one, other]):
            left = seconds_left()
            assert left is not None
            assert 5 < left <= 60
        with spending([one, endless]):
            assert seconds_left() is None
