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


def _lines(text):
    return [json.loads(line) for line in text.splitlines()]


def _records(saa, *arguments):
    """What is exported, but for the header and the last line."""
    return _lines(saa("export", *arguments).stdout)[1:-1]


@pytest.fixture
def filled(saa, chat):
    """A conversation and a memory of the default agent, and one of another."""
    saa("import", chat)
    saa("add", "The Louvre", "--type", "place", "--uid", "l/1", "--extra", '{"n": [1, {"m": null}]}', "--source", "me")
    saa("add", "Bob likes tea", "--uid", "tea", "--agent", "bob", "--expires-in-s", 900)
    return saa


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_is_exported_is_restored_as_it_was(filled, tmp_path, ending):
    """Everybody's, every field, vectors and times too, into another data folder; the second time nothing changes."""
    saa = filled
    file, other = tmp_path / f"all.{ending}", ("--data-dir", tmp_path / "other")
    assert saa.json("export", file) == {"exported": 5, "path": str(file)}
    for _ in range(2):
        done = saa.json("import", file, *other)
        assert done == {"stored": 5, "known": 0, "failed": 0, "files": 1, "complete": True, "errors": []}
        assert _records(saa, *other) == _records(saa)
    for query in ("pet", "museum", "Miso"):
        ours, theirs = saa.json("search", query)["results"], saa.json("search", query, *other)["results"]
        assert ours == theirs
    assert saa.json("list", "--agent", "bob", *other)["total"] == 1


def test_an_export_is_of_whom_and_what_was_asked_for(filled, tmp_path):
    """One agent's, those that match, with or without vectors; to a file or a pipe, and from either."""
    saa = filled
    assert [line["uid"] for line in _records(saa, "--agent", "bob")] == ["tea"]
    assert [line["uid"] for line in _records(saa, "--namespace", "default", "--where", '{"type": "place"}')] == ["l/1"]
    printed = saa("export", "--agent", "default").stdout
    saa("export", "--agent", "default", tmp_path / "all.jsonl")
    assert _lines((tmp_path / "all.jsonl").read_text())[1:] == _lines(printed)[1:]
    assert saa.json("import", "-", "--agent", "copy", stdin=printed)["stored"] == 4
    named = [{**line, "namespace": "default"} for line in _records(saa, "--agent", "copy")]
    assert named == _lines(printed)[1:-1]
    header, *lines, end = _lines(saa("export", "--no-vectors").stdout)
    assert header["vectors"] is False
    assert not any("vector" in line for line in lines)
    assert end == {"end": True, "records": 9}


def test_exports_and_other_files_are_told_apart(filled, chat, tmp_path):
    """In one command; the fields of an export do not become metadata."""
    saa = filled
    saa("export", tmp_path / "all.jsonl", "--where", '{"type": "place"}')
    (tmp_path / "note.md").write_text("# Note\n\nA note.\n")
    done = saa.json("import", tmp_path, "--data-dir", tmp_path / "other")
    assert (done["stored"], done["files"], done["complete"]) == (5, 3, True)
    [place] = saa.json("list", "--where", '{"type": "place"}', "--data-dir", tmp_path / "other")["memories"]
    assert place["metadata"] == {"text": "The Louvre", "type": "place", "n": [1, {"m": None}]}


def test_texts_are_embedded_again_when_asked_or_when_there_is_no_other_way(filled, tmp_path):
    """For an export without vectors, or of another model; which is refused without being asked."""
    saa = filled
    before = _records(saa)
    saa("export", tmp_path / "texts.jsonl", "--no-vectors")
    assert saa.json("import", tmp_path / "texts.jsonl", "--data-dir", tmp_path / "other")["stored"] == 5
    assert _records(saa, "--data-dir", tmp_path / "other") == before
    foreign = [{**line, "model_id": "foreign"} if "uid" in line else line for line in _lines(saa("export").stdout)]
    (tmp_path / "foreign.jsonl").write_text("".join(json.dumps(line) + "\n" for line in foreign))
    refused = saa("import", tmp_path / "foreign.jsonl", code=2).stderr
    assert "'foreign'" in refused
    assert "all-MiniLM-L6-v2" in refused
    assert "--reembed" in refused
    assert _records(saa) == before
    assert saa.json("import", tmp_path / "foreign.jsonl", "--reembed")["stored"] == 5
    assert _records(saa) == before


def test_bad_lines_of_an_export_are_told_and_the_others_stored(filled, tmp_path):
    """By their numbers; strict, the first of them ends it."""
    saa = filled
    lines = saa("export").stdout.splitlines()
    lines[2] = lines[2].replace('"vector":"', '"vector":"!')
    (tmp_path / "bad.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    other = ("--data-dir", tmp_path / "other")
    strict = saa("import", tmp_path / "bad.jsonl", "--strict", *other, code=1)
    assert "stopped at bad.jsonl:3: its 'vector' is not base64" in strict.stderr
    done = saa.json("import", tmp_path / "bad.jsonl", *other, code=1)
    assert (done["stored"], done["failed"]) == (4, 2)
    assert [error["at"] for error in done["errors"]] == ["bad.jsonl:3", "bad.jsonl:6"]


def test_an_export_that_fails_leaves_no_file(saa, tmp_path):
    """Neither half of one nor under another name; nor a data folder where there was none."""
    assert "nothing is remembered" in saa("export", code=1).stderr
    assert not saa.data_dir.exists()
    saa("add", "one")
    assert "cannot write" in saa("export", tmp_path / "nowhere" / "all.jsonl", code=1).stderr
    assert not (tmp_path / "nowhere").exists()
    assert "standard output" in saa("export", "--format", "parquet", code=2).stderr
