"""`ParserProcess`: the same items as in this process, and an end to what takes too long or too much memory."""

from __future__ import annotations

import json
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from super_advanced_agents.errors import ResourceClosedError
from super_advanced_agents.formats import NotUnderstoodError, Part, detect, format_named
from super_advanced_agents.formats.archives import MAX_MEMBERS, open_archive
from super_advanced_agents.formats.content import file_content
from super_advanced_agents.formats.parser_process import FileToParse, ParserLimits, ParserProcess

_SLACK = [{"type": "message", "ts": "1700000000.1", "user": "U1", "text": "Hello <@U2>, see <https://a.example|this>"}]
_USERS = [{"id": "U1", "name": "ann", "profile": {"display_name": "Ann"}}, {"id": "U2", "name": "bob", "profile": {}}]
_MARKDOWN = "---\ntags: [cats, dogs]\nage : 3\n---\n# Pets\n\nAnn has a cat \ud83d\udc08.\n".encode(
    "utf-16", "surrogatepass"
)
_ENDLESS = b'<div class="page_body chat_page"><div class=message>' + b"<div>a" * 400_000
"""A page of Telegram whose parsing takes time by the square of its depth."""


@pytest.fixture
def parser():
    """A process with small limits of time and memory."""
    with ParserProcess(threading.Event(), ParserLimits(memory_bytes=128 << 20, cpu_s=2)) as process:
        yield process


def _file(path: Path, format_name: str, **others) -> FileToParse:
    return FileToParse(path=path, format_name=format_name, name=others.pop("name", path.name), **others)


def test_file_is_parsed_as_in_this_process(parser, tmp_path):
    """Another file beside it is read too, and one process parses file after file."""
    (tmp_path / "general").mkdir()
    (tmp_path / "users.json").write_text(json.dumps(_USERS))
    (tmp_path / "general" / "day.json").write_text(json.dumps(_SLACK))
    (tmp_path / "pets.md").write_bytes(_MARKDOWN)
    (tmp_path / "wrong.json").write_text('[{"text": "right"}, {"text": 7}, {"a": 1}]')
    for name in ("general/day.json", "pets.md", "wrong.json"):
        content = file_content(tmp_path / name, name, named=True, known={})
        format_ = detect(content)
        expected = list(format_.read(content))
        assert expected
        assert list(parser.read(_file(tmp_path / name, format_.name, name=name))) == expected
    assert "Hello @bob, see this" in next(parser.read(_file(tmp_path / "general/day.json", "json"))).text


def test_member_of_an_archive_is_parsed_with_the_file_beside_it(parser, tmp_path):
    """The name that the parser sees is the one that is asked for."""
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("users.json", json.dumps(_USERS))
        archive.writestr("general/day.json", json.dumps(_SLACK))
    file = _file(path, "json", name="export.zip/general/day.json", inner="general/day.json", named=False)
    [part] = parser.read(file)
    assert (part.speaker, part.session) == ("Ann", "general")


def test_file_that_its_parser_cannot_end_is_refused_and_the_next_is_parsed(parser, tmp_path):
    """The kernel ends the process, whatever it computes."""
    (tmp_path / "endless.html").write_bytes(_ENDLESS)
    (tmp_path / "note.md").write_text("# Cats\n\nThey purr.\n")
    with pytest.raises(NotUnderstoodError, match="computed 2 s"):
        list(parser.read(_file(tmp_path / "endless.html", "telegram")))
    assert [item.text for item in parser.read(_file(tmp_path / "note.md", "markdown"))] == ["note > Cats\n\nThey purr."]


def test_file_that_takes_too_much_memory_is_refused(parser, tmp_path):
    """4 million empty objects in 12 MB take 20 times as much."""
    (tmp_path / "objects.json").write_bytes(b'{"text": "a", "x": [' + b"{}," * 4_000_000 + b"1]}")
    with pytest.raises(NotUnderstoodError, match="128 MiB of memory"):
        list(parser.read(_file(tmp_path / "objects.json", "json")))


def test_page_with_an_encoding_that_replaces_nothing_is_read_as_utf8(parser, tmp_path):
    """`idna` raises an error of its own kind."""
    (tmp_path / "page.html").write_bytes(b"<html><meta charset=idna><p>Cats \xff purr.</p>")
    [part] = parser.read(_file(tmp_path / "page.html", "html"))
    assert part.text == "page\n\nCats \N{REPLACEMENT CHARACTER} purr."


def test_page_with_marks_that_do_not_end_breaks_no_import(tmp_path):
    """Before Python 3.13 the standard library's parser raises an `AssertionError`."""
    (tmp_path / "page.html").write_bytes(b"<html><![" * 9)
    content = file_content(tmp_path / "page.html", "page.html", named=True, known={})
    with suppress(NotUnderstoodError):
        list(format_named("html").read(content))


def test_entry_that_is_too_long_is_a_problem_of_its_line(parser, tmp_path):
    """The others of the file are parts."""
    (tmp_path / "entries.jsonl").write_text(json.dumps({"text": "a" * (2 << 20)}) + '\n{"text": "short"}\n')
    problem, part = parser.read(_file(tmp_path / "entries.jsonl", "jsonl"))
    assert "longer than 1 MiB" in problem.why
    assert problem.line == 1
    assert isinstance(part, Part)


def test_parsing_ends_when_it_is_stopped(tmp_path):
    """The process is gone then."""
    (tmp_path / "endless.html").write_bytes(_ENDLESS)
    ended = threading.Event()
    with ParserProcess(ended) as parser:
        threading.Timer(0.5, ended.set).start()
        with pytest.raises(ResourceClosedError):
            list(parser.read(_file(tmp_path / "endless.html", "telegram")))
        assert parser._process is None


def test_parser_gets_no_secret_of_the_server(monkeypatch, tmp_path):
    """Its environment holds no setting."""
    monkeypatch.setenv("SAA_SECRET_FOR_TEST", "hidden")
    (tmp_path / "a.txt").write_text("one\n")
    with ParserProcess(threading.Event()) as parser:
        list(parser.read(_file(tmp_path / "a.txt", "text")))
        environment = Path(f"/proc/{parser._process.pid}/environ")
        if environment.exists():
            assert b"hidden" not in environment.read_bytes()


@pytest.mark.parametrize(
    ("format_name", "content"),
    [
        ("json", json.dumps([{"type": "message", "ts": "1700000000.1", "text": "<@" * 400_000}])),
        ("json", json.dumps([{"type": "message", "ts": "1700000000.1", "text": "<a:" * 400_000}])),
        ("markdown", "---\nfield" + " " * 400_000 + "!\n---\nText.\n"),
    ],
)
def test_text_full_of_beginnings_is_parsed_in_linear_time(parser, tmp_path, format_name, content):
    """These took minutes, in one regular expression that let no other thread run."""
    (tmp_path / "file").write_text(content)
    assert list(parser.read(_file(tmp_path / "file", format_name)))


def test_field_of_front_matter_loses_the_spaces_before_its_colon(tmp_path):
    """Names keep those between their words."""
    (tmp_path / "note.md").write_text("---\nfirst name \t: Ann\n---\nText.\n")
    [part] = format_named("markdown").read(file_content(tmp_path / "note.md", "note.md", named=True, known={}))
    assert part.metadata == {"first name": "Ann"}


def test_archive_with_too_many_entries_is_refused_before_they_are_objects(tmp_path):
    """Each entry of 50 bytes would take ten times as much memory."""
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "")
    raw = path.read_bytes()
    start = raw.index(b"PK\x01\x02")
    entry, end = raw[start : raw.index(b"PK\x05\x06")], bytearray(raw[raw.index(b"PK\x05\x06") :])
    directory = entry * (MAX_MEMBERS + 1)
    end[12:16] = len(directory).to_bytes(4, "little")
    path.write_bytes(raw[:start] + directory + bytes(end))
    with path.open("rb") as file, pytest.raises(NotUnderstoodError, match="more than 100000 files"):
        open_archive(file)
