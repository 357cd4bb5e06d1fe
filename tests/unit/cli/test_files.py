"""Which files an import reads, and their lines."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from super_advanced_agents.cli.importing.files import find_inputs, read_lines
from super_advanced_agents.errors import InvalidInputError


def _lines(content):
    counted = []
    lines = list(read_lines(io.BytesIO(content), counted.append))
    assert sum(counted) == len(content)
    return lines


def test_folders_are_read_in_a_stable_order(tmp_path):
    """Known endings only, nothing hidden; a source does not depend on where the command was started."""
    root = tmp_path / "notes"
    for name in ("b.md", "a/z.txt", "a/b.JSONL", ".git/x.md", ".hidden.md", "picture.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    found = [(each.source, each.format) for each in find_inputs([root], None)]
    assert found == [("notes/b.md", "markdown"), ("notes/a/b.JSONL", "jsonl"), ("notes/a/z.txt", "text")]


def test_a_named_file_is_read_whatever_its_ending(tmp_path):
    """Its format is told by its content then, or by the option."""
    (tmp_path / "log").write_text("x")
    assert [each.format for each in find_inputs([tmp_path / "log"], None)] == [None]
    assert [each.format for each in find_inputs([tmp_path / "log"], "text")] == ["text"]


def test_a_missing_path_is_told():
    """Before anything is imported."""
    with pytest.raises(InvalidInputError, match="no file 'nowhere'"):
        list(find_inputs([Path("nowhere")], None))


def test_lines_end_in_every_way_and_may_begin_with_a_mark():
    """Windows ends, a byte order mark, no end at all."""
    assert [line.text for line in _lines(b"\xef\xbb\xbfone\r\ntwo\n\nthree")] == ["one", "two", "", "three"]


@pytest.mark.parametrize("bad", [b"caf\xe9", b"nul\0", b"x" * (3 << 20)], ids=["latin-1", "nul", "long"])
def test_a_line_that_is_no_text_comes_with_its_trouble(bad):
    """The next line is read as ever."""
    wrong, right = _lines(bad + b"\nfine\n")
    assert wrong.problem
    assert (right.number, right.text, right.problem) == (2, "fine", "")
