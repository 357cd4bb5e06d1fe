"""How memories are shown to a language model: as numbered data between markers, never as instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from super_advanced_agents.types import Match

_CUT = " …"
_LEAST_CHARS = 80


@dataclass(frozen=True, slots=True)
class Notes:
    """Memories as a block of numbered lines.

    Attributes:
        begin: the line before them; no note contains it.
        end: the line after them; no note contains it either, so that none can end the block it stands in.
        lines: one memory each, `[1] ...`, cut to its share of the room.
    """

    begin: str
    end: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, matches: Sequence[Match], *, most_chars: int) -> Self:
        """The texts of matches, which together take about `most_chars` characters at most."""
        share = max(_LEAST_CHARS, most_chars // max(1, len(matches)))
        texts = [one_line(str(match.metadata.get("text", "")), share) for match in matches]
        begin, end = _markers(texts)
        return cls(begin, end, tuple(f"[{number}] {text}" for number, text in enumerate(texts, start=1)))

    def __str__(self) -> str:
        return "\n".join([self.begin, *self.lines, self.end])


def one_line(text: str, most_chars: int) -> str:
    """The beginning of a text, its white space made single spaces."""
    line = " ".join(text.split())
    return line if len(line) <= most_chars else line[: most_chars - len(_CUT)] + _CUT


def _markers(texts: Sequence[str]) -> tuple[str, str]:
    name, attempt = "memories", 1
    while any(f"<{name}>" in text or f"</{name}>" in text for text in texts):
        attempt += 1
        name = f"memories-{attempt}"
    return f"<{name}>", f"</{name}>"
