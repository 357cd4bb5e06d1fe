"""JSON lines, JSON arrays and JSON objects, whose values are of the known shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.conversations.messages import NAMES
from super_advanced_agents.formats.entries.shapes import UNKNOWN_SHAPE, read_value, shape_of
from super_advanced_agents.formats.entries.values import Value, read_array, read_lines, read_whole
from super_advanced_agents.formats.parts import Item, NotUnderstoodError, Problem

_MAX_UNKNOWN = 20
_MAX_WAITING = 100_000


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
    """Yield the parts of each line, and a problem for each line that is not understood.

    Raises:
        NotUnderstoodError: no line is of a known shape; in a folder, none of the first 20 lines is understood.
    """
    yield from _read_values(read_lines(content), content, by_line=True)


def read_json(content: Content) -> Iterator[Item]:
    """Yield the parts of a file that is one JSON value.

    Raises:
        NotUnderstoodError: it is no JSON, or no value is of a known shape.
    """
    is_array = (content.head_text or "").lstrip().startswith("[")
    yield from _read_values(read_array(content) if is_array else [read_whole(content)], content, by_line=False)


def _read_values(values: Iterable[Value | Problem], content: Content, *, by_line: bool) -> Iterator[Item]:
    # A file without any understood value is refused as a whole, so problems are kept back until there is one.
    content.notes.pop(NAMES, None)
    waiting: list[Problem] = []
    decided = False
    for value in values:
        known = isinstance(value, Value) and shape_of(value.value) is not None
        if known or (isinstance(value, Problem) and by_line and content.named) or len(waiting) == _MAX_WAITING:
            yield from waiting
            waiting, decided = [], True
        if isinstance(value, Value) and (known or decided):
            yield from read_value(value.value, content, value.line, value.end_line)
        elif decided and isinstance(value, Problem):
            yield value
        else:
            waiting.append(value if isinstance(value, Problem) else Problem(value.line, UNKNOWN_SHAPE))
            if len(waiting) == _MAX_UNKNOWN and not content.named:
                break
    if waiting:
        raise NotUnderstoodError(
            waiting[0].why
            if len(waiting) == 1
            else f"none of its {len(waiting)} values is understood: {waiting[0].why}"
        )
