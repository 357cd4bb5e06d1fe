"""Settings as frozen values, checked when made and passed in; nothing here reads the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from super_advanced_agents.errors import ConfigurationError, InvalidInputError

DEFAULT_NAMESPACE = "default"
DEFAULT_TENANT = "default"
DEFAULT_EMBEDDING_MODEL = "all-MiniLM-L6-v2"
DEFAULT_GENERATION_MODEL = "SmolLM2-135M-Instruct"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large one call may be; what is larger is refused with the limit's name, and nothing is stored.

    Attributes:
        text_bytes: UTF-8 bytes of one text.
        metadata_bytes: bytes of one record's metadata as JSON, its text not counted.
        metadata_depth: nesting of one record's metadata.
        batch_records: records in one batch.
        top_k: matches of one search.
        filter_terms: comparisons in one `where` filter.
        uid_chars: characters of a caller's uid.
        source_chars: characters of what says where a record came from.
        dim: numbers of one vector.
        answer_tokens: new tokens of one answer.
        message_bytes: bytes of one request over a wire.
    """

    text_bytes: int = 64 * 1024
    metadata_bytes: int = 16 * 1024
    metadata_depth: int = 8
    batch_records: int = 1_000
    top_k: int = 1_000
    filter_terms: int = 64
    uid_chars: int = 256
    source_chars: int = 1_024
    dim: int = 65_536
    answer_tokens: int = 4_096
    message_bytes: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"limit {limit.name} must be a positive integer, not {value!r}")


LIMITS = Limits()
"""The defaults, for everything that takes no limits of its own."""


def checked_name(name: str, field: str) -> str:
    """Return `name` if it is one (1 to 64 letters, digits, `_`, `-`), else raise `InvalidInputError` naming `field`."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidInputError(
            f"{field} {name!r} is not a name",
            field=field,
            hint="use 1 to 64 letters, digits, '_' or '-', beginning with a letter or a digit",
        )
    return name


def checked_text(text: str, field: str, *, max_bytes: int) -> str:
    """Return `text` if it can be remembered: not blank, no NUL, valid Unicode, at most `max_bytes` as UTF-8.

    Raises:
        InvalidInputError: naming `field` and what is wrong, never the text itself.
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
