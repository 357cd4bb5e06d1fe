"""JSON lines, JSON arrays and JSON objects, whose values are of the known shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.entries.shapes import read_value, shape_of
from super_advanced_agents.formats.entries.values import Value, read_array, read_lines, read_whole
from super_advanced_agents.formats.parts import Item, NotUnderstoodError, Problem


def is_json_lines(content: Content) -> bool:
    """Return whether a file is JSON lines: by its ending, or by two lines that are objects."""
    if content.ending in {".jsonl", ".ndjson"}:
        return True
    lines = [line.strip() for line in (content.head_text or "").lstrip().split("\n") if line.strip()]
    return len(lines) > 1 and lines[0].startswith("{") and lines[0].endswith("}") and lines[1].startswith("{")


def is_json(content: Content) -> bool:
    """Return whether a file is one JSON value: an object, or an array of what holds texts."""
    start = "".join((content.head_text or "")[:4_096].split())
    return start.startswith(('{"', "{}", "[{", '["', "[[", "[]")) or content.ending == ".json"


def read_json_lines(content: Content) -> Iterator[Item]:
    """Yield the parts of each line, and a problem for each line that is not understood."""
    for value in read_lines(content):
        yield from (
            [value] if isinstance(value, Problem) else read_value(value.value, content, value.line, value.end_line)
        )


def read_json(content: Content) -> Iterator[Item]:
    """Yield the parts of a file that is one JSON value.

    Raises:
        NotUnderstoodError: it is no JSON, or its first value is of no known shape.
    """
    is_array = (content.head_text or "").lstrip().startswith("[")
    values: Iterable[Value | Problem] = read_array(content) if is_array else [read_whole(content)]
    understood = False
    for value in values:
        if isinstance(value, Problem):
            if not understood:
                raise NotUnderstoodError(value.why)
            yield value
        elif not understood and shape_of(value.value) is None:
            raise NotUnderstoodError("its JSON is of no known shape")
        else:
            understood = True
            yield from read_value(value.value, content, value.line, value.end_line)
