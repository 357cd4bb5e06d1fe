"""`saa import` and `saa export`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def chat(tmp_path):
    """A conversation of two sessions."""
    file = tmp_path / "chat.jsonl"
    said = [("Ann", "I adopted a cat called Miso", "mon"), ("Bob", "Nice", "mon"), ("Ann", "Miso is ill", "tue")]
    file.write_text("".join(json.dumps({"speaker": w, "text": t, "session": s}) + "\n" for w, t, s in said))
    return file


def _all(saa):
    return {memory["uid"]: memory for memory in saa.json("list", "--limit", 1_000)["memories"]}


def test_importing_twice_changes_nothing(saa, chat):
    """Everything is known the second time."""
    first = saa.json("import", chat)
    assert first == {"stored": 3, "known": 0, "failed": 0, "files": 1, "complete": True, "errors": []}
    before = _all(saa)
    assert saa.json("import", chat) == {**first, "stored": 0, "known": 3}
    assert _all(saa) == before


def test_turns_are_found_by_who_said_what_and_when(saa, chat):
    """Speaker, session and place are metadata."""
    saa("import", chat)
    [found] = saa.json("search", "pet", "--where", '{"session": "tue"}')["results"]
    assert found["text"] == "Ann: Miso is ill"
    assert found["metadata"]["speaker"] == "Ann"


def test_good_lines_are_imported_and_bad_ones_told(saa, tmp_path):
    """Whether the file or the store refuses them: place, reason, exit code 1."""
    file = tmp_path / "mixed.jsonl"
    lines = [
        '{"text": "one"}',
        "not json",
        '{"text": ""}',
        json.dumps({"text": "two", "big": "x" * 20_000}),
        '{"text": "three", "expires_in_s": -1}',
        '{"text": "four"}',
        '{"speaker": "", "text": "five"}',
        '{"speaker": "A", "text": "six"}',
    ]
    file.write_text("\n".join(lines))
    done = saa.json("import", file, code=1)
    assert (done["stored"], done["failed"], done["complete"]) == (3, 5, True)
    assert {error["at"] for error in done["errors"]} == {f"mixed.jsonl:{n}" for n in (2, 3, 4, 5, 7)}
    assert {memory["text"] for memory in _all(saa).values()} == {"one", "four", "A: six"}


def test_strict_stops_at_the_first_bad_line(saa, tmp_path):
    """Exit code 1, and the place in the message."""
    file = tmp_path / "mixed.jsonl"
    file.write_text('not json\n{"text": "one"}\n')
    done = saa("import", file, "--strict", code=1)
    assert "stopped at mixed.jsonl:1" in done.stderr


def test_standard_input_is_read_by_what_it_looks_like(saa):
    """JSON lines or plain text; the option decides otherwise."""
    assert saa.json("import", "-", stdin='\n{"text": "one"}\n')["stored"] == 1
    assert saa.json("import", "-", stdin="plain words\n")["stored"] == 1
    assert saa.json("import", "-", "--format", "markdown", stdin="# Head\n\nbody\n")["stored"] == 1
    assert {memory["text"] for memory in _all(saa).values()} == {"one", "plain words", "Head\n\nbody"}


def test_what_is_exported_is_restored_by_an_import(saa, chat, tmp_path):
    """Names, types, metadata and sources; into another agent, from a file or a pipe."""
    saa("import", chat)
    saa("add", "The Louvre", "--type", "place", "--uid", "l/1", "--extra", '{"n": [1, {"m": null}]}', "--source", "me")
    assert saa.json("export", tmp_path / "all.jsonl")["exported"] == 4
    printed = saa("export").stdout
    assert printed == (tmp_path / "all.jsonl").read_text()
    saa("import", tmp_path / "all.jsonl", "--agent", "copy")
    assert saa("export", "--agent", "copy").stdout == printed
    assert len(saa("export", "--where", '{"type": "place"}').stdout.splitlines()) == 1


def test_an_export_that_fails_leaves_no_file(saa, tmp_path):
    """Neither half of one nor under another name."""
    saa("add", "one")
    assert "cannot write" in saa("export", tmp_path / "nowhere" / "all.jsonl", code=1).stderr
    assert not (tmp_path / "nowhere").exists()
