"""The library names what is wrong by its own arguments; a caller over HTTP knows the members of the body it sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from super_advanced_agents.errors import InvalidInputError

_INDEXED = re.compile(r"^(items|texts|metadatas|sources|sessions|uids|expires_in_s|priorities|turns)\[(\d+)\](.*)$")
_RENAMED = {"query_text": "query", "changes": "extra"}
_MEMBERS = {
    "items": "",
    "turns": "",
    "texts": ".text",
    "metadatas": ".extra",
    "sources": ".source",
    "sessions": ".session",
    "uids": ".uid",
    "expires_in_s": ".expires_in_s",
    "priorities": ".priority",
}


@contextmanager
def fields_of(body: str = "", *, question: str = "query") -> Iterator[None]:
    """Rename the fields of errors for a body whose list is called `body`; it is empty when the body is one item.

    What is searched for is called `question`.
    """
    try:
        yield
    except InvalidInputError as exc:
        found = _INDEXED.match(exc.field)
        if found is not None:
            argument, index, rest = found.groups()
            field = f"{body}[{index}]{_MEMBERS[argument]}{rest}" if body else f"{_MEMBERS[argument]}{rest}".lstrip(".")
        elif exc.field in _RENAMED:
            field = question if exc.field == "query_text" else _RENAMED[exc.field]
        else:
            raise
        message = exc.message.replace(exc.field, field, 1)
        raise type(exc)(message, field=field, hint=exc.hint) from exc
