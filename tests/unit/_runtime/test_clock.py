"""The clock that never goes back follows the machine's clock forwards only."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from super_advanced_agents._runtime import clock
from super_advanced_agents._runtime.clock import ForwardClock


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give the clock two sources that the test moves: `wall`, which may jump, and `passed`."""
    moved = SimpleNamespace(wall=1_000.0, passed=5.0)
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: moved.wall, monotonic=lambda: moved.passed))
    return moved


def test_clock_follows_jumps_forwards_and_goes_on_second_by_second_after_one_back(time: SimpleNamespace) -> None:
    """It catches up with the machine's clock when that is ahead again."""
    forward = ForwardClock()
    assert forward.now() == 1_000.0
    time.wall = 5_000.0
    assert forward.now() == 5_000.0
    time.wall = 100.0
    assert forward.now() == 5_000.0
    time.passed += 7.0
    assert forward.now() == 5_007.0
    time.wall = 6_000.0
    assert forward.now() == 6_000.0


def test_clock_begins_at_the_time_that_was_seen_before(time: SimpleNamespace) -> None:
    """A time seen elsewhere moves it forwards, and never back."""
    forward = ForwardClock(2_000.0)
    assert forward.now() == 2_000.0
    forward.advance_to(3_000.0)
    forward.advance_to(1_500.0)
    assert forward.now() == 3_000.0


def test_threads_never_see_the_clock_go_back() -> None:
    """With the machine's own clocks, read by several threads at once."""
    forward, backwards = ForwardClock(), []

    def read() -> None:
        last = 0.0
        for _ in range(5_000):
            now = forward.now()
            backwards.extend([now] * (now < last))
            last = now

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not backwards
