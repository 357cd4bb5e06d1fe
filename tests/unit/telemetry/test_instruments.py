"""Test what histograms, counters and the measurements of queues count."""

from __future__ import annotations

import gc
import threading

import pytest

from super_advanced_agents._runtime.queues.batcher import MicroBatcher
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.telemetry import Histogram, counter, histogram, histograms, queue_metrics


def test_histogram_cumulates_values_up_to_each_bound():
    """A value equal to a bound is in its bucket, and the last bucket has all."""
    counts = Histogram((1, 2, 4))
    counts.observe_all([0.5, 1, 3])
    counts.observe(9)
    assert counts.counted() == ((2, 2, 3, 4), 13.5)


def test_histogram_counts_the_time_of_a_block_that_fails():
    """The seconds of a failed call count as well."""
    seconds = Histogram()
    with pytest.raises(ValueError, match="no"), seconds.time():
        raise ValueError("no")
    assert seconds.counted().buckets[-1] == 1


def test_instruments_are_found_by_name_and_labels():
    """Other labels are another instrument of the same name."""
    assert histogram("tried", kind="a") is histogram("tried", kind="a")
    assert histogram("tried", kind="a") is not histogram("tried", kind="b")
    assert {labels for name, labels, _ in histograms() if name == "tried"} == {(("kind", "a"),), (("kind", "b"),)}
    assert counter("tried") is counter("tried")


def test_counts_of_many_threads_are_all_kept():
    """No increment is lost, whichever thread makes it."""
    counts, events = Histogram((1,)), counter("many_threads")

    def work():
        for _ in range(2_000):
            counts.observe(0)
            events.add()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.counted().buckets == (8_000, 8_000)
    assert events.value == 8_000


def test_queue_is_measured_from_arrival_to_the_end_of_its_batch():
    """Items that queued while the batcher was busy wait, run together, and count while they wait."""
    began, go_on = threading.Event(), threading.Event()

    def run(items):
        if items == [0]:
            began.set()
            assert go_on.wait(30)
        return items

    batcher = MicroBatcher(run, name="measured", max_batch_cost=10, max_queue_cost=3)
    metrics = queue_metrics("measured")
    first = batcher.submit(0)
    assert began.wait(30)
    rest = [batcher.submit(number) for number in (1, 2, 3)]
    assert metrics.depth == 3
    with pytest.raises(OverloadedError):
        batcher.submit(4)
    go_on.set()
    assert [future.wait() for future in (first, *rest)] == [0, 1, 2, 3]
    batcher.close()
    assert metrics.depth == 0
    assert metrics.refused == 1
    assert metrics.sizes.counted().total == 4
    assert metrics.sizes.counted().buckets[-1] == metrics.runs.counted().buckets[-1] == 2
    assert metrics.waits.counted().buckets[-1] == 4


def test_queue_that_is_gone_counts_no_more():
    """A batcher that nobody holds is not among the queues that are measured."""
    metrics = queue_metrics("forgotten")
    batcher = MicroBatcher(lambda items: items, name="forgotten", max_batch_cost=1, max_queue_cost=1)
    batcher.close()
    assert len(metrics._queues) == 1
    del batcher
    gc.collect()
    assert len(metrics._queues) == 0
