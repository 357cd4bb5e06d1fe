"""The units of the rate limits that a call costs, in one place for REST, gRPC and MCP.

A call costs one unit, and further ones for what it makes the server do:

| what | units |
|---|---|
| a record, memory, turn or text that is stored or embedded | 1 |
| a query vector after the first | 1 |
| a token that an answer may have | 1 |
| a token of a prompt: memories, question and history (4 bytes) | 1 |
| 16 KiB of a request, beyond the first | 1 |
| 100 values of a filter, beyond the first | 1 |
| 100 matches asked for, beyond the first | 1 |
| 64 KiB of an answer, beyond the first | 1 |

All but the last are charged before the work. The bytes of an answer are known only then, so they take what is left of
the allowance at most. Prompts are charged by `_runtime.metering`, wherever a language model is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any, cast

from super_advanced_agents.config import LIMITS
from super_advanced_agents.protocol.operations import Cost

_REQUEST_BYTES = 16 * 1024
_ANSWER_BYTES = 64 * 1024
_VALUES = 100
_MATCHES = 100
_MAX_VALUES = 1_000
"""Values beyond these are not counted, as the filter is refused."""

_ITEM_FIELDS = ("vectors", "records", "memories", "turns")
"""The fields of requests that contain the items to store."""


def request_units(size_bytes: int) -> int:
    """Return the units for the bytes of a request."""
    return size_bytes // _REQUEST_BYTES


def answer_units(size_bytes: int) -> int:
    """Return the units for the bytes of an answer."""
    return size_bytes // _ANSWER_BYTES


def work_units(request: Any) -> int:
    """Return the units for the values of a request's filter and the matches asked for."""
    where, top_k = getattr(request, "where", None), getattr(request, "top_k", 0)
    queries = getattr(request, "query_vectors", None)
    # A value outside of the limits is refused later, with the name of its field.
    wanted = min(max(top_k, 0), LIMITS.top_k) if isinstance(top_k, int) else 0
    matches = wanted * (1 if queries is None else len(queries))
    return (0 if not where else _values_in(where) // _VALUES) + matches // _MATCHES


def item_units(cost: Cost, request: Any, *, answer_tokens: int) -> int:
    """Return the units for what an operation's row of the table says that a request costs.

    Args:
        cost: what counts.
        request: the request.
        answer_tokens: the longest answer, where the request does not say it.
    """
    match cost:
        case Cost.RECORDS:
            return next(len(cast("Sized", getattr(request, name))) for name in _ITEM_FIELDS if hasattr(request, name))
        case Cost.QUERIES:
            return len(request.query_vectors) - 1
        case Cost.TEXT:
            return 0 if request.text is None else 1
        case Cost.TOKENS:
            return (request.answer_tokens or answer_tokens) if getattr(request, "llm", True) else 0
        case _:
            return 0


def _values_in(where: object) -> int:
    count, unseen = 0, [where]
    while unseen and count < _MAX_VALUES:
        value = unseen.pop()
        if isinstance(value, Mapping):
            unseen.extend(list(value.values())[:_MAX_VALUES])
        elif isinstance(value, list | tuple):
            unseen.extend(value[:_MAX_VALUES])
        else:
            count += 1
    return count
