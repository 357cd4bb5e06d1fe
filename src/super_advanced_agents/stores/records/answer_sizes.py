"""Sizes of answers, which are counted while records are read, before an answer is built."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from super_advanced_agents.config import Limits
from super_advanced_agents.errors import InvalidInputError, OverloadedError
from super_advanced_agents.types import Record

ITEM_BYTES = 256
"""The bytes of an item of an answer beside its texts and its vector: names, times and a uid."""

NESTED_BYTES = 64
"""The bytes in memory of a nested list or object in a record's metadata."""

EXPLANATION_BYTES = 600
"""The bytes that the explanation of a match takes."""

NUMBER_BYTES: Mapping[str, int] = MappingProxyType({"numbers": 12, "base64": 6, "none": 0})
"""The bytes of a number of a vector in JSON, such as `-0.12345678,`, by format."""

_HINTED = 0.9
"""The part of the limit that an advised call takes.

Its matches may be larger than those counted.
"""


class Page(list[Record]):
    """Hold a page of records, which ends early when its records have `page_bytes`.

    Attributes:
        cut: True if it ended early, so that it may be short although more records follow.
    """

    cut: bool = False


def text_bytes(*texts: str | None) -> int:
    """Return the bytes of texts in UTF-8."""
    return sum(len(text) if text.isascii() else len(text.encode()) for text in texts if text)


def record_metadata_bytes(metadata_json: str) -> int:
    """Return the bytes of a record's metadata in an answer.

    A nested list or object takes `NESTED_BYTES` more: it has two characters as JSON, and sixty bytes in memory.
    """
    return text_bytes(metadata_json) + NESTED_BYTES * (metadata_json.count("[") + metadata_json.count("{") - 1)


class AnswerNeedsReservationError(OverloadedError):
    """Report an answer above its call's limit; a server reserves memory, and reads it again."""

    def __init__(self) -> None:
        super().__init__(
            "the answer is longer than the memory reserved for it", retry_after_s=1.0, hint="ask for fewer records"
        )


def largest_match_bytes(limits: Limits) -> int:
    """Return the most bytes that one match can take in an answer."""
    texts = limits.text_bytes + limits.metadata_bytes + 4 * (limits.uid_chars + 2 * limits.source_chars)
    return ITEM_BYTES + EXPLANATION_BYTES + texts


def embeddings_bytes(limits: Limits, count: int, dim: int, *, as_base64: bool) -> int:
    """Return the bytes of an answer with the embeddings of texts, by estimate.

    Args:
        limits: the limits.
        count: the texts.
        dim: the numbers of an embedding.
        as_base64: whether they are sent as base64.

    Raises:
        InvalidInputError: the answer would be too large; the message says how many texts fit.
    """
    item_bytes = ITEM_BYTES + dim * NUMBER_BYTES["base64" if as_base64 else "numbers"]
    fitting = limits.answer_bytes // item_bytes
    if count > fitting:
        hint = f"send at most {max(1, fitting)} texts in one call"
        raise answer_too_large(limits, "input", hint if as_base64 else f"{hint}, or ask for encoding_format 'base64'")
    return count * item_bytes


def matches_too_large(limits: Limits, match_bytes: float, *, top_k: int, queries: int) -> InvalidInputError:
    """Return the error for a search whose matches are too large; it says how many would fit.

    Args:
        limits: the limits.
        match_bytes: the mean size of the matches that were counted.
        top_k: the matches asked for, of each query.
        queries: the queries of the call.
    """
    fitting = int(_HINTED * limits.answer_bytes / match_bytes)
    hint = f"ask for fewer matches: top_k={min(top_k, max(1, fitting // queries))} should fit"
    if queries > 1 and top_k <= fitting:
        hint += f"; or send fewer queries in one call: {fitting // top_k} should"
    return answer_too_large(limits, "top_k", hint)


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
