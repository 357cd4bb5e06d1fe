"""What a text must be like before it is embedded."""

from __future__ import annotations

from super_advanced_agents.errors import InvalidInputError


def checked_text(text: str, field: str, limit_bytes: int) -> str:
    """Return `text` if it can be embedded.

    Raises:
        InvalidInputError: it is not a str, blank, longer than `limit_bytes` in UTF-8, or holds NUL or a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"{field} must be a str, not {type(text).__name__}", field=field)
    if len(text) > limit_bytes:
        raise _too_long(field, limit_bytes)
    if not text or text.isspace():
        raise InvalidInputError(f"{field} is empty", field=field, hint="give a text with at least one word")
    if "\0" in text:
        raise InvalidInputError(f"{field} holds a NUL character", field=field, hint="remove it")
    if not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError as exc:
            raise InvalidInputError(
                f"{field} holds a lone surrogate at position {exc.start}",
                field=field,
                hint="decode the text with errors='replace'",
            ) from None
        if size > limit_bytes:
            raise _too_long(field, limit_bytes)
    return text


def _too_long(field: str, limit_bytes: int) -> InvalidInputError:
    return InvalidInputError(
        f"{field} is longer than text_bytes = {limit_bytes} bytes", field=field, hint="split it into smaller texts"
    )
