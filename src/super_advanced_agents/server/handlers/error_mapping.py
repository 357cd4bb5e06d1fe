"""Renaming of the `field` of errors, from a Python argument to a field of the request body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from super_advanced_agents.errors import FilterError, InvalidInputError

_INDEXED = re.compile(
    r"^(items|texts|metadatas|sources|sessions|uids|expires_in_s|priorities|turns|relocations)\[(\d+)\](.*)$"
)
_MEMBER_OF_ARGUMENT = {"query_text": "query", "changes": "extra"}
_MEMBER_SUFFIXES = {
    "items": "",
    "turns": "",
    "relocations": "",
    "texts": ".text",
    "metadatas": ".extra",
    "sources": ".source",
    "sessions": ".session",
    "uids": ".uid",
    "expires_in_s": ".expires_in_s",
    "priorities": ".priority",
}


@contextmanager
def rename_error_fields(body: str = "", *, question: str = "query") -> Iterator[None]:
    """Enter a context that renames the `field` of errors from arguments to request body fields.

    With `body="memories"`, for example, `texts[3]` becomes `memories[3].text`.

    Args:
        body: the field that holds the list of items; empty if the body is one item.
        question: the field that holds the text to search for.

    Raises:
        InvalidInputError: an error raised in the context, with the field renamed in its message too.
    """
    try:
        yield
    except FilterError:  # its field is a key of the metadata, which may have any name
        raise
    except InvalidInputError as exc:
        indexed = _INDEXED.match(exc.field)
        if indexed is not None:
            argument, index, rest = indexed.groups()
            member = f"{_MEMBER_SUFFIXES[argument]}{rest}"
            field = f"{body}[{index}]{member}" if body else member.lstrip(".")
        elif exc.field in _MEMBER_OF_ARGUMENT:
            field = question if exc.field == "query_text" else _MEMBER_OF_ARGUMENT[exc.field]
        else:
            raise
        raise exc.for_field(field) from exc
