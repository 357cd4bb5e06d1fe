"""Test the fair queue: turns by cost, order within a share, urgent entries, bounds and what gives way."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents._runtime.queues.fair_queue import Entry, FairQueue
from super_advanced_agents._runtime.queues.shares import NO_SHARE

Waiting = list[tuple[str, int, bool]]
"""The share, the cost and the urgency of entries, in order of arrival."""

waiting = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 12), st.booleans()), max_size=60)


def _queue(max_cost: int = 10_000, quantum: int = 2, **limits: int) -> FairQueue[Any, None]:
    return FairQueue(max_cost=max_cost, quantum=quantum, **limits)


def _entry(queue: FairQueue[Any, None], share: str, cost: int = 1, *, urgent: bool = False, item: Any = None) -> Any:
    entry: Entry[Any, None] = Entry(item, cost, share, urgent, queue.remove)
    queue.append(entry)
    return entry


def _drain(queue: FairQueue[Any, None], budget: int) -> list[list[Any]]:
    batches = []
    while batch := queue.take(budget):
        batches.append(batch)
        queue.finished(batch)
    return batches


@given(waiting, st.integers(1, 20), st.integers(1, 6))
def test_all_entries_leave_once_and_in_the_order_of_their_share(rows: Waiting, budget: int, quantum: int) -> None:
    """No entry is lost or comes twice; a share's entries of equal urgency keep their order; the totals end at zero."""
    queue = _queue(quantum=quantum)
    entries = [_entry(queue, share, cost, urgent=urgent) for share, cost, urgent in rows]
    left = [entry for batch in _drain(queue, budget) for entry in batch]
    assert Counter(map(id, left)) == Counter(map(id, entries))
    for share in "abc":
        for urgent in (True, False):
            own = [entry for entry in entries if (entry.share, entry.urgent) == (share, urgent)]
            assert [entry for entry in left if (entry.share, entry.urgent) == (share, urgent)] == own
    assert (len(queue), queue.cost, queue.can_run()) == (0, 0, False)


@given(waiting, st.integers(1, 20))
def test_batches_stay_within_their_budget_and_mix_no_urgencies(rows: Waiting, budget: int) -> None:
    """Only a batch of a single entry may cost more than the budget."""
    queue = _queue()
    for share, cost, urgent in rows:
        _entry(queue, share, cost, urgent=urgent)
    for batch in _drain(queue, budget):
        assert len(batch) == 1 or sum(entry.cost for entry in batch) <= budget
        assert len({entry.urgent for entry in batch}) == 1


@given(st.lists(st.integers(1, 8), min_size=1, max_size=200), st.integers(1, 8), st.integers(1, 6))
def test_share_that_arrives_waits_for_one_turn_of_each_other_share(costs: list[int], own: int, quantum: int) -> None:
    """However much a share has waiting, another one's entry leaves after at most its own cost and two turns."""
    queue = _queue(quantum=quantum)
    for cost in costs:
        _entry(queue, "hostile", cost)
    late = _entry(queue, "late", own)
    before = 0
    while batch := queue.take(1):
        if late in batch:
            break
        before += sum(entry.cost for entry in batch)
    assert before <= own + 2 * quantum + max(costs)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 8)), min_size=150, max_size=150), st.integers(1, 20))
def test_shares_that_always_wait_get_equal_costs(rows: list[tuple[str, int]], budget: int) -> None:
    """The difference never exceeds what a turn and one entry of each can make."""
    queue = _queue()
    waits = Counter(share for share, _ in rows)
    for share, cost in rows:
        _entry(queue, share, cost)
    taken: Counter[str] = Counter()
    while waits["a"] and waits["b"]:
        for entry in queue.take(budget):
            waits[entry.share] -= 1
            taken[entry.share] += entry.cost
        assert abs(taken["a"] - taken["b"]) <= 2 * (2 + 8)


def test_share_that_empties_and_returns_gains_nothing() -> None:
    """One large entry after the other gets no more than many small ones that wait."""
    queue = _queue(quantum=2)
    for _ in range(200):
        _entry(queue, "small", 1)
    _entry(queue, "large", 8)
    taken: Counter[str] = Counter()
    for _ in range(120):
        for entry in queue.take(1):
            taken[entry.share] += entry.cost
            if entry.share == "large":
                _entry(queue, "large", 8)
    assert taken["large"] <= taken["small"] + 8


def test_urgent_entries_go_first_and_others_keep_a_quarter() -> None:
    """While both wait without end, three units of urgent work run for each other one."""
    queue = _queue(quantum=4)
    for _ in range(400):
        _entry(queue, "a", urgent=True)
        _entry(queue, "a")
    assert queue.take(1)[0].urgent
    taken = Counter(entry.urgent for _ in range(399) for entry in queue.take(1))
    assert 90 <= taken[False] <= 110


def test_urgent_entry_of_one_share_goes_before_bulk_of_another() -> None:
    """Questions are not behind anybody's imports."""
    queue = _queue(quantum=4)
    for _ in range(50):
        _entry(queue, "hostile", 16)
    question = _entry(queue, "late", urgent=True)
    assert queue.take(16) == [question]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9), st.booleans()), max_size=120), st.integers(1, 40))
def test_share_within_its_equal_part_is_never_refused(rows: Waiting, max_cost: int) -> None:
    """What gives way is the youngest of the longest lane, and the queue never grows beyond its bound."""
    queue = _queue(max_cost=max_cost)
    costs: Counter[str] = Counter()
    for share, cost, urgent in rows:
        was_empty = not len(queue)
        shares = {name for name in costs if costs[name]} | {share}
        refused = queue.make_room(share, cost)
        if refused is None:
            assert costs[share] + cost > max_cost // len(shares)
            continue
        for entry in refused:
            costs[entry.share] -= entry.cost
            assert entry.share != share
            assert not entry.queued
        _entry(queue, share, cost, urgent=urgent)
        costs[share] += cost
        assert queue.cost == sum(costs.values())
        assert queue.cost <= max_cost or was_empty


def test_what_gives_way_is_the_youngest_entry_that_is_not_urgent() -> None:
    """The share with the most waiting loses its last bulk entry first, and its order stays."""
    queue = _queue(max_cost=4)
    first = _entry(queue, "hostile")
    last = _entry(queue, "hostile")
    _entry(queue, "hostile", urgent=True)
    _entry(queue, "hostile", urgent=True)
    assert queue.make_room("late", 1) == [last]
    assert queue.make_room("hostile", 2) is None
    assert first.queued


def test_one_share_alone_may_fill_the_queue() -> None:
    """An embedded library has the whole bound."""
    queue = _queue(max_cost=4)
    for _ in range(4):
        assert queue.make_room("a", 1) == []
        _entry(queue, "a")
    assert queue.make_room("a", 1) is None


def test_share_runs_no_more_than_its_limit_while_others_may() -> None:
    """What it has waiting is passed over until something of it ends; no share at all has no limit."""
    queue = _queue(max_running=2)
    for _ in range(4):
        _entry(queue, "hostile")
    running = [queue.take(1) for _ in range(2)]
    assert not queue.can_run()
    assert queue.take(1) == []
    late = _entry(queue, "late")
    assert queue.take(1) == [late]
    queue.finished(running[0])
    assert [entry.share for entry in queue.take(1)] == ["hostile"]
    nobody = [_entry(queue, NO_SHARE) for _ in range(5)]
    assert [queue.take(1) for _ in nobody] == [[entry] for entry in nobody]


def test_urgent_batch_runs_beside_as_many_others_as_may_run() -> None:
    """There is one place more for it, which a second urgent batch does not get."""
    queue = _queue(max_batches=2)
    for _ in range(3):
        _entry(queue, "hostile", 8)
    running = [queue.take(8) for _ in range(2)]
    assert not queue.can_run()
    questions = [_entry(queue, share, urgent=True) for share in ("late", "hostile")]
    assert queue.take(1) == [questions[0]]
    assert not queue.can_run()
    for batch in running:
        queue.finished(batch)
    assert queue.take(1) == [questions[1]]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_cancelled_entry_leaves_the_queue_at_once(position: int) -> None:
    """Its cost is free again, and the others keep their order."""
    queue = _queue()
    entries = [_entry(queue, "a", 3) for _ in range(3)]
    entries[position].cancel()
    assert (len(queue), queue.cost) == (2, 6)
    assert queue.take(100) == [entry for entry in entries if not entry.cancelled()]
