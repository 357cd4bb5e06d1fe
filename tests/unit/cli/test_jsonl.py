"""JSON lines: memories, turns, and what is neither."""

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


def test_each_line_says_what_it_is():
    """A speaker makes a turn; blank lines are nothing."""
    memory, turn = _read({"text": "a"}, "", {"speaker": "Ann", "text": "b", "session": "s", "created_at": "2026-01-01"})
    assert isinstance(memory, MemoryEntry)
    assert isinstance(turn, TurnEntry)
    assert (turn.turn.speaker, turn.session, turn.turn.created_at) == ("Ann", "s", "2026-01-01")


def test_members_that_are_not_known_become_metadata():
    """Beside what `extra` holds."""
    [memory] = _read({"text": "a", "type": "note", "city": "Paris", "extra": {"n": 1}})
    assert memory.memory.extra == {"city": "Paris", "n": 1}
    assert memory.memory.memory_type == "note"


def test_a_turn_without_a_session_belongs_to_its_file():
    """One file, one conversation; a number is a name as well."""
    first, second = _read({"speaker": "A", "text": "x"}, {"speaker": "A", "text": "x", "session": 7})
    assert (first.session, second.session) == ("chat.jsonl", "7")


def test_names_are_stable_and_differ_by_line():
    """The same file gives the same uids; a word said twice is two turns."""
    lines = [{"speaker": "A", "text": "ok"}] * 2
    first, again = _read(*lines), _read(*lines)
    assert [entry.turn.uid for entry in first] == [entry.turn.uid for entry in again]
    assert len({entry.turn.uid for entry in first}) == 2


def test_a_lifetime_goes_on_where_it_was():
    """What expired meanwhile is left out."""
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
def test_a_wrong_line_is_told_and_the_next_is_read(line):
    """With its place."""
    wrong, right = _read(line, {"text": "fine"})
    assert isinstance(wrong, RejectedLine)
    assert str(wrong.location) == "chat.jsonl:1"
    assert isinstance(right, MemoryEntry)


def test_interleaved_sessions_are_gathered_whole():
    """Two conversations in one file become two units, each in order."""
    lines = [{"speaker": "A", "text": str(n), "session": "even" if n % 2 == 0 else "odd"} for n in range(10)]
    units = list(gather(_read(*lines)))
    assert [(unit.session, [entry.turn.text for entry in unit.entries]) for unit in units] == [
        ("even", ["0", "2", "4", "6", "8"]),
        ("odd", ["1", "3", "5", "7", "9"]),
    ]


def test_units_are_bounded_and_lose_nothing():
    """Memories come in batches, a very long conversation in parts, quiet sessions as soon as they are quiet."""
    lines = [{"text": str(n)} for n in range(600)]
    lines += [{"speaker": "A", "text": str(n), "session": "long" if n % 3 else f"short{n}"} for n in range(3_000)]
    units = list(gather(_read(*lines)))
    assert all(len(unit.entries) <= (256 if isinstance(unit, Memories) else 1_000) for unit in units)
    assert sum(len(unit.entries) for unit in units) == 3_600
    parts = [unit for unit in units if isinstance(unit, Conversation) and unit.session == "long"]
    long = [entry.turn.text for unit in parts for entry in unit.entries]
    assert long == [str(n) for n in range(3_000) if n % 3]


def test_former_turns_come_back_in_the_order_they_were_said():
    """An export is in the order of uids; neighbours in a session are those that were."""
    lines = [{"text": f"A: {n}", "session": "s", "extra": {"turn": n}} for n in (2, 0, 1)]
    [unit] = gather(_read(*lines))
    assert isinstance(unit, Memories)
    assert [entry.memory.text for entry in unit.entries] == ["A: 0", "A: 1", "A: 2"]
