"""Test what `saa import` finds in folders and zip files, and what it says about the rest."""

from __future__ import annotations

import json
import zipfile

import pytest


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("package.json", '{"name": "x", "version": "1"}'),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0"),
        ("drawing.svg", "<svg></svg>"),
        ("broken.zip", b"PK\x03\x04 and nothing more"),
        ("broken.pdf", b"%PDF-1.7 and nothing more"),
    ],
)
def test_named_file_that_is_not_understood_is_refused_with_what_is(saa, tmp_path, name, data):
    """In one line; nothing of it is stored, and the other files are."""
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (tmp_path / "good.md").write_text("good\n")
    result = saa("import", tmp_path / name, tmp_path / "good.md", code=1)
    [line] = [line for line in result.stderr.splitlines() if line.startswith(name)]
    assert "understood are Markdown" in line or "pip install" in line
    assert saa.texts() == ["good\n\ngood"]


def test_folder_says_what_it_passed_over(saa, tmp_path):
    """Files of unknown formats, hidden ones, links to folders, and those without any text."""
    folder = tmp_path / "mix"
    (folder / ".git").mkdir(parents=True)
    (folder / "a.md").write_text("kept\n")
    (folder / "b.py").write_text("print()\n")
    (folder / "c.py").write_text("print()\n")
    (folder / "d.png").write_bytes(b"\x89PNG\0")
    (folder / "package.json").write_text('{"name": "x"}')
    (folder / "empty.md").write_text("")
    (folder / "LICENSE").write_text("words\n")
    (folder / ".hidden.md").write_text("words\n")
    (folder / "link").symlink_to(tmp_path)
    assert saa.json("import", folder)["passed_over"] == {
        ".py": 2, ".png": 1, ".json": 1, "empty": 1, "no ending": 1, "hidden": 2, "links": 1,
    }  # fmt: skip
    assert "Passed over: 2 .py, 2 hidden, 1 .json" in saa("import", folder).stderr
    assert saa.texts() == ["a\n\nkept"]


def test_fields_of_any_name_are_found_by_filters(saa, tmp_path):
    """A name that begins with `$`, which is reserved, gets an underscore; the source is reached by `$source`."""
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"text": "water the plants", "due date": "monday", "$id": 7}\n{"text": "sleep"}\n')
    assert saa.json("import", file)["stored"] == 2
    assert saa.json("import", file)["stored"] == 0
    for where in ({"due date": "monday"}, {"_$id": 7}, {"$source": "tasks.jsonl", "due date": {"$exists": True}}):
        [match] = saa.json("search", "work", "--where", json.dumps(where))["results"]
        assert (match["text"], match["source"]) == ("water the plants", "tasks.jsonl")


def test_printed_errors_stop_at_twenty_and_all_are_counted(saa, tmp_path):
    """A file of the wrong kind must not fill the terminal."""
    file = tmp_path / "bad.jsonl"
    file.write_text("nonsense\n" * 300)
    result = saa("import", file, code=1)
    assert sum(line.startswith("bad.jsonl:") for line in result.stderr.splitlines()) == 20
    assert "300 lines could not be imported" in result.stdout


def test_zip_file_is_imported_like_the_folder_that_it_holds(saa, tmp_path):
    """A member that is gone is deleted with `--sync`; two members of one name are two files."""
    archive = tmp_path / "export.zip"

    def write(*names):
        with zipfile.ZipFile(archive, "w") as file:
            for name in names:
                file.writestr(name, f"text of {name}\n")

    write("a/note.md", "b/note.md", "__MACOSX/x.md", "c.png")
    report = saa.json("import", archive)
    assert (report["stored"], report["files"]) == (2, 2)
    assert report["passed_over"] == {"hidden": 1, ".png": 1}
    sources = [record["source"] for record in saa.json("list")["memories"]]
    assert sorted(sources) == ["export.zip/a/note.md", "export.zip/b/note.md"]
    write("a/note.md")
    assert saa.json("import", archive)["kept"] == 1
    assert saa.json("import", archive, "--sync")["deleted"] == 1
    assert saa.texts() == ["note\n\ntext of a/note.md"]


def test_zip_bomb_is_refused(saa, tmp_path):
    """Before anything is unpacked."""
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(8):
            file.writestr(f"{number}.txt", b"0" * (10 << 20))
    result = saa("import", archive, code=1)
    assert "bomb.zip: it unpacks to more than is read" in result.stderr


@pytest.mark.parametrize("packed", [False, True])
def test_slack_export_is_one_session_for_each_channel(saa, tmp_path, packed):
    """Its days are files; the names of its users are found from each of them."""
    users = [{"id": "U1", "name": "lea", "team_id": "T", "profile": {"display_name": "Lea"}}]
    days = {
        f"general/{day}.json": [{"type": "message", "user": "U1", "text": f"day {day}", "ts": f"170928720{day}.0001"}]
        for day in (1, 2)
    }  # fmt: skip
    files = {"users.json": users, **days}
    target = tmp_path / ("slack.zip" if packed else "slack")
    if packed:
        with zipfile.ZipFile(target, "w") as archive:
            for name, value in files.items():
                archive.writestr(name, json.dumps(value))
    else:
        (target / "general").mkdir(parents=True)
        for name, value in files.items():
            (target / name).write_text(json.dumps(value))
    saa("import", target)
    records = saa.json("list")["memories"]
    assert sorted(record["text"] for record in records) == ["Lea: day 1", "Lea: day 2"]
    assert len({record["session"] for record in records}) == 1


def test_unknown_format_is_an_error_that_names_the_known_ones(saa, tmp_path):
    """Nothing is imported."""
    (tmp_path / "a.md").write_text("words\n")
    assert "markdown" in saa("import", tmp_path / "a.md", "--format", "docx", code=2).stderr
    assert saa.json("import", tmp_path / "a.md", "--format", "text")["stored"] == 1
    assert "no file" in saa("import", tmp_path / "nowhere", code=2).stderr


def test_dry_run_makes_no_data_folder(saa, tmp_path):
    """It only reads."""
    (tmp_path / "a.md").write_text("words\n")
    assert "Would store 1 memories from 1 files" in saa("import", tmp_path / "a.md", "--dry-run").stdout
    assert not saa.data_dir.exists()


def test_metadata_of_a_memory_says_its_file_heading_and_lines(saa, tmp_path):
    """A field of the file with one of these names gets an underscore behind it."""
    (tmp_path / "a.md").write_text("---\ntype: recipe\nlines: 5\n---\n# Soup\n\nBoil.\n")
    saa("import", tmp_path / "a.md")
    [record] = saa.json("list")["memories"]
    metadata = record["metadata"]
    assert (metadata["heading"], metadata["lines"], record["source"]) == ("Soup", [7, 7], "a.md")
    assert (metadata["type_"], metadata["lines_"]) == ("recipe", 5)


def test_file_of_unknown_json_is_refused_in_one_line_with_the_list_of_what_is_understood(saa, tmp_path):
    """A log is no conversation: a thousand errors would say no more."""
    file = tmp_path / "log.jsonl"
    file.write_text('{"level": "info"}\n' * 300)
    result = saa("import", file, code=1)
    [line] = [line for line in result.stderr.splitlines() if line.startswith("log.jsonl")]
    assert "none of its 300 values is understood" in line
    assert "Markdown" in line
    assert saa.json("list")["memories"] == []


def test_data_folder_inside_of_the_imported_folder_is_not_read(saa, tmp_path):
    """`saa import .` beside ./saa-data."""
    (tmp_path / "a.md").write_text("text\n")
    for stored in (1, 0):
        report = saa.json("import", tmp_path)
        assert (report["stored"], report["files"], report["passed_over"]) == (stored, 1, {})
