"""Test that `saa import` doubles nothing that was renamed, unpacked, exported again or imported on another machine."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest


@pytest.fixture
def desk(tmp_path):
    """Make an empty folder of files to import."""
    folder = tmp_path / "desk"
    folder.mkdir()
    return folder


def _sources(saa):
    return {record["source"] for record in saa.records()}


def _chat(*texts):
    return "".join(f"[01/03/2024, 18:{minute:02d}:00] Lea: {text}\n" for minute, text in enumerate(texts))


def _chatgpt(*texts, title="Pets"):
    """Return an export with one conversation, whose messages have ids."""
    mapping, parent = {}, None
    for number, text in enumerate(texts):
        key = f"m{number}"
        message = {"author": {"role": "user"}, "create_time": 1.7e9 + number, "content": {"parts": [text]}}
        mapping[key] = {"id": key, "parent": parent, "children": [], "message": message}
        parent = key
    return json.dumps([{"title": title, "conversation_id": "c1", "mapping": mapping, "current_node": parent}])


def _zip(file, **members):
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_", ".", 1), text)


def test_import_of_a_renamed_chat_file_keeps_its_turns(saa, desk):
    """Equal turns, too; the session gets the new name."""
    (desk / "old.txt").write_text(_chat("ok", "ok", "fine"))
    saa("import", desk / "old.txt")
    uids = {record["uid"] for record in saa.records()}
    (desk / "old.txt").rename(desk / "new.txt")
    report = saa.json("import", desk / "new.txt")
    assert (report["stored"], report["known"], report["deleted"]) == (0, 3, 0)
    assert saa.texts() == ["Lea: fine", "Lea: ok", "Lea: ok"]
    assert {record["uid"] for record in saa.records()} == uids
    assert _sources(saa) == {"new.txt"}
    assert len({record["session"] for record in saa.records()}) == 1
    assert saa.json("import", desk / "new.txt")["known"] == 3


def test_import_of_a_chat_file_moved_to_another_folder_and_continued_stores_only_the_new_turns(saa, desk):
    """The folders need not contain each other: the data folder's cache knows the old path."""
    for name in ("downloads", "chats"):
        (desk / name).mkdir()
    (desk / "downloads" / "_chat.txt").write_text(_chat("one", "two"))
    saa("import", desk / "downloads" / "_chat.txt")
    (desk / "downloads" / "_chat.txt").unlink()
    (desk / "chats" / "lea.txt").write_text(_chat("one", "two", "three"))
    report = saa.json("import", desk / "chats" / "lea.txt")
    assert (report["stored"], report["known"]) == (1, 2)
    assert saa.texts() == ["Lea: one", "Lea: three", "Lea: two"]
    assert len({record["session"] for record in saa.records()}) == 1


def test_copies_that_are_both_there_are_both_kept(saa, desk):
    """A copy is no move: the first file is still at its place, whatever was imported last."""
    for name in ("ann", "bob"):
        (desk / name).mkdir()
        (desk / name / "_chat.txt").write_text(_chat("hello"))
        saa("import", desk / name / "_chat.txt")
    assert saa.texts() == ["Lea: hello", "Lea: hello"]
    assert len({record["session"] for record in saa.records()}) == 2
    assert saa.json("import", desk / "ann" / "_chat.txt")["known"] == 1


@pytest.mark.parametrize("name", ["un", "export", "."], ids=["elsewhere", "folder of its name", "beside it"])
def test_import_of_an_unpacked_zip_file_doubles_nothing(saa, desk, name):
    """Notes, chats without ids and conversations with ids; with the zip file there or not, and again."""
    _zip(desk / "export.zip", conversations_json=_chatgpt("Hi"), chat_txt=_chat("a", "b"), notes__x_md="# X\n\ntext\n")
    saa("import", desk / "export.zip")
    before = saa.texts()
    assert len(before) == 4
    zipfile.ZipFile(desk / "export.zip").extractall(desk / name)
    for paths in ([desk / name], [desk], [desk], [desk / "export.zip"], [desk, desk / "export.zip"]):
        report = saa.json("import", *paths)
        assert (report["stored"], report["deleted"], report["failed"]) == (0, 0, 0)
        assert saa.texts() == before
    (desk / "export.zip").unlink()
    assert saa.json("import", desk)["stored"] == 0
    assert saa.texts() == before
    assert not any(".zip/" in source for source in _sources(saa))


def test_folder_with_a_zip_file_and_its_files_unpacked_and_edited_is_stored_once(saa, desk):
    """The unpacked file is the one that somebody works with."""
    _zip(desk / "notes.zip", notes__x_md="# X\n\nold\n", notes__y_md="# Y\n\nsame\n")
    zipfile.ZipFile(desk / "notes.zip").extractall(desk)
    (desk / "notes" / "x.md").write_text("# X\n\nnew\n")
    report = saa.json("import", desk)
    assert report["passed_over"] == {"unpacked beside the zip file": 2}
    assert saa.texts() == ["X\n\nnew", "Y\n\nsame"]


def test_later_export_of_a_service_adds_only_what_is_new(saa, desk):
    """Each month's export repeats all conversations, in a file of another name."""
    _zip(desk / "may.zip", conversations_json=_chatgpt("one", "two"))
    saa("import", desk / "may.zip")
    _zip(desk / "june.zip", conversations_json=_chatgpt("one", "two", "three", title="Parrots"))
    report = saa.json("import", desk / "june.zip")
    assert (report["stored"], report["replaced"]) == (3, 2)
    assert saa.texts() == ["user: one", "user: three", "user: two"]
    assert {record["metadata"]["title"] for record in saa.records()} == {"Parrots"}
    for _ in range(2):
        report = saa.json("import", desk)
        assert (report["stored"], report["deleted"]) == (0, 0)
    (desk / "june.zip").unlink()
    saa("import", desk, "--sync")
    assert saa.texts() == ["user: one", "user: two"]


def test_two_exports_imported_together_are_stored_once(saa, desk):
    """What the second repeats is counted."""
    for name in ("a", "b"):
        (desk / f"{name}.json").write_text(_chatgpt("one", "two"))
    report = saa.json("import", desk)
    assert (report["stored"], report["left_out"]) == (2, {"repeated messages": 2})
    assert saa.texts() == ["user: one", "user: two"]
    assert saa.json("import", desk)["stored"] == 0


def test_uid_of_an_entry_is_that_of_one_memory_in_all_files(saa, desk):
    """A second entry with it is refused, so that what was stored is what is there."""
    (desk / "a.jsonl").write_text('{"text": "first", "uid": "k"}\n')
    (desk / "b.jsonl").write_text('{"text": "second", "uid": "k"}\n{"text": "third"}\n')
    report = saa.json("import", desk, code=1)
    assert (report["stored"], report["failed"]) == (2, 1)
    assert "same uid" in report["errors"][0]["why"]
    assert saa.texts() == ["first", "third"]


def test_import_on_another_machine_knows_the_files_by_their_sources(saa, desk):
    """The data folder was moved there, without its cache, and the notes have another path."""
    (desk / "notes").mkdir()
    (desk / "notes" / "a.md").write_text("# A\n\ntext\n")
    (desk / "notes" / "talk.jsonl").write_text('{"speaker": "A", "text": "hi"}\n')
    saa("import", desk / "notes")
    shutil.rmtree(saa.data_dir / "cache", ignore_errors=True)
    elsewhere = desk.parent / "home" / "documents"
    elsewhere.mkdir(parents=True)
    (desk / "notes").rename(elsewhere / "notes")
    report = saa.json("import", elsewhere / "notes")
    assert (report["stored"], report["known"]) == (0, 2)
    assert len(saa.records()) == 2


def test_dry_run_leaves_no_trace(saa, desk):
    """Neither in the data folder nor beside the files."""
    (desk / "a.md").write_text("text\n")
    report = saa.json("import", desk, "--dry-run")
    assert (report["stored"], report["dry_run"]) == (1, True)
    assert not saa.data_dir.exists()
