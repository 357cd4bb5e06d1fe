"""Test `saa import` and `saa export`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def chat(tmp_path):
    """Write a conversation of two sessions as JSON lines."""
    file = tmp_path / "chat.jsonl"
    turns = [("Ann", "I adopted a cat called Miso", "mon"), ("Bob", "Nice", "mon"), ("Ann", "Miso is ill", "tue")]
    file.write_text(
        "".join(
            json.dumps({"speaker": speaker, "text": text, "session": session}) + "\n"
            for speaker, text, session in turns
        )
    )
    return file


def _memories_by_uid(saa):
    return {memory["uid"]: memory for memory in saa.json("list", "--limit", 1_000)["memories"]}


def test_import_of_the_same_file_again_changes_nothing(saa, chat):
    """The second import counts its entries as known."""
    first = saa.json("import", chat)
    nothing_else = {"agents": 0, "collections": 0, "left_out": {}, "passed_over": {}, "vanished": [], "dry_run": False}
    nothing_else |= {"replaced": 0, "deleted": 0, "kept": 0}
    assert first == {
        "stored": 3, "known": 0, "failed": 0, "files": 1, "complete": True, "errors": [], **nothing_else,
    }  # fmt: skip
    before = _memories_by_uid(saa)
    assert saa.json("import", chat) == {**first, "stored": 0, "known": 3}
    assert _memories_by_uid(saa) == before


def test_imported_turns_are_found_by_meaning_session_and_speaker(saa, chat):
    """Speaker and session are metadata."""
    saa("import", chat)
    [found] = saa.json("search", "pet", "--where", '{"session": "tue"}')["results"]
    assert found["text"] == "Ann: Miso is ill"
    assert found["metadata"]["speaker"] == "Ann"


def test_import_stores_valid_lines_and_reports_the_location_of_others(saa, tmp_path):
    """The file's reader refuses some lines, the store others; the exit code is 1."""
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
    report = saa.json("import", file, code=1)
    assert (report["stored"], report["failed"], report["complete"]) == (3, 5, True)
    assert {error["at"] for error in report["errors"]} == {f"mixed.jsonl:{n}" for n in (2, 3, 4, 5, 7)}
    assert {memory["text"] for memory in _memories_by_uid(saa).values()} == {"one", "four", "A: six"}


def test_import_with_strict_stops_at_the_first_invalid_line(saa, tmp_path):
    """The message has its location; the exit code is 1."""
    file = tmp_path / "mixed.jsonl"
    file.write_text('not json\n{"text": "one"}\n')
    result = saa("import", file, "--strict", code=1)
    assert "stopped at mixed.jsonl:1" in result.stderr


def test_import_detects_the_format_of_standard_input(saa):
    """`--format` overrides the detection."""
    assert saa.json("import", "-", stdin='\n{"text": "one"}\n')["stored"] == 1
    assert saa.json("import", "-", stdin="plain words\n")["stored"] == 1
    assert saa.json("import", "-", "--format", "markdown", stdin="# Head\n\nbody\n")["stored"] == 1
    assert {memory["text"] for memory in _memories_by_uid(saa).values()} == {"one", "plain words", "Head\n\nbody"}


def _parse_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def _export_records(saa, *arguments):
    """Return the exported records, without the header and the last line."""
    return _parse_lines(saa("export", *arguments).stdout)[1:-1]


@pytest.fixture
def filled(saa, chat):
    """Import the conversation, and add a memory of the default agent and one of another."""
    saa("import", chat)
    saa("add", "The Louvre", "--type", "place", "--uid", "l/1", "--extra", '{"n": [1, {"m": null}]}', "--source", "me")
    saa("add", "Bob likes tea", "--uid", "tea", "--agent", "bob", "--expires-in-s", 900)
    return saa


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_import_of_an_export_restores_every_field_of_every_record(filled, tmp_path, ending):
    """Vectors and times are equal in the other data folder, also after a second import."""
    saa = filled
    file, other = tmp_path / f"all.{ending}", ("--data-dir", tmp_path / "other")
    assert saa.json("export", file) == {
        "exported": 5, "path": str(file), "agents": 0, "collections": 0, "without_vectors": 0, "damaged": 0,
    }  # fmt: skip
    for _ in range(2):
        report = saa.json("import", file, *other)
        assert (report["stored"], report["failed"], report["complete"], report["left_out"]) == (5, 0, True, {})
        assert _export_records(saa, *other) == _export_records(saa)
    for query in ("pet", "museum", "Miso"):
        original, restored = saa.json("search", query)["results"], saa.json("search", query, *other)["results"]
        assert original == restored
    assert saa.json("list", "--agent", "bob", *other)["total"] == 1


def test_export_selects_records_by_agent_namespace_and_filter(filled, tmp_path):
    """It writes to a file or a pipe, with vectors or without, and an import reads either."""
    saa = filled
    assert [line["uid"] for line in _export_records(saa, "--agent", "bob")] == ["tea"]
    assert [line["uid"] for line in _export_records(saa, "--namespace", "default", "--where", '{"type": "place"}')] == [
        "l/1"
    ]
    for source, uids in (("me", ["l/1"]), ("nowhere", [])):
        where = json.dumps({"$source": source, "$created_at": {"$gt": "2026-01-01T00:00:00Z"}})
        assert [line["uid"] for line in _export_records(saa, "--where", where)] == uids
    printed = saa("export", "--agent", "default").stdout
    saa("export", "--agent", "default", tmp_path / "all.jsonl")
    assert _parse_lines((tmp_path / "all.jsonl").read_text())[1:] == _parse_lines(printed)[1:]
    assert saa.json("import", "-", "--agent", "copy", stdin=printed)["stored"] == 4
    renamed = [{**line, "namespace": "default"} for line in _export_records(saa, "--agent", "copy")]
    assert renamed == _parse_lines(printed)[1:-1]
    header, *lines, end = _parse_lines(saa("export", "--no-vectors").stdout)
    assert header["vectors"] is False
    assert not any("vector" in line for line in lines)
    assert end == {"end": True, "records": 9}


def test_import_of_a_folder_distinguishes_exports_from_other_files(filled, chat, tmp_path):
    """The fields of an export do not become metadata."""
    saa = filled
    saa("export", tmp_path / "all.jsonl", "--where", '{"type": "place"}')
    (tmp_path / "note.md").write_text("# Note\n\nA note.\n")
    report = saa.json("import", tmp_path, "--data-dir", tmp_path / "other")
    assert (report["stored"], report["files"], report["complete"]) == (5, 3, True)
    [place] = saa.json("list", "--where", '{"type": "place"}', "--data-dir", tmp_path / "other")["memories"]
    assert place["metadata"] == {"text": "The Louvre", "type": "place", "n": [1, {"m": None}]}


def test_import_embeds_texts_of_an_export_without_vectors_or_with_reembed(filled, tmp_path):
    """An export of another model is refused without `--reembed`."""
    saa = filled
    before = _export_records(saa)
    saa("export", tmp_path / "texts.jsonl", "--no-vectors")
    assert saa.json("import", tmp_path / "texts.jsonl", "--data-dir", tmp_path / "other")["stored"] == 5
    assert _export_records(saa, "--data-dir", tmp_path / "other") == before
    foreign = [
        {**line, "model_id": "foreign"} if "uid" in line else line for line in _parse_lines(saa("export").stdout)
    ]
    (tmp_path / "foreign.jsonl").write_text("".join(json.dumps(line) + "\n" for line in foreign))
    refused = saa("import", tmp_path / "foreign.jsonl", code=2).stderr
    assert "'foreign'" in refused
    assert "all-MiniLM-L6-v2" in refused
    assert "--reembed" in refused
    assert _export_records(saa) == before
    assert saa.json("import", tmp_path / "foreign.jsonl", "--reembed")["stored"] == 5
    assert _export_records(saa) == before


def test_import_of_a_damaged_export_stores_the_valid_lines(filled, tmp_path):
    """It reports the others by number; with `--strict` the first one stops it."""
    saa = filled
    lines = saa("export").stdout.splitlines()
    lines[2] = lines[2].replace('"vector":"', '"vector":"!')
    (tmp_path / "bad.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    other = ("--data-dir", tmp_path / "other")
    strict = saa("import", tmp_path / "bad.jsonl", "--strict", *other, code=1)
    assert "stopped at bad.jsonl:3: its 'vector' is not base64" in strict.stderr
    report = saa.json("import", tmp_path / "bad.jsonl", *other, code=1)
    assert (report["stored"], report["failed"]) == (4, 2)
    assert [error["at"] for error in report["errors"]] == ["bad.jsonl:3", "bad.jsonl:6"]


def test_failed_export_leaves_no_file_and_no_data_folder(saa, tmp_path):
    """A missing store or a missing target folder stops it before it writes."""
    assert "nothing is remembered" in saa("export", code=1).stderr
    assert not saa.data_dir.exists()
    saa("add", "one")
    assert "cannot write" in saa("export", tmp_path / "nowhere" / "all.jsonl", code=1).stderr
    assert not (tmp_path / "nowhere").exists()
    assert "standard output" in saa("export", "--format", "parquet", code=2).stderr
