"""Rules for the writes of a key without `memories:read`, and for the answers to them.

Such a key stores, replaces and deletes, but no answer tells it a stored text, a uid that it did not send, or whether
something exists. Operations whose answer always does need both scopes by their row in the table of operations; the
rules here depend on the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from super_advanced_agents.errors import InvalidInputError, PermissionDeniedError
from super_advanced_agents.protocol.requests import ForgetRequest
from super_advanced_agents.stores.requests import DeleteRequest
from super_advanced_agents.tenancy.context import Access, Principal
from super_advanced_agents.types import JobInfo, ScheduleInfo


def check_reads(request: object, principal: Principal) -> None:
    """Raise unless the caller may learn what the result of its write tells about stored records.

    Raises:
        PermissionDeniedError: the write depends on what is stored, and the caller lacks `memories:read`.
    """
    if principal.allows(Access.READ):
        return
    if getattr(request, "dedupe", None) is not None:
        raise _needs_read("dedupe")
    if isinstance(request, DeleteRequest | ForgetRequest) and request.where is not None:
        raise _needs_read("where")


def as_visible(request: object, result: Any, principal: Principal) -> Any:
    """Return the result of a request as the caller may see it.

    A caller without `memories:read` gets the number of uids that it asked to delete, existing or not, and jobs and
    schedules without what others asked and were answered, and with the kinds of their errors alone.
    """
    if principal.allows(Access.READ):
        return result
    if isinstance(request, DeleteRequest | ForgetRequest):
        return deleted_as_asked(request.uids or ())
    if isinstance(result, list):
        return [_visible(each, principal) for each in result]
    return _visible(result, principal)


def _visible(result: Any, principal: Principal) -> Any:
    if isinstance(result, JobInfo):
        return visible_job(result, principal)
    if isinstance(result, ScheduleInfo):
        return replace(result, arguments={}, error=InvalidInputError.__name__ if result.error else "")
    return result


def visible_job(info: JobInfo, principal: Principal) -> JobInfo:
    """Return a job as the caller may see it.

    Without `memories:read` that is without its arguments, its result and the text of its error, which may quote what is
    stored.
    """
    if principal.allows(Access.READ):
        return info
    return replace(info, arguments={}, result=None, error=_kind_of_error(info.error))


def _kind_of_error(error: str) -> str:
    # An error of this package stands as its class and its text, which may quote arguments.
    return error.partition(": ")[0]


def deleted_as_asked(uids: Sequence[str]) -> int:
    """Return how many uids were to be deleted, for callers that must not learn which existed."""
    return len(set(uids))


def _needs_read(field: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{field!r} in a write tells what is stored, so it needs the scope {Access.READ.value!r} too",
        hint=f"leave {field!r} out, or use a key that has the scope",
    )
