"""Sizes of answers, which are counted while records are read, before an answer is built."""

from __future__ import annotations

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.types import Record

ITEM_BYTES = 256
"""The bytes of an item of an answer beside its texts and its vector: names, times and a uid."""

EXPLANATION_BYTES = 600
"""The bytes that the explanation of a match takes."""


class Page(list[Record]):
    """A page of records, which ends early when its records have `page_bytes`.

    Attributes:
        cut: True if it ended early, so that it may be short although more records follow.
    """

    cut: bool = False


def text_bytes(*texts: str | None) -> int:
    """Return the bytes of texts in UTF-8."""
    return sum(len(text) if text.isascii() else len(text.encode()) for text in texts if text)


def uncounted_matches(limits: Limits) -> int:
    """Return how many matches are never larger than an answer may be, so that none is counted."""
    largest = ITEM_BYTES + EXPLANATION_BYTES + limits.text_bytes + limits.metadata_bytes
    return limits.answer_bytes // (largest + 4 * (limits.uid_chars + 2 * limits.source_chars))


def answer_too_large(limits: Limits, field: str, hint: str) -> InvalidInputError:
    """Return the error for a call whose answer would be larger than `limits.answer_bytes`.

    Args:
        limits: the limits.
        field: the argument that made it so large.
        hint: what to ask less of.
    """
    return InvalidInputError(
        f"the answer would be larger than {limits.answer_bytes} bytes (answer_bytes)", field=field, hint=hint
    )
