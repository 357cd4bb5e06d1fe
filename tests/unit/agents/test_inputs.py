"""Test the validation and conversion of memories and turns."""

from __future__ import annotations

import pytest

from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_metadata, narrow_to_type, turn_memory
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import Memory, Turn


def test_as_memories_accepts_texts_memory_objects_and_dicts():
    """One list may mix them."""
    memories = as_memories(["a", Memory(text="b"), {"text": "c", "memory_type": "note", "source": "c.md"}])
    assert [memory.text for memory in memories] == ["a", "b", "c"]
    assert memories[2] == Memory(text="c", memory_type="note", source="c.md")


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ("one text", "items"),
        ({"text": "a"}, "items"),
        ([3], "items[0]"),
        ([{"memory_type": "x"}], "items[0].text"),
        (["a", {"text": "b", "colour": "red"}], "items[1]"),
    ],
)
def test_as_memories_names_the_invalid_item(items, field):
    """The field contains the item's index."""
    with pytest.raises(InvalidInputError) as caught:
        as_memories(items)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("memory", "field"),
    [
        (Memory(text=""), "text"),
        (Memory(text="a\0b"), "text"),
        (Memory(text="\ud800"), "text"),
        (Memory(text="x" * 10_000_000), "text"),
        (Memory(text="a", memory_type=""), "memory_type"),
        (Memory(text="a", extra={"text": "other"}), "extra"),
        (Memory(text="a", extra={"type": "other"}), "extra"),
        (Memory(text="a", extra=["no dict"]), "extra"),
    ],
)
def test_memory_metadata_names_the_invalid_field(memory, field):
    """A text may be blank, broken or huge, and `extra` may hide what the agent sets itself."""
    with pytest.raises(InvalidInputError) as caught:
        memory_metadata(memory)
    assert caught.value.field == field


def test_turn_memory_has_speaker_session_and_number():
    """The text begins with the speaker, and the rest is metadata."""
    memory = turn_memory(
        Turn(speaker="Ann", text="I like tea", uid="t1", created_at="2026-01-02", extra={"mood": "calm"}), "s1", 4
    )
    assert memory.text == "Ann: I like tea"
    assert memory.uid == "t1"
    assert memory_metadata(memory) == {
        "text": "Ann: I like tea",
        "type": "turn",
        "speaker": "Ann",
        "session": "s1",
        "turn": 4,
        "created_at": "2026-01-02",
        "mood": "calm",
    }


@pytest.mark.parametrize(
    "turns",
    [
        "hello",
        [{"speaker": "Ann"}],
        [{"text": "hi"}],
        [{"speaker": "Ann", "text": " "}],
        [{"speaker": "", "text": "hi"}],
        [{"speaker": "Ann", "text": "hi", "when": 3}],
        [7],
    ],
)
def test_as_turns_refuses_an_invalid_turn(turns):
    """A turn needs a speaker and a text, and may have no unknown field."""
    with pytest.raises(InvalidInputError):
        as_turns(turns)


def test_turn_memory_refuses_an_extra_that_sets_the_session():
    """The agent sets the session itself."""
    with pytest.raises(InvalidInputError, match="session"):
        turn_memory(Turn(speaker="Ann", text="hi", extra={"session": "other"}), "s1", 0)


def test_narrow_to_type_combines_type_and_filter_with_and():
    """A filter that names another type cannot widen the search."""
    assert narrow_to_type(None, {"a": 1}) == {"a": 1}
    assert narrow_to_type("fact", None) == {"type": "fact"}
    assert narrow_to_type("fact", {"$or": [{"type": "note"}]}) == {
        "$and": [{"type": "fact"}, {"$or": [{"type": "note"}]}]
    }
