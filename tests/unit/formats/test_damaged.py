"""Test that any file ends in parts, problems or a refusal, whatever was done to it."""

from __future__ import annotations

import copy
import json
import random

import pytest

from super_advanced_agents.formats import NotUnderstoodError, Part, PassedOver, Problem, detect

MESSAGE = {
    "id": "m",
    "author": {"role": "user"},
    "create_time": 1.7e9,
    "recipient": "all",
    "metadata": {"is_visually_hidden_from_conversation": False},
    "content": {"content_type": "text", "parts": ["Hello"]},
}
JSON_SAMPLES = {
    "chatgpt": [{"conversation_id": "c", "title": "t", "current_node": "m",
                 "mapping": {"m": {"id": "m", "parent": None, "children": [], "message": MESSAGE}}}],
    "claude": [{"uuid": "c", "name": "n", "chat_messages": [
        {"uuid": "m", "sender": "human", "text": "Hi", "content": [{"type": "text", "text": "Hi"}],
         "attachments": [{"file_name": "", "extracted_content": "x"}]}]}],
    "claude project": [{"uuid": "p", "name": "n", "docs": [{"filename": "a.md", "content": "# A\n\nb"}]}],
    "slack": [{"type": "message", "user": "U1", "text": "Hi <@U1>", "subtype": "x", "ts": "1709287200.000100",
               "thread_ts": "1709287200.000100", "user_profile": {"real_name": "A"}, "attachments": [{"text": "x"}]}],
    "slack users": [{"id": "U1", "name": "a", "team_id": "T", "profile": {"display_name": "A"}}],
    "telegram": {"chats": {"list": [{"name": "n", "id": 1, "type": "personal_chat", "messages": [
        {"id": 1, "type": "message", "date": "2024-03-01T10:00:00", "from": "A", "text": ["a", {"text": "b"}]}]}]}},
    "mem0": {"results": [{"id": "1", "memory": "x", "metadata": {"a": 1}, "created_at": "2024-03-01"}]},
    "langchain": [{"type": "human", "data": {"content": "x", "id": "1"}},
                  {"lc": 1, "id": ["a", "AIMessage"], "kwargs": {"content": "y"}}],
    "langgraph": [{"config": {"configurable": {"thread_id": "t"}}, "created_at": "x",
                   "values": {"messages": [{"type": "ai", "content": "x"}]}}],
    "checkpoint": {"checkpoint": {"ts": "x", "channel_values": {"messages": [{"type": "ai", "content": "x"}]}}},
    "store": [{"namespace": ["a"], "key": "k", "value": {"text": "x"}}],
    "document": [{"page_content": "x", "metadata": {"source": "a", "id": "1"}}],
    "messages": {"id": 1, "title": "t", "messages": [{"role": "user", "content": [{"text": "x"}], "name": "A"}]},
    "turn": [{"speaker": "A", "text": "x", "session": "s", "created_at": 1, "extra": {"a": 1}}],
    "entry": [{"text": "x", "uid": "u", "type": "t", "expires_in_s": 5, "priority": 1, "metadata": {"a": 1}}],
}  # fmt: skip
TEXT_SAMPLES = {
    "note.md": "---\ntags: [a, b]\ntitle: T\n---\n# A\n\n- x\n  ```\n  code\n  ```\n\n|a|b|\n|-|-|\n|1|2|\n\n> q\n",
    "page.html": "<html><title>T</title><h1>A</h1><table><tr><td>1<td>2</table><ul><li>x</ul><pre>y</pre></html>",
    "messages.html": '<html><div class="page_body chat_page"><div class="message default" id="message7">'
    '<div class="date" title="01.03.2024 18:05:09 UTC+02:00">x</div><div class="from_name">A</div>'
    '<div class="text">y<br>z</div></div></div>',
    "table.csv": 'text,speaker,date\n"a ""b""\nc",A,2024\nd,B,2025\n',
    "_chat.txt": "[01/03/2024, 18:00:00] A: x\ny\n[02/03/2024, 18:00:00] B: z\n",
    "inbox": "From a\nFrom: =?utf-8?q?A?= <a@b>\nDate: Fri, 1 Mar 2024 10:00:00 +0100\nMessage-ID: <1@b>\n"
    "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/html\n\n<p>y\n--x--\n",
    "lines.jsonl": '{"text": "a"}\n{"role": "user", "content": "b"}\n',
    "plain.txt": "One.\n\nTwo.\n",
}
ODD_VALUES = (None, True, 0, -1, 1e308, 10**400, "", "x", "\ud800", "\0", [], [[]], [None], {}, {"": None}, {"text": 5})
NESTED = {
    "arrays": ("a.json", "[" * 200_000),
    "objects": ("a.json", '{"a":' * 100_000),
    "line": ("a.jsonl", '{"text": "a", "b": ' + "[" * 50_000 + "\n"),
    "quotes": ("a.md", ">" * 50_000 + " x\n"),
    "lists": ("a.md", "- " * 20_000 + "x\n"),
    "brackets": ("a.md", "[" * 50_000 + "\n"),
    "elements": ("a.html", "<html>" + "<div>" * 100_000 + "x"),
    "tables": ("a.html", "<html>" + "<table><tr><td>" * 20_000 + "x"),
    "lists in html": ("a.html", "<html>" + "<ul><li>" * 50_000 + "x"),
    "hidden": ("a.html", "<html>" + "<nav>" * 50_000 + "x"),
    "front matter": ("a.md", "---\n" + "a: [" * 10_000 + "\n---\nx\n"),
    "parts of a mail": ("a.eml", "From: a@b\nContent-Type: multipart/mixed; boundary=x\n\n"
                        + "--x\nContent-Type: multipart/mixed; boundary=x\n\n" * 3_000),
    "headers of a mail": ("a.eml", "From: a@b\n" + "References: " + "<a@b> " * 50_000 + "\n\nx\n"),
    "comments of an address": ("a.eml", "From: " + "(" * 20_000 + "\n\nx\n"),
    "columns": ("a.csv", "text," * 100_000 + "\n1\n"),
    "field": ("a.csv", 'text,b\n"' + "x" * 300_000 + '",1\nshort,2\n'),
    "digits of a date": ("a.txt", "1" * 50_000 + "/1/2024, 10:00 - A: x\n"),
    "numbers": ("a.json", '[{"text": "x", "n": ' + "9" * 50_000 + "}]"),
}  # fmt: skip


def _check(parse, data, name):
    content = parse.content(data, name)
    try:
        found = detect(content)
        if found is None:
            return 0
        items = list(found.read(content))
    except NotUnderstoodError:
        return 0
    assert all(isinstance(item, Part | Problem | PassedOver) for item in items)
    for item in items:
        if isinstance(item, Part):
            assert isinstance(item.text, str)
            assert item.speaker is None or isinstance(item.speaker, str)
            assert item.session is None or isinstance(item.session, str)
            assert item.key is None or isinstance(item.key, str)
    return sum(isinstance(item, Part) for item in items)


def _paths(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _paths(each, (*path, key))


def _replaced(value, path, new):
    if not path:
        return new
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return changed


@pytest.mark.parametrize("sample", JSON_SAMPLES)
def test_export_with_any_value_in_the_place_of_another_is_read_or_refused(parse, sample):
    """Each value of each known shape, by each odd one: services change their exports."""
    value = JSON_SAMPLES[sample]
    assert _check(parse, value, "a.json") or sample == "slack users"
    for path in _paths(value):
        for odd in ODD_VALUES:
            changed = json.dumps(_replaced(value, path, odd))
            _check(parse, changed, "general/a.json")
        if path and isinstance(path[-1], str):
            without = copy.deepcopy(value)
            inner = without
            for key in path[:-1]:
                inner = inner[key]
            del inner[path[-1]]
            _check(parse, without, "a.json")


@pytest.mark.parametrize("name", TEXT_SAMPLES)
def test_file_that_is_cut_changed_or_in_another_encoding_is_read_or_refused(parse, name):
    """Damaged files are everyday; each byte of a small one is tried."""
    raw = TEXT_SAMPLES[name].encode()
    assert _check(parse, raw, name)
    for end in range(len(raw)):
        _check(parse, raw[:end], name)
    for encoding in ("utf-16", "utf-16-le", "utf-32", "cp1252", "cp037", "utf-8-sig", "utf-7"):
        _check(parse, TEXT_SAMPLES[name].replace("x", "é").encode(encoding), name)
    chance = random.Random(3)
    for _ in range(300):
        damaged = bytearray(raw)
        for _ in range(chance.randint(1, 8)):
            position = chance.randrange(len(damaged))
            damaged[position : position + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        _check(parse, bytes(damaged), name)


@pytest.mark.parametrize("sample", NESTED)
def test_deep_or_long_structures_are_read_or_refused(parse, sample):
    """No recursion without an end, and no time that grows with the square of the size."""
    name, text = NESTED[sample]
    _check(parse, text, name)


def test_content_of_one_format_under_the_name_of_another_is_read_or_refused(parse):
    """A name may lie."""
    for text in (*TEXT_SAMPLES.values(), *map(json.dumps, JSON_SAMPLES.values()), "\0\1\2", "%PDF-1.7\n", ""):
        for name in (*TEXT_SAMPLES, "a.json", "a.pdf", "a.eml", "a.mbox", "a.tsv", "a.bin", ""):
            _check(parse, text, name)
