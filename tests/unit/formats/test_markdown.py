"""Test how Markdown is cut into parts: by headings and blocks as CommonMark defines them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def _texts(parse, text, name="Trip.md"):
    return [part.text for part in parse.parts(text, name)]


def test_a_part_has_the_path_of_its_headings_and_its_lines(parse):
    """The name of the file stands before them, unless a heading says the same."""
    hotel, train = parse.parts(
        "# Journey\n\n## Hotel\n\nMiramar,\nfrom 3 May.\n\n## Train #\nAt nine.\n", "trips/May.md"
    )
    assert hotel.text == "May > Journey > Hotel\n\nMiramar,\nfrom 3 May."
    assert (hotel.heading, hotel.line, hotel.end_line) == ("Journey > Hotel", 5, 6)
    assert (train.heading, train.line, train.end_line) == ("Journey > Train", 9, 9)


def test_a_name_that_a_heading_repeats_is_not_said_twice(parse):
    """Upper and lower case, and underscores, make no difference."""
    assert _texts(parse, "# Boiler repair\n\nHuber.", "boiler_repair.md") == ["Boiler repair\n\nHuber."]


def test_setext_headings_of_both_levels_are_headings(parse):
    """They are underlined with `=` or `-`."""
    assert _texts(parse, "Trip\n====\n\nHotel\n-----\nMiramar.\n") == ["Trip > Hotel\n\nMiramar."]


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("```pip install x``` gets it.\n\n# Next\n\nb\n", {"", "Next"}),
        ("~~~\n# no heading\n~~~\n\n# Next\n\nb\n", {"", "Next"}),
        ("````\n```\n# no heading\n```\n````\n\n# Next\n\nb\n", {"", "Next"}),
        ("    # indented code\n\n# Next\n\nb\n", {"", "Next"}),
        ("---\n\nHello.\n\n# Next\n\nb\n", {"", "Next"}),
        ("---\n\nHello.\n\n---\n\n# Next\n\nb\n", {"", "Next"}),
        ("a\n\n***\n\n# Next\n\nb\n", {"", "Next"}),
        ("#no heading\n\n# Next\n\nb\n", {"", "Next"}),
        ("> # quoted\n\n# Next\n\nb\n", {"", "Next"}),
        ("<!--\n# hidden\n-->\n\n# Next\n\nb\n", {"", "Next"}),
    ],
)
def test_fences_rules_and_headings_are_those_of_commonmark(parse, text, headings):
    """A line that only looks like one is none, and hides no heading behind it."""
    assert {part.heading for part in parse.parts(text, "n.md")} == headings


def test_front_matter_becomes_metadata(parse):
    """Its title is part of the text, so that words find it."""
    text = "---\ntitle: Summer plans\ntags: [sea, boat]\nrating: 4\ndone: false\naliases:\n  - holidays\n---\nBody.\n"
    [part] = parse.parts(text, "2024-05.md")
    assert part.text == "2024-05 > Summer plans\n\nBody."
    assert part.metadata == {
        "title": "Summer plans", "tags": ["sea", "boat"], "rating": 4, "done": False, "aliases": ["holidays"],
    }  # fmt: skip
    assert part.line == 9


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ("about: |\n  one\n  two", {"about": "one\ntwo"}),
        ("about: >-\n  one\n  two", {"about": "one two"}),
        ('"due date": 2024-03-01', {"due date": "2024-03-01"}),
        ("price (EUR): 4.5", {"price (EUR)": 4.5}),
        ("quote: 'it''s'", {"quote": "it's"}),
        ('quote: "say \\"hi\\" \\u00e9"', {"quote": 'say "hi" é'}),
        ("tags:\n- a long\n  tag\n- b", {"tags": ["a long tag", "b"]}),
        ("link: https://example.com/a: b # comment", {"link": "https://example.com/a: b"}),
        ("author:\n  name: Lea", {"author": "name: Lea"}),
    ],
)
def test_front_matter_of_every_form_is_metadata(parse, lines, field):
    """What is deeper is kept as its text."""
    [part] = parse.parts(f"---\n{lines}\n---\nBody.\n", "a.md")
    assert (part.text, part.metadata) == ("a\n\nBody.", field)


def test_front_matter_in_toml_is_metadata(parse):
    """Hugo writes it."""
    text = '+++\ntitle = "Kite"\ndate = 2024-03-01T10:00:00Z\ntags = ["a", "b"]\n[extra]\nn = 1\n+++\nBody.\n'
    [part] = parse.parts(text, "a.md")
    assert part.metadata == {
        "title": "Kite", "date": "2024-03-01T10:00:00+00:00", "tags": ["a", "b"], "extra": {"n": 1},
    }  # fmt: skip
    assert parse.parts("+++\nno fields\n+++\n", "a.md")[0].metadata == {}


def test_a_note_of_front_matter_alone_is_one_part(parse):
    """Its title is all that it says."""
    assert _texts(parse, "---\ntitle: Kite\n---\n", "x.md") == ["x > Kite"]


def test_short_paragraphs_of_a_section_are_one_part_and_long_ones_several(parse):
    """A part has at most 1,000 characters."""
    assert _texts(parse, "One.\n\nTwo.\n\nThree.") == ["Trip\n\nOne.\n\nTwo.\n\nThree."]
    cut = _texts(parse, "\n\n".join(f"{n} " + "word " * 80 for n in range(5)))
    assert len(cut) > 1
    assert all(len(text) <= 1_000 for text in cut)


def test_a_long_paragraph_is_cut_between_sentences(parse):
    """No word is lost."""
    sentences = [f"Sentence number {n} says something." for n in range(200)]
    bodies = [text.removeprefix("Trip\n\n") for text in _texts(parse, " ".join(sentences))]
    assert len(bodies) > 5
    assert all(body.endswith(".") for body in bodies)
    assert " ".join(bodies) == " ".join(sentences)


def test_a_long_code_block_keeps_its_lines_in_fences_of_their_own(parse):
    """Indentation stays, and each piece knows its lines."""
    code = [f"def step_{n}(x):\n    if x:\n\n        return {n}" for n in range(60)]
    parts = parse.parts("# Code\n\n```python\n" + "\n".join(code) + "\n```\n", "Trip.md")
    bodies = [part.text.split("\n\n", 1)[1] for part in parts]
    assert len(bodies) > 2
    assert all(body.startswith("```python\n") and body.endswith("\n```") for body in bodies)
    kept = "\n".join("\n".join(body.split("\n")[1:-1]) for body in bodies)
    assert kept == "\n".join(code)
    assert [part.line for part in parts[1:]] == [part.end_line + 1 for part in parts[:-1]]


def test_later_pieces_of_a_table_repeat_its_header(parse):
    """A row says nothing without the names of its columns."""
    rows = "".join(f"| {n} | {'x' * 60} |\n" for n in range(50))
    bodies = [text.split("\n\n", 1)[1] for text in _texts(parse, f"| id | value |\n|---|---|\n{rows}")]
    assert len(bodies) > 2
    assert all(body.startswith("| id | value |\n|---|---|\n| ") for body in bodies)


def test_a_heading_without_text_is_a_part(parse):
    """A list of headings is a text, too."""
    assert _texts(parse, "# Ideas\n## Boat\n## Kite\n") == ["Trip > Ideas > Boat", "Trip > Ideas > Kite"]


@given(st.text(alphabet=st.sampled_from("ab .#-=`~|>:\n"), max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_letter_of_any_markdown_is_lost(parse, text):
    """A heading may be repeated in several parts."""
    cut = "".join(part.text + str(part.metadata) for part in parse.items(text, ".md", named=True))
    assert cut.count("a") >= text.count("a")
    assert cut.count("b") >= text.count("b")


def test_heading_is_told_by_its_words(parse):
    """Marks of emphasis, code and links are no words; an underscore in a name is none."""
    [part] = parse.parts("# **Bold** `code` [link](http://x.org) &amp; snake_case_name\n\ntext\n", "note.md")
    assert part.heading == "Bold code link & snake_case_name"


def test_quoted_commas_in_a_list_of_the_front_matter_divide_nothing(parse):
    """As YAML has it."""
    [part] = parse.parts("---\naliases: [x, 'y, z', \"a, b\", it's]\n---\ntext\n", "note.md")
    assert part.metadata["aliases"] == ["x", "y, z", "a, b", "it's"]
