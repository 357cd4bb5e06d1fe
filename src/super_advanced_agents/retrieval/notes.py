"""The format of memories in a prompt: numbered lines of data between markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from super_advanced_agents.types import Match

_CUT = " …"
_MIN_CHARS = 80
_MAX_BLANKS = 8
"""Characters read for each one that is shown, since runs of white space are collapsed."""


@dataclass(frozen=True, slots=True)
class Notes:
    """Hold memories as a block of numbered lines between two markers, as part of a prompt.

    Attributes:
        begin: the marker line before the notes; no note contains it.
        end: the marker line after the notes; no note contains it, so a note cannot end its own block.
        lines: one memory in each line, `[1] ...`, cut to its share of the characters.
    """

    begin: str
    end: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, matches: Sequence[Match], *, max_chars: int) -> Self:
        """Build a block of numbered lines for a prompt, one from the text of each search result.

        Args:
            matches: the matches, numbered from 1 in their order.
            max_chars: the approximate maximum number of characters of all texts; each match gets an equal share, but
                at least 80 characters.
        """
        share = max(_MIN_CHARS, max_chars // max(1, len(matches)))
        texts = [one_line(str(match.metadata.get("text", "")), share) for match in matches]
        begin, end = _markers(texts)
        return cls(begin, end, tuple(f"[{number}] {text}" for number, text in enumerate(texts, start=1)))

    def __str__(self) -> str:
        return "\n".join([self.begin, *self.lines, self.end])


def one_line(text: str, max_chars: int) -> str:
    """Collapse a text's white space to single spaces, and cut it at `max_chars` characters."""
    line = " ".join(text[: max_chars * _MAX_BLANKS].split())  # a thousand whole texts would take a second
    is_whole = len(line) <= max_chars and len(text) <= max_chars * _MAX_BLANKS
    return line if is_whole else line[: max_chars - len(_CUT)] + _CUT


def _markers(texts: Sequence[str]) -> tuple[str, str]:
    name, attempt = "memories", 1
    while any(f"<{name}>" in text or f"</{name}>" in text for text in texts):
        attempt += 1
        name = f"memories-{attempt}"
    return f"<{name}>", f"</{name}>"
