"""CSV and its relatives: one column holds the texts, the others become metadata."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.parts import Item, NotUnderstoodError, Part, PassedOver, Problem

TEXT_COLUMNS = ("text", "memory", "content", "message", "body", "note", "page_content", "description")
_SPEAKERS = ("speaker", "sender", "author", "from", "role", "name")
_TIMES = ("created_at", "timestamp", "date", "datetime", "time")
_SESSIONS = ("session", "session_id", "conversation_id", "thread_id", "channel", "conversation")
_TURNS = frozenset({"message", "content", "text", "body"})
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile('"?sep=([,;\t|])"?', re.IGNORECASE)
_MAX_COLUMNS = 200


def is_table(content: Content) -> bool:
    """Return whether a file is a table: by its ending, or by a first line that names columns."""
    if content.ending in {".csv", ".tsv"}:
        return True
    if content.ending not in {"", ".txt"} or content.head_text is None:
        return False
    first, _, rest = content.head_text.partition("\n")
    delimiter = _delimiter(first)
    columns = [name.strip().strip('"').casefold() for name in first.split(delimiter)]
    return (
        len(columns) > 1
        and bool(rest.strip())
        and len({*columns} & {*TEXT_COLUMNS}) > 0
        and all(map(_is_name, columns))
    )


def read_table(content: Content) -> Iterator[Item]:
    """Yield one part for each row: the text column, or else all columns with their names.

    A row of a table with columns for a speaker and for a text is a turn of a conversation.

    Raises:
        NotUnderstoodError: the table has no column.
    """
    lines = _Lines(content)
    first = next(lines, "")
    separator = _SEPARATOR.fullmatch(first.strip(" \r\n"))
    if separator is not None:  # Excel's own first line
        first = next(lines, "")
    delimiter = separator[1] if separator is not None else "\t" if content.ending == ".tsv" else _delimiter(first)
    rows = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=False)
    header = [name.strip() for name in next(rows, [])]
    if not any(header) or len(header) > _MAX_COLUMNS:
        raise NotUnderstoodError(f"its first line does not name 1 to {_MAX_COLUMNS} columns")
    columns = _Columns(header)
    while True:
        begin = lines.number + 1
        try:
            row = next(rows, None)
        except csv.Error as exc:
            yield Problem(begin, f"it is not CSV: {exc}")
            continue
        yield from lines.problems()
        if row is None:
            return
        if len(header) == 1:  # a text without quotes may hold the delimiter
            row = [delimiter.join(row)]
        if any(cell.strip() for cell in row[len(header) :]):
            yield Problem(begin, f"it has {len(row)} cells, and the first line names {len(header)} columns")
        elif any(cell.strip() for cell in row):
            yield columns.part(row, begin, lines.number)


class _Lines(Iterator[str]):
    # The lines of a table for `csv`, with the number of the last one and the problems of those that were left out.

    def __init__(self, content: Content) -> None:
        self._lines = content.lines()
        self._problems: list[Problem] = []
        self.number = 0

    def __next__(self) -> str:
        for line in self._lines:
            self.number = line.number
            if not line.problem:
                return line.text + "\n"
            self._problems.append(Problem(line.number, line.problem))
        raise StopIteration

    def problems(self) -> list[Problem]:
        problems, self._problems = self._problems, []
        return problems


class _Columns:
    def __init__(self, header: list[str]) -> None:
        self._header = header
        folded = [name.casefold() for name in header]
        self._text = _first(folded, TEXT_COLUMNS)
        self._speaker = _first(folded, _SPEAKERS)
        if self._text is None or folded[self._text] not in _TURNS:
            self._speaker = None
        self._time = _first(folded, _TIMES)
        self._session = _first(folded, _SESSIONS)

    def part(self, row: list[str], line: int, end_line: int) -> Item:
        cells = {
            self._header[i]: cell.strip()
            for i, cell in enumerate(row[: len(self._header)])
            if cell.strip() and self._header[i]
        }
        if self._text is None:
            text = "\n".join(f"{name}: {cell}" for name, cell in cells.items())
            return Part(text=text, line=line, end_line=end_line, memory_type="fact", metadata=_metadata(cells))
        text = cells.pop(self._header[self._text], "")
        if not text:
            return PassedOver("rows without a text")
        speaker = self._take(self._speaker, cells)
        session = self._take(self._session, cells)
        return Part(
            text=text,
            line=line,
            end_line=end_line,
            speaker=speaker,
            created_at=self._take(self._time, cells) if speaker else None,
            session=session,
            memory_type=None if speaker else cells.pop("type", None) or "fact",
            metadata=_metadata(cells),
        )

    def _take(self, index: int | None, cells: dict[str, str]) -> str | None:
        return None if index is None else cells.pop(self._header[index], None)


def _metadata(cells: dict[str, str]) -> dict[str, str]:
    return {f"column_{name}" if name in {"text", "type", "session"} else name: cell for name, cell in cells.items()}


def _first(folded: list[str], names: tuple[str, ...]) -> int | None:
    return next((folded.index(name) for name in names if name in folded), None)


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _is_name(column: str) -> bool:
    return 0 < len(column) <= 64 and not column.startswith(("{", "["))
