"""Markdown and plain text, cut into memories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.cli.importing.entries import MemoryEntry, RejectedLine
from super_advanced_agents.cli.importing.files import Line
from super_advanced_agents.cli.importing.prose import read_prose


def _cut(text, *, markdown=True):
    lines = (Line(number, line) for number, line in enumerate(text.split("\n"), start=1))
    return list(read_prose(lines, "notes/a.md", memory_type="document", markdown=markdown))


def _texts(text, *, markdown=True):
    return [entry.memory.text for entry in _cut(text, markdown=markdown)]


def test_a_memory_carries_the_headings_it_stands_under():
    """In its text, where they are found, and in its metadata, where they can be filtered."""
    [hotel, train] = _cut("# Trip\n\n## Hotel\n\nMiramar, from 3 May.\n\n## Train #\nAt nine.\n")
    assert hotel.memory.text == "Trip > Hotel\n\nMiramar, from 3 May."
    assert hotel.memory.extra == {"heading": "Trip > Hotel"}
    assert hotel.memory.source == "notes/a.md"
    assert hotel.location.line == 5
    assert train.memory.extra == {"heading": "Trip > Train"}


def test_underlined_headings_count_too():
    """Setext headings, of both levels."""
    assert _texts("Trip\n====\n\nHotel\n-----\nMiramar.\n") == ["Trip > Hotel\n\nMiramar."]


def test_short_paragraphs_of_one_section_stay_together():
    """Up to about a thousand characters."""
    assert _texts("One.\n\nTwo.\n\nThree.") == ["One.\n\nTwo.\n\nThree."]
    cut = _texts("\n\n".join(f"{n} " + "word " * 80 for n in range(5)))
    assert len(cut) > 1
    assert all(len(text) <= 1_000 for text in cut)


def test_a_long_paragraph_is_cut_at_sentences():
    """No memory is longer than the model reads, and no word is lost."""
    paragraph = " ".join(f"Sentence number {n} says something." for n in range(200))
    cut = _texts(paragraph)
    assert all(text.endswith(".") and len(text) <= 1_000 for text in cut)
    assert " ".join(cut) == paragraph


def test_a_word_without_end_is_cut_anywhere():
    """A blob in a text is no reason to fail."""
    assert "".join(_texts("x" * 5_000)) == "x" * 5_000


def test_code_is_no_heading():
    """A `#` inside a fence is a comment."""
    assert _texts("# Setup\n\n```sh\n# not a heading\n\nmake\n```\n") == [
        "Setup\n\n```sh\n# not a heading\n\nmake\n```"
    ]


def test_front_matter_is_text_and_no_heading():
    """The dashes around it would underline a heading elsewhere."""
    assert _texts("---\ntitle: Trip\n---\nBody.") == ["title: Trip\n\nBody."]


def test_a_heading_that_nothing_stands_under_is_kept():
    """A list of headings is a text, too."""
    assert _texts("# Ideas\n## Boat\n## Kite\n") == ["Ideas > Boat", "Ideas > Kite"]


def test_plain_text_has_no_headings():
    """`#` means nothing there."""
    assert _texts("# one\n\ntwo", markdown=False) == ["# one\n\ntwo"]


def test_the_same_text_has_the_same_name_wherever_it_stands():
    """A paragraph added above changes no other memory's uid."""
    before = _cut("# A\n\nOne.\n\n# B\n\nTwo.")
    after = _cut("New.\n\n# A\n\nOne.\n\n# B\n\nTwo.")
    assert {entry.memory.uid for entry in before} < {entry.memory.uid for entry in after}


def test_a_line_that_could_not_be_read_is_passed_on():
    """The lines around it are memories all the same."""
    lines = [Line(1, "One."), Line(2, "", "it is not UTF-8 at byte 3"), Line(3, "Two.")]
    cut = list(read_prose(lines, "a.txt", memory_type="document", markdown=False))
    assert [type(entry) for entry in cut] == [RejectedLine, MemoryEntry]
    assert str(cut[0].location) == "a.txt:2"
    assert cut[1].memory.text == "One.\nTwo."


@given(st.text(alphabet=st.sampled_from("ab .#-=`~\n"), max_size=400))
def test_no_letter_of_a_markdown_file_is_lost(text):
    """Whatever it looks like; a level that a heading has left behind may be told more than once."""
    cut = "".join(_texts(text))
    assert cut.count("a") >= text.count("a")
    assert cut.count("b") >= text.count("b")
