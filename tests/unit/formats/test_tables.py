"""Test how tables become parts."""

from __future__ import annotations

from super_advanced_agents.formats import PassedOver, Problem


def test_the_text_column_is_the_text_and_the_others_are_metadata(parse):
    """A cell may hold lines; the part knows them."""
    parts = parse.parts('date,text,tag\n2024-01-01,"two\nlines",x\n2024-01-02,second,y\n', "t.csv")
    assert [(part.text, part.line, part.end_line) for part in parts] == [("two\nlines", 2, 3), ("second", 4, 4)]
    assert parts[0].metadata == {"date": "2024-01-01", "tag": "x"}


def test_a_row_of_a_table_without_a_text_column_says_the_names_of_its_columns(parse):
    """Numbers alone are found by nothing."""
    [part] = parse.parts("city;people\nBern;134000\n;\n", "t.csv")
    assert part.text == "city: Bern\npeople: 134000"


def test_a_table_of_speakers_and_messages_is_a_conversation(parse):
    """Its time and its channel are those of the turn."""
    [turn] = parse.parts("timestamp,author,content,channel\n2024-01-01T10:00:00Z,Ann,hello,general\n", "t.csv")
    assert (turn.speaker, turn.text, turn.session, turn.created_at) == (
        "Ann",
        "hello",
        "general",
        "2024-01-01T10:00:00Z",
    )


def test_a_row_without_a_text_is_passed_over(parse):
    """It says nothing."""
    assert [type(item) for item in parse.items("text,tag\n,x\n", "t.csv")] == [PassedOver]


def test_a_table_is_recognized_without_its_ending(parse):
    """By a first line that names a column of texts."""
    assert parse.format("id\ttext\n1\thello\n", "") == "csv"
    assert parse.format("Dear Ann, the text, as promised\nmore words\n", "") == "text"


def test_the_first_line_of_excel_names_the_delimiter(parse):
    """The columns stand in the next one."""
    [part] = parse.parts('sep=;\ntext;city\n"hello; you";Kyiv\n', "a.csv")
    assert (part.text, part.metadata) == ("hello; you", {"city": "Kyiv"})


def test_no_cell_is_lost(parse):
    """A table of one column may leave the quotes out; in another one, a cell too many is a problem."""
    assert [part.text for part in parse.parts("text\nhello, world\nplain\n", "a.csv")] == ["hello, world", "plain"]
    problem, part = parse.items("text,city\nhello, world,Kyiv\nbye,Lviv,,\n", "a.csv")
    assert problem == Problem(2, "it has 3 cells, and the first line names 2 columns")
    assert part.text == "bye"
