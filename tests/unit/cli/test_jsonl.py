"""Test how an import reads JSON lines: memories, turns, and lines that are neither."""

from __future__ import annotations

import json
import time

import pytest

from super_advanced_agents.cli.importing.entries import MemoryEntry, RejectedLine, TurnEntry
from super_advanced_agents.cli.importing.files import Line
from super_advanced_agents.cli.importing.jsonl import read_jsonl
from super_advanced_agents.cli.importing.units import Conversation, Memories, gather


def _read(*lines):
    numbered = [
        Line(number, line if isinstance(line, str) else json.dumps(line)) for number, line in enumerate(lines, start=1)
    ]
    return list(read_jsonl(numbered, "chat.jsonl"))


def test_read_jsonl_makes_turns_of_lines_with_a_speaker_and_memories_of_others():
    """Blank lines are skipped."""
    memory, turn = _read({"text": "a"}, "", {"speaker": "Ann", "text": "b", "session": "s", "created_at": "2026-01-01"})
    assert isinstance(memory, MemoryEntry)
    assert isinstance(turn, TurnEntry)
    assert (turn.turn.speaker, turn.session, turn.turn.created_at) == ("Ann", "s", "2026-01-01")


def test_read_jsonl_adds_unknown_members_to_the_metadata():
    """They are merged with those of `extra`."""
    [memory] = _read({"text": "a", "type": "note", "city": "Paris", "extra": {"n": 1}})
    assert memory.memory.extra == {"city": "Paris", "n": 1}
    assert memory.memory.memory_type == "note"


def test_read_jsonl_uses_the_file_as_the_session_of_turns_without_one():
    """A number is accepted as the name of a session."""
    first, second = _read({"speaker": "A", "text": "x"}, {"speaker": "A", "text": "x", "session": 7})
    assert (first.session, second.session) == ("chat.jsonl", "7")


def test_read_jsonl_gives_stable_uids_that_differ_by_line():
    """Two turns with the same words are two turns."""
    lines = [{"speaker": "A", "text": "ok"}] * 2
    first, again = _read(*lines), _read(*lines)
    assert [entry.turn.uid for entry in first] == [entry.turn.uid for entry in again]
    assert len({entry.turn.uid for entry in first}) == 2


def test_read_jsonl_keeps_the_rest_of_a_lifetime_and_skips_expired_lines():
    """An absolute expiry becomes the seconds that are left."""
    (alive,) = _read({"text": "a", "expires_at": time.time() + 1_000}, {"text": "b", "expires_at": 5})
    assert 0 < alive.memory.expires_in_s <= 1_000


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '"text"',
        "{}",
        '{"text": 5}',
        '{"text": "a", "score": NaN}',
        '{"text": "a", "uid": 5}',
        '{"text": "a", "extra": []}',
        '{"text": "a", "expires_in_s": "soon"}',
        '{"speaker": 5, "text": "a"}',
        '{"speaker": "A", "text": "a", "session": {}}',
        '{"speaker": "A", "text": "a", "created_at": true}',
        '{"text": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda line: line[:40],
)
def test_read_jsonl_rejects_a_malformed_line_and_reads_the_next(line):
    """The rejection has the location of the line."""
    rejected, memory = _read(line, {"text": "fine"})
    assert isinstance(rejected, RejectedLine)
    assert str(rejected.location) == "chat.jsonl:1"
    assert isinstance(memory, MemoryEntry)


def test_gather_makes_one_unit_of_each_interleaved_session():
    """The turns of each unit are in their order."""
    lines = [{"speaker": "A", "text": str(n), "session": "even" if n % 2 == 0 else "odd"} for n in range(10)]
    units = list(gather(_read(*lines)))
    assert [(unit.session, [entry.turn.text for entry in unit.entries]) for unit in units] == [
        ("even", ["0", "2", "4", "6", "8"]),
        ("odd", ["1", "3", "5", "7", "9"]),
    ]


def test_gather_bounds_the_size_of_units_and_loses_no_entry():
    """Memories come in batches, a long session in parts, and quiet sessions early."""
    lines = [{"text": str(n)} for n in range(600)]
    lines += [{"speaker": "A", "text": str(n), "session": "long" if n % 3 else f"short{n}"} for n in range(3_000)]
    units = list(gather(_read(*lines)))
    assert all(len(unit.entries) <= (256 if isinstance(unit, Memories) else 1_000) for unit in units)
    assert sum(len(unit.entries) for unit in units) == 3_600
    parts = [unit for unit in units if isinstance(unit, Conversation) and unit.session == "long"]
    long_texts = [entry.turn.text for unit in parts for entry in unit.entries]
    assert long_texts == [str(n) for n in range(3_000) if n % 3]


def test_gather_sorts_exported_turns_by_their_number_in_the_session():
    """An export is in the order of uids, and the order of turns decides their neighbours."""
    lines = [{"text": f"A: {n}", "session": "s", "extra": {"turn": n}} for n in (2, 0, 1)]
    [unit] = gather(_read(*lines))
    assert isinstance(unit, Memories)
    assert [entry.memory.text for entry in unit.entries] == ["A: 0", "A: 1", "A: 2"]
