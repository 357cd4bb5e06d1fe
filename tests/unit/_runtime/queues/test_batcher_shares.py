"""Test how tenants share one batcher: turns, urgent items, what gives way, and places for running items."""

from __future__ import annotations

from typing import Any

import pytest

from super_advanced_agents._runtime.queues.shares import active_share, current_share
from super_advanced_agents.errors import OverloadedError


def _submit(batcher: Any, share: str, *items: object) -> list[Any]:
    with active_share(share):
        return [batcher.submit(item) for item in items]


def test_item_of_another_share_runs_after_one_turn_of_a_share_with_many(blocked_run: Any, make_batcher: Any) -> None:
    """It does not wait behind all that came before it."""
    batcher = make_batcher(max_batch_cost=4)
    _submit(batcher, "hostile", "running")
    blocked_run.entered.acquire()
    many = _submit(batcher, "hostile", *range(40))
    [late] = _submit(batcher, "late", "late")
    blocked_run.unblock()
    assert late.wait() == "late"
    assert [future.wait() for future in many] == list(range(40))
    assert "late" in blocked_run.batches[1]
    assert [item for batch in blocked_run.batches[1:] for item in batch if item != "late"] == list(range(40))


def test_urgent_item_runs_before_bulk_of_its_own_share(blocked_run: Any, make_batcher: Any) -> None:
    """A batch holds one kind of items only."""
    batcher = make_batcher(urgent=lambda item: item == "question")
    batcher.submit("running")
    blocked_run.entered.acquire()
    bulk = [batcher.submit(number) for number in range(3)]
    question = batcher.submit("question")
    blocked_run.unblock()
    assert question.wait() == "question"
    assert [future.wait() for future in bulk] == [0, 1, 2]
    assert blocked_run.batches == [["running"], ["question"], [0, 1, 2]]


def test_spare_worker_runs_an_urgent_item_while_all_others_are_busy(blocked_run: Any, make_batcher: Any) -> None:
    """A second urgent item waits for it, and a bulk item for the workers."""
    batcher = make_batcher(max_batch_cost=1, workers=2, spare_worker=True, urgent=lambda item: str(item).isalpha())
    futures = [batcher.submit(number) for number in range(3)]
    for _ in range(2):
        blocked_run.entered.acquire()
    futures += [batcher.submit(item) for item in ("question", "another")]
    blocked_run.entered.acquire()
    assert sorted(blocked_run.batches, key=str) == [["question"], [0], [1]]
    blocked_run.unblock()
    assert [future.wait() for future in futures] == [0, 1, 2, "question", "another"]


def test_full_queue_refuses_the_youngest_items_of_the_share_that_has_the_most(
    blocked_run: Any, make_batcher: Any
) -> None:
    """The share that comes later is served, and the refused item's owner is told."""
    refused: list[tuple[object, BaseException]] = []
    batcher = make_batcher(max_queue_cost=4, on_refused=lambda item, error: refused.append((item, error)))
    _submit(batcher, "hostile", "running")
    blocked_run.entered.acquire()
    hostile = _submit(batcher, "hostile", *range(4))
    [late] = _submit(batcher, "late", "late")
    with pytest.raises(OverloadedError) as caught:
        hostile[3].wait()
    assert caught.value.retry_after_s > 0
    assert [(item, type(error)) for item, error in refused] == [(3, OverloadedError)]
    with pytest.raises(OverloadedError):
        _submit(batcher, "hostile", "too many")
    blocked_run.unblock()
    assert [future.wait() for future in hostile[:3]] == [0, 1, 2]
    assert late.wait() == "late"


def test_share_leaves_a_worker_for_others_when_its_running_items_are_limited(
    blocked_run: Any, make_batcher: Any
) -> None:
    """The other share's item runs at once, though the first share has more waiting."""
    batcher = make_batcher(max_batch_cost=1, workers=3, max_running_per_share=2)
    hostile = _submit(batcher, "hostile", *range(5))
    [late] = _submit(batcher, "late", "late")
    for _ in range(3):
        blocked_run.entered.acquire()
    assert sorted(blocked_run.batches, key=str) == [["late"], [0], [1]]
    blocked_run.unblock()
    assert [future.wait() for future in [late, *hostile]] == ["late", 0, 1, 2, 3, 4]


def test_held_items_run_when_the_batcher_is_closed(blocked_run: Any, make_batcher: Any) -> None:
    """Those over the limit are not left behind."""
    batcher = make_batcher(max_batch_cost=1, workers=3, max_running_per_share=1)
    futures = _submit(batcher, "hostile", *range(5))
    blocked_run.unblock()
    batcher.close()
    assert [future.wait() for future in futures] == list(range(5))


def test_worker_threads_work_in_no_share(make_batcher: Any) -> None:
    """The share is the submitting caller's alone."""
    batcher = make_batcher(lambda items: [current_share() for _ in items])
    [future] = _submit(batcher, "tenant", "item")
    assert future.wait() == ""
