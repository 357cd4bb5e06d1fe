"""Tests of which reads wait for a client's own writes."""

from __future__ import annotations

from super_advanced_agents.stores.milvus.writing import recent_writes
from super_advanced_agents.stores.milvus.writing.recent_writes import RecentWrites


def test_read_of_what_was_just_written_waits_and_of_other_rows_does_not():
    """Each tenant by itself; of a tenant that is not known, every read waits."""
    recent = RecentWrites()
    assert recent.since("ann", ["a"]) is None
    recent.note("ann", ["a", ("n", "session")], last_write=7)
    assert recent.since("ann", ["b"]) == 7
    assert recent.since("ann", ["b", "a"]) is None
    assert recent.since("ann", [("n", "session")]) is None
    assert recent.since("bob", ["a"]) is None


def test_what_is_forgotten_is_not_later_than_what_is_waited_for(monkeypatch):
    """A write is remembered, or the read of other rows waits for its timestamp or a later one."""
    monkeypatch.setattr(recent_writes, "_MAX_NAMES", 5)
    recent = RecentWrites()
    for number in range(1, 60):  # the write with the name `number` has the timestamp `number`
        recent.note("ann", [number], last_write=number - 1)
        settled = recent.since("ann", ["another"])
        assert settled is not None
        assert all(recent.since("ann", [earlier]) is None for earlier in range(settled + 1, number + 1))
        assert settled >= number - 14


def test_tenants_that_wrote_long_ago_are_forgotten(monkeypatch):
    """What is remembered of all tenants is bounded, and the last one stays."""
    monkeypatch.setattr(recent_writes, "_MAX_OF_ALL_TENANTS", 10)
    recent = RecentWrites()
    for number in range(30):
        recent.note(f"t{number}", range(4), last_write=number)
    assert [number for number in range(30) if recent.since(f"t{number}", ["another"]) is not None] == [28, 29]
