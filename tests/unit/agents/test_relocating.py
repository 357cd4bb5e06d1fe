"""Test that memories get another place, and turns another order, without being embedded again."""

from __future__ import annotations

import pytest

from super_advanced_agents import FAISSVectorStore, LLMAgent, Memory, Relocation
from super_advanced_agents.errors import InvalidInputError


@pytest.fixture
def agent(embedder):
    with FAISSVectorStore(dim=384) as store:
        yield LLMAgent("tester", store, embedder)


def _turns(agent, session):
    records = agent.scan({"$session": session}, limit=1_000)
    return [record.uid for record in sorted(records, key=lambda record: record.place)]


def test_relocated_memory_keeps_its_text_its_vector_and_the_time_of_its_last_change(agent):
    """Its source, session and metadata of place are the new ones; what is not named stays."""
    extra = {"lines": [1, 2], "turn": 3, "heading": "Plans"}
    memory = Memory(text="We go to Oslo.", uid="plan", extra=extra, source="a.md", session="old", priority=1)
    agent.add_text_memories([memory])
    before = agent.get("plan")
    relocation = Relocation(
        uid="plan", source="b.md", session="new", extra={"lines": [4, 5], "turn": None}, created_at=1_000
    )
    assert agent.relocate_memories([relocation, Relocation(uid="nobody")]) == 1
    after = agent.get("plan")
    assert (after.source, after.session, after.created_at) == ("b.md", "new", 1_000.0)
    assert after.metadata == {
        "text": "We go to Oslo.",
        "type": "fact",
        "session": "new",
        "lines": [4, 5],
        "heading": "Plans",
    }
    assert (after.vector == before.vector).all()
    assert (after.updated_at, after.priority, after.place) == (before.updated_at, 1.0, before.place)
    agent.relocate_memories([Relocation(uid="plan")])
    cleared = agent.get("plan")
    assert (cleared.source, cleared.session, "session" in cleared.metadata) == (None, None, False)


def test_ordered_turns_share_out_the_positions_that_they_had(agent):
    """Turns that are not named, and those of other sessions, keep theirs."""
    agent.add_text_memories([Memory(text=f"turn {n}", uid=f"t{n}", session="s") for n in range(5)])
    agent.add_text_memories([Memory(text="elsewhere", uid="other", session="o"), Memory(text="none", uid="none")])
    assert agent.relocate_memories(order=["t4", "none", "t0", "t2", "other", "nobody"]) == 3
    assert _turns(agent, "s") == ["t4", "t1", "t0", "t3", "t2"]
    assert agent.relocate_memories(order=["t4", "t0", "t2"]) == 0


def test_relocated_turn_is_ordered_in_its_new_session(agent):
    """Both parts of a call are one write."""
    agent.add_text_memories(
        [Memory(text="first", uid="a", session="one"), Memory(text="second", uid="b", session="two")]
    )
    relocation = Relocation(uid="b", session="one")
    assert agent.relocate_memories([relocation], order=["b", "a"]) == 2
    assert _turns(agent, "one") == ["b", "a"]


@pytest.mark.parametrize(
    ("relocations", "order", "field"),
    [
        ([Relocation(uid="")], [], "relocations[0].uid"),
        ([Relocation(uid="a"), Relocation(uid="a")], [], "relocations[1].uid"),
        ([Relocation(uid="a", extra={"text": "other"})], [], "relocations[0].extra"),
        ([Relocation(uid="a", session="")], [], "relocations[0].session"),
        ([Relocation(uid="a", created_at=-1)], [], "relocations[0].created_at"),
        ([Relocation(uid="a", created_at=float("nan"))], [], "relocations[0].created_at"),
        ([], ["a", "a"], "order"),
    ],
)
def test_wrong_relocation_is_refused_and_changes_nothing(agent, relocations, order, field):
    """The error names the value."""
    agent.add_text_memories([Memory(text="first", uid="a", session="one", source="kept")])
    with pytest.raises(InvalidInputError) as caught:
        agent.relocate_memories(relocations, order=order)
    assert caught.value.field == field
    assert agent.get("a").source == "kept"
