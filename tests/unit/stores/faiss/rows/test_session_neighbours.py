"""Who stands beside whom in a session."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.stores.faiss.rows.session_neighbours import Links


def _beside(links: Links, row: int) -> tuple[int, int]:
    before, after = links.neighbours(np.array([row], dtype=np.uint32))
    return int(before[0]), int(after[0])


def test_turns_of_a_session_stand_in_the_order_they_came():
    """Other sessions, and the same name in another scope, are apart."""
    links = Links()
    for row, scope, session in [(1, 1, "a"), (2, 1, "b"), (3, 1, "a"), (4, 2, "a"), (7, 1, "a")]:
        links.append(row, scope, session)
    assert [_beside(links, row) for row in (1, 3, 7)] == [(0, 3), (1, 7), (3, 0)]
    assert _beside(links, 2) == _beside(links, 4) == (0, 0)


def test_a_row_beyond_all_sessions_has_no_neighbours():
    """Rows that were never part of one need not be known."""
    links = Links()
    assert not links
    links.append(3, 1, "a")
    assert links
    assert _beside(links, 1_000_000) == (0, 0)


def test_what_must_be_indexed_again_is_told_once():
    """A new turn touches the one before it; a removal touches both sides."""
    links = Links()
    links.append(1, 1, "a")
    links.append(2, 1, "a")
    assert set(links.take_touched()) == {1, 2}
    assert not links.take_touched()
    links.append(3, 1, "a")
    assert set(links.take_touched()) == {2, 3}
    links.remove(2)
    assert set(links.take_touched()) == {1, 3}


_STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "replace", "remove"]), st.integers(0, 9), st.sampled_from("ab")), max_size=60
)


@given(_STEPS)
def test_links_agree_with_plain_lists(steps):
    """Whatever is appended, replaced and removed, neighbours are those of an ordinary list."""
    links, lists, row = Links(), {"a": [], "b": []}, 0
    for action, pick, session in steps:
        row += 1
        everyone = [(name, old) for name, rows in lists.items() for old in rows]
        if action == "append" or not everyone:
            links.append(row, 1, session)
            lists[session].append(row)
            continue
        home, old = everyone[pick % len(everyone)]
        if action == "replace":
            links.replace(old, row, 1, session)
            if home == session:
                lists[home][lists[home].index(old)] = row
            else:
                lists[session].append(row)
        links.remove(old)
        if old in lists[home]:
            lists[home].remove(old)
    for rows in lists.values():
        for place, each in enumerate(rows):
            before = rows[place - 1] if place else 0
            after = rows[place + 1] if place + 1 < len(rows) else 0
            assert _beside(links, each) == (before, after)
