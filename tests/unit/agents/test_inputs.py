"""What an agent accepts as memories and turns."""

from __future__ import annotations

import pytest

from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_metadata, narrow_to_type, turn_memory
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import Memory, Turn


def test_texts_values_and_dicts_are_memories():
    """A list may mix the three ways to say a memory."""
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
def test_what_is_no_memory_is_refused_by_name(items, field):
    """The error says which item is wrong."""
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
def test_a_memory_that_cannot_be_kept_is_refused_by_field(memory, field):
    """Blank, broken or huge texts, and extras that would hide what the agent sets itself."""
    with pytest.raises(InvalidInputError) as caught:
        memory_metadata(memory)
    assert caught.value.field == field


def test_a_turn_is_indexed_with_its_speaker_and_place():
    """The text is what was said and by whom; the rest is metadata."""
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
def test_what_is_no_turn_is_refused(turns):
    """A turn needs a speaker and a text, and nothing unknown."""
    with pytest.raises(InvalidInputError):
        as_turns(turns)


def test_a_turn_cannot_pretend_to_be_of_another_session():
    """What the agent sets about a turn is not the caller's to set."""
    with pytest.raises(InvalidInputError, match="session"):
        turn_memory(Turn(speaker="Ann", text="hi", extra={"session": "other"}), "s1", 0)


def test_a_type_narrows_a_filter_and_cannot_be_widened_by_it():
    """The two are ANDed, also when the filter names the type itself."""
    assert narrow_to_type(None, {"a": 1}) == {"a": 1}
    assert narrow_to_type("fact", None) == {"type": "fact"}
    assert narrow_to_type("fact", {"$or": [{"type": "note"}]}) == {
        "$and": [{"type": "fact"}, {"$or": [{"type": "note"}]}]
    }
