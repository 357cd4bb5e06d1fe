"""A record as the keyword index sees it: the terms of its text and of its window."""

from __future__ import annotations

from typing import NamedTuple

from super_advanced_agents.stores.text.analyzer import window_terms


class Entry(NamedTuple):
    """Hold the terms by which keyword search finds a record: of its text and of its window.

    The window joins the text with those of the records before and after it in its session (conversation).
    """

    row: int
    scope: int
    text: str
    window: str

    @classmethod
    def of(cls, row: int, scope: int, text: str, before: str, after: str) -> Entry:
        """Build a record's entry for the keyword index, of analyzed texts.

        `before` and `after` are those of the neighbouring records in its session (conversation); empty for none.
        """
        return cls(row, scope, text, window_terms(before, text, after))
