"""Test that `saa import` follows its files: what was changed, moved, added and deleted since the last import."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def notes(tmp_path):
    """Make an empty folder of notes."""
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def test_import_of_an_edited_note_replaces_the_old_text_in_place(saa, notes):
    """The memory keeps its uid; what stands around it is not embedded again."""
    (notes / "dentist.md").write_text("# Dentist\n\nOn Monday.\n\n# Baker\n\nRye bread.\n")
    saa("import", notes)
    before = {record["metadata"]["heading"]: record["uid"] for record in saa.records()}
    (notes / "dentist.md").write_text("# Dentist\n\nOn Friday.\n\n# Baker\n\nRye bread.\n")
    report = saa.json("import", notes)
    assert (report["stored"], report["replaced"], report["known"], report["deleted"]) == (1, 1, 1, 0)
    assert saa.texts() == ["Dentist\n\nOn Friday.", "dentist > Baker\n\nRye bread."]
    assert {record["metadata"]["heading"]: record["uid"] for record in saa.records()} == before


def test_import_of_a_shortened_note_deletes_what_it_lost(saa, notes):
    """A document is edited as a whole, so no option is needed."""
    (notes / "a.md").write_text("# One\n\nfirst\n\n# Two\n\nsecond\n\n# Three\n\nthird\n")
    saa("import", notes)
    (notes / "a.md").write_text("# One\n\nfirst\n\n# Three\n\nthird\n")
    report = saa.json("import", notes)
    assert (report["stored"], report["known"], report["deleted"]) == (0, 2, 1)
    assert saa.texts() == ["a > One\n\nfirst", "a > Three\n\nthird"]


def test_import_keeps_memories_of_deleted_notes_until_it_is_asked_to_sync(saa, notes):
    """`--dry-run` says what `--sync` would delete, and changes nothing."""
    for name in ("a", "b"):
        (notes / f"{name}.md").write_text(f"text of {name}\n")
    saa("import", notes)
    (notes / "b.md").unlink()
    report = saa.json("import", notes)
    assert (report["kept"], report["deleted"], report["vanished"]) == (1, 0, ["notes/b.md"])
    preview = saa.json("import", notes, "--sync", "--dry-run")
    assert (preview["deleted"], preview["known"], preview["dry_run"]) == (1, 1, True)
    assert preview["changes"] == {"notes/b.md": {"deleted": 1}}
    assert "notes/b.md: 1 deleted\n" in saa("import", notes, "--sync", "--dry-run").stdout
    assert len(saa.records()) == 2
    assert saa.json("import", notes, "--sync")["deleted"] == 1
    assert saa.texts() == ["a\n\ntext of a"]


def test_sync_of_a_subfolder_deletes_nothing_outside_of_it(saa, notes):
    """Files beside the subfolder have vanished as well, and nobody asked about them."""
    for name in ("in", "out"):
        (notes / name).mkdir()
        (notes / name / "x.md").write_text(f"text of {name}\n")
    saa("import", notes)
    shutil.rmtree(notes / "out")
    (notes / "in" / "x.md").unlink()
    (notes / "in" / "y.md").write_text("something else\n")
    assert saa.json("import", notes / "in", "--sync")["deleted"] == 1
    assert saa.texts() == ["x\n\ntext of out", "y\n\nsomething else"]


def test_import_of_a_folder_and_then_its_subfolder_doubles_nothing(saa, notes):
    """In either order; the source is relative to the larger folder."""
    (notes / "sub").mkdir()
    (notes / "sub" / "a.md").write_text("hello\n")
    for folder in (notes / "sub", notes, notes / "sub", notes / "sub" / "a.md"):
        saa("import", folder)
        assert saa.texts() == ["a\n\nhello"]
    assert saa.records()[0]["source"] == "notes/sub/a.md"


def test_import_of_a_moved_note_gives_its_memories_the_new_place(saa, notes):
    """Renamed, moved into another folder, and with the whole folder moved."""
    (notes / "a.md").write_text("# Boat\n\nIt leaks.\n\n# Kite\n\nIt flies.\n")
    saa("import", notes)
    uids = {record["uid"] for record in saa.records()}
    (notes / "b.md").write_text((notes / "a.md").read_text())
    (notes / "a.md").unlink()
    saa("import", notes)
    assert saa.texts() == ["b > Boat\n\nIt leaks.", "b > Kite\n\nIt flies."]
    shelf = notes.parent / "shelf"
    shelf.mkdir()
    notes.rename(shelf / "notes")
    report = saa.json("import", shelf)
    assert (report["deleted"], report["kept"]) == (0, 0)
    assert {record["source"] for record in saa.records()} == {"shelf/notes/b.md"}
    assert {record["uid"] for record in saa.records()} == uids


def test_import_of_a_paragraph_moved_inside_its_note_updates_only_its_lines(saa, notes):
    """The line span is that of the file as it is now."""
    (notes / "a.md").write_text("# One\n\nfirst\n\n# Two\n\nsecond\n")
    saa("import", notes)
    (notes / "a.md").write_text("# Two\n\nsecond\n\n# One\n\nfirst\n")
    assert saa.json("import", notes)["stored"] == 0
    lines = {record["metadata"]["heading"]: record["metadata"]["lines"] for record in saa.records()}
    assert lines == {"One": [7, 7], "Two": [3, 3]}


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_import_of_json_lines_with_an_inserted_line_stores_only_that_line(saa, tmp_path, place):
    """At any place; the others are known."""
    file = tmp_path / "facts.jsonl"
    lines = [json.dumps({"text": f"{name} fact"}) for name in ("alpha", "beta")]
    file.write_text("\n".join(lines) + "\n")
    saa("import", file)
    lines.insert(place, json.dumps({"text": "new fact"}))
    file.write_text("\n".join(lines) + "\n")
    report = saa.json("import", file)
    assert (report["stored"], report["known"]) == (1, 2)
    assert saa.texts() == ["alpha fact", "beta fact", "new fact"]


def test_import_of_a_changed_json_line_replaces_it_and_a_removed_one_stays_until_sync(saa, tmp_path):
    """What exports a list of entries often cuts it to the latest ones."""
    file = tmp_path / "facts.jsonl"
    file.write_text('{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n')
    saa("import", file)
    file.write_text('{"text": "b"}\n{"text": "C"}\n')
    report = saa.json("import", file)
    assert (report["stored"], report["replaced"], report["kept"]) == (1, 1, 1)
    assert saa.texts() == ["C", "a", "b"]
    assert saa.json("import", file, "--sync")["deleted"] == 1
    assert saa.texts() == ["C", "b"]


def test_import_keeps_equal_turns_and_stored_is_what_is_there(saa, tmp_path):
    """Equal lines, equal paragraphs and equal turns are as many memories."""
    turns = tmp_path / "chat.jsonl"
    turns.write_text('{"speaker": "A", "text": "ok"}\n' * 3 + '{"text": "same"}\n' * 2)
    note = tmp_path / "note.md"
    note.write_text("# A\n\nsame\n\n# A\n\nsame\n")
    for stored, known in ((7, 0), (0, 7)):
        report = saa.json("import", turns, note)
        assert (report["stored"], report["known"]) == (stored, known)
        assert len(saa.records()) == 7


def test_two_chat_files_of_one_name_are_two_sessions(saa, tmp_path):
    """Whether they are imported together or one after the other."""
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_chat.txt").write_text(f"[01/03/2024, 18:00:00] {name}: hello\n")
        saa("import", tmp_path / name / "_chat.txt")
    records = saa.records()
    assert sorted(record["text"] for record in records) == ["ann: hello", "bob: hello"]
    assert len({record["session"] for record in records}) == 2


def test_import_of_a_turn_inserted_into_a_conversation_puts_it_between_its_neighbours(saa, tmp_path):
    """The order of the turns is that of the file, not that of the imports."""
    file = tmp_path / "chat.jsonl"

    def write(*texts):
        file.write_text("".join(json.dumps({"speaker": "A", "text": text, "session": "s"}) + "\n" for text in texts))

    write("one", "three", "four")
    saa("import", file)
    write("one", "two", "three", "four")
    assert saa.json("import", file)["stored"] == 1
    lines = [json.loads(line) for line in saa("export").stdout.splitlines()]
    turns = sorted((line for line in lines if "uid" in line), key=lambda line: line["place"])
    assert [turn["text"] for turn in turns] == ["A: one", "A: two", "A: three", "A: four"]
    assert [turn["metadata"]["turn"] for turn in turns] == [0, 1, 2, 3]


def test_import_of_other_text_from_standard_input_deletes_nothing(saa):
    """It has no file to follow."""
    saa("import", "-", stdin="first\n")
    saa("import", "-", stdin="second\n")
    assert saa.json("import", "-", stdin="second\n")["known"] == 1
    assert saa.texts() == ["first", "second"]


def test_import_does_not_delete_what_stands_in_lines_that_cannot_be_read(saa, tmp_path):
    """A damaged line says nothing about the memory that it was."""
    file = tmp_path / "a.txt"
    file.write_bytes(b"one\n\ntwo\n")
    saa("import", file)
    file.write_bytes(b"\xff\xfe\xff\n\ntwo\n".replace(b"\xff\xfe", b"\xe9\xe8"))
    saa("import", file, code=1)
    assert any("one" in text for text in saa.texts())


def test_sync_of_a_folder_that_has_become_empty_deletes_its_memories(saa, notes):
    """Without the option, an empty folder is an error: it may be one that is not mounted."""
    (notes / "a.md").write_text("text\n")
    saa("import", notes)
    (notes / "a.md").unlink()
    saa("import", notes, code=2)
    assert len(saa.records()) == 1
    assert saa.json("import", notes, "--sync")["deleted"] == 1
    assert saa.records() == []
