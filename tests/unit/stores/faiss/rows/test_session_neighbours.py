"""Tests of the neighbours of a turn in its session."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.stores.faiss.rows.session_neighbours import SessionNeighbourIndex


def _neighbours(session_neighbours: SessionNeighbourIndex, row: int) -> tuple[int, int]:
    before, after = session_neighbours.neighbours(np.array([row], dtype=np.uint32))
    return int(before[0]), int(after[0])


def test_neighbours_follow_the_order_in_which_turns_were_appended():
    """Other sessions, and the same name in another scope, are apart."""
    session_neighbours = SessionNeighbourIndex()
    for row, scope, session in [(1, 1, "a"), (2, 1, "b"), (3, 1, "a"), (4, 2, "a"), (7, 1, "a")]:
        session_neighbours.append(row, scope, session)
    assert [_neighbours(session_neighbours, row) for row in (1, 3, 7)] == [(0, 3), (1, 7), (3, 0)]
    assert _neighbours(session_neighbours, 2) == _neighbours(session_neighbours, 4) == (0, 0)


def test_row_outside_every_session_has_no_neighbours():
    """Rows that were never part of a session need not be known."""
    session_neighbours = SessionNeighbourIndex()
    assert not session_neighbours.has_sessions(None)
    session_neighbours.append(3, 1, "a")
    assert [session_neighbours.has_sessions(scope) for scope in (None, 1, 2)] == [True, True, False]
    assert _neighbours(session_neighbours, 1_000_000) == (0, 0)


def test_changed_neighbours_are_returned_since_any_earlier_change():
    """A new turn changes the one before it, and a removal changes both sides; each reader keeps its own position."""
    session_neighbours = SessionNeighbourIndex()
    session_neighbours.append(1, 1, "a")
    session_neighbours.append(2, 1, "a")
    assert set(session_neighbours.changed_since(0)) == {1, 2}
    then = session_neighbours.change_count
    assert not session_neighbours.changed_since(then)
    session_neighbours.append(3, 1, "a")
    assert set(session_neighbours.changed_since(then)) == {2, 3}
    later = session_neighbours.change_count
    session_neighbours.remove(2)
    assert set(session_neighbours.changed_since(later)) == {1, 3}
    assert set(session_neighbours.changed_since(then)) == {1, 2, 3}


def test_changes_that_are_no_longer_remembered_are_all_rows():
    """A reader whose position is that old has to compare every row; one with a newer position need not."""
    session_neighbours = SessionNeighbourIndex()
    for row in range(1, 70_000):
        session_neighbours.append(row, 1, "a")
    assert session_neighbours.changed_since(0) is None
    assert set(session_neighbours.changed_since(session_neighbours.change_count - 2)) == {69_998, 69_999}


_STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "replace", "remove"]), st.integers(0, 9), st.sampled_from("ab")), max_size=60
)


@given(_STEPS)
def test_neighbours_equal_those_of_a_plain_list(steps):
    """They are equal after any sequence of appends, replacements and removals."""
    session_neighbours, lists, row = SessionNeighbourIndex(), {"a": [], "b": []}, 0
    for action, pick, session in steps:
        row += 1
        everyone = [(name, old) for name, rows in lists.items() for old in rows]
        if action == "append" or not everyone:
            session_neighbours.append(row, 1, session)
            lists[session].append(row)
            continue
        old_session, old = everyone[pick % len(everyone)]
        if action == "replace":
            session_neighbours.replace(old, row, 1, session)
            if old_session == session:
                lists[old_session][lists[old_session].index(old)] = row
            else:
                lists[session].append(row)
        session_neighbours.remove(old)
        if old in lists[old_session]:
            lists[old_session].remove(old)
    for rows in lists.values():
        for position, each in enumerate(rows):
            before = rows[position - 1] if position else 0
            after = rows[position + 1] if position + 1 < len(rows) else 0
            assert _neighbours(session_neighbours, each) == (before, after)
