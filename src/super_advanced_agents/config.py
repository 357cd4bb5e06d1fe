"""Default settings, size limits, and the validation of names and texts.

No environment variables are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from super_advanced_agents.errors import ConfigurationError, InvalidInputError

DEFAULT_NAMESPACE = "default"
DEFAULT_TENANT = "default"
DEFAULT_EMBEDDING_MODEL = "all-MiniLM-L6-v2"
DEFAULT_GENERATION_MODEL = "SmolLM2-135M-Instruct"

STORE_FOLDER, COLLECTIONS_FOLDER, SERVER_FOLDER = "store", "collections", "server"
"""The folders of a data folder: the agents' store, collections, and a server's own files."""
CATALOG_FILE = f"{SERVER_FOLDER}/catalog.db"
"""The SQLite file, in a data folder, of collections and agents' settings."""
STORE_DATABASE = "memory.sqlite3"
"""The SQLite file of an embedded store, in its folder."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, marks of the direction of text, and lone surrogates."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Set the size limits of one call; a call above a limit is rejected and stores nothing.

    The error names the limit that was exceeded.

    Attributes:
        text_bytes: UTF-8 bytes of one text.
        metadata_bytes: bytes of one record's metadata as JSON, without its text.
        metadata_depth: nesting depth of one record's metadata.
        batch_records: records in one batch.
        top_k: matches of one search.
        matches: matches of one call, its query vectors times `top_k`.
        answer_bytes: bytes of one answer, as its records are stored; JSON adds its escapes.
        page_bytes: bytes of one page of records; a page ends early when it has them.
        filter_terms: comparisons in one `where` filter.
        filter_values: values that one `where` filter compares with: each element of an `$in` counts.
        filter_bytes: bytes of all values of one `where` filter together; a character of a string counts as one.
        uid_chars: characters of a uid from a caller.
        source_chars: characters of a record's source.
        name_chars: characters of the name of an agent or a namespace.
        dim: length of one vector.
        answer_tokens: new tokens in one answer.
        instructions_bytes: UTF-8 bytes of the instructions of one question.
        history_messages: messages before one question.
        history_bytes: UTF-8 bytes of these messages together.
        job_bytes: bytes of a background job's arguments, of its result, and of the result of a step, as JSON.
        schedule_bytes: bytes of the arguments of a schedule's jobs, as JSON; all schedules are listed at once.
        message_bytes: bytes of one request over the network.

    Raises:
        ConfigurationError: a limit is not a positive integer.
    """

    text_bytes: int = 64 * 1024
    metadata_bytes: int = 16 * 1024
    metadata_depth: int = 8
    batch_records: int = 1_000
    top_k: int = 1_000
    matches: int = 100_000
    answer_bytes: int = 32 * 1024 * 1024
    page_bytes: int = 8 * 1024 * 1024
    filter_terms: int = 64
    filter_values: int = 1_000
    filter_bytes: int = 64 * 1024
    uid_chars: int = 256
    source_chars: int = 1_024
    name_chars: int = 256
    dim: int = 65_536
    answer_tokens: int = 4_096
    instructions_bytes: int = 8 * 1024
    history_messages: int = 100
    history_bytes: int = 64 * 1024
    job_bytes: int = 1024 * 1024
    schedule_bytes: int = 16 * 1024
    message_bytes: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"limit {limit.name} must be a positive integer, not {value!r}")


LIMITS = Limits()
"""The default limits, for code that takes no limits of its own."""


def checked_name(name: str, field: str) -> str:
    """Check that a name is 1 to 64 letters, digits, `_` or `-`, and return it unchanged.

    Raises:
        InvalidInputError: it is not valid; the error names `field`.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidInputError(
            f"{field} {name!r} is not a name",
            field=field,
            hint="use 1 to 64 letters, digits, '_' or '-', beginning with a letter or a digit",
        )
    return name


def checked_agent_name(name: str, field: str) -> str:
    """Check the name of an agent or a namespace, 1 to 256 characters of any text; return it.

    Control characters are refused, those that change the direction of text or end a line included, since they would
    hide in logs and on terminals. Names are compared character by character: case, spaces and the forms of Unicode
    (NFC, NFD) count.

    Raises:
        InvalidInputError: it is not valid; the error names `field`.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"{field} must be a string, not {type(name).__name__}", field=field)
    if not 1 <= len(name) <= LIMITS.name_chars:
        raise InvalidInputError(
            f"{field} has {len(name)} characters", field=field, hint=f"use 1 to {LIMITS.name_chars} characters"
        )
    if (found := _CONTROL.search(name)) is not None:
        raise InvalidInputError(
            f"{field} holds a control character at {found.start()}",
            field=field,
            hint=f"use 1 to {LIMITS.name_chars} characters without control characters",
        )
    return name


def checked_text(text: str, field: str, *, max_bytes: int) -> str:
    """Check that a text is not blank, not too long and valid Unicode without NUL; return it.

    Args:
        text: the text.
        field: the name of the argument, for the error.
        max_bytes: the maximum length as UTF-8.

    Raises:
        InvalidInputError: it cannot be stored; the error names `field` and the reason, never the text.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"{field} must be a string, not {type(text).__name__}", field=field)
    if len(text) > max_bytes:
        raise _too_long(field, max_bytes)
    if not text or text.isspace():
        raise InvalidInputError(f"{field} is empty", field=field, hint="give a text with at least one word")
    if "\0" in text:
        raise InvalidInputError(f"{field} holds a NUL character at {text.index(chr(0))}", field=field, hint="remove it")
    if text.isascii():
        return text
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidInputError(
            f"{field} holds a lone surrogate at {exc.start}", field=field, hint="decode it with errors='replace'"
        ) from None  # the cause would carry the text
    if size > max_bytes:
        raise _too_long(field, max_bytes)
    return text


def _too_long(field: str, max_bytes: int) -> InvalidInputError:
    return InvalidInputError(
        f"{field} is longer than {max_bytes} bytes (text_bytes)", field=field, hint="split it into parts"
    )
