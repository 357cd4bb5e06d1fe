"""Test how JSON lines, arrays and objects become parts."""

from __future__ import annotations

import json
import time

import pytest

from super_advanced_agents.formats import NotUnderstoodError, Part, PassedOver, Problem, detect


def _lines(*values):
    return "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values)


def test_json_lines_are_memories_and_turns(parse):
    """Blank lines are skipped; unknown fields become metadata."""
    memory, turn = parse.parts(
        _lines(
            {"text": "a", "type": "note", "city": "Paris", "extra": {"n": 1}},
            "",
            {"speaker": "Ann", "text": "b", "session": 7, "created_at": "2026-01-01"},
        ),
        "x.jsonl",
    )
    assert (memory.text, memory.memory_type, memory.metadata, memory.line) == (
        "a",
        "note",
        {"city": "Paris", "n": 1},
        1,
    )
    assert (turn.speaker, turn.text, turn.session, turn.created_at, turn.line) == ("Ann", "b", "7", "2026-01-01", 3)


@pytest.mark.parametrize("field", ["text", "content", "body", "page_content", "memory"])
@pytest.mark.parametrize("shape", ["array", "lines", "object", "wrapped"])
def test_texts_of_every_known_field_and_shape_are_read(parse, field, shape):
    """The content decides, not the name of the file."""
    values = [{field: "first"}, {field: "second"}]
    data = {
        "array": json.dumps(values, indent=2),
        "lines": _lines(*values),
        "object": json.dumps(values[0]),
        "wrapped": json.dumps({"results": values}),
    }[shape]
    texts = [part.text for part in parse.parts(data, "export.txt")]
    assert texts == (["first"] if shape == "object" else ["first", "second"])


def test_messages_with_roles_are_turns(parse):
    """System and tool messages are passed over, and so are those without text."""
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "{}"},
        {"role": "assistant", "content": "Hi!"},
    ]
    items = parse.items(messages, "chat.json")
    turns = [item for item in items if not isinstance(item, PassedOver)]
    assert [(turn.speaker, turn.text) for turn in turns] == [("user", "Hello"), ("assistant", "Hi!")]
    assert len(items) == 5


def test_each_conversation_of_a_file_is_a_session_that_others_before_it_do_not_change(parse):
    """Without a name of its own it is named after its first messages."""

    def conversation(text):
        return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]}

    before = parse.parts(_lines(conversation("one"), conversation("two")), "x.jsonl")
    after = parse.parts(_lines(conversation("zero"), conversation("one"), conversation("two")), "x.jsonl")
    assert len({part.session for part in before}) == 2
    assert [part.session for part in after[2:]] == [part.session for part in before]


def test_conversations_that_begin_alike_are_sessions_of_their_own(parse):
    """Every second chat begins with a greeting; another reading of the file gives the same names."""
    lines = "".join(
        json.dumps({"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, *more]})
        + "\n"
        for more in ([{"role": "assistant", "content": "Hello"}], [{"role": "assistant", "content": "Yes?"}])
    )
    content = parse.content(lines, "chats.jsonl")
    names = [[item.session for item in detect(content).read(content) if isinstance(item, Part)] for _ in range(2)]
    assert names[0] == names[1]
    assert len(set(names[0])) == 2
    assert names[0][0] == names[0][1]


def test_the_rest_of_a_lifetime_is_kept_and_an_expired_entry_passed_over(parse):
    """An absolute expiry becomes the seconds that are left."""
    alive, expired = parse.items(
        _lines({"text": "a", "expires_at": time.time() + 1_000}, {"text": "b", "expires_at": 5}), "x.jsonl"
    )
    assert 0 < alive.expires_in_s <= 1_000
    assert isinstance(expired, PassedOver)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"text": 5}',
        '{"text": "a", "score": NaN}',
        '{"text": "a", "uid": 5}',
        '{"text": "a", "extra": []}',
        '{"text": "a", "expires_in_s": "soon"}',
        '{"speaker": 5, "text": "a"}',
        '{"speaker": " ", "text": "a"}',
        '{"speaker": "A", "text": "a", "session": {}}',
        '{"speaker": "A", "text": "a", "created_at": true}',
        '{"text": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda line: line[:40],
)
def test_a_malformed_line_is_a_problem_and_the_next_is_read(parse, line):
    """The problem has the line's number; an empty list holds nothing and is none."""
    *problems, memory = parse.items(f'{line}\n{{"text": "fine"}}\n', "x.jsonl")
    assert all(isinstance(problem, Problem) and problem.line == 1 for problem in problems)
    assert len(problems) == (0 if line == "[]" else 1)
    assert memory.text == "fine"


@pytest.mark.parametrize(
    "data",
    ['{"name": "x", "version": "1"}', "[1, 2]", '{"a": [', "[" * 100_000, '[{"name": 1}]', "nonsense", '[{"text": 1'],
    ids=lambda data: data[:20],
)
def test_json_of_no_known_shape_is_refused_as_a_whole(parse, data):
    """Nothing of it is stored."""
    with pytest.raises(NotUnderstoodError):
        parse.items(data, "package.json")


def test_an_array_is_read_element_by_element(parse):
    """Elements know their lines, whatever the layout; what follows a damaged one is not read."""
    values = [{"text": f"fact {n} " + "x" * 5_000} for n in range(600)]
    parts = parse.parts(json.dumps(values, indent=1), "x.json")
    assert [part.text for part in parts] == [value["text"] for value in values]
    assert [(part.line, part.end_line) for part in parts[:2]] == [(2, 4), (5, 7)]
    *good, problem = parse.items('[{"text": "a"}, {"text": "b"} oops', "x.json")
    assert [part.text for part in good] == ["a", "b"]
    assert isinstance(problem, Problem)


def test_a_file_that_is_not_one_of_text_lines_in_its_name_is_recognized_by_its_content(parse):
    """Names of files say little."""
    assert parse.format('{"text": "a"}\n{"text": "b"}\n', "notes") == "jsonl"
    assert parse.format('[{"text": "a"}]', "notes.txt") == "json"
    assert parse.format("[link](x) and more", "notes") == "text"
    assert parse.format("{curly} words", "notes.txt") == "text"


def test_times_get_a_zone_in_every_format(parse):
    """Seconds and milliseconds are of UTC; a local time is of this machine's zone; a day stays a day."""
    told = [1709287200, 1709287200000, "1709287200", "2024-03-01T10:00:00Z", "2024-03-01 10:00", "2024-03-01", "once"]
    turns = parse.parts([{"speaker": "A", "text": "x", "created_at": time} for time in told], "a.json")
    got = [turn.created_at for turn in turns]
    assert got[:4] == ["2024-03-01T10:00:00+00:00"] * 3 + ["2024-03-01T10:00:00Z"]
    assert got[4][:19] == "2024-03-01T10:00:00"
    assert len(got[4]) == 25
    assert got[5:] == ["2024-03-01", "once"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_of_which_nothing_is_understood_is_refused_as_a_whole(parse, name):
    """A log of a thousand unknown objects is one error, not a thousand; one known entry makes the others errors."""
    lines = ['{"level": "info"}'] * 1_000
    joined = "\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]"
    with pytest.raises(NotUnderstoodError, match="no known shape"):
        parse.items(joined, name)
    mixed = ['{"level": "info"}', '{"text": "a"}', '{"level": "info"}']
    joined = "\n".join(mixed) if name.endswith("l") else f"[{','.join(mixed)}]"
    assert [type(item) for item in parse.items(joined, name)] == [Problem, Part, Problem]


def test_text_behind_a_json_array_is_a_problem(parse):
    """The elements are read all the same."""
    items = parse.items('[{"text": "a"}] [{"text": "b"}]', "a.json")
    assert [type(item) for item in items] == [Part, Problem]


def test_conversation_whose_messages_are_all_unknown_is_of_no_known_shape(parse):
    """The file is refused as a whole, so that the command names the formats that are understood."""
    other = {"messages": [{"type": "Default", "content": "hello", "author": {"name": "ann"}}]}
    with pytest.raises(NotUnderstoodError, match="no known shape"):
        parse.items(other, "channel.json")
