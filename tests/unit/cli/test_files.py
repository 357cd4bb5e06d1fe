"""Test which files an import reads, and how it reads their lines."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from super_advanced_agents.cli.importing.files import find_inputs, read_lines
from super_advanced_agents.errors import InvalidInputError


def _lines(content):
    sizes = []
    lines = list(read_lines(io.BytesIO(content), sizes.append))
    assert sum(sizes) == len(content)
    return lines


def test_find_inputs_lists_a_folder_in_a_stable_order(tmp_path):
    """It skips hidden files and unknown endings; sources do not depend on the working directory."""
    root = tmp_path / "notes"
    for name in ("b.md", "a/z.txt", "a/b.JSONL", ".git/x.md", ".hidden.md", "picture.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    inputs = [(each.source, each.format) for each in find_inputs([root], None)]
    assert inputs == [("notes/b.md", "markdown"), ("notes/a/b.JSONL", "jsonl"), ("notes/a/z.txt", "text")]


def test_find_inputs_accepts_a_named_file_with_an_unknown_ending(tmp_path):
    """Its format comes from the option, or later from its content."""
    (tmp_path / "log").write_text("x")
    assert [each.format for each in find_inputs([tmp_path / "log"], None)] == [None]
    assert [each.format for each in find_inputs([tmp_path / "log"], "text")] == ["text"]


def test_find_inputs_refuses_a_missing_path():
    """The error comes before anything is imported."""
    with pytest.raises(InvalidInputError, match="no file 'nowhere'"):
        list(find_inputs([Path("nowhere")], None))


def test_read_lines_accepts_every_line_ending_and_a_byte_order_mark():
    """The last line may have no ending."""
    assert [line.text for line in _lines(b"\xef\xbb\xbfone\r\ntwo\n\nthree")] == ["one", "two", "", "three"]


@pytest.mark.parametrize("bad", [b"caf\xe9", b"nul\0", b"x" * (3 << 20)], ids=["latin-1", "nul", "long"])
def test_read_lines_reports_the_problem_of_a_line_that_is_not_text(bad):
    """The next line is read normally."""
    bad_line, next_line = _lines(bad + b"\nfine\n")
    assert bad_line.problem
    assert (next_line.number, next_line.text, next_line.problem) == (2, "fine", "")
