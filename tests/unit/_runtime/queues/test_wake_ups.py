"""Test the micro-batcher's wake-ups in thousands of replayable interleavings of its threads."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit._runtime.queues.scheduler import DeadlockError, Scheduler

from super_advanced_agents._runtime.concurrency import futures
from super_advanced_agents._runtime.queues import batcher as batcher_module
from super_advanced_agents._runtime.queues.batcher import MicroBatcher

CALLERS = 3
CALLS = 4


class _NeverNotified(MicroBatcher[Any, Any]):
    """Plant a fault: a worker is taken off the list of idle ones and not woken."""

    def _wake(self) -> None:
        self._idle.pop()
        self._waking += 1


class _NeverStarted(MicroBatcher[Any, Any]):
    """Plant a fault: nobody is there to take what is queued."""

    def _start_worker(self) -> None:
        return


def _play(
    seed: int, monkeypatch: pytest.MonkeyPatch, kind: type[MicroBatcher[Any, Any]] = MicroBatcher
) -> tuple[dict[object, object], int]:
    """Let several callers use one batcher in the interleaving of a seed.

    Returns:
        The result of each call, and the number of waits that ended only because nothing else could run.
    """
    scheduler = Scheduler(seed)
    results: dict[object, object] = {}
    with monkeypatch.context() as patched:
        patched.setattr(batcher_module, "threading", scheduler.threading)
        patched.setattr(futures, "threading", scheduler.threading)
        batcher = kind(list, name="scheduled", max_batch_cost=2, max_queue_cost=100, workers=2, idle_s=1.0)

        def call(caller: int) -> None:
            for number in range(CALLS):
                item = (caller, number)
                submit = batcher.run_inline if (caller + number) % 3 == 0 else batcher.submit
                future = submit(item)
                if number == 2:
                    future.cancel()
                else:
                    results[item] = future.wait()

        callers = [scheduler.threading.Thread(target=lambda caller=caller: call(caller)) for caller in range(CALLERS)]
        try:
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            timeouts = scheduler.timeouts
            batcher.close()
        finally:
            scheduler.end()
    return results, timeouts


def test_batcher_wakes_a_worker_for_every_call_in_any_interleaving(
    monkeypatch: pytest.MonkeyPatch, campaign: int
) -> None:
    """Each caller gets its own result, and no worker is found only because it stopped waiting by itself."""
    expected = {
        (caller, number): (caller, number) for caller in range(CALLERS) for number in range(CALLS) if number != 2
    }
    for seed in range(300 * campaign):
        assert _play(seed, monkeypatch) == (expected, 0), f"seed {seed}"


def test_scheduler_replays_an_interleaving_from_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come in the same order each time."""
    first, second = ([*_play(7, monkeypatch)[0]] for _ in range(2))
    assert first == second


def test_scheduler_finds_a_lost_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault shows as a wait that timed out."""
    assert sum(_play(seed, monkeypatch, _NeverNotified)[1] for seed in range(20)) > 0


def test_scheduler_finds_a_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault leaves every thread waiting, which ends the test instead of stopping it."""
    with pytest.raises(DeadlockError):
        _play(1, monkeypatch, _NeverStarted)
