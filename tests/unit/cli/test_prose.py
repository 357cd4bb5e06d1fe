"""Test how an import cuts Markdown and plain text into memories."""

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


def test_read_prose_adds_the_headings_to_each_memory():
    """They are in its text, for searches, and in its metadata, for filters."""
    [hotel, train] = _cut("# Trip\n\n## Hotel\n\nMiramar, from 3 May.\n\n## Train #\nAt nine.\n")
    assert hotel.memory.text == "Trip > Hotel\n\nMiramar, from 3 May."
    assert hotel.memory.extra == {"heading": "Trip > Hotel"}
    assert hotel.memory.source == "notes/a.md"
    assert hotel.location.line == 5
    assert train.memory.extra == {"heading": "Trip > Train"}


def test_read_prose_reads_setext_headings_of_both_levels():
    """Setext headings are underlined with `=` or `-`."""
    assert _texts("Trip\n====\n\nHotel\n-----\nMiramar.\n") == ["Trip > Hotel\n\nMiramar."]


def test_read_prose_joins_short_paragraphs_of_a_section():
    """A memory has at most 1,000 characters."""
    assert _texts("One.\n\nTwo.\n\nThree.") == ["One.\n\nTwo.\n\nThree."]
    cut = _texts("\n\n".join(f"{n} " + "word " * 80 for n in range(5)))
    assert len(cut) > 1
    assert all(len(text) <= 1_000 for text in cut)


def test_read_prose_cuts_a_long_paragraph_between_sentences():
    """No memory is longer than the model reads, and no word is lost."""
    paragraph = " ".join(f"Sentence number {n} says something." for n in range(200))
    cut = _texts(paragraph)
    assert all(text.endswith(".") and len(text) <= 1_000 for text in cut)
    assert " ".join(cut) == paragraph


def test_read_prose_cuts_a_very_long_word_without_losing_a_character():
    """A blob in a text must not fail the import."""
    assert "".join(_texts("x" * 5_000)) == "x" * 5_000


def test_read_prose_does_not_take_a_comment_in_code_for_a_heading():
    """Inside a fence, `#` begins a comment."""
    assert _texts("# Setup\n\n```sh\n# not a heading\n\nmake\n```\n") == [
        "Setup\n\n```sh\n# not a heading\n\nmake\n```"
    ]


def test_read_prose_reads_front_matter_as_text():
    """Elsewhere its dashes would underline a heading."""
    assert _texts("---\ntitle: Trip\n---\nBody.") == ["title: Trip\n\nBody."]


def test_read_prose_makes_a_memory_of_a_heading_without_text():
    """A list of headings is a text, too."""
    assert _texts("# Ideas\n## Boat\n## Kite\n") == ["Ideas > Boat", "Ideas > Kite"]


def test_read_prose_ignores_headings_in_plain_text():
    """There, `#` has no meaning."""
    assert _texts("# one\n\ntwo", markdown=False) == ["# one\n\ntwo"]


def test_read_prose_gives_equal_texts_equal_uids_at_any_place_in_a_file():
    """A paragraph added above does not change the uids of other memories."""
    before = _cut("# A\n\nOne.\n\n# B\n\nTwo.")
    after = _cut("New.\n\n# A\n\nOne.\n\n# B\n\nTwo.")
    assert {entry.memory.uid for entry in before} < {entry.memory.uid for entry in after}


def test_read_prose_passes_on_a_rejected_line():
    """The lines around it become memories."""
    lines = [Line(1, "One."), Line(2, "", "it is not UTF-8 at byte 3"), Line(3, "Two.")]
    cut = list(read_prose(lines, "a.txt", memory_type="document", markdown=False))
    assert [type(entry) for entry in cut] == [RejectedLine, MemoryEntry]
    assert str(cut[0].location) == "a.txt:2"
    assert cut[1].memory.text == "One.\nTwo."


@given(st.text(alphabet=st.sampled_from("ab .#-=`~\n"), max_size=400))
def test_read_prose_loses_no_letter_of_any_markdown(text):
    """A heading may be repeated in several memories."""
    cut = "".join(_texts(text))
    assert cut.count("a") >= text.count("a")
    assert cut.count("b") >= text.count("b")
