"""Test how plain text is cut, and what of a file's bytes is no text."""

from __future__ import annotations

import pytest

from super_advanced_agents.formats import Part, Problem, UnreadableError, detect


def test_marks_of_markdown_mean_nothing_in_plain_text(parse):
    """There, `#` is a letter."""
    assert [part.text for part in parse.parts("# one\n\ntwo", "a.txt")] == ["a\n\n# one\n\ntwo"]


def test_lines_of_a_long_paragraph_stay_lines(parse):
    """An address list or a log is not glued into one line."""
    lines = [f"{n}: somebody at some place" for n in range(100)]
    parts = parse.parts("\n".join(lines), "list.txt")
    kept = [line for part in parts for line in part.text.removeprefix("list\n\n").split("\n")]
    assert kept == lines
    assert (parts[0].line, parts[-1].end_line) == (1, 100)


def test_a_very_long_word_is_cut_without_losing_a_character(parse):
    """A blob in a text must not fail the import."""
    parts = parse.parts("x" * 5_000, "a.txt")
    assert "".join(part.text.removeprefix("a\n\n") for part in parts) == "x" * 5_000


@pytest.mark.parametrize("bad", [b"caf\xe9", b"x" * (9 << 20)], ids=["latin-1", "long"])
def test_a_line_that_is_no_text_is_a_problem_and_the_next_is_read(parse, bad):
    """It has its number."""
    problem, part = parse.items(bad + b"\nfine words of some length that outweigh it\n", "a.txt")
    assert isinstance(problem, Problem)
    assert problem.line == 1
    assert isinstance(part, Part)
    assert part.line == 2


def test_every_line_ending_and_byte_order_mark_is_accepted(parse):
    """UTF-16 as well, as Windows writes it."""
    assert [part.text for part in parse.parts(b"\xef\xbb\xbfone\r\ntwo\n", "")] == ["one\ntwo"]
    assert [part.text for part in parse.parts("Grüße\r\nzwei".encode("utf-16"), "")] == ["Grüße\nzwei"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0"),
        ("a.bin", b"\0\1\2\3"),
        ("a.txt", b"\x01\x02\x03\x04\x05\x06\x07abc"),
        ("a.svg", b"<svg xmlns='x'></svg>"),
        ("a.xml", b"<?xml version='1.0'?><a/>"),
        ("a.rtf", rb"{\rtf1 hello}"),
        ("a.vcf", b"BEGIN:VCARD\nVERSION:4.0\n"),
    ],
)
def test_what_is_no_text_has_no_format(parse, name, data):
    """It is refused, and never stored raw."""
    assert parse.format(data, name) is None


def test_a_text_with_an_unknown_ending_is_read_when_it_was_named(parse):
    """In a folder it may be source code, settings or a log."""
    assert parse.format("words", "notes.log") == "text"
    assert parse.format("words", "notes.log", named=False) is None
    assert parse.format("words", "notes.txt", named=False) == "text"


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a", "a.html.txt"])
def test_text_of_another_encoding_is_refused_as_such_in_a_folder_too(parse, name):
    """The user can convert it; binary files are only passed over."""
    russian = "Ключ лежит под цветком. ".encode("cp1251") * 20
    with pytest.raises(UnreadableError, match="UTF-8"):
        detect(parse.content(russian, name, named=False))
    content = parse.content("Für später".encode("latin-1") + b" words" * 20, "a.md", named=False)
    with pytest.raises(UnreadableError, match="UTF-8"):
        list(detect(content).read(content))
    assert parse.format(bytes(range(256)), name) is None


@pytest.mark.parametrize("name", ["photo.jpg", "voice.ogg", "clip.mp4", "icon.woff2"])
def test_short_picture_or_sound_is_no_text_of_another_encoding(parse, name):
    """A few bytes hold no NUL and nearly no other control characters."""
    assert parse.format(b"\xff\xd8\xff\xe0JFIF", name, named=False) is None
